//! Blocks that span several tensors: the parity of later tensors repairs earlier ones, before their
//! deadline.

use std::time::Duration;

use proptest::prelude::*;
use tensorwire_protocol::link::LinkConfig;
use tensorwire_protocol::{Config, Event, Redundancy, ReleaseReason};
use tensorwire_tests::{Packet, Pair, Path, assert_exact, outgoing, released, slices, stream};

const FRAME: Duration = Duration::from_millis(33);
const DEADLINE: Duration = Duration::from_millis(100);

/// Tensors of `packets` source packets, one slice each, whose blocks span `span` of them.
fn config(packets: u16, ratio: f64, span: u8) -> Config {
    stream(packets, |c| {
        c.redundancy = Redundancy::Fixed { ratio };
        c.span = span;
        c.deadline = DEADLINE;
    })
}

fn path() -> Path {
    Path::symmetric(LinkConfig {
        delay: Duration::from_millis(20),
        rate: Some(20_000_000),
        ..LinkConfig::default()
    })
}

/// Sends so many tensors of which the packets that `lost` names are lost; the cloud's events.
fn run(config: Config, tensors: u64, mut lost: impl FnMut(Packet) -> bool + 'static) -> Pair {
    let lengths = vec![1_000; usize::from(config.slices)];
    let mut pair = Pair::new(config, path());
    pair.up_tap.lose(move |_, packet| lost(*packet));
    pair.up_tap.record();
    pair.run_until(pair.now + Duration::from_millis(300));
    for id in 0..tensors {
        let tensor = outgoing(id, pair.edge_now(), slices(&lengths, id));
        pair.edge.send_tensor(pair.edge_now(), tensor).unwrap();
        pair.run_for(FRAME);
        assert!(pair.cloud.buffered_bytes() <= pair.cloud.config().limits.bytes_in_progress);
    }
    pair.run_for(Duration::from_secs(1));
    pair
}

/// Fails unless all tensors are whole and exact in time; how many packets each had repaired.
fn repaired(pair: &mut Pair, tensors: u64) -> Vec<u32> {
    let slots = usize::from(pair.cloud.config().slices);
    let mut got = released(pair.cloud_events.drain(..).map(|(_, event)| event));
    got.sort_by_key(|tensor| tensor.info().id);
    assert_eq!(got.len() as u64, tensors);
    let check = |tensor: tensorwire_protocol::ReceivedTensor| {
        let info = *tensor.info();
        assert_exact(&tensor, &slices(&vec![1_000; slots], info.id.0), true);
        assert!(info.released - info.captured < DEADLINE, "{info:?}");
        let repaired = info.packets_recovered;
        let expected = [ReleaseReason::Complete, ReleaseReason::Recovered];
        assert_eq!(info.reason, expected[usize::from(repaired > 0)]);
        repaired
    };
    got.into_iter().map(check).collect()
}

#[test]
fn a_wholly_lost_tensor_is_repaired_by_those_after_it() {
    // Four packets and four of parity: the block of the next tensor has four symbols for the four
    // packets that it lacks.
    let lost = |packet: Packet| packet.tensor() == Some(6);
    let alone = run(config(4, 1.0, 1), 20, lost);
    assert_eq!(alone.cloud.stats().tensors_lost, 1);
    let mut pair = run(config(4, 1.0, 3), 20, lost);
    let repaired = repaired(&mut pair, 20);
    assert_eq!(repaired.iter().sum::<u32>(), 4);
    assert_eq!(repaired[6], 4);
    assert_eq!(pair.cloud.stats().packets_recovered, 4);
    assert_eq!(pair.cloud.stats().tensors_lost, 0);
}

#[test]
fn a_burst_beyond_one_tensors_parity_is_repaired() {
    // Ten packets and two of parity: a burst takes the last two and the parity, another one
    // the parity of the next tensor.
    let lost = |packet: Packet| match packet {
        Packet::Data {
            tensor: 8, index, ..
        } => index >= 8,
        Packet::Repair { tensor: 8 | 9, .. } => true,
        _ => false,
    };
    let alone = run(config(10, 0.2, 1), 20, lost);
    assert_eq!(alone.cloud.stats().tensors_exhausted, 1);
    let mut pair = run(config(10, 0.2, 3), 20, lost);
    let repaired = repaired(&mut pair, 20);
    assert_eq!(repaired[8], 2, "by the parity of tensor 10");
    assert_eq!(pair.cloud.stats().packets_recovered, 2);
}

