//! Bytes as hexadecimal text, where structures are written for people and programs.

use serde::de::Error as _;
use serde::{Deserialize as _, Deserializer, Serializer};

/// Two lower-case digits a byte.
fn text(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The bytes of hexadecimal text; none if it is no such.
fn bytes(text: &str) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_bytes().as_chunks() else {
        return None;
    };
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let byte = |[high, low]: &[u8; 2]| u8::try_from(digit(*high)? * 16 + digit(*low)?).ok();
    pairs.iter().map(byte).collect()
}

fn parse<'de, T: TryFrom<Vec<u8>>, D: Deserializer<'de>>(text: &str) -> Result<T, D::Error> {
    let parsed = bytes(text).and_then(|bytes| bytes.try_into().ok());
    parsed.ok_or_else(|| D::Error::custom("hexadecimal digits, or their number, are wrong"))
}

pub(crate) fn serialize<S: Serializer>(
    value: impl AsRef<[u8]>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(value.as_ref()))
}

pub(crate) fn deserialize<'de, T: TryFrom<Vec<u8>>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    parse::<T, D>(&String::deserialize(deserializer)?)
}

/// The same for bytes that may be absent.
pub(crate) mod option {
    use super::{Deserializer, Serializer, parse, text};
    use serde::{Deserialize as _, Serialize as _};

    pub(crate) fn serialize<S: Serializer>(
        value: &Option<impl AsRef<[u8]>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let value = value.as_ref().map(|bytes| text(bytes.as_ref()));
        value.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, T: TryFrom<Vec<u8>>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        let value = Option::<String>::deserialize(deserializer)?;
        value.map(|text| parse::<T, D>(&text)).transpose()
    }
}
