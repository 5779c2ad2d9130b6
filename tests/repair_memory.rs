//! REPAIR packets never take the memory of what has arrived: where there is no room for them they are
//! dropped and counted, and the tensors in progress stay.

use proptest::prelude::*;
use tensorwire_protocol::wire::{Message, TensorId, open};
use tensorwire_protocol::{Config, Event, Redundancy, ReleaseReason, Session, Slices, Time};
use tensorwire_tests::{
    CLOUD, assert_exact, configs, everything, numbered, outgoing, packet, released, slices, stream,
};

const SOURCES: u16 = 10;
/// Room for two tensors but for one packet each, and some REPAIR packets.
const ROOM: usize = 24_000;

fn sessions(change: impl FnOnce(&mut Config)) -> (Session, Session) {
    let (edge, mut cloud) = configs(stream(SOURCES, |c| {
        c.redundancy = Redundancy::Fixed { ratio: 1.0 };
        change(c);
    }));
    (cloud.limits.bytes_in_progress, cloud.limits.tensor_bytes) = (ROOM, ROOM);
    let session = |config| Session::new(config, Time::ZERO).unwrap();
    (session(edge), session(cloud))
}

/// The packets of a tensor of ten source packets.
struct Made {
    sent: Slices,
    data: Vec<Vec<u8>>,
    repairs: Vec<Vec<u8>>,
}

fn make(edge: &mut Session, tensors: u64) -> Vec<Made> {
    let make = |id| {
        let sent = slices(&[1_000; SOURCES as usize], id);
        let tensor = outgoing(id, Time::ZERO, sent.clone());
        edge.send_tensor(Time::ZERO, tensor).unwrap();
        let all = everything(edge, Time::ZERO);
        let (data, repairs) = all.into_iter().partition(|p| packet(p).is_data());
        Made {
            sent,
            data,
            repairs,
        }
    };
    (0..tensors).map(make).collect()
}

/// Fails unless the first two tensors, each of which lacks its first packet, have outlasted what came,
/// and end whole with it.
fn assert_both_end_whole(cloud: &mut Session, made: &[Made]) {
    let stats = *cloud.stats();
    assert_eq!(stats.tensors_evicted, 0);
    assert_eq!(cloud.poll_event(), None);
    assert!(cloud.tensors_in_progress() >= 2);
    assert!(cloud.buffered_bytes() <= ROOM);
    for made in &made[..2] {
        cloud.handle_datagram(Time::ZERO, &made.data[0]).unwrap();
    }
    let got = released(std::iter::from_fn(|| cloud.poll_event()));
    assert_eq!(got.len(), 2);
    for (tensor, made) in got.iter().zip(made) {
        assert_eq!(tensor.info().reason, ReleaseReason::Complete);
        assert_exact(tensor, &made.sent, true);
    }
    assert_eq!(cloud.stats().tensors_evicted, 0);
}

/// Hands in two tensors without their first packets.
fn two_in_progress(cloud: &mut Session, made: &[Made]) {
    for packet in made[..2].iter().flat_map(|made| &made.data[1..]) {
        cloud.handle_datagram(Time::ZERO, packet).unwrap();
    }
    assert_eq!(cloud.tensors_in_progress(), 2);
}

#[test]
fn the_parity_of_a_later_tensor_evicts_nothing() {
    for span in [1, 3] {
        let (mut edge, mut cloud) = sessions(|c| c.span = span);
        let made = make(&mut edge, 3);
        two_in_progress(&mut cloud, &made);
        // Nine of ten: one more would be a tensor of its own.
        for packet in &made[2].repairs[..9] {
            // Dropped, counted, and no fault of the peer.
            let _ = cloud.handle_datagram(Time::ZERO, packet);
        }
        assert!(
            cloud.stats().over_limit > 0,
            "span {span}: not all have room"
        );
        assert_both_end_whole(&mut cloud, &made);
    }
}

/// A number far ahead would push the oldest tensors out of those that may be in progress.
#[test]
fn a_repair_of_a_tensor_far_ahead_evicts_nothing() {
    let (mut edge, mut cloud) = sessions(|_| ());
    let made = make(&mut edge, 3);
    two_in_progress(&mut cloud, &made);
    for (number, ahead) in (100..).zip([60, 64, 65, 200, 1_000, 30_000]) {
        let far = numbered(&made[2].repairs[0], number, |message| match message {
            Message::Repair(mut repair) => {
                repair.tensor_id = ahead;
                Message::Repair(repair)
            }
            other => other,
        });
        let _ = cloud.handle_datagram(Time::ZERO, &far);
        assert_eq!(cloud.stats().tensors_evicted, 0, "{ahead}");
    }
    assert_both_end_whole(&mut cloud, &made);
}

/// DATA is worth more: it evicts the oldest tensor, as without parity.
#[test]
fn data_still_evicts_the_oldest_tensor() {
    let (mut edge, mut cloud) = sessions(|_| ());
    let made = make(&mut edge, 3);
    two_in_progress(&mut cloud, &made);
    for packet in made[2].data.iter().skip(1) {
        cloud.handle_datagram(Time::ZERO, packet).unwrap();
    }
    assert_eq!(cloud.stats().tensors_evicted, 1);
    let Some(Event::Tensor(tensor)) = cloud.poll_event() else {
        panic!("no tensor")
    };
    assert_eq!(tensor.info().id, TensorId(0));
    assert_eq!(tensor.info().reason, ReleaseReason::Evicted);
    assert_exact(&tensor, &made[0].sent, false);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever tensors, of as many as may be in progress, blocks and symbols they name.
    #[test]
    fn no_flood_of_repairs_evicts_a_tensor(
        flood in prop::collection::vec((0_u16..60, 1_u8..=4, 1_u8..=60, 0_u8..40, 1_usize..1_150), 1..150),
        span in 1_u8..=4,
    ) {
        let (mut edge, mut cloud) = sessions(|c| c.span = span);
        let made = make(&mut edge, 3);
        two_in_progress(&mut cloud, &made);
        let (header, body) = open(&made[2].repairs[0], None).unwrap();
        let Ok(Message::Repair(real)) = Message::decode(&header, body) else { panic!("no REPAIR") };
        for (number, (tensor_id, spans, k, repair_index, len)) in (100_u32..).zip(flood) {
            // Those of the tensors in progress could repair them.
            let tensor_id = tensor_id + 4;
            let spans = spans.min(u8::try_from(tensor_id).unwrap_or(u8::MAX)).min(k);
            let mut counts = vec![1; usize::from(spans)];
            counts[0] = k - (spans - 1);
            let symbol = vec![0x5A; len];
            let mut repair = real;
            (repair.tensor_id, repair.span) = (tensor_id, spans);
            (repair.block_index, repair.block_count) = (0, 1);
            (repair.k, repair.repair_index, repair.repair_count) = (k, repair_index, 40);
            repair.source_counts = if spans > 1 { &counts } else { &[] };
            repair.symbol = &symbol;
            let mut out = Vec::new();
            Message::Repair(repair).encode(&mut out, CLOUD, number);
            let _ = cloud.handle_datagram(Time::ZERO, &out);
            prop_assert!(cloud.buffered_bytes() <= ROOM);
            prop_assert_eq!(cloud.stats().tensors_evicted, 0);
        }
        assert_both_end_whole(&mut cloud, &made);
    }
}
