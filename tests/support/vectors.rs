//! The test vectors of the wire format.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tensorwire_protocol::wire::ConnectionId;

/// The vectors of one message type, or of the common header.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Name of the file without its extension.
    #[serde(skip)]
    pub name: String,
    /// The ID of the session that receives them.
    pub connection: u32,
    /// Datagrams that decode.
    pub valid: Vec<Valid>,
    /// Datagrams that do not.
    pub invalid: Vec<Invalid>,
}

/// A datagram that decodes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Valid {
    /// What is particular about it.
    pub name: String,
    hex: String,
    /// Header and message as one line.
    pub text: String,
}

/// A datagram that is refused.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invalid {
    /// What is wrong with it.
    pub name: String,
    hex: String,
    /// Why it is refused.
    pub refusal: String,
}

impl File {
    /// The ID of the session that receives them.
    pub const fn connection(&self) -> ConnectionId {
        ConnectionId::new(self.connection)
    }
}

impl Valid {
    /// The datagram.
    pub fn datagram(&self) -> Vec<u8> {
        unhex(&self.hex)
    }
}

impl Invalid {
    /// The datagram.
    pub fn datagram(&self) -> Vec<u8> {
        unhex(&self.hex)
    }
}

/// Every file of vectors, by name.
pub fn all() -> Vec<File> {
    let folder = folder("wire");
    let entries = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = entries
        .filter(|p| p.extension().is_some_and(|e| e == "toml"))
        .collect();
    paths.sort();
    let read = |path: PathBuf| {
        let mut file: File = parse(&path);
        file.name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        file
    };
    paths.into_iter().map(read).collect()
}

/// One file of the vectors of FEC.
pub fn fec<T: DeserializeOwned>(name: &str) -> T {
    parse(&folder("fec").join(name))
}

/// One file of the vectors of protected mode.
pub fn protection<T: DeserializeOwned>(name: &str) -> T {
    parse(&folder("protection").join(name))
}

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../spec/vectors")
        .join(name)
}

fn parse<T: DeserializeOwned>(path: &Path) -> T {
    let text = fs::read_to_string(path).unwrap();
    toml::from_str(&text).unwrap_or_else(|e| panic!("{path:?}: {e}"))
}

/// The bytes that hexadecimal digits say.
pub fn unhex(hex: &str) -> Vec<u8> {
    let digit = |c: u8| char::from(c).to_digit(16).expect("hexadecimal") as u8;
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    assert!(rest.is_empty(), "whole bytes");
    pairs
        .iter()
        .map(|[high, low]| digit(*high) << 4 | digit(*low))
        .collect()
}
