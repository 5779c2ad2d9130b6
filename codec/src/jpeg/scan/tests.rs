use proptest::prelude::*;

use super::super::tables::{AC, DC};
use super::*;

/// The code of a symbol, as a string of bits.
fn code((counts, symbols): (&[u8; 16], &[u8]), wanted: u8) -> String {
    let (mut next, mut index) = (0_u32, 0);
    for (length, &count) in (1..).zip(counts) {
        for _ in 0..count {
            if symbols[index] == wanted {
                return format!("{next:0length$b}");
            }
            (next, index) = (next + 1, index + 1);
        }
        next <<= 1;
    }
    panic!("no code for {wanted:#x}");
}

fn dc(size: u8) -> String {
    code((&DC.0, &DC.1), size)
}

fn ac(symbol: u8) -> String {
    code((&AC.0, &AC.1), symbol)
}

/// A block without difference and coefficients.
fn empty() -> String {
    dc(0) + &ac(0)
}

/// Bits to stuffed bytes, filled up with ones.
fn bytes(bits: &str) -> Vec<u8> {
    let filled = format!("{bits:1<width$}", width = bits.len().next_multiple_of(8));
    let bytes = filled
        .as_bytes()
        .chunks(8)
        .map(|bits| u8::from_str_radix(std::str::from_utf8(bits).unwrap(), 2).unwrap());
    bytes
        .flat_map(|byte| {
            if byte == 0xFF {
                vec![0xFF, 0x00]
            } else {
                vec![byte]
            }
        })
        .collect()
}

fn checked(slice: &[u8], blocks: usize) -> Result<(), SliceError> {
    check(slice, blocks, &mut Vec::new())
}

#[test]
fn the_filler_is_valid_and_nothing_else_of_its_length_is_shorter() {
    for blocks in 1..50 {
        let slice = grey(blocks);
        assert_eq!(slice, bytes(&empty().repeat(blocks)));
        assert_eq!(checked(&slice, blocks), Ok(()));
        let truncated = checked(&slice, blocks + 2);
        assert!(
            matches!(truncated, Err(SliceError::Truncated { .. })),
            "{truncated:?}"
        );
    }
}

#[test]
fn all_coefficients_and_no_end_of_block() {
    let full = dc(0) + &(ac(0x01) + "1").repeat(63);
    assert_eq!(checked(&bytes(&full), 1), Ok(()));
    // A 64th coefficient is read as the next block.
    let one_more = full + &ac(0x01) + "1";
    assert!(checked(&bytes(&one_more), 1).is_err());
}

#[test]
fn runs_may_reach_the_last_coefficient_and_no_further() {
    let run = |last: u8| dc(0) + &ac(0xF0).repeat(3) + &ac(last) + "1";
    // Three times 16 zeros, then 14 zeros and coefficient 63.
    assert_eq!(checked(&bytes(&run(0xE1)), 1), Ok(()));
    let error = Err(SliceError::Coefficients { block: 0 });
    assert_eq!(checked(&bytes(&run(0xF1)), 1), error);
    let zeros = |runs| dc(0) + &ac(0xF0).repeat(runs) + &ac(0) + &empty();
    assert_eq!(checked(&bytes(&zeros(3)), 2), Ok(()));
    assert_eq!(checked(&bytes(&zeros(4)), 2), error);
    // Coefficient 15, then three runs up to and including coefficient 63.
    let exact = dc(0) + &ac(0xE1) + "1" + &ac(0xF0).repeat(3) + &ac(0) + &empty();
    assert_eq!(checked(&bytes(&exact), 2), error);
}

#[test]
fn dc_stays_within_eleven_bits() {
    // Size 10, magnitude 1,023; then size 1, difference +1 or −1.
    let (up, down) = (dc(10) + &"1".repeat(10), dc(10) + &"0".repeat(10));
    let end = ac(0);
    let slice = |first: &str, then: &str| bytes(&format!("{first}{end}{}{then}{end}", dc(1)));
    assert_eq!(checked(&slice(&up, "0"), 2), Ok(()));
    assert_eq!(
        checked(&slice(&up, "1"), 2),
        Err(SliceError::Dc { block: 1 })
    );
    assert_eq!(checked(&slice(&down, "0"), 2), Ok(()));
    let lower = format!("{down}{end}{step}{end}{step}{end}", step = dc(1) + "0");
    assert_eq!(checked(&bytes(&lower), 3), Err(SliceError::Dc { block: 2 }));
    // One difference of size 11.
    assert_eq!(
        checked(&bytes(&(dc(11) + &"1".repeat(11) + &end)), 1),
        Err(SliceError::Dc { block: 0 })
    );
}