#[test]
fn losses_beyond_one_tensors_parity_are_repaired_by_several_together() {
    // Two of parity for ten packets: no block alone restores the five that tensor 8 lost, but its own
    // parity and that of the two tensors after it together do, those being whole.
    let lost =
        |packet: Packet| matches!(packet, Packet::Data { tensor: 8, index, .. } if index < 5);
    let alone = run(config(10, 0.2, 1), 20, lost);
    assert_eq!(alone.cloud.stats().tensors_exhausted, 1);
    let mut pair = run(config(10, 0.2, 3), 20, lost);
    let repaired = repaired(&mut pair, 20);
    assert_eq!((repaired[8], repaired.iter().sum::<u32>()), (5, 5));
}

#[test]
fn the_first_and_the_last_tensors_have_blocks_too() {
    let lost = |packet: Packet| {
        matches!(
            packet,
            Packet::Data {
                tensor: 0 | 9,
                index: 1..3,
                ..
            }
        )
    };
    let mut pair = run(config(10, 0.2, 4), 10, lost);
    let repaired = repaired(&mut pair, 10);
    assert_eq!((repaired[0], repaired[9]), (2, 2));
    let spans = pair
        .up_tap
        .log()
        .iter()
        .filter_map(|(_, packet)| match packet {
            Packet::Repair {
                tensor, span, k, ..
            } => Some((*tensor, *span, *k)),
            _ => None,
        });
    for (tensor, span, k) in spans {
        let expected = (tensor + 1).min(4);
        assert_eq!((u16::from(span), u16::from(k)), (expected, 10 * expected));
    }
}

#[test]
fn a_block_goes_back_over_no_more_than_fit_into_it() {
    // Of 30 packets each, two tensors fit into 64.
    let pair = run(config(30, 0.1, 8), 6, |_| false);
    for (_, packet) in pair.up_tap.log() {
        if let Packet::Repair {
            tensor, span, k, ..
        } = packet
        {
            assert_eq!(u16::from(*span), (*tensor + 1).min(2));
            assert_eq!(u16::from(*k), 30 * (*tensor + 1).min(2));
        }
    }
    // Larger ones have blocks of their own.
    let mut pair = run(config(70, 0.1, 4), 4, |packet| {
        matches!(packet, Packet::Data { index: 11..14, .. })
    });
    assert_eq!(repaired(&mut pair, 4), [3; 4]);
}

#[test]
fn what_nothing_can_repair_ends_when_no_block_spans_it_any_more() {
    let lost = |packet: Packet| packet.tensor().is_some_and(|id| (6..9).contains(&id));
    let mut pair = run(config(10, 0.2, 2), 20, lost);
    let lost: Vec<u64> = pair
        .cloud_events
        .iter()
        .filter_map(|(_, event)| match event {
            Event::Lost { first, count } => Some((first.0..first.0 + count).collect::<Vec<_>>()),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(lost, [6, 7, 8]);
    pair.cloud_events
        .retain(|(_, event)| !matches!(event, Event::Lost { .. }));
    let got = released(pair.cloud_events.drain(..).map(|(_, event)| event));
    assert_eq!(got.len(), 17);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is lost, nothing that is released is other than it was sent, every tensor ends once,
    /// and memory stays within its limit, which leaves room for hardly more than one tensor.
    #[test]
    fn any_losses(
        fates in prop::collection::vec(prop::bool::weighted(0.25), 400),
        span in 2_u8..=16,
        packets in 1_u16..20,
        retransmission: bool,
        tight: bool,
    ) {
        let mut config = config(packets, 0.4, span);
        config.retransmission = retransmission;
        if tight {
            config.limits.bytes_in_progress = 1_200 * usize::from(packets) + 3_000;
        }
        let mut fates = fates.into_iter().cycle();
        let pair = run(config, 20, move |packet| packet.tensor().is_some() && fates.next().unwrap());
        let mut ends = vec![0; 20];
        for (_, event) in &pair.cloud_events {
            match event {
                Event::Tensor(tensor) => {
                    let info = tensor.info();
                    let whole = info.slices_received == packets;
                    let sent = slices(&vec![1_000; usize::from(packets)], info.id.0);
                    assert_exact(tensor, &sent, whole);
                    ends[info.id.0 as usize] += 1;
                }
                Event::Lost { first, count } => {
                    (first.0..first.0 + count).for_each(|id| ends[id as usize] += 1);
                }
                other => panic!("{other:?}"),
            }
        }
        let known = ends.iter().rposition(|n| *n > 0).map_or(0, |last| last + 1);
        prop_assert!(ends[..known].iter().all(|n| *n == 1), "{:?}", ends);
        prop_assert_eq!(pair.cloud.stats().conflicts, 0);
        prop_assert_eq!(pair.cloud.tensors_in_progress(), 0);
    }
}
