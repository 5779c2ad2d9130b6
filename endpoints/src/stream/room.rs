//! The room that a receiver has for the tensors of a stream (spec/control.md, section 4.4): as much as its
//! description needs, since a cloud counts the worst case for each of many sessions.

use tensorwire_codec::Ladder;
use tensorwire_protocol::Config;

use super::StreamDescription;

/// The most that a session may keep of one tensor: no coded tensor of a format that exists is near it,
/// but what JPEG could take in theory is.
pub const MAX_TENSOR_BYTES: usize = 32 << 20;

/// Bytes that a session keeps for each slice beside the slice itself.
const SLICE_BOOK_KEEPING: usize = 16;
/// The same for each packet, its header included. A sender fills at least half of its packets.
const PACKET_BOOK_KEEPING: usize = 64;
/// Shortest time between two frames that is reckoned with, milliseconds: 60 a second.
const INTERVAL_MS: usize = 16;
/// Tensors in progress beside those captured within the deadline: the clocks of the two are not in step,
/// and the newest comes before the oldest is given up.
const SPARE_TENSORS: usize = 2;
/// The least and the most room for all tensors in progress; the most holds where four of the largest
/// tensors need no more.
const LEAST: usize = 1 << 20;
const MOST: usize = 16 << 20;
/// Largest tensors for which there is room in any case.
const LARGEST: usize = 4;

/// Bytes that a session may keep, by [`Limits`](tensorwire_protocol::Limits).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Room {
    /// Of one tensor.
    pub(super) tensor: usize,
    /// Of all tensors in progress and of those that source blocks still span, with their parity.
    pub(super) in_progress: usize,
}

impl Room {
    /// What `stream` needs, whose tensors are coded by `ladder`.
    pub(super) fn new(stream: &StreamDescription, ladder: &Ladder) -> Self {
        let best = ladder.best();
        let slices = usize::from(best.slice_count());
        let packet = usize::from(stream.mss.max(Config::MIN_MSS)) / 2;
        let kept = |coded: usize| {
            let packets = 1 + coded / packet;
            coded + slices * SLICE_BOOK_KEEPING + packets * PACKET_BOOK_KEEPING
        };
        let coded = slices * ladder.max_slice_bytes();
        let largest = kept(coded).min(MAX_TENSOR_BYTES);
        // One that JPEG makes larger than the levels themselves is possible, but not one after another.
        let usual = kept(coded.min(best.shape().entries())).min(largest);
        let deadline = usize::try_from(stream.deadline_ms).unwrap_or(usize::MAX);
        let captured = (deadline / INTERVAL_MS).saturating_add(SPARE_TENSORS);
        let tensors = captured.saturating_add(stream.span.into());
        let most = Config::new(1).limits.tensors_in_progress;
        // As much again of parity: where there is more, what has no room is dropped first.
        let all = 2 * tensors.min(most) * usual;
        Self {
            tensor: largest,
            in_progress: all.clamp(LEAST, MOST).max(LARGEST * largest),
        }
    }
}

#[cfg(test)]
mod tests {
    use tensorwire_codec::{ClipRange, Coder, Format, Map, Quantiser, Shape};
    use tensorwire_protocol::wire::{ConnectionId, FrameNumber};
    use tensorwire_protocol::{OutgoingTensor, Redundancy, Session, Slices, Time};

    use super::*;
    use crate::cloud::{Policy, session_memory};
    use crate::digest::Digest;

    fn stream(shape: Shape, coder: Coder) -> StreamDescription {
        let quantiser = Quantiser::new(ClipRange::new(-1.0, 1.0).unwrap(), 256).unwrap();
        let map = match coder {
            Coder::Raw => Map::random_for(1, shape, 256, Map::SLICE_BYTES),
            coder => Map::mosaic_for(shape, 256, coder, Map::JPEG_SLICE_BYTES),
        };
        let format = Format::new(shape, quantiser, map, coder).unwrap();
        StreamDescription::new(&format, "x", Digest::from_bytes([7; 32]), None).unwrap()
    }

