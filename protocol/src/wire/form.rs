//! Telling TSP from QUIC on a port that they share (wire-format.md, section 2.4.2; after RFC 9443).

use super::{FORM, FORM_MASK};

/// QUIC's fixed bit (RFC 9000, section 17), which endpoints that share a port do not grease (RFC 9287).
const FIXED: u8 = 0b0100_0000;

/// What the first two bits of a datagram say it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[expect(clippy::exhaustive_enums, reason = "there are two bits")]
pub enum Form {
    /// `10`: TSP, of any version.
    Tsp,
    /// `01` or `11`: QUIC, of any version.
    Quic,
    /// `00`, or no byte at all: neither.
    Neither,
}

impl Form {
    /// The form of a datagram. Nothing else of it is looked at.
    #[must_use]
    pub const fn of(datagram: &[u8]) -> Self {
        match datagram {
            [first, ..] if *first & FIXED != 0 => Self::Quic,
            [first, ..] if *first & FORM_MASK == FORM => Self::Tsp,
            _ => Self::Neither,
        }
    }
}

/// The datagrams in a buffer into which a system has joined them (generic receive offload): each has
/// `stride` bytes, but the last may have fewer. A buffer can hold both TSP and QUIC of the same peer. An
/// empty buffer is one empty datagram.
pub fn datagrams(buffer: &[u8], stride: usize) -> impl Iterator<Item = (Form, &[u8])> {
    let stride = if stride == 0 { buffer.len() } else { stride };
    let empty = buffer.is_empty().then_some(buffer);
    let datagrams = buffer.chunks(stride.max(1)).chain(empty);
    datagrams.map(|datagram| (Form::of(datagram), datagram))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_bits_decide() {
        for first in 0..=u8::MAX {
            let expected = match first >> 6 {
                0b10 => Form::Tsp,
                0b00 => Form::Neither,
                _ => Form::Quic,
            };
            assert_eq!(Form::of(&[first, 0x55]), expected);
        }
        assert_eq!(Form::of(&[]), Form::Neither);
    }

    #[test]
    fn a_buffer_comes_apart_at_its_stride() {
        let buffer = [0x90, 1, 0x40, 2, 0xC0];
        let expected: [(Form, &[u8]); 3] = [
            (Form::Tsp, &[0x90, 1]),
            (Form::Quic, &[0x40, 2]),
            (Form::Quic, &[0xC0]),
        ];
        assert_eq!(datagrams(&buffer, 2).collect::<Vec<_>>(), expected);
        for whole in [0, 5, 9] {
            let one = datagrams(&buffer, whole).collect::<Vec<_>>();
            assert_eq!(one, [(Form::Tsp, &buffer[..])]);
        }
        let nothing = datagrams(&[], 2).collect::<Vec<_>>();
        assert_eq!(nothing, [(Form::Neither, &[][..])]);
    }
}
