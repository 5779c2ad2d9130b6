//! Every size and count that a bundle may have, in one place (`spec/bundle-format.md` section 6).
//!
//! A bundle is a file from somewhere else, so it is read as hostile input: lengths are compared
//! with these limits before anything is allocated.

/// Longest bundle in bytes, header and checksum included: 256 MiB.
///
/// Room for the dataset mean of the largest tensor, the digests of the most images, and further
/// sections of the same size.
pub const MAX_BUNDLE_BYTES: usize = 256 << 20;

/// Longest name of a split tensor, in bytes of UTF-8; a name has at least one byte.
pub const MAX_SPLIT_BYTES: usize = 255;

/// Largest number of channels, rows or columns of a tensor; each is at least one.
pub const MAX_SIDE: usize = 65_535;

/// Most entries of a tensor (channels × rows × columns): 2²⁴.
pub const MAX_ENTRIES: usize = 1 << 24;

/// Most images that a bundle may be made from: 2²². At least one is needed.
pub const MAX_IMAGES: usize = 1 << 22;

/// Number of entries of a shape within the limits, or `None`.
pub(crate) fn entries((channels, height, width): (usize, usize, usize)) -> Option<usize> {
    if [channels, height, width]
        .iter()
        .any(|side| !(1..=MAX_SIDE).contains(side))
    {
        return None;
    }
    let entries = channels.checked_mul(height)?.checked_mul(width)?;
    (entries <= MAX_ENTRIES).then_some(entries)
}
