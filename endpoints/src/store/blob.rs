//! A file of the store that is in use.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

use super::StoreError;
use crate::digest::Digest;

/// Bytes read at a time.
const PIECE: usize = 64 * 1_024;

/// A file of the store. While it is held, it is not evicted, by this process or another.
#[derive(Debug)]
pub struct Blob {
    digest: Digest,
    path: PathBuf,
    len: u64,
    /// Holds a shared lock.
    _file: File,
}

impl Blob {
    pub(super) fn new(digest: Digest, path: PathBuf, file: File) -> Result<Self, StoreError> {
        let len = file.metadata();
        let len = len.map_err(|error| StoreError::io(&path, error))?.len();
        Ok(Self {
            digest,
            path,
            len,
            _file: file,
        })
    }

    /// SHA-256 of its bytes.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no upload is empty")]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// All bytes, checked against the digest.
    ///
    /// # Errors
    /// If the system refuses, or the bytes were damaged; then the file is removed from the store.
    pub fn read(&self) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        // Another process may have let it grow.
        let read = self
            .reader()?
            .take(self.len)
            .read_to_end(&mut bytes)
            .map_err(|error| StoreError::io(&self.path, error));
        read?;
        self.judge(Digest::of(&bytes))?;
        Ok(bytes)
    }

    /// Checks the bytes against the digest without keeping them.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn verify(&self) -> Result<(), StoreError> {
        let mut file = self.reader()?;
        let mut hasher = Sha256::new();
        let mut piece = vec![0; PIECE];
        loop {
            let read = file
                .read(&mut piece)
                .map_err(|error| StoreError::io(&self.path, error))?;
            let Some(bytes) = piece.get(..read).filter(|bytes| !bytes.is_empty()) else {
                break;
            };
            hasher.update(bytes);
        }
        self.judge(Digest::from_bytes(hasher.finalize().into()))
    }

    /// The file, at its beginning and for reading only. Readers of one blob share no position. Its bytes are
    /// not checked.
    ///
    /// # Errors
    /// If the system refuses, or the file was removed because it was damaged.
    pub fn reader(&self) -> Result<File, StoreError> {
        File::open(&self.path).map_err(|error| {
            let digest = self.digest;
            match error.kind() {
                std::io::ErrorKind::NotFound => StoreError::Damaged { digest },
                _ => StoreError::io(&self.path, error),
            }
        })
    }

    fn judge(&self, found: Digest) -> Result<(), StoreError> {
        if found == self.digest {
            return Ok(());
        }
        // Where that fails, the next reader notices again.
        let _ = fs::remove_file(&self.path);
        let digest = self.digest;
        Err(StoreError::Damaged { digest })
    }
}
