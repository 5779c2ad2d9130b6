//! How much the store holds, and what goes to make room.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::PoisonError;
use std::time::{Duration, SystemTime};

use super::{Store, StoreError, is_at};
use crate::digest::Digest;

/// Notes that are kept; the oldest go first.
const MOST_NOTES: usize = 1_024;

/// A file of the store.
struct Entry {
    path: PathBuf,
    /// None in the folder of notes.
    digest: Option<Digest>,
    bytes: u64,
    used: SystemTime,
    is_partial: bool,
}

/// Makes room for all `total` bytes of a blob that is being written, and keeps it until
/// [`release`]. Evicts nothing if that does not suffice.
pub(super) fn make(store: &Store, digest: Digest, total: u64) -> Result<(), StoreError> {
    let mut reserved = store
        .reserved
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let limit = store.limits.total;
    let no_room = StoreError::NoRoom {
        bytes: total,
        limit,
    };
    if total > limit {
        return Err(no_room);
    }
    let mut entries = entries(store)?;
    let footprint = |entry: &Entry| match entry.digest {
        Some(own) if entry.is_partial && own == digest => 0,
        Some(other) if entry.is_partial => entry
            .bytes
            .max(reserved.get(&other).copied().unwrap_or_default()),
        _ => entry.bytes,
    };
    let mut used = total + entries.iter().map(footprint).sum::<u64>();
    let aged = |entry: &Entry| {
        let age = entry.used.elapsed().unwrap_or(Duration::ZERO);
        entry.is_partial && age > store.limits.partial_age
    };
    // Partial files that are too old first, then what was used longest ago.
    entries.sort_by_key(|entry| (!aged(entry), entry.used));
    let mut evicted = Vec::new();
    for entry in &entries {
        if entry.digest == Some(digest) || (used <= limit && !aged(entry)) {
            continue;
        }
        // What is locked is in use. The locks are held until it is decided that all go.
        if let Some(lock) = lock(entry) {
            used -= footprint(entry);
            evicted.push((&entry.path, lock));
        }
    }
    if used > limit {
        return Err(no_room);
    }
    for (path, _lock) in evicted {
        if let Err(error) = fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(StoreError::io(path, error));
        }
    }
    reserved.insert(digest, total);
    drop(reserved);
    forget_notes(store);
    Ok(())
}

/// Gives back what was kept for a blob.
pub(super) fn release(store: &Store, digest: Digest) {
    let reserved = store.reserved.lock();
    let mut reserved = reserved.unwrap_or_else(PoisonError::into_inner);
    reserved.remove(&digest);
}

/// Bytes of all blobs and partial files.
pub(super) fn used(store: &Store) -> Result<u64, StoreError> {
    Ok(entries(store)?.iter().map(|entry| entry.bytes).sum())
}

/// The file of an entry, locked so that nobody begins to use it; none if somebody does.
fn lock(entry: &Entry) -> Option<File> {
    let file = File::open(&entry.path).ok()?;
    file.try_lock().ok()?;
    is_at(&file, &entry.path).then_some(file)
}

fn entries(store: &Store) -> Result<Vec<Entry>, StoreError> {
    let mut entries = list(store, "blobs", false)?;
    entries.extend(list(store, "partial", true)?);
    Ok(entries)
}

/// The files of a folder, those that vanish meanwhile left out.
fn list(store: &Store, folder: &str, is_partial: bool) -> Result<Vec<Entry>, StoreError> {
    let path = store.dir.join(folder);
    let listed = match fs::read_dir(&path) {
        Ok(listed) => listed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(StoreError::io(path, error)),
    };
    let mut entries = Vec::new();
    for file in listed.flatten() {
        let Ok(metadata) = file.metadata() else {
            continue;
        };
        if metadata.is_file() {
            entries.push(Entry {
                digest: file.file_name().to_str().and_then(|name| name.parse().ok()),
                path: file.path(),
                bytes: metadata.len(),
                used: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                is_partial,
            });
        }
    }
    Ok(entries)
}

/// Removes notes about blobs that are gone, and the oldest of too many.
fn forget_notes(store: &Store) {
    let Ok(mut notes) = list(store, "verdicts", false) else {
        return;
    };
    notes.sort_by_key(|note| std::cmp::Reverse(note.used));
    for (index, note) in notes.iter().enumerate() {
        let name = note.path.file_name().and_then(|name| name.to_str());
        let blob = name.and_then(|name| name.split('-').next()?.parse().ok());
        let has_blob = blob.is_some_and(|digest| store.blob_path(digest).exists());
        if !has_blob || index >= MOST_NOTES {
            let _ = fs::remove_file(&note.path);
        }
    }
}
