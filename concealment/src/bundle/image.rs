//! The identity of a calibration image.

use std::fmt;

/// The first 16 bytes of the SHA-256 of an image as its dataset stores it: of the whole file, or of
/// the image's own bytes where one file holds many (`spec/bundle-format.md` section 5.7).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageDigest([u8; Self::SIZE]);

impl ImageDigest {
    /// Bytes in a digest.
    pub const SIZE: usize = 16;

    /// Wraps the 16 bytes as they are.
    #[must_use]
    pub const fn new(bytes: [u8; Self::SIZE]) -> Self {
        Self(bytes)
    }

    /// Keeps the first 16 bytes of a SHA-256.
    #[must_use]
    pub fn from_sha256(sha256: &[u8; 32]) -> Self {
        let mut bytes = [0; Self::SIZE];
        bytes
            .iter_mut()
            .zip(sha256)
            .for_each(|(kept, &byte)| *kept = byte);
        Self(bytes)
    }

    /// The 16 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::SIZE] {
        &self.0
    }
}

/// Lower-case hexadecimal, so that a digest can be looked up with `sha256sum`.
impl fmt::Display for ImageDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ImageDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ImageDigest({self})")
    }
}