#[test]
fn markers_are_found_wherever_they_are() {
    for (slice, offset) in [
        (vec![0xFF], 0),
        (vec![0xFF, 0xD0], 0),
        (vec![0xFF, 0xFF, 0x00], 0),
        (vec![0x28, 0xA2, 0xFF], 2),
        (vec![0xFF, 0x00, 0xFF, 0xD9], 2),
        (vec![1, 0xFF, 0x00, 0xFF, 0x00, 2, 0xFF, 0x01], 6),
    ] {
        assert_eq!(
            checked(&slice, 1),
            Err(SliceError::Marker { offset }),
            "{slice:x?}"
        );
    }
}

#[test]
fn the_end_is_exact() {
    assert_eq!(checked(&[], 1), Err(SliceError::Truncated { block: 0 }));
    assert_eq!(checked(&[0b0010_1000], 1), Err(SliceError::Padding));
    assert_eq!(checked(&[0b0010_1001], 1), Err(SliceError::Padding));
    assert_eq!(checked(&[0b0010_1011], 1), Ok(()));
    assert_eq!(
        checked(&[0b0010_1011, 0xFF, 0x00], 1),
        Err(SliceError::Trailing { bytes: 1 })
    );
    assert_eq!(
        checked(&[0b0010_1011, 0, 0, 0], 1),
        Err(SliceError::Trailing { bytes: 3 })
    );
    // Nine ones are no DC code; with fewer bits left they may be a code that is cut off.
    assert_eq!(
        checked(&[0xFF, 0x00, 0xFF, 0x00], 1),
        Err(SliceError::Code { block: 0 })
    );
    assert_eq!(
        checked(&[0xFF, 0x00], 1),
        Err(SliceError::Truncated { block: 0 })
    );
}

#[test]
fn intervals_of_no_jpeg_at_all() {
    assert_eq!(intervals(&[]), Vec::<&[u8]>::new());
    assert_eq!(
        intervals(&[0xFF, 0xD8, 0xFF, 0xDA, 0, 9]),
        Vec::<&[u8]>::new()
    );
    let jpeg = [
        0xFF, 0xD8, 0xFF, 0xDA, 0, 2, 1, 0xFF, 0, 0xFF, 0xD0, 2, 0xFF, 0xD1, 0xFF, 0xD9,
    ];
    assert_eq!(intervals(&jpeg), [&[1, 0xFF, 0][..], &[2], &[]]);
}

proptest! {
    #[test]
    fn no_bytes_panic(slice in prop::collection::vec(any::<u8>(), 0..200), blocks in 1usize..40) {
        let _ = checked(&slice, blocks);
    }

    /// Blocks of random coefficients, as an encoder writes them, are accepted with exactly their
    /// own number of blocks.
    #[test]
    fn coded_blocks_are_accepted(
        blocks in prop::collection::vec(
            (0u8..=4, prop::collection::vec((0u8..16, 1u8..=10, any::<u16>()), 0..20)), 1..12),
    ) {
        let mut bits = String::new();
        let mut level = 0;
        for (size, coefficients) in &blocks {
            // Differences that cancel each other keep DC in range.
            level = if level == 0 { i32::from(*size) } else { 0 };
            let step = if level == 0 { "0" } else { "1" };
            bits += &dc(1);
            bits += step;
            let mut k = 1;
            for &(run, size, value) in coefficients {
                k += usize::from(run) + 1;
                if k > 64 {
                    k -= usize::from(run) + 1;
                    break;
                }
                bits += &ac(run << 4 | size);
                let size = usize::from(size);
                bits += &format!("{:0size$b}", usize::from(value) & ((1 << size) - 1));
            }
            if k < 64 {
                bits += &ac(0);
            }
        }
        let slice = bytes(&bits);
        prop_assert_eq!(checked(&slice, blocks.len()), Ok(()));
        prop_assert!(checked(&slice, blocks.len() + 2).is_err());
        if blocks.len() > 1 {
            prop_assert!(checked(&slice, blocks.len() - 1).is_err());
        }
    }
}
