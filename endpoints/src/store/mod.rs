//! A cache of files by their SHA-256 digest, on disk and bounded: what edges upload.
//!
//! ```text
//! DIR/blobs/DIGEST          a file whose digest is DIGEST
//! DIR/partial/DIGEST        the beginning of one: what came before the upload stopped
//! DIR/verdicts/DIGEST-KEY   what vetting found about one
//! ```
//!
//! A blob is written to `partial/` and renamed once its digest is right, so that a program that is killed in
//! the middle leaves a beginning that the next upload goes on from, and never a wrong blob. A blob that is
//! damaged later is noticed when it is read, and removed.
//!
//! Several processes may share a folder. Whoever writes a partial file holds an exclusive lock on it
//! (`flock`), whoever uses a blob holds a shared one, and nothing is evicted that is locked: the locks of a
//! process that is killed end with it.
//!
//! All calls may block on the disk.

mod blob;
mod error;
mod partial;
mod room;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use crate::digest::Digest;

pub use blob::Blob;
pub use error::StoreError;
pub use partial::Partial;

/// How often a file that moves under our hands is looked for again.
const ATTEMPTS: usize = 8;
/// How often a lock is tried that can be held for a moment only: by whoever evicts, or by a child process
/// that has a copy of our descriptors until it becomes another program.
const LOCK_ATTEMPTS: usize = 100;
/// Between two tries.
const MOMENT: Duration = Duration::from_millis(2);

/// What a store may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "made by the caller, field by field"
)]
pub struct StoreLimits {
    /// Bytes of one blob; default 256 MiB.
    pub blob: u64,
    /// Bytes of everything on disk, partial files included; default 4 GiB. Kept exactly by one process; what
    /// several processes fetch at the same time may exceed it until the next fetch begins.
    pub total: u64,
    /// How long a partial file is kept after its last byte came; default 24 h.
    pub partial_age: Duration,
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self {
            blob: 256 << 20,
            total: 4 << 30,
            partial_age: Duration::from_secs(24 * 3_600),
        }
    }
}

/// A cache of files by their digest. See the [module](self).
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    limits: StoreLimits,
    /// What the partial files that this process writes may come to. Held while room is made.
    reserved: Mutex<HashMap<Digest, u64>>,
}

/// What there is of a blob.
#[derive(Debug)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a blob is there, or being written by another, or by us"
)]
pub enum Begun {
    /// All of it.
    Present(Blob),
    /// Another session or process writes it now: ask again later.
    Busy,
    /// Nothing or a beginning, which is ours to go on from.
    Writing(Partial),
}

impl Store {
    /// A store in the folder `dir`, which is made when something is put there first.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, limits: StoreLimits) -> Arc<Self> {
        Arc::new(Self {
            dir: dir.into(),
            limits,
            reserved: Mutex::default(),
        })
    }

    /// Makes the folders, readable by nobody else.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn prepare(&self) -> Result<(), StoreError> {
        for name in ["blobs", "partial", "verdicts"] {
            let path = self.dir.join(name);
            let mut builder = fs::DirBuilder::new();
            builder.recursive(true);
            #[cfg(unix)]
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            builder
                .create(&path)
                .map_err(|error| StoreError::io(path, error))?;
        }
        Ok(())
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What it may hold.
    #[must_use]
    pub const fn limits(&self) -> StoreLimits {
        self.limits
    }

    /// The blob with this digest, if it is there, in use from now on. Its bytes are checked when they are read.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn get(&self, digest: Digest) -> Result<Option<Blob>, StoreError> {
        let path = self.blob_path(digest);
        for _ in 0..ATTEMPTS {
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(StoreError::io(path, error)),
            };
            if lock_shared(&file) && is_at(&file, &path) {
                // The time of its last use decides what is evicted first. A folder that forbids it still serves.
                let _ = file.set_modified(SystemTime::now());
                return Blob::new(digest, path, file).map(Some);
            }
        }
        Ok(None)
    }

    /// Begins to write the blob with this digest, unless it is there or another writes it. Costs a pass over
    /// the bytes that an earlier attempt left.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn begin(self: &Arc<Self>, digest: Digest) -> Result<Begun, StoreError> {
        self.prepare()?;
        let path = self.partial_path(digest);
        for _ in 0..ATTEMPTS {
            if let Some(blob) = self.get(digest)? {
                return Ok(Begun::Present(blob));
            }
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let file = options
                .open(&path)
                .map_err(|error| StoreError::io(&path, error))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(fs::TryLockError::WouldBlock) => return Ok(Begun::Busy),
                Err(fs::TryLockError::Error(error)) => return Err(StoreError::io(path, error)),
            }
            // Whoever held the lock before may have finished the file, or removed it.
            if is_at(&file, &path) {
                return Partial::resume(Arc::clone(self), digest, file).map(Begun::Writing);
            }
        }
        Ok(Begun::Busy)
    }

    /// Bytes of everything that is kept, as the limit counts them.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn used(&self) -> Result<u64, StoreError> {
        room::used(self)
    }

    /// What was noted about a blob under this key, if anything.
    #[must_use]
    pub fn note(&self, digest: Digest, key: Digest) -> Option<Vec<u8>> {
        fs::read(self.note_path(digest, key)).ok()
    }

    /// Notes something about a blob, for [`note`](Self::note), replacing what was there. A note that cannot
    /// be kept is forgotten.
    pub fn set_note(&self, digest: Digest, key: Digest, bytes: &[u8]) {
        let path = self.note_path(digest, key);
        let begun = path.with_extension(format!("{}", std::process::id()));
        let written = fs::write(&begun, bytes).and_then(|()| fs::rename(&begun, &path));
        if written.is_err() {
            let _ = fs::remove_file(begun);
        }
    }

    fn blob_path(&self, digest: Digest) -> PathBuf {
        self.dir.join("blobs").join(digest.to_string())
    }

    fn partial_path(&self, digest: Digest) -> PathBuf {
        self.dir.join("partial").join(digest.to_string())
    }

    fn note_path(&self, digest: Digest, key: Digest) -> PathBuf {
        let name = format!("{digest}-{key}");
        self.dir.join("verdicts").join(name)
    }
}

/// Takes a shared lock on a blob, which nobody locks otherwise for more than a moment; whether that worked.
fn lock_shared(file: &File) -> bool {
    (0..LOCK_ATTEMPTS).any(|attempt| {
        if attempt > 0 {
            std::thread::sleep(MOMENT);
        }
        file.try_lock_shared().is_ok()
    })
}

/// Whether `path` still leads to this file, and not to another or none.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let (Ok(ours), Ok(theirs)) = (file.metadata(), fs::metadata(path)) else {
        return false;
    };
    (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino())
}

/// Whether `path` still leads to this file: systems that are not Unix keep open files where they are.
#[cfg(not(unix))]
fn is_at(_file: &File, path: &Path) -> bool {
    path.exists()
}
