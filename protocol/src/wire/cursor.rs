//! Reading big-endian fields without indexing, and writing the varints of RFC 9000.

use super::DecodeError;

/// A position in a byte slice; every read is checked and names its field.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn array<const N: usize>(
        &mut self,
        field: &'static str,
    ) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(DecodeError::Truncated(field))?;
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn bytes(&mut self, n: usize, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self
            .rest
            .split_at_checked(n)
            .ok_or(DecodeError::Truncated(field))?;
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        Ok(u8::from_be_bytes(self.array(field)?))
    }

    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        Ok(u16::from_be_bytes(self.array(field)?))
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        Ok(u32::from_be_bytes(self.array(field)?))
    }

    /// A varint (RFC 9000, section 16) in its shortest form, at most `max`.
    pub(crate) fn varint(&mut self, max: u32, field: &'static str) -> Result<u32, DecodeError> {
        let first = self.u8(field)?;
        let tail: u8 = (1 << (first >> 6)) - 1;
        let mut value = u64::from(first & 0x3F);
        for &byte in self.bytes(usize::from(tail), field)? {
            value = value << 8 | u64::from(byte);
        }
        if varint_size(value) != usize::from(tail) + 1 {
            return Err(DecodeError::Overlong(field));
        }
        u32::try_from(value)
            .ok()
            .filter(|v| *v <= max)
            .ok_or(DecodeError::OutOfRange(field))
    }

    /// Everything that is left.
    pub(crate) const fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// Succeeds if nothing is left.
    pub(crate) const fn end(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::TrailingBytes)
        }
    }
}

/// Bytes that `value` takes as a varint: 1, 2, 4 or 8.
pub(crate) const fn varint_size(value: u64) -> usize {
    match value {
        0..=0x3F => 1,
        0x40..=0x3FFF => 2,
        0x4000..=0x3FFF_FFFF => 4,
        _ => 8,
    }
}

/// Appends `value` as a varint in its shortest form.
pub(crate) fn put_varint(out: &mut Vec<u8>, value: u32) {
    match varint_size(u64::from(value)) {
        1 => out.extend_from_slice(&value.to_be_bytes()[3..]),
        2 => out.extend_from_slice(&(value | 0x4000).to_be_bytes()[2..]),
        4 => out.extend_from_slice(&(value | 0x8000_0000).to_be_bytes()),
        _ => out.extend_from_slice(&(u64::from(value) | 0xC000_0000_0000_0000).to_be_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn varint_survives_the_way(value: u32) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            prop_assert_eq!(out.len(), varint_size(u64::from(value)));
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.varint(u32::MAX, "v"), Ok(value));
            prop_assert_eq!(reader.end(), Ok(()));
        }
    }

    #[test]
    fn varint_in_a_longer_form_is_refused() {
        assert_eq!(
            Reader::new(&[0x40, 5]).varint(100, "v"),
            Err(DecodeError::Overlong("v"))
        );
        assert_eq!(
            Reader::new(&[0x80, 0, 0, 70]).varint(100, "v"),
            Err(DecodeError::Overlong("v"))
        );
    }

    #[test]
    fn varint_beyond_its_limit_is_refused() {
        assert_eq!(
            Reader::new(&[0x3F]).varint(62, "v"),
            Err(DecodeError::OutOfRange("v"))
        );
        let eight = [0xFF; 8];
        assert_eq!(
            Reader::new(&eight).varint(u32::MAX, "v"),
            Err(DecodeError::OutOfRange("v"))
        );
    }

    #[test]
    fn every_short_read_names_its_field() {
        assert_eq!(Reader::new(&[1]).u16("x"), Err(DecodeError::Truncated("x")));
        assert_eq!(
            Reader::new(&[0x40]).varint(9, "y"),
            Err(DecodeError::Truncated("y"))
        );
        assert_eq!(
            Reader::new(&[1, 2]).bytes(3, "z"),
            Err(DecodeError::Truncated("z"))
        );
    }
}
