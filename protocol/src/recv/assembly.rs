//! One tensor in progress: the packets of it that have arrived.

use std::mem;

use bytes::Bytes;

use super::bits::Bits;
use crate::event::{ReceivedTensor, ReleaseReason, TensorInfo};
use crate::fec;
use crate::time::Time;
use crate::wire::{Content, Data, FrameNumber, InterleaverKind, TensorId};

/// What became of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Accepted {
    New,
    Duplicate,
    Conflict,
}

/// A source packet, as it came or as it was recovered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet<'a> {
    pub(crate) data: Data<'a>,
    /// Byte 1 of its header.
    pub(crate) flags: u8,
    /// What lies between its header and trailer: what `data` was decoded from.
    pub(crate) body: &'a [u8],
    /// Whether it was computed from REPAIR packets.
    pub(crate) recovered: bool,
}

/// Where the symbol of a source packet lies in the arena.
#[derive(Clone, Copy, Debug)]
struct Place {
    index: u16,
    offset: u32,
    len: u32,
}

/// The source packets of a tensor that are at hand, in order of their index.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places(Vec<Place>);

impl Places {
    fn insert(&mut self, place: Place) {
        let at = self.0.partition_point(|other| other.index < place.index);
        self.0.insert(at, place);
    }

    /// Bytes they take.
    pub(crate) const fn memory(&self) -> usize {
        self.0.len() * size_of::<Place>()
    }

    /// The symbol of the source packet with this index, `arena` being that of its tensor.
    pub(crate) fn symbol<'a>(&self, arena: &'a [u8], index: u32) -> Option<&'a [u8]> {
        let found = self
            .0
            .binary_search_by_key(&index, |place| u32::from(place.index));
        let place = self.0.get(found.ok()?)?;
        arena
            .get(place.offset as usize..)?
            .get(..place.len as usize)
    }
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
const fn length_of(bytes: usize) -> u32 {
    bytes as u32
}

const fn length(bytes: &[u8]) -> u32 {
    length_of(bytes.len())
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
    step: u8,
    slices: u16,
    packets: Bits,
    recovered: u32,
    /// Positions whose slice is whole.
    positions: Bits,
    /// Symbols of the packets; then, at release, the fragments joined.
    arena: Vec<u8>,
    places: Places,
    pieces: Vec<Piece>,
    fragments: Vec<Fragment>,
    /// What has passed of its packets.
    pub(crate) passage: Passage,
}

/// The memory of an assembly, which one of another tensor can use again.
#[derive(Debug, Default)]
pub(crate) struct Books {
    packets: Bits,
    positions: Bits,
    places: Places,
    pieces: Vec<Piece>,
    fragments: Vec<Fragment>,
}

/// How far the packets of a tensor have come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passage {
    /// Arrival of the newest packet.
    pub(crate) newest: Time,
    /// The greatest packet index that has arrived.
    pub(crate) greatest: u32,
    /// REPAIR packets sent ahead that have passed, and how many there are; none if none has come.
    pub(crate) repairs: Option<(u32, u32)>,
    /// When a packet of a later tensor arrived.
    pub(crate) followed: Option<Time>,
    /// When a packet arrived of a tensor so much later that its blocks no longer span this one.
    pub(crate) outspanned: Option<Time>,
    /// How often the sender was told what is missing since all had passed, and when last.
    pub(crate) told: Option<(u8, Time)>,
}

impl Assembly {
    /// An empty assembly for the tensor that `data` belongs to, in the memory of another one's and with
    /// room for so many bytes.
    pub(crate) fn new(
        data: &Data<'_>,
        frame: FrameNumber,
        captured: Time,
        now: Time,
        slices: u16,
        books: Books,
        room: usize,
    ) -> Self {
        let Books {
            packets,
            positions,
            mut places,
            mut pieces,
            mut fragments,
        } = books;
        places.0.clear();
        pieces.clear();
        fragments.clear();
        Self {
            frame,
            captured,
            first_arrival: now,
            capture_timestamp: data.capture_timestamp(),
            packet_count: data.packet_count(),
            interleaver: data.interleaver(),
            step: data.step(),
            slices,
            packets: packets.emptied(data.packet_count()),
            recovered: 0,
            positions: positions.emptied(u32::from(slices)),
            arena: Vec::with_capacity(room),
            places,
            pieces,
            fragments,
            passage: Passage {
                newest: now,
                greatest: 0,
                repairs: None,
                followed: None,
                outspanned: None,
                told: None,
            },
        }
    }

    /// Source packets that the tensor has.
    pub(crate) const fn packets(&self) -> u32 {
        self.packet_count
    }

