//! A blob in the making.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::{Blob, Store, StoreError, room};
use crate::digest::Digest;

/// Bytes read at a time.
const PIECE: usize = 64 * 1_024;

/// The beginning of a blob, which nobody else writes. Dropped before its end, it stays as it is, and the next
/// [`Store::begin`] goes on from there.
#[derive(Debug)]
pub struct Partial {
    store: Arc<Store>,
    digest: Digest,
    /// Holds an exclusive lock; its position is its end.
    file: File,
    /// Of the bytes so far.
    hasher: Sha256,
    len: u64,
    total: u64,
}

impl Partial {
    /// Goes on from what the file holds.
    pub(super) fn resume(
        store: Arc<Store>,
        digest: Digest,
        file: File,
    ) -> Result<Self, StoreError> {
        let limit = store.limits.blob;
        let mut partial = Self {
            store,
            digest,
            file,
            hasher: Sha256::new(),
            len: 0,
            total: limit,
        };
        let mut piece = vec![0; PIECE];
        loop {
            let read = partial.file.read(&mut piece);
            let read = read.map_err(|error| partial.failed(error))?;
            let Some(bytes) = piece.get(..read).filter(|bytes| !bytes.is_empty()) else {
                break;
            };
            partial.hasher.update(bytes);
            partial.len += read as u64;
        }
        if partial.len > limit {
            // Left by a process with another limit.
            partial.restart()?;
        }
        Ok(partial)
    }

    /// The digest that the bytes are to have.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Bytes so far: where to go on.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.len
    }

    /// Hears how long the blob will be, and makes room for it: what was used longest ago goes.
    ///
    /// # Errors
    /// If it is larger than a blob may be, or there is no room, or it is shorter than what is there already.
    pub fn expect(&mut self, total: u64) -> Result<(), StoreError> {
        let limit = self.store.limits.blob;
        if total > limit {
            return Err(StoreError::TooLarge {
                bytes: total,
                limit,
            });
        }
        if total < self.len {
            return Err(StoreError::Overrun { total });
        }
        room::make(&self.store, self.digest, total)?;
        self.total = total;
        Ok(())
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// If they are more than were expected, or the disk is full.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let len = self.len + bytes.len() as u64;
        if len > self.total {
            let total = self.total;
            return Err(StoreError::Overrun { total });
        }
        if let Err(error) = self.file.write_all(bytes) {
            // What was written of it does not count.
            let _ = self.file.set_len(self.len);
            let _ = self.file.seek(SeekFrom::Start(self.len));
            return Err(self.failed(error));
        }
        self.hasher.update(bytes);
        self.len = len;
        Ok(())
    }

    /// Throws away what there is.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn restart(&mut self) -> Result<(), StoreError> {
        let emptied = self.file.set_len(0);
        let emptied = emptied.and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map_err(|error| self.failed(error))?;
        self.hasher = Sha256::new();
        self.len = 0;
        Ok(())
    }

    /// Makes it a blob, in use from now on.
    ///
    /// # Errors
    /// If bytes are missing, or they have another digest: then they are thrown away, since nobody knows which
    /// of them are wrong.
    pub fn finish(mut self) -> Result<Blob, StoreError> {
        let (digest, len, total) = (self.digest, self.len, self.total);
        if len < total {
            return Err(StoreError::Short { len, total });
        }
        let found = std::mem::take(&mut self.hasher).finalize();
        if Digest::from_bytes(found.into()) != digest {
            self.restart()?;
            return Err(StoreError::Mismatch { digest });
        }
        let (from, to) = (
            self.store.partial_path(digest),
            self.store.blob_path(digest),
        );
        // For reading only. It is the same file, so it can be read even if it is evicted at once.
        let file = File::open(&from).map_err(|error| StoreError::io(&from, error))?;
        fs::rename(&from, &to).map_err(|error| StoreError::io(&from, error))?;
        // Ends the exclusive lock.
        drop(self);
        super::lock_shared(&file);
        Blob::new(digest, to, file)
    }

    fn failed(&self, error: std::io::Error) -> StoreError {
        StoreError::io(self.store.partial_path(self.digest), error)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        room::release(&self.store, self.digest);
        // Once it is a blob, its path is free, or the next one's, who waits for the lock.
        let path = self.store.partial_path(self.digest);
        if self.len == 0 && super::is_at(&self.file, &path) {
            let _ = fs::remove_file(path);
        }
    }
}