    /// 12,000 bytes raw, and in JPEG about as many of three times the entries.
    fn common() -> [StreamDescription; 2] {
        let jpeg = Coder::Jpeg { quality: 80 };
        [
            stream(Shape::new(30, 20, 20).unwrap(), Coder::Raw),
            stream(Shape::new(48, 28, 28).unwrap(), jpeg),
        ]
    }

    #[test]
    fn a_thousand_common_streams_fit_into_the_memory_of_a_cloud() {
        let [raw, jpeg] = common();
        for (stream, deadline_ms, span) in [
            (&raw, 100, 1),
            (&raw, 500, 4),
            (&raw, 60_000, 16),
            (&jpeg, 100, 1),
            (&jpeg, 200, 4),
        ] {
            let mut stream = stream.clone();
            (stream.deadline_ms, stream.span) = (deadline_ms, span);
            let need = session_memory(&stream.config().unwrap());
            let all = 1_000 * need;
            assert!(
                all <= Policy::default().memory,
                "{deadline_ms} ms: {need} bytes"
            );
        }
    }

    /// Streams as many tensors as are captured within the deadline, at a moment, to a receiver that `loses`
    /// some of each one's datagrams.
    fn fill(stream: &StreamDescription, bytes: u32, redundancy: f64, loses: fn(usize) -> bool) {
        let config = stream.config().unwrap();
        let (mut edge, mut cloud) = (config.clone(), config.clone());
        edge.redundancy = Redundancy::Fixed { ratio: redundancy };
        edge.send_queue = 1_024;
        edge.remote_connection = ConnectionId::new(1);
        cloud.local_connection = ConnectionId::new(1);
        let mut edge = Session::new(edge, Time::ZERO).unwrap();
        let mut cloud = Session::new(cloud, Time::ZERO).unwrap();
        let slices = u32::from(config.slices);
        let ends: Vec<u32> = (1..=slices).map(|i| bytes / slices * i).collect();
        let frames = u64::from(stream.deadline_ms) / INTERVAL_MS as u64;
        let mut datagram = Vec::new();
        for frame in 0..frames {
            let content = vec![7; *ends.last().unwrap() as usize];
            let slices = Slices::new(content.into(), ends.clone()).unwrap();
            let (frame, captured) = (FrameNumber(frame), Time::ZERO);
            let step = 0;
            let tensor = OutgoingTensor {
                frame,
                captured,
                step,
                slices,
            };
            edge.send_tensor(Time::ZERO, tensor).unwrap();
            let mut sent = 0;
            while edge.poll_transmit(Time::ZERO, &mut datagram).is_some() {
                if !loses(sent) {
                    cloud.handle_datagram(Time::ZERO, &datagram).unwrap();
                }
                sent += 1;
            }
        }
        let stats = *cloud.stats();
        let counted = (stats.tensors_evicted, stats.over_limit);
        assert_eq!(counted, (0, 0), "{bytes} bytes: {:?}", config.limits);
        let held = cloud.tensors_in_progress();
        assert_eq!(held as u64, frames, "each lacks something");
    }

    #[test]
    fn what_is_captured_within_the_deadline_has_room() {
        let large = stream(Shape::new(96, 40, 40).unwrap(), Coder::Raw);
        for (stream, bytes) in [(&common()[0], 12_000), (&large, 153_600)] {
            for (deadline_ms, span) in [(100, 1), (100, 4), (500, 1), (500, 2)] {
                let mut stream = stream.clone();
                (stream.deadline_ms, stream.span) = (deadline_ms, span);
                fill(&stream, bytes, 0.0, |datagram| datagram == 2);
                // All the parity that is not enough.
                fill(&stream, bytes, 0.3, |datagram| datagram % 5 < 2);
            }
        }
    }
}
