//! What is in a slice: when its tensor was captured, then bytes that follow from that.
//!
//! The first eight bytes are the capture on the monotonic clock, in nanoseconds, little-endian; the rest
//! is drawn from a generator that they and the slice's index seed. So whoever receives a slice can check
//! every byte of it, and that it is where it belongs. A slice of fewer than eight bytes tells nothing.

use anyhow::Result;
use bytes::Bytes;
use rand_core::{Rng as _, SeedableRng as _};
use rand_xoshiro::Xoshiro256PlusPlus;
use tensorwire_protocol::Slices;

use super::SLICE_BYTES;

/// Bytes of the time of capture.
const STAMP: usize = 8;

/// The slices of a tensor of `bytes` bytes, captured at `captured`.
///
/// # Errors
/// If it has more bytes than the wire format carries.
pub(super) fn tensor(bytes: usize, captured: u64) -> Result<Slices> {
    let mut content = vec![0; bytes];
    let slices = content.chunks_mut(SLICE_BYTES as usize);
    for (slice, index) in slices.zip(0..) {
        fill(slice, index, captured);
    }
    let whole = (SLICE_BYTES as usize..bytes).step_by(SLICE_BYTES as usize);
    let ends = whole.chain([bytes]).map(u32::try_from);
    Ok(Slices::new(
        Bytes::from(content),
        ends.collect::<Result<_, _>>()?,
    )?)
}

/// When the tensor of slice `index` was captured; none if the slice is damaged, or too short to tell.
pub(super) fn captured(slice: &[u8], index: u64) -> Option<u64> {
    let captured = u64::from_le_bytes(*slice.first_chunk()?);
    let mut expected = [0; SLICE_BYTES as usize];
    let expected = expected.get_mut(..slice.len())?;
    fill(expected, index, captured);
    (expected == slice).then_some(captured)
}

/// Whether a slice is too short to tell when it was captured.
pub(super) const fn is_mute(slice: &[u8]) -> bool {
    slice.len() < STAMP
}

fn fill(slice: &mut [u8], index: u64, captured: u64) {
    let Some((stamp, rest)) = slice.split_first_chunk_mut() else {
        return;
    };
    *stamp = captured.to_le_bytes();
    // An odd factor keeps the seeds of a tensor's slices apart.
    let seed = captured ^ index.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    Xoshiro256PlusPlus::seed_from_u64(seed).fill_bytes(rest);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_slice_tells_its_capture_and_no_damage_passes(
            bytes in 8_usize..1_000,
            time: u64,
            at: prop::sample::Index,
            flip in 1_u8..,
        ) {
            let slices = tensor(bytes, time).unwrap();
            prop_assert_eq!(slices.bytes(), bytes);
            let mut content = vec![0; bytes.min(SLICE_BYTES as usize)];
            fill(&mut content, 0, time);
            prop_assert_eq!(captured(&content, 0), Some(time));
            prop_assert_eq!(captured(&content, 1).is_some(), bytes == STAMP);
            let at = at.index(content.len());
            content[at] ^= flip;
            // Eight bytes are all stamp: another time is as good.
            prop_assert_eq!(captured(&content, 0).is_some(), bytes == STAMP);
        }
    }

    #[test]
    fn what_is_no_slice_tells_nothing() {
        assert_eq!(captured(&[0; 7], 0), None);
        assert_eq!(captured(&[0; SLICE_BYTES as usize + 1], 0), None);
        assert!(is_mute(&[0; 7]) && !is_mute(&[0; 8]));
    }
}
