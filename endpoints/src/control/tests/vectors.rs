//! Every vector of `spec/vectors/control` decodes, or does not, as it says.

use std::path::PathBuf;

use serde::Deserialize;

use crate::control::{ControlError, decode, encode};

#[derive(Deserialize)]
struct Vectors {
    #[serde(default)]
    valid: Vec<Valid>,
    #[serde(default)]
    invalid: Vec<Invalid>,
}

#[derive(Deserialize)]
struct Valid {
    name: String,
    r#type: String,
    #[serde(with = "crate::hex::option")]
    hex: Option<Vec<u8>>,
    /// What is written of what was read, where that is not the same.
    #[serde(default, with = "crate::hex::option")]
    again: Option<Vec<u8>>,
}

#[derive(Deserialize)]
struct Invalid {
    name: String,
    #[serde(with = "crate::hex::option")]
    hex: Option<Vec<u8>>,
    error: String,
}

fn vectors(file: &str) -> Vectors {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../spec/vectors/control");
    let text = std::fs::read_to_string(folder.join(file)).unwrap();
    toml::from_str(&text).unwrap()
}

#[test]
fn every_vector_does_what_it_says() {
    for file in [
        "hello.toml",
        "session.toml",
        "end.toml",
        "upload.toml",
        "statistics.toml",
        "envelope.toml",
    ] {
        let Vectors { valid, invalid } = vectors(file);
        assert!(!valid.is_empty() && !invalid.is_empty(), "{file}");
        for Valid {
            name,
            r#type,
            hex,
            again,
        } in valid
        {
            let bytes = hex.unwrap();
            let message = decode(&bytes).unwrap_or_else(|error| panic!("{file}: {name}: {error}"));
            assert_eq!(message.name(), r#type, "{file}: {name}");
            let written = encode(&message).unwrap();
            assert_eq!(written, again.unwrap_or(bytes), "{file}: {name}");
        }
        for Invalid { name, hex, error } in invalid {
            let found = match decode(&hex.unwrap()) {
                Err(ControlError::Malformed(_)) => "malformed",
                Err(ControlError::OutOfRange(_)) => "out-of-range",
                Err(ControlError::TooLong(_)) => "too-long",
                Err(ControlError::Version(_)) => "version",
                other => panic!("{file}: {name}: {other:?}"),
            };
            assert_eq!(found, error, "{file}: {name}");
        }
    }
}
