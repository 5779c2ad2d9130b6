//! Changing the stream on SIGHUP, to what a file of further options says.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context, Result};
use clap::Parser;
use tensorwire_endpoints::edge::Changer;

use super::{Options, Prepared};

/// Waits for signals, and has each change the stream to what `file` says then. What cannot be is told, and
/// changes nothing.
pub(crate) async fn on_signal(file: &Path, changer: Changer) {
    while hung_up().await {
        eprintln!("reading {}", file.display());
        match reload(file, &changer).await {
            Ok(()) => {}
            Err(error) => eprintln!("the stream stays as it is: {error:#}"),
        }
    }
}

async fn reload(file: &Path, changer: &Changer) -> Result<()> {
    let text = std::fs::read_to_string(file);
    let text = text.with_context(|| format!("cannot read {}", file.display()))?;
    let options = options(std::env::args_os(), &text)?;
    // A model takes long to load and split.
    let prepared = tokio::task::spawn_blocking(move || match options.stand_in {
        Some(bytes) => Prepared::stand_in(bytes, &options),
        None => Prepared::model(&options),
    });
    let Prepared {
        stream,
        protection,
        source,
        ..
    } = prepared.await??;
    changer.change(stream, protection, Some(source)).await?;
    Ok(())
}

/// The options of the command line, and those of a file, which win: one a line, its value behind it, `#`
/// before remarks.
fn options(arguments: impl Iterator<Item = OsString>, text: &str) -> Result<Options> {
    let lines = text.lines().map(str::trim);
    let further = lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .flat_map(|line| {
            let (option, value) = line
                .split_once(char::is_whitespace)
                .map_or((line, None), |(option, value)| (option, Some(value.trim())));
            std::iter::once(option).chain(value).map(OsString::from)
        });
    Ok(Options::try_parse_from(arguments.chain(further))?)
}

#[cfg(unix)]
async fn hung_up() -> bool {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::hangup()) {
        Ok(mut signal) => signal.recv().await.is_some(),
        Err(_) => false,
    }
}

#[cfg(not(unix))]
async fn hung_up() -> bool {
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_is_other_than_on_the_command_line() {
        let line = ["tw-edge", "--fps", "10", "--split", "add_2", "--quiet"];
        let file = "# coarser\n--split add_4\n\n  --images  my photos \n--gso\n";
        let options = options(line.iter().map(OsString::from), file).unwrap();
        assert_eq!(options.fps, 10.0);
        assert_eq!(options.model.split.as_deref(), Some("add_4"));
        assert!(options.quiet);
        let wrong = super::options(line.iter().map(OsString::from), "--split");
        assert!(wrong.is_err());
    }
}
