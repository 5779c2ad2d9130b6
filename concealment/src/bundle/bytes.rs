//! Numbers of a bundle as bytes and back.

#![deny(clippy::indexing_slicing)]

use super::{BundleError, Section};

/// Values as they are written.
pub(super) fn floats(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_be_bytes())
        .collect()
}

/// A count or length as it is written.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the limits on a bundle keep every size below 2^32"
)]
pub(super) fn word32(value: usize) -> [u8; 4] {
    (value as u32).to_be_bytes()
}

/// A length or count on file. Where it does not fit a `usize` it fits no input either.
pub(super) fn size(word: [u8; 4]) -> usize {
    usize::try_from(u32::from_be_bytes(word)).unwrap_or(usize::MAX)
}

/// Exactly `number` values, or the section's length is wrong. Allocates no more than the content.
pub(super) fn read_floats(
    section: Section,
    content: &[u8],
    number: usize,
) -> Result<Vec<f32>, BundleError> {
    let (values, rest) = content.as_chunks();
    if values.len() != number || !rest.is_empty() {
        return Err(wrong_length(section, content));
    }
    Ok(values
        .iter()
        .map(|&value| f32::from_be_bytes(value))
        .collect())
}

/// The count at the start of a section and its rows of `N` bytes, which must be as many.
pub(super) fn read_rows<const N: usize>(
    section: Section,
    content: &[u8],
) -> Result<&[[u8; N]], BundleError> {
    let (number, rows) = content
        .split_first_chunk()
        .ok_or_else(|| wrong_length(section, content))?;
    match rows.as_chunks() {
        (rows, []) if rows.len() == size(*number) => Ok(rows),
        _ => Err(wrong_length(section, content)),
    }
}

pub(super) const fn wrong_length(section: Section, content: &[u8]) -> BundleError {
    BundleError::SectionLength {
        section,
        length: content.len(),
    }
}
