//! Tensors to send, and what arrived of them.

use bytes::Bytes;
use proptest::prelude::*;
use tensorwire_protocol::wire::{FrameNumber, MessageType};
use tensorwire_protocol::{Event, OutgoingTensor, ReceivedTensor, Session, Slices, Time};

/// Slices with these contents.
pub fn slices_of<S: AsRef<[u8]>>(contents: &[S]) -> Slices {
    let mut bytes = Vec::new();
    let ends = contents.iter().map(|slice| {
        bytes.extend_from_slice(slice.as_ref());
        u32::try_from(bytes.len()).unwrap()
    });
    let ends = ends.collect();
    Slices::new(Bytes::from(bytes), ends).unwrap()
}

/// Slices of these lengths, whose bytes tell tensor, slice and offset apart.
pub fn slices(lengths: &[usize], tag: u64) -> Slices {
    let contents: Vec<Vec<u8>> = (1_u64..)
        .zip(lengths)
        .map(|(slice, len)| {
            let mut state = tag.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (slice << 32);
            let byte = |_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(slice);
                state.to_be_bytes()[0]
            };
            (0..*len).map(byte).collect()
        })
        .collect();
    slices_of(&contents)
}

/// A tensor of these slices.
pub fn outgoing(frame: u64, captured: Time, slices: Slices) -> OutgoingTensor {
    OutgoingTensor {
        frame: FrameNumber(frame),
        captured,
        step: 0,
        slices,
    }
}

/// Sends one tensor and returns its slices and its packets.
pub fn tensor(
    edge: &mut Session,
    now: Time,
    frame: u64,
    lengths: &[usize],
) -> (Slices, Vec<Vec<u8>>) {
    let slices = slices(lengths, frame);
    edge.send_tensor(now, outgoing(frame, now, slices.clone()))
        .unwrap();
    (slices, flood(edge, now))
}

/// A number as a frame number.
pub const fn frame(number: u64) -> FrameNumber {
    FrameNumber(number)
}

/// The DATA packets that a session has to send now. Everything else is thrown away.
pub fn flood(session: &mut Session, now: Time) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    let mut buffer = Vec::new();
    while let Some(transmit) = session.poll_transmit(now, &mut buffer) {
        if transmit.kind == MessageType::Data {
            packets.push(buffer.clone());
        }
    }
    packets
}

/// The tensors among some events.
pub fn released(events: impl IntoIterator<Item = Event>) -> Vec<ReceivedTensor> {
    let tensor = |event| match event {
        Event::Tensor(tensor) => Some(tensor),
        _ => None,
    };
    events.into_iter().filter_map(tensor).collect()
}

/// Fails unless every slice that arrived is the one that was sent, and none is missing if `whole`.
pub fn assert_exact(received: &ReceivedTensor, sent: &Slices, whole: bool) {
    assert_eq!(usize::from(received.info().slices), sent.len());
    for (index, slice) in received.slices().enumerate() {
        match slice {
            Some(slice) => assert_eq!(Some(slice), sent.get(index), "slice {index}"),
            None => assert!(!whole, "slice {index} is missing"),
        }
    }
}

/// Lengths of slices: mostly small, some empty, few larger than a packet.
pub fn arb_lengths(most: usize) -> impl Strategy<Value = Vec<usize>> {
    let len = prop_oneof![12 => 0_usize..300, 1 => Just(0), 1 => 0_usize..6_000];
    prop_oneof![
        prop::collection::vec(len, 1..most),
        (0_usize..400, 1..most).prop_map(|(len, n)| vec![len; n]),
    ]
}
