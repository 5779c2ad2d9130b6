//! The slice lengths of a DATA packet (wire-format.md, section 3.3): a base and fixed-width
//! differences, so that slices of one size cost nothing and similar ones a few bits each.

use super::DecodeError;
use super::cursor::{Reader, put_varint, varint_size};

/// The most slices that one packet holds.
pub const MAX_SLICES_IN_PACKET: usize = 16_383;

const MAX_WIDTH: u32 = 16;
const MAX_BASE: u32 = 0xFFFF;

/// Whole slices, one after another, with the code of their lengths.
///
/// Made by decoding only, which checks that all slices lie within the payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PackedSlices<'a> {
    count: u16,
    base: u32,
    width: u32,
    differences: &'a [u8],
    payload: &'a [u8],
}

impl<'a> PackedSlices<'a> {
    /// Number of slices, 1 to 16,383.
    pub const fn count(&self) -> u16 {
        self.count
    }

    /// Bytes of all slices together.
    pub const fn payload_len(&self) -> usize {
        self.payload.len()
    }

    /// The slices, in order of position.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut payload = self.payload;
        let mut bits = BitReader::new(self.differences);
        let (base, width, count) = (self.base, self.width, self.count);
        (0..count).map(move |i| {
            let len = if i + 1 == count {
                payload.len()
            } else {
                (base + bits.take(width)) as usize
            };
            let (slice, rest) = payload.split_at_checked(len).unwrap_or((payload, &[]));
            payload = rest;
            slice
        })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, u32::from(self.count));
        if self.count > 1 {
            put_varint(out, self.base << 5 | self.width);
        }
        out.extend_from_slice(self.differences);
        out.extend_from_slice(self.payload);
    }

    pub(crate) fn decode(mut reader: Reader<'a>) -> Result<Self, DecodeError> {
        #[expect(clippy::cast_possible_truncation, reason = "16,383 is below 2^16")]
        let count = reader.varint(MAX_SLICES_IN_PACKET as u32, "slice count")? as u16;
        if count == 0 {
            return Err(DecodeError::OutOfRange("slice count"));
        }
        let mut slices = Self {
            count,
            base: 0,
            width: 0,
            differences: &[],
            payload: &[],
        };
        if count > 1 {
            let code = reader.varint(MAX_BASE << 5 | 31, "length code")?;
            slices.base = code >> 5;
            slices.width = code & 31;
            if slices.width > MAX_WIDTH {
                return Err(DecodeError::OutOfRange("length width"));
            }
            let bits = (usize::from(count) - 1) * slices.width as usize;
            slices.differences = reader.bytes(bits.div_ceil(8), "length differences")?;
            let mut differences = BitReader::new(slices.differences);
            let mut total = 0_usize;
            for _ in 1..count {
                total += (slices.base + differences.take(slices.width)) as usize;
            }
            if differences.rest() != 0 {
                return Err(DecodeError::NotZero("length differences"));
            }
            if total > reader.rest().len() {
                return Err(DecodeError::Truncated("slices"));
            }
        }
        slices.payload = reader.rest();
        Ok(slices)
    }
}

/// Appends slice count, length code, differences and payload of `slices`.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the packetiser puts at most 16,383 slices of at most 65,000 bytes into a packet"
)]
pub(crate) fn put_slices<'s>(out: &mut Vec<u8>, slices: impl Iterator<Item = &'s [u8]> + Clone) {
    let mut size = SlicesSize::default();
    slices.clone().for_each(|slice| size.push(slice.len()));
    put_varint(out, size.count as u32);
    if size.count > 1 {
        let (base, width) = (size.least, size.width());
        put_varint(out, (base as u32) << 5 | width);
        let mut bits = BitWriter::new(out);
        for slice in slices.clone().take(size.count - 1) {
            bits.put((slice.len() - base) as u32, width);
        }
        bits.finish();
    }
    slices.for_each(|slice| out.extend_from_slice(slice));
}

/// The encoded size of a growing run of slices, kept up to date in constant time.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct SlicesSize {
    count: usize,
    payload: usize,
    last: usize,
    /// Least and greatest length, the last slice aside (its length is not coded).
    least: usize,
    greatest: usize,
}

impl SlicesSize {
    pub(crate) fn push(&mut self, len: usize) {
        match self.count {
            0 => {}
            1 => (self.least, self.greatest) = (self.last, self.last),
            _ => {
                self.least = self.least.min(self.last);
                self.greatest = self.greatest.max(self.last);
            }
        }
        self.count += 1;
        self.payload += len;
        self.last = len;
    }

