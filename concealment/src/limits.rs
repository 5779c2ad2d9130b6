//! Every size and count that a bundle may have, in one place (`spec/bundle-format.md` section 7).
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

/// Most channels of a tensor for which a bundle holds a covariance: 12½ C² coefficients of 2 bytes
/// are 6.3 MiB.
pub const MAX_COVARIANCE_CHANNELS: usize = 512;

/// Most channels of a tensor for which a bundle holds weights of ALTeC: C × (C + 1) values are
/// 16 MiB.
pub const MAX_ALTEC_CHANNELS: usize = 2_047;

/// Most points of an accuracy curve.
pub const MAX_ACCURACY_POINTS: usize = 256;

/// Most rows of a policy.
pub const MAX_POLICY_ROWS: usize = 4_096;

/// Most steps of a ladder, those of all coders together.
pub const MAX_LADDER_STEPS: usize = 128;

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
