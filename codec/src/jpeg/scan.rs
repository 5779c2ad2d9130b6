//! Entropy-coded data: cutting a scan into intervals, and walking one to see that it is whole.

use super::tables::{AC_CODE, DC_CODE, Huffman};
use crate::decoder::SliceError;

/// The coefficients of a block.
const COEFFICIENTS: usize = 64;

/// Checks that `slice` codes exactly `blocks` blocks: nothing that follows it in a picture can then
/// be read differently because of it.
///
/// # Errors
/// A [`SliceError`] for the first thing that is wrong.
pub(super) fn check(slice: &[u8], blocks: usize, scratch: &mut Vec<u8>) -> Result<(), SliceError> {
    unstuff(slice, scratch)?;
    let mut bits = Bits {
        bytes: scratch,
        position: 0,
    };
    let mut dc = 0;
    for block in 0..blocks {
        walk(&mut bits, &mut dc).map_err(|wrong| match wrong {
            Wrong::Code => SliceError::Code { block },
            Wrong::Coefficients => SliceError::Coefficients { block },
            Wrong::Dc => SliceError::Dc { block },
            Wrong::Truncated => SliceError::Truncated { block },
        })?;
    }
    bits.check_end()
}

/// Copies the slice without the 00 after every FF.
fn unstuff(slice: &[u8], scratch: &mut Vec<u8>) -> Result<(), SliceError> {
    scratch.clear();
    let mut rest = slice;
    while let Some(at) = rest.iter().position(|&byte| byte == 0xFF) {
        let (before, after) = rest.split_at(at + 1);
        scratch.extend_from_slice(before);
        let Some((0x00, after)) = after.split_first() else {
            return Err(SliceError::Marker {
                offset: slice.len() - rest.len() + at,
            });
        };
        rest = after;
    }
    scratch.extend_from_slice(rest);
    Ok(())
}

/// What is wrong with a block.
enum Wrong {
    Code,
    Coefficients,
    Dc,
    Truncated,
}

/// Passes over one block (T.81, section F.2.2); `dc` is the prediction.
fn walk(bits: &mut Bits<'_>, dc: &mut i32) -> Result<(), Wrong> {
    let (size, difference) = bits.symbol(&DC_CODE)?;
    *dc += extend(difference, u32::from(size));
    // Eight bits of precision give 11 bits of DC. More would overflow in a decoder's transform.
    if !(-1024..=1023).contains(dc) {
        return Err(Wrong::Dc);
    }
    let mut k = 1;
    while k < COEFFICIENTS {
        let (symbol, _) = bits.symbol(&AC_CODE)?;
        match symbol {
            0x00 => break,
            // A run of sixteen zeros, which a coefficient must follow.
            0xF0 => k += 16,
            _ => k += usize::from(symbol >> 4) + 1,
        }
        // k is now the next coefficient, which a run needs and anything else does not.
        if k > COEFFICIENTS || (symbol == 0xF0 && k == COEFFICIENTS) {
            return Err(Wrong::Coefficients);
        }
    }
    Ok(())
}

/// The signed value of `size` bits (T.81, figure F.12).
const fn extend(value: i32, size: u32) -> i32 {
    if size > 0 && value < 1 << (size - 1) {
        value - (1 << size) + 1
    } else {
        value
    }
}

/// A position in unstuffed bytes.
struct Bits<'a> {
    bytes: &'a [u8],
    /// In bits from the start.
    position: usize,
}

impl Bits<'_> {
    const fn left(&self) -> usize {
        (self.bytes.len() * 8).saturating_sub(self.position)
    }

    /// The next bits from the top of the result, at least 57 of them, zeros past the end.
    #[inline]
    fn window(&self) -> u64 {
        let rest = self.bytes.get(self.position / 8..).unwrap_or_default();
        let window = match rest.first_chunk() {
            Some(&chunk) => u64::from_be_bytes(chunk),
            None => {
                let mut chunk = [0; 8];
                chunk
                    .iter_mut()
                    .zip(rest)
                    .for_each(|(to, &byte)| *to = byte);
                u64::from_be_bytes(chunk)
            }
        };
        window << (self.position % 8)
    }

    /// Takes a Huffman code and the bits that its symbol announces in its low four.
    #[inline]
    fn symbol(&mut self, code: &Huffman) -> Result<(u8, i32), Wrong> {
        let window = self.window();
        let Some((length, symbol)) = code.decode((window >> 48) as u16) else {
            return Err(if self.left() < 16 {
                Wrong::Truncated
            } else {
                Wrong::Code
            });
        };
        let size = u32::from(symbol & 0x0F);
        self.position += (length + size) as usize;
        if self.position > self.bytes.len() * 8 {
            return Err(Wrong::Truncated);
        }
        // At most 11 bits; none is asked for as a shift by 64 otherwise.
        let value = (window << length).checked_shr(64 - size).unwrap_or(0);
        #[expect(clippy::cast_possible_truncation, reason = "at most 11 bits")]
        Ok((symbol, value as i32))
    }

    /// Checks that what is left fills up the last byte with ones.
    fn check_end(&self) -> Result<(), SliceError> {
        let left = self.left();
        if left >= 8 {
            return Err(SliceError::Trailing { bytes: left / 8 });
        }
        let ones = (1_u8 << left) - 1;
        match self.bytes.last() {
            Some(last) if last & ones != ones => Err(SliceError::Padding),
            _ => Ok(()),
        }
    }
}

/// The entropy-coded intervals of a whole JPEG file with one scan: what lies between its scan
/// header, its restart markers and its end. Empty if the file is none.
pub(super) fn intervals(jpeg: &[u8]) -> Vec<&[u8]> {
    let Some(mut scan) = after_scan_header(jpeg) else {
        return Vec::new();
    };
    let (mut intervals, mut from) = (Vec::new(), 0);
    while let Some(at) = scan
        .get(from..)
        .and_then(|s| s.iter().position(|&byte| byte == 0xFF))
    {
        let at = from + at;
        match scan.get(at + 1) {
            Some(0x00) => from = at + 2,
            Some(0xD0..=0xD7) => {
                intervals.push(&scan[..at]);
                scan = &scan[at + 2..];
                from = 0;
            }
            _ => {
                intervals.push(&scan[..at]);
                break;
            }
        }
    }
    intervals
}

/// What follows the scan header: marker segments are skipped by their lengths.
fn after_scan_header(jpeg: &[u8]) -> Option<&[u8]> {
    let mut rest = jpeg.get(2..)?;
    loop {
        let (&[_, marker, high, low], _) = rest.split_first_chunk()?;
        rest = rest.get(2 + usize::from(u16::from_be_bytes([high, low]))..)?;
        if marker == 0xDA {
            return Some(rest);
        }
    }
}

/// A slice of `blocks` mid-grey blocks: each a DC difference of 0 and an end of block, 00 1010.
pub(super) fn grey(blocks: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity((blocks * 6).div_ceil(8));
    let (mut window, mut filled) = (0_u32, 0);
    for _ in 0..blocks {
        window = window << 6 | 0b00_1010;
        filled += 6;
        if filled >= 8 {
            filled -= 8;
            bytes.push((window >> filled & 0xFF) as u8);
        }
    }
    if filled > 0 {
        let spare = 8 - filled;
        bytes.push(((window << spare | ((1 << spare) - 1)) & 0xFF) as u8);
    }
    bytes
}

#[cfg(test)]
mod tests;
