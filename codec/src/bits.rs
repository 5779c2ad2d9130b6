//! Raw packing: levels in a fixed number of bits each (payload format, section 6).

use crate::decoder::SliceError;
use crate::format::raw_bytes;

/// Appends `levels` to `bytes`, `bits` (1 to 8) bits each, most significant bit first; unused bits
/// of the last byte are 0.
pub(crate) fn pack(mut levels: impl Iterator<Item = u8>, bits: u32, bytes: &mut Vec<u8>) {
    if bits == 8 {
        bytes.extend(levels);
        return;
    }
    loop {
        // Eight levels take a whole number of bytes.
        let (mut window, mut filled) = (0_u64, 0);
        for level in levels.by_ref().take(8) {
            window = (window << bits) | u64::from(level);
            filled += bits;
        }
        if filled > 0 {
            let aligned = (window << (64 - filled)).to_be_bytes();
            bytes.extend(aligned.iter().take(filled.div_ceil(8) as usize));
        }
        if filled < 8 * bits {
            return;
        }
    }
}

/// Replaces `levels` with the `entries` levels that `bytes` packs.
///
/// # Errors
/// [`SliceError::Length`], [`SliceError::Level`] or [`SliceError::Padding`]: the bytes are not what
/// [`pack`] makes of so many levels, none above `top`.
pub(crate) fn unpack(
    bytes: &[u8],
    entries: usize,
    bits: u32,
    top: u8,
    levels: &mut Vec<u8>,
) -> Result<(), SliceError> {
    let expected = raw_bytes(entries, bits);
    if bytes.len() != expected {
        return Err(SliceError::Length {
            expected,
            actual: bytes.len(),
        });
    }
    levels.clear();
    if bits == 8 {
        levels.extend_from_slice(bytes);
    } else {
        for chunk in bytes.chunks(bits as usize) {
            let window = chunk
                .iter()
                .fold(0, |window, &byte| (window << 8) | u64::from(byte));
            let mut window = window << (64 - 8 * chunk.len());
            levels.extend((0..8).map(|_| {
                let level = window >> (64 - bits);
                window <<= bits;
                (level & 0xFF) as u8
            }));
        }
        levels.truncate(entries);
        let unused = bytes.len() * 8 - entries * bits as usize;
        if bytes
            .last()
            .is_some_and(|last| last & ((1 << unused) - 1) != 0)
        {
            return Err(SliceError::Padding);
        }
    }
    if top == u8::MAX {
        return Ok(());
    }
    match levels.iter().find(|&&level| level > top) {
        Some(&level) => Err(SliceError::Level { level, top }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packed(levels: &[u8], bits: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        pack(levels.iter().copied(), bits, &mut bytes);
        bytes
    }

    #[test]
    fn most_significant_bit_first() {
        assert_eq!(
            packed(&[1, 0, 1, 1, 0, 0, 0, 1, 1], 1),
            [0b1011_0001, 0b1000_0000]
        );
        assert_eq!(packed(&[6, 1, 5], 3), [0b1100_0110, 0b1000_0000]);
        assert_eq!(packed(&[0xAB, 0xCD], 8), [0xAB, 0xCD]);
    }

    #[test]
    fn what_packing_never_makes_is_refused() {
        let mut levels = Vec::new();
        let mut unpack = |bytes: &[u8]| unpack(bytes, 3, 3, 6, &mut levels);
        assert_eq!(unpack(&[0b1100_0110, 0b1000_0000]), Ok(()));
        assert_eq!(
            unpack(&[0]),
            Err(SliceError::Length {
                expected: 2,
                actual: 1
            })
        );
        assert_eq!(
            unpack(&[0; 3]),
            Err(SliceError::Length {
                expected: 2,
                actual: 3
            })
        );
        assert_eq!(
            unpack(&[0b1110_0110, 0]),
            Err(SliceError::Level { level: 7, top: 6 })
        );
        assert_eq!(unpack(&[0, 1]), Err(SliceError::Padding));
        assert_eq!(unpack(&[0, 0b0100_0000]), Err(SliceError::Padding));
    }

    proptest! {
        #[test]
        fn levels_survive(levels in prop::collection::vec(any::<u8>(), 0..100), bits in 1u32..=8) {
            let top = u8::MAX >> (8 - bits);
            let levels: Vec<u8> = levels.into_iter().map(|level| level & top).collect();
            let mut back = Vec::new();
            unpack(&packed(&levels, bits), levels.len(), bits, top, &mut back).unwrap();
            prop_assert_eq!(back, levels);
        }
    }
}