    /// The symbol of the source packet with this index, if it is at hand.
    pub(crate) fn symbol(&self, index: u32) -> Option<&[u8]> {
        self.places.symbol(&self.arena, index)
    }

    /// Where the symbols lie, for blocks to come that span this tensor.
    pub(crate) fn places(&self) -> Places {
        self.places.clone()
    }

    pub(crate) const fn interleaver(&self) -> InterleaverKind {
        self.interleaver
    }

    /// Bytes that `packet` would add to [`memory`](Self::memory).
    pub(crate) fn cost(packet: &Packet<'_>) -> usize {
        let pieces = match packet.data.content() {
            Content::Slices(slices) => usize::from(slices.count()) * size_of::<Piece>(),
            Content::Fragment { .. } => size_of::<Fragment>(),
        };
        fec::PREFIX + packet.body.len() + size_of::<Place>() + pieces
    }

    /// Bytes kept on behalf of the peer, the sets of packets and positions aside.
    pub(crate) const fn memory(&self) -> usize {
        self.arena.len()
            + self.places.memory()
            + self.pieces.len() * size_of::<Piece>()
            + self.fragments.len() * size_of::<Fragment>()
    }

    /// Whether a packet is new and contradicts nothing. Changes nothing.
    pub(crate) fn judge(&self, data: &Data<'_>) -> Accepted {
        if data.packet_count() != self.packet_count
            || data.capture_timestamp() != self.capture_timestamp
            || data.interleaver() != self.interleaver
            || data.step() != self.step
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
    pub(crate) fn add(&mut self, packet: &Packet<'_>) {
        let data = &packet.data;
        self.packets.insert(u32::from(data.packet_index()));
        self.recovered += u32::from(packet.recovered);
        let symbol = length(&self.arena);
        fec::put_symbol(packet.flags, packet.body, &mut self.arena);
        let end = length(&self.arena);
        self.places.insert(Place {
            index: data.packet_index(),
            offset: symbol,
            len: end - symbol,
        });
        // The payload is the end of the body.
        match data.content() {
            Content::Slices(slices) => {
                let mut offset = end - length_of(slices.payload_len());
                for (slice, position) in slices.iter().zip(data.first_position()..) {
                    let len = length(slice);
                    self.pieces.push(Piece {
                        position,
                        offset,
                        len,
                    });
                    self.positions.insert(u32::from(position));
                    offset += len;
                }
            }
            Content::Fragment {
                offset: start,
                slice_length,
                payload,
            } => {
                let position = data.first_position();
                let len = length(payload);
                let fragment = Fragment {
                    position,
                    slice_length,
                    start,
                    offset: end - len,
                    len,
                };
                self.fragments.push(fragment);
                let parts = self.fragments.iter().filter(|f| f.position == position);
                if parts.map(|f| f.len).sum::<u32>() == slice_length {
                    self.positions.insert(u32::from(position));
                }
            }
        }
    }

    /// Whether a packet was computed from REPAIR packets.
    pub(crate) const fn was_repaired(&self) -> bool {
        self.recovered > 0
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
            step: self.step,
            first_arrival: self.first_arrival,
            released: now,
            reason,
            packets_received: self.packets.count() - self.recovered,
            packets_recovered: self.recovered,
            packets: self.packet_count,
            slices_received: u16::try_from(self.positions.count()).unwrap_or(self.slices),
            slices: self.slices,
        }
    }

    /// Forgets what has arrived.
    pub(crate) fn drop_bytes(&mut self) {
        self.arena = Vec::new();
    }

    /// Its memory, once nothing else of it is needed.
    pub(crate) fn take_books(&mut self) -> Books {
        Books {
            packets: mem::take(&mut self.packets),
            positions: mem::take(&mut self.positions),
            places: mem::take(&mut self.places),
            pieces: mem::take(&mut self.pieces),
            fragments: mem::take(&mut self.fragments),
        }
    }

    /// Bytes of its memory, what was handed over aside.
    pub(crate) const fn capacity(&self) -> usize {
        self.packets.capacity()
            + self.positions.capacity()
            + self.places.0.capacity() * size_of::<Place>()
            + self.pieces.capacity() * size_of::<Piece>()
            + self.fragments.capacity() * size_of::<Fragment>()
    }

    /// Hands over what has arrived. `order` gives the slice index at every position.
    pub(crate) fn release(&mut self, info: TensorInfo, order: &[u16]) -> ReceivedTensor {
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
            bytes: Bytes::from(mem::take(&mut self.arena)),
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
