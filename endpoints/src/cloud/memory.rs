//! How much memory sessions may take: what a peer could make each of them keep, counted when it begins.

use std::sync::{Arc, Mutex, PoisonError};

use tensorwire_protocol::Config;

/// What a session keeps of each tensor in progress beside its bytes.
const TENSOR_SETS: u64 = 16 << 10;
/// What it keeps of each of the stream's slices.
const SLICE: u64 = 6;
/// What it keeps for tensors and blocks to come, and of itself.
const SESSION: u64 = (2 << 20) + (128 << 10);

/// The most that a session of this configuration keeps on behalf of its peer, bytes: the worst case of
/// [`Limits`](tensorwire_protocol::Limits). What a session really takes is far less.
#[must_use]
pub fn session_memory(config: &Config) -> u64 {
    let limits = &config.limits;
    let bytes = limits.bytes_in_progress as u64;
    let tensors = limits.tensors_in_progress as u64;
    (2 * bytes + bytes / 4)
        .saturating_add(tensors * TENSOR_SETS)
        .saturating_add(u64::from(config.slices) * SLICE)
        .saturating_add(SESSION)
}

/// The memory that all sessions of a cloud may take together.
#[derive(Debug)]
pub(super) struct Memory {
    most: u64,
    taken: Mutex<u64>,
}

/// A session's part of it, given back when dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    memory: Arc<Memory>,
    bytes: u64,
}

impl Memory {
    pub(super) fn new(most: u64) -> Arc<Self> {
        let taken = Mutex::new(0);
        Arc::new(Self { most, taken })
    }

    /// Takes so many bytes; if there are not as many, how many are left.
    pub(super) fn reserve(self: &Arc<Self>, bytes: u64) -> Result<Reservation, u64> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let left = self.most.saturating_sub(*taken);
        if bytes > left {
            return Err(left);
        }
        *taken += bytes;
        let memory = Arc::clone(self);
        Ok(Reservation { memory, bytes })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let taken = self.memory.taken.lock();
        *taken.unwrap_or_else(PoisonError::into_inner) -= self.bytes;
    }
}

/// Bytes, as people write them.
pub(super) fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_case_is_that_of_the_limits() {
        // 2.25 times 16 MiB, 64 times 16 KiB, 600 bytes, 2 MiB and 128 KiB.
        let expected = (36 << 20) + (1 << 20) + 600 + (2 << 20) + (128 << 10);
        assert_eq!(session_memory(&Config::new(100)), expected);
    }

    #[test]
    fn what_is_taken_comes_back() {
        let memory = Memory::new(100);
        let first = memory.reserve(60).unwrap();
        assert_eq!(memory.reserve(41).unwrap_err(), 40);
        let second = memory.reserve(40).unwrap();
        assert_eq!(memory.reserve(1).unwrap_err(), 0);
        drop(first);
        assert_eq!(memory.reserve(61).unwrap_err(), 60);
        drop(second);
        assert!(memory.reserve(100).is_ok());
        assert!(memory.reserve(u64::MAX).is_err());
    }
}
