//! `tw-lab token`: a token by which an edge is let in.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;

use super::output::print;
use crate::identity::{Name, Token, state};

/// Makes a token: writes it to a file for the edge, and prints the line for the cloud's list.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// Where the token goes; only its owner can read it, and no file is replaced
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What the cloud calls the edge in its log, up to 64 visible characters [default: the file's name]
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    name: Option<Name>,
}

const EXAMPLES: &str = "\
Examples:
  tw-lab token cam-3 >> tokens
      a new token in the file cam-3, and its line in the list of the cloud
  tw-cloud --listen 0.0.0.0:4433 --tokens tokens
      lets in whoever has a token of the list
  tw-edge --connect 192.0.2.7:4433 --pin SHA256 --token-file cam-3
      shows the token to the cloud that has the pinned certificate

The list holds SHA-256 digests: whoever reads it cannot connect with what it says.";

fn parse_name(text: &str) -> Result<Name, String> {
    Name::new(text).ok_or_else(|| "a name has 1 to 64 visible characters (ASCII)".to_owned())
}

/// Makes a token.
///
/// # Errors
/// If the file exists or cannot be written, or there are no random bytes.
pub fn run(options: &Options) -> Result<()> {
    let name = match &options.name {
        Some(name) => name.clone(),
        None => {
            let name = options.file.file_name().and_then(|name| name.to_str());
            let name = name.and_then(Name::new);
            name.context("the file's name cannot be the edge's; give --name")?
        }
    };
    let token = Token::random()?;
    let line = token.line();
    let created = state::create(&options.file, &line);
    let path = options.file.display();
    if !created.with_context(|| format!("cannot write {path}"))? {
        bail!("{path} exists; a token is not replaced, since an edge may be using it");
    }
    print(format!("{name} {}", token.digest()))
}