    const fn width(&self) -> u32 {
        usize::BITS - (self.greatest - self.least).leading_zeros()
    }

    /// Bytes of slice count, length code, differences and payload.
    pub(crate) const fn encoded(&self) -> usize {
        let mut size = varint_size(self.count as u64) + self.payload;
        if self.count > 1 {
            let code = (self.least as u64) << 5 | self.width() as u64;
            size += varint_size(code) + ((self.count - 1) * self.width() as usize).div_ceil(8);
        }
        size
    }

    /// Whether a packet may hold so many slices with such lengths in `room` bytes.
    pub(crate) const fn fits(&self, room: usize) -> bool {
        self.count <= MAX_SLICES_IN_PACKET && self.encoded() <= room
    }
}

struct BitReader<'a> {
    bytes: std::slice::Iter<'a, u8>,
    held: u64,
    count: u32,
}

impl<'a> BitReader<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes: bytes.iter(),
            held: 0,
            count: 0,
        }
    }

    /// The next `width` bits, at most 16; zeros past the end.
    #[expect(clippy::cast_possible_truncation, reason = "at most 16 bits are left")]
    fn take(&mut self, width: u32) -> u32 {
        while self.count < width {
            self.held = self.held << 8 | u64::from(self.bytes.next().copied().unwrap_or(0));
            self.count += 8;
        }
        self.count -= width;
        let value = self.held >> self.count;
        self.held &= (1 << self.count) - 1;
        value as u32
    }

    const fn rest(&self) -> u64 {
        self.held
    }
}

struct BitWriter<'a> {
    out: &'a mut Vec<u8>,
    held: u64,
    count: u32,
}

impl<'a> BitWriter<'a> {
    const fn new(out: &'a mut Vec<u8>) -> Self {
        Self {
            out,
            held: 0,
            count: 0,
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "at most 8 bits are left")]
    fn put(&mut self, value: u32, width: u32) {
        self.held = self.held << width | u64::from(value);
        self.count += width;
        while self.count >= 8 {
            self.count -= 8;
            self.out.push((self.held >> self.count) as u8);
            self.held &= (1 << self.count) - 1;
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "at most 8 bits are left")]
    fn finish(self) {
        if self.count > 0 {
            self.out.push((self.held << (8 - self.count)) as u8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(slices: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        put_slices(&mut out, slices.iter().map(Vec::as_slice));
        out
    }

    proptest! {
        #[test]
        fn slices_of_any_lengths_survive_the_way(
            slices in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..80)
        ) {
            let out = encode(&slices);
            let mut size = SlicesSize::default();
            slices.iter().for_each(|slice| size.push(slice.len()));
            prop_assert_eq!(out.len(), size.encoded());
            let decoded = PackedSlices::decode(Reader::new(&out)).unwrap();
            prop_assert_eq!(usize::from(decoded.count()), slices.len());
            prop_assert!(decoded.iter().eq(slices.iter().map(Vec::as_slice)));
        }

        #[test]
        fn any_bytes_decode_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(slices) = PackedSlices::decode(Reader::new(&bytes)) {
                prop_assert_eq!(slices.iter().map(<[u8]>::len).sum::<usize>(), slices.payload_len());
            }
        }
    }

    #[test]
    fn slices_of_one_size_cost_three_bytes_whatever_their_number() {
        for n in [2, 8, 40] {
            assert_eq!(encode(&vec![vec![7; 20]; n]).len(), n * 20 + 3);
        }
    }

    #[test]
    fn slices_of_an_eighth_of_a_packet_cost_at_most_eight_bytes_of_differences() {
        let slices: Vec<_> = (0..10).map(|i| vec![0; 87 + 63 * (i % 2)]).collect();
        let lengths = encode(&slices).len() - slices.iter().map(Vec::len).sum::<usize>();
        assert_eq!(
            lengths,
            1 + 2 + 7,
            "count, code and 9 differences of 6 bits"
        );
    }

    #[test]
    fn bits_that_must_be_zero_are_checked() {
        let mut out = encode(&[vec![1; 3], vec![2; 4], vec![3; 5]]);
        assert_eq!(out[3], 0b0100_0000, "differences 0 and 1, one bit each");
        out[3] |= 1;
        let refused = PackedSlices::decode(Reader::new(&out));
        assert_eq!(refused, Err(DecodeError::NotZero("length differences")));
    }
}
