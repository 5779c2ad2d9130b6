//! Why an image, or a set of images, cannot be used.

use std::io;
use std::path::PathBuf;

use super::{MAX_PIXELS, MAX_SIDE};

/// Why an image cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The file is neither JPEG nor PNG, by its first bytes.
    #[error("neither a JPEG nor a PNG image")]
    Format,
    /// The file is damaged, or of a kind that the decoder does not know.
    #[error("cannot decode the {format} image: {reason}")]
    Damaged {
        /// "JPEG" or "PNG".
        format: &'static str,
        /// The decoder's own words.
        reason: String,
    },
    /// The image is empty or larger than this program takes.
    #[error(
        "an image of {height}×{width} pixels; sides have to be 1..={MAX_SIDE}, and at most \
         {MAX_PIXELS} pixels in all"
    )]
    Size {
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
    },
    /// The caller gave another number of bytes than the size asks for.
    #[error("{found} bytes of pixels instead of {expected}")]
    Pixels {
        /// Height × width × channels.
        expected: usize,
        /// What was given.
        found: usize,
    },
    /// Scaling failed, which is a fault of this program.
    #[error("cannot scale the image: {reason}")]
    Scaling {
        /// The library's own words.
        reason: String,
    },
}

/// Why a set of images cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatasetError {
    /// The system could not read a file.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is larger than this program reads.
    #[error("{} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes, after decompression.
        limit: u64,
    },
    /// One of the images is at fault.
    #[error("{name}: {source}")]
    Image {
        /// The image's name.
        name: String,
        /// What is wrong with it.
        source: ImageError,
    },
    /// `labels.csv` is at fault.
    #[error("{}: {reason}", path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// What is wrong, and in which line.
        reason: String,
    },
    /// An IDX or npy file is at fault.
    #[error("{what}: {reason}")]
    Records {
        /// Which file.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The set, or the part of it that was asked for, holds no image.
    #[error("{0} holds no image")]
    Empty(String),
    /// The caller asked for an image that the set does not have.
    #[error("there is no image {index} in a set of {len}")]
    Index {
        /// Asked for.
        index: usize,
        /// Number of images.
        len: usize,
    },
}
