//! DATA: slices of one tensor, or a fragment of one (wire-format.md, section 3).

use std::ops::Range;

use super::DecodeError;
use super::cursor::{Reader, put_varint, varint_size};
use super::lengths::PackedSlices;
use super::notice::Notice;

const END: u8 = 0x40;
const FRAGMENT: u8 = 0x20;
const WIDE: u8 = 0x10;
const CODING: u8 = 0x08;
const NOTICE: u8 = 0x04;
const INTERLEAVER: u8 = 0x03;

pub(super) const DEFINED_FLAGS: u8 = END | FRAGMENT | WIDE | CODING | NOTICE | INTERLEAVER;

/// The longest slice, in bytes.
pub(crate) const MAX_SLICE: u32 = 0x00FF_FFFF;
const MAX_NARROW_COUNT: u32 = 256;

/// How a tensor was coded: what one byte tells of it where it is not the first step of the ladder
/// (wire-format.md, section 3.8).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Coding {
    /// Coded against an earlier tensor.
    pub(crate) delta: bool,
    /// The step of the ladder, 0 to 127.
    pub(crate) step: u8,
}

impl Coding {
    const DELTA: u8 = 0x80;

    /// The most steps of a ladder.
    pub(crate) const MAX_STEPS: u8 = 128;

    /// The byte on the wire; none for what goes without saying.
    const fn byte(self) -> Option<u8> {
        let delta = if self.delta { Self::DELTA } else { 0 };
        match delta | (self.step & !Self::DELTA) {
            0 => None,
            byte => Some(byte),
        }
    }

    pub(crate) const fn size(self) -> usize {
        self.byte().is_some() as usize
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8("coding")? {
            0 => Err(DecodeError::Overlong("coding")),
            byte => Ok(Self {
                delta: byte & Self::DELTA != 0,
                step: byte & !Self::DELTA,
            }),
        }
    }
}

/// Which permutation took slice indices to positions (wire-format.md, section 3.7).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
#[non_exhaustive]
pub enum InterleaverKind {
    /// Slices in order.
    #[default]
    Sequential = 0,
    /// Every s-th slice, for the stream's stride s.
    Stride = 1,
    /// A permutation drawn from the stream's seed.
    Random = 2,
    /// The permutation that the stream was set up with: the most important slices first.
    Priority = 3,
}

/// What all packets of one tensor and each of them say, the slices aside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct DataHead {
    pub(crate) tensor_id: u16,
    pub(crate) frame_number: u16,
    pub(crate) capture_timestamp: u32,
    pub(crate) packet_index: u16,
    /// 1 to 65,536.
    pub(crate) packet_count: u32,
    pub(crate) interleaver: InterleaverKind,
    pub(crate) coding: Coding,
    pub(crate) notice: Option<Notice>,
    pub(crate) first_position: u16,
}

impl DataHead {
    /// Bytes up to and including the first position.
    pub(crate) const fn size(packet_count: u32, coding: Coding, notice: bool) -> usize {
        let index = if packet_count > MAX_NARROW_COUNT {
            4
        } else {
            2
        };
        2 + 2 + 4 + index + coding.size() + if notice { Notice::SIZE } else { 0 } + 2
    }

    pub(crate) const fn flags(&self, fragment: bool) -> u8 {
        let mut flags = self.interleaver as u8;
        if self.packet_index as u32 + 1 == self.packet_count {
            flags |= END;
        }
        if fragment {
            flags |= FRAGMENT;
        }
        if self.packet_count > MAX_NARROW_COUNT {
            flags |= WIDE;
        }
        if self.coding.size() > 0 {
            flags |= CODING;
        }
        if self.notice.is_some() {
            flags |= NOTICE;
        }
        flags
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.tensor_id.to_be_bytes());
        out.extend_from_slice(&self.frame_number.to_be_bytes());
        out.extend_from_slice(&self.capture_timestamp.to_be_bytes());
        let [_, _, high, low] = (self.packet_count - 1).to_be_bytes();
        let [index_high, index_low] = self.packet_index.to_be_bytes();
        if self.packet_count > MAX_NARROW_COUNT {
            out.extend_from_slice(&[index_high, index_low, high, low]);
        } else {
            out.extend_from_slice(&[index_low, low]);
        }
        out.extend(self.coding.byte());
        if let Some(notice) = self.notice {
            notice.encode(out);
        }
        out.extend_from_slice(&self.first_position.to_be_bytes());
    }

    fn decode(flags: u8, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let tensor_id = reader.u16("tensor ID")?;
        let frame_number = reader.u16("frame number")?;
        let capture_timestamp = reader.u32("capture timestamp")?;
        let (packet_index, last) = if flags & WIDE != 0 {
            (reader.u16("packet index")?, reader.u16("packet count")?)
        } else {
            (
                u16::from(reader.u8("packet index")?),
                u16::from(reader.u8("packet count")?),
            )
        };
        let packet_count = u32::from(last) + 1;
        if flags & WIDE != 0 && packet_count <= MAX_NARROW_COUNT {
            return Err(DecodeError::Overlong("packet count"));
        }
        if packet_index > last {
            return Err(DecodeError::OutOfRange("packet index"));
        }
        if (packet_index == last) != (flags & END != 0) {
            return Err(DecodeError::Contradiction("end of tensor"));
        }
        let interleaver = match flags & INTERLEAVER {
            0 => InterleaverKind::Sequential,
            1 => InterleaverKind::Stride,
            2 => InterleaverKind::Random,
            _ => InterleaverKind::Priority,
        };
        let coding = if flags & CODING != 0 {
            Coding::decode(reader)?
        } else {
            Coding::default()
        };
        let notice = if flags & NOTICE != 0 {
            Some(Notice::decode(reader)?)
        } else {
            None
        };
        let first_position = reader.u16("first position")?;
        Ok(Self {
            tensor_id,
            frame_number,
            capture_timestamp,
            packet_index,
            packet_count,
            interleaver,
            coding,
            notice,
            first_position,
        })
    }
}

