//! Why something cannot be kept, or be given back.

use std::io;
use std::path::PathBuf;

use crate::digest::Digest;

/// Why a blob cannot be kept, or be given back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The system refused: look at the folder's permissions.
    #[error("the cache fails at {}: {source}", path.display())]
    Io {
        /// What was to be read, written or removed.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system's disk is full, whatever the store's own limit says.
    #[error("the disk that holds the cache is full")]
    DiskFull,
    /// The peer's blob is larger than one may be.
    #[error("{bytes} bytes are more than the {limit} that one upload may have")]
    TooLarge {
        /// What the peer announced.
        bytes: u64,
        /// The limit, [`StoreLimits::blob`](super::StoreLimits::blob).
        limit: u64,
    },
    /// What is in use leaves too little of the store's limit; try again when sessions have ended.
    #[error(
        "the cache has no room for {bytes} bytes: its limit is {limit}, and the rest is in use"
    )]
    NoRoom {
        /// What was to be kept.
        bytes: u64,
        /// The limit, [`StoreLimits::total`](super::StoreLimits::total).
        limit: u64,
    },
    /// The peer sent more than it announced.
    #[error("more bytes came than the {total} that were announced")]
    Overrun {
        /// What the peer announced.
        total: u64,
    },
    /// The caller finished before all had come.
    #[error("{len} of {total} bytes came")]
    Short {
        /// Bytes so far.
        len: u64,
        /// What the peer announced.
        total: u64,
    },
    /// The peer's bytes are not those that it was asked for. They are thrown away.
    #[error("the bytes that came have another SHA-256 digest than {digest}")]
    Mismatch {
        /// What was asked for.
        digest: Digest,
    },
    /// The file is not what was put there: somebody else wrote to the cache, or the disk is damaged. The file
    /// is removed, so that it can be fetched again.
    #[error("the cached file of {digest} was damaged, and is removed")]
    Damaged {
        /// What it should have been.
        digest: Digest,
    },
}

impl StoreError {
    /// What the system said of `path`; a full disk is told apart.
    pub(super) fn io(path: impl Into<PathBuf>, source: io::Error) -> Self {
        if matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        ) {
            return Self::DiskFull;
        }
        Self::Io {
            path: path.into(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_called_so() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = StoreError::io("blobs/x", full);
        assert!(matches!(error, StoreError::DiskFull), "{error}");
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        assert!(
            StoreError::io("blobs/x", denied)
                .to_string()
                .contains("blobs/x")
        );
    }
}
