//! One tensor in progress: the packets of it that have arrived.

use bytes::Bytes;

use super::bits::Bits;
use crate::event::{ReceivedTensor, ReleaseReason, TensorInfo};
use crate::time::Time;
use crate::wire::{Content, Data, FrameNumber, InterleaverKind, TensorId};

/// What became of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Accepted {
    New,
    Duplicate,
    Conflict,
}

/// A whole slice, and where it lies in the arena.
#[derive(Clone, Copy, Debug)]
struct Piece {
    position: u16,
    offset: u32,
    len: u32,
}

/// A part of a slice.
#[derive(Clone, Copy, Debug)]
struct Fragment {
    position: u16,
    slice_length: u32,
    /// Where the part starts in its slice.
    start: u32,
    /// Where it lies in the arena.
    offset: u32,
    len: u32,
}

impl Fragment {
    const fn end(&self) -> u32 {
        self.start + self.len
    }
}

/// The length of an arena or of a part of it.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a tensor has at most 2^30 bytes, and twice that once its fragments are joined"
)]
const fn length(bytes: &[u8]) -> u32 {
    bytes.len() as u32
}

#[derive(Debug)]
pub(crate) struct Assembly {
    pub(crate) frame: FrameNumber,
    /// When the frame was captured, mapped to our clock.
    pub(crate) captured: Time,
    first_arrival: Time,
    capture_timestamp: u32,
    packet_count: u32,
    interleaver: InterleaverKind,
    slices: u16,
    packets: Bits,
    /// Positions whose slice is whole.
    positions: Bits,
    arena: Vec<u8>,
    pieces: Vec<Piece>,
    fragments: Vec<Fragment>,
}

impl Assembly {
    /// An empty assembly for the tensor that `data` belongs to.
    pub(crate) fn new(
        data: &Data<'_>,
        frame: FrameNumber,
        captured: Time,
        now: Time,
        slices: u16,
    ) -> Self {
        Self {
            frame,
            captured,
            first_arrival: now,
            capture_timestamp: data.capture_timestamp(),
            packet_count: data.packet_count(),
            interleaver: data.interleaver(),
            slices,
            packets: Bits::new(data.packet_count()),
            positions: Bits::new(u32::from(slices)),
            arena: Vec::new(),
            pieces: Vec::new(),
            fragments: Vec::new(),
        }
    }

    pub(crate) const fn interleaver(&self) -> InterleaverKind {
        self.interleaver
    }

    /// Bytes that `data` would add to [`memory`](Self::memory).
    pub(crate) fn cost(data: &Data<'_>) -> usize {
        match data.content() {
            Content::Slices(slices) => {
                slices.payload_len() + usize::from(slices.count()) * size_of::<Piece>()
            }
            Content::Fragment { payload, .. } => payload.len() + size_of::<Fragment>(),
        }
    }

    /// Bytes kept on behalf of the peer, the sets of packets and positions aside.
    pub(crate) const fn memory(&self) -> usize {
        self.arena.len()
            + self.pieces.len() * size_of::<Piece>()
            + self.fragments.len() * size_of::<Fragment>()
    }

    /// Whether a packet is new and contradicts nothing. Changes nothing.
    pub(crate) fn judge(&self, data: &Data<'_>) -> Accepted {
        if data.packet_count() != self.packet_count
            || data.capture_timestamp() != self.capture_timestamp
            || data.interleaver() != self.interleaver
            || data.frame_number() != self.frame.wire()
        {
            return Accepted::Conflict;
        }
        let index = u32::from(data.packet_index());
        if self.packets.contains(index) {
            return Accepted::Duplicate;
        }
        let positions = data.positions();
        if positions.end > u32::from(self.slices)
            || positions.clone().any(|p| self.positions.contains(p))
        {
            return Accepted::Conflict;
        }
        let mut fragments = self
            .fragments
            .iter()
            .filter(|other| positions.contains(&u32::from(other.position)));
        let agree = match data.content() {
            Content::Slices(_) => fragments.next().is_none(),
            Content::Fragment {
                offset,
                slice_length,
                payload,
            } => fragments.all(|other| {
                let apart = other.end() <= offset || offset + length(payload) <= other.start;
                other.slice_length == slice_length && apart
            }),
        };
        if agree {
            Accepted::New
        } else {
            Accepted::Conflict
        }
    }

    /// Adds a packet that was judged new.
    pub(crate) fn add(&mut self, data: &Data<'_>) {
        self.packets.insert(u32::from(data.packet_index()));
        match data.content() {
            Content::Slices(slices) => {
                for (i, slice) in (0_u16..).zip(slices.iter()) {
                    let position = data.first_position() + i;
                    let offset = self.append(slice);
                    let len = length(slice);
                    self.pieces.push(Piece {
                        position,
                        offset,
                        len,
                    });
                    self.positions.insert(u32::from(position));
                }
            }
            Content::Fragment {
                offset: start,
                slice_length,
                payload,
            } => {
                let position = data.first_position();
                let fragment = Fragment {
                    position,
                    slice_length,
                    start,
                    offset: self.append(payload),
                    len: length(payload),
                };
                self.fragments.push(fragment);
                let parts = self.fragments.iter().filter(|f| f.position == position);
                if parts.map(|f| f.len).sum::<u32>() == slice_length {
                    self.positions.insert(u32::from(position));
                }
            }
        }
    }

    /// Appends bytes to the arena and says where they lie.
    fn append(&mut self, bytes: &[u8]) -> u32 {
        let offset = length(&self.arena);
        self.arena.extend_from_slice(bytes);
        offset
    }

    /// Whether every slice has arrived.
    pub(crate) fn is_complete(&self) -> bool {
        self.positions.count() == u32::from(self.slices)
    }

    /// What is known of the tensor, if it ends now.
    pub(crate) fn info(&self, id: TensorId, now: Time, reason: ReleaseReason) -> TensorInfo {
        TensorInfo {
            id,
            frame: self.frame,
            captured: self.captured,
            first_arrival: self.first_arrival,
            released: now,
            reason,
            packets_received: self.packets.count(),
            packets: self.packet_count,
            slices_received: u16::try_from(self.positions.count()).unwrap_or(self.slices),
            slices: self.slices,
        }
    }

    /// Hands over what has arrived. `order` gives the slice index at every position.
    pub(crate) fn release(mut self, info: TensorInfo, order: &[u16]) -> ReceivedTensor {
        self.join_fragments();
        let mut spans = vec![None; usize::from(self.slices)];
        for piece in &self.pieces {
            let slice = order
                .get(usize::from(piece.position))
                .copied()
                .unwrap_or(piece.position);
            if let Some(span) = spans.get_mut(usize::from(slice)) {
                *span = Some((piece.offset, piece.len));
            }
        }
        ReceivedTensor {
            info,
            bytes: Bytes::from(self.arena),
            spans,
        }
    }

    /// Copies the fragments of whole slices together at the end of the arena.
    fn join_fragments(&mut self) {
        self.fragments
            .sort_unstable_by_key(|f| (f.position, f.start));
        for parts in self.fragments.chunk_by(|a, b| a.position == b.position) {
            let Some(first) = parts.first() else { continue };
            if !self.positions.contains(u32::from(first.position)) {
                continue;
            }
            let offset = length(&self.arena);
            for part in parts {
                let start = part.offset as usize;
                self.arena
                    .extend_from_within(start..start + part.len as usize);
            }
            self.pieces.push(Piece {
                position: first.position,
                offset,
                len: first.slice_length,
            });
        }
    }
}