/// What a DATA packet carries of its tensor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(
    clippy::exhaustive_enums,
    reason = "one flag of the wire format tells the two apart"
)]
pub enum Content<'a> {
    /// Whole slices.
    Slices(PackedSlices<'a>),
    /// A part of a slice that is larger than a packet.
    Fragment {
        /// Where the part starts in its slice, bytes.
        offset: u32,
        /// Length of the whole slice, bytes.
        slice_length: u32,
        /// The part; not empty, shorter than the slice, and within it.
        payload: &'a [u8],
    },
}

/// A DATA packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Data<'a> {
    pub(crate) head: DataHead,
    pub(crate) content: Content<'a>,
}

impl<'a> Data<'a> {
    /// Low bits of the tensor's number.
    pub const fn tensor_id(&self) -> u16 {
        self.head.tensor_id
    }

    /// Low bits of the frame's number.
    pub const fn frame_number(&self) -> u16 {
        self.head.frame_number
    }

    /// When the frame was captured, by the sender's clock, microseconds.
    pub const fn capture_timestamp(&self) -> u32 {
        self.head.capture_timestamp
    }

    /// Place of this packet among the tensor's source packets.
    pub const fn packet_index(&self) -> u16 {
        self.head.packet_index
    }

    /// Number of the tensor's source packets, 1 to 65,536.
    pub const fn packet_count(&self) -> u32 {
        self.head.packet_count
    }

    /// Whether the tensor is coded against an earlier one.
    pub const fn is_delta(&self) -> bool {
        self.head.coding.delta
    }

    /// The step of the stream's ladder that the tensor is coded by, 0 to 127.
    pub const fn step(&self) -> u8 {
        self.head.coding.step
    }

    /// The permutation of the tensor's slices.
    pub const fn interleaver(&self) -> InterleaverKind {
        self.head.interleaver
    }

    /// What the sender says of frames and tensors it dropped.
    pub const fn notice(&self) -> Option<Notice> {
        self.head.notice
    }

    /// Position of the first slice, or of the slice of the fragment.
    pub const fn first_position(&self) -> u16 {
        self.head.first_position
    }

    /// The positions of the slices in this packet, or of the one that it holds a fragment of.
    pub fn positions(&self) -> Range<u32> {
        let count = match self.content {
            Content::Slices(slices) => u32::from(slices.count()),
            Content::Fragment { .. } => 1,
        };
        let first = u32::from(self.head.first_position);
        first..first + count
    }

    /// The slices or the fragment.
    pub const fn content(&self) -> Content<'a> {
        self.content
    }

    pub(super) fn decode(flags: u8, mut reader: Reader<'a>) -> Result<Self, DecodeError> {
        let head = DataHead::decode(flags, &mut reader)?;
        let content = if flags & FRAGMENT != 0 {
            decode_fragment(reader)?
        } else {
            Content::Slices(PackedSlices::decode(reader)?)
        };
        Ok(Self { head, content })
    }

    pub(super) const fn flags(&self) -> u8 {
        self.head
            .flags(matches!(self.content, Content::Fragment { .. }))
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        self.head.encode(out);
        match self.content {
            Content::Slices(slices) => slices.encode(out),
            Content::Fragment {
                offset,
                slice_length,
                payload,
            } => {
                put_fragment(out, offset, slice_length, payload);
            }
        }
    }
}

fn decode_fragment(mut reader: Reader<'_>) -> Result<Content<'_>, DecodeError> {
    let offset = reader.varint(MAX_SLICE, "fragment offset")?;
    let slice_length = reader.varint(MAX_SLICE, "slice length")?;
    let payload = reader.rest();
    let whole = slice_length as usize;
    if payload.is_empty() {
        return Err(DecodeError::Truncated("fragment"));
    }
    if payload.len() >= whole || payload.len() > whole.saturating_sub(offset as usize) {
        return Err(DecodeError::Contradiction("slice length"));
    }
    Ok(Content::Fragment {
        offset,
        slice_length,
        payload,
    })
}

/// Appends offset, slice length and payload of a fragment.
pub(crate) fn put_fragment(out: &mut Vec<u8>, offset: u32, slice_length: u32, payload: &[u8]) {
    put_varint(out, offset);
    put_varint(out, slice_length);
    out.extend_from_slice(payload);
}

/// The most bytes that offset and length of a fragment of such a slice take.
pub(crate) const fn fragment_overhead(slice_length: u32) -> usize {
    2 * varint_size(slice_length as u64)
}
