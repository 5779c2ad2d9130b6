//! Why bytes are not a bundle.

use thiserror::Error;

use super::Section;

/// Why bytes are not a bundle. Always the fault of the bytes: calibrate again, or fetch the file
/// again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BundleError {
    /// Longer than [`MAX_BUNDLE_BYTES`](crate::limits::MAX_BUNDLE_BYTES).
    #[error("a bundle of {length} bytes is longer than the limit")]
    TooLong {
        /// Length given.
        length: usize,
    },
    /// Ends before what its header announces.
    #[error("bundle ends early: {length} bytes of at least {needed}; the file is incomplete")]
    Truncated {
        /// Length given.
        length: usize,
        /// Length that the bytes read so far call for.
        needed: usize,
    },
    /// Continues after the end that its header announces.
    #[error("{extra} bytes after the end of the bundle")]
    TrailingBytes {
        /// Bytes too many.
        extra: usize,
    },
    /// Does not start with the magic: not a bundle at all.
    #[error("not a side-information bundle: the first four bytes are not its magic")]
    Magic,
    /// A version that this reader does not know; use a newer reader.
    #[error("bundle format version {version} is not supported, only version 1")]
    Version {
        /// The version in the header.
        version: u16,
    },
    /// The CRC-32 does not match: the file was damaged.
    #[error("bundle checksum is {computed:08x}, the file says {stored:08x}; the file is damaged")]
    Checksum {
        /// Checksum in the file.
        stored: u32,
        /// Checksum of the bytes before it.
        computed: u32,
    },
    /// Section types are not strictly ascending.
    #[error("section type {kind} repeats or is out of order")]
    SectionOrder {
        /// Type of the section that should have come earlier.
        kind: u16,
    },
    /// A section ends beyond the file, or bytes remain after the last one.
    #[error("the sections do not end where the checksum starts")]
    SectionBounds,
    /// A section that version 1 requires is not there.
    #[error("section {section} is missing")]
    MissingSection {
        /// The section required.
        section: Section,
    },
    /// A section's length does not fit its content or the shape.
    #[error("section {section} has {length} bytes, which does not fit its content")]
    SectionLength {
        /// The section at fault.
        section: Section,
        /// Its length in bytes.
        length: usize,
    },
    /// A value breaks a rule of the section: not finite, out of range or order, over a limit.
    #[error("section {section} holds a value that is not allowed")]
    Value {
        /// The section at fault.
        section: Section,
    },
}

/// Why a section cannot be made or put into a bundle. Whoever made its values has to correct them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("section {section}: {rule}")]
#[non_exhaustive]
pub struct SectionError {
    /// The section concerned.
    pub section: Section,
    /// The rule that the values break.
    pub rule: &'static str,
}

impl SectionError {
    pub(crate) const fn new(section: Section, rule: &'static str) -> Self {
        Self { section, rule }
    }
}

impl From<SectionError> for BundleError {
    fn from(error: SectionError) -> Self {
        Self::Value {
            section: error.section,
        }
    }
}
