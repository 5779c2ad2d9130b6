//! Blocks that span several tensors promise no more than they hold: what their parity cannot repair is
//! sent again, and a tensor that nothing can help ends as early as without them.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use tensorwire_protocol::link::LinkConfig;
use tensorwire_protocol::{Config, Event, ReceivedTensor, Redundancy, ReleaseReason, Time};
use tensorwire_tests::{Packet, Pair, Path, assert_exact, outgoing, slices, stream};

const FRAME: Duration = Duration::from_millis(33);
/// Bits of a packet of one slice of 1,100 bytes with all headers, and the time between two.
const RATE: u64 = 20_000_000;
const SPACING: Duration = Duration::from_micros(462);

fn config(packets: u16, ratio: f64, span: u8, change: impl FnOnce(&mut Config)) -> Config {
    stream(packets, |c| {
        c.redundancy = Redundancy::Fixed { ratio };
        c.span = span;
        change(c);
    })
}

/// A pair whose sides know the path, 5 ms each way.
fn warm(config: Config) -> Pair {
    let mut pair = Pair::new(
        config,
        Path::symmetric(LinkConfig {
            delay: Duration::from_millis(5),
            rate: Some(RATE),
            ..LinkConfig::default()
        }),
    );
    pair.run_until(Time::from_millis(500));
    pair
}

fn lengths(pair: &Pair) -> Vec<usize> {
    vec![1_100; usize::from(pair.cloud.config().slices)]
}

fn send(pair: &mut Pair, tensors: std::ops::Range<u64>, apart: Duration) {
    for id in tensors {
        let tensor = outgoing(id, pair.edge_now(), slices(&lengths(pair), id));
        pair.edge.send_tensor(pair.edge_now(), tensor).unwrap();
        pair.run_for(apart);
    }
}

fn end_of(pair: &Pair, id: u64) -> ReceivedTensor {
    let mut tensors = pair
        .cloud_events
        .iter()
        .filter_map(|(_, event)| match event {
            Event::Tensor(tensor) if tensor.info().id.0 == id => Some(tensor.clone()),
            _ => None,
        });
    let tensor = tensors
        .next()
        .unwrap_or_else(|| panic!("tensor {id} was lost"));
    assert!(tensors.next().is_none(), "tensor {id} ended twice");
    tensor
}

/// One REPAIR packet for the losses of two tensors is not enough, although it is for each alone.
#[test]
fn a_loss_that_shares_its_parity_with_another_is_sent_again() {
    for span in [1, 2, 4] {
        for apart in [FRAME, Duration::from_millis(150)] {
            let mut pair = warm(config(12, 0.1, span, |c| c.retransmission = true));
            send(&mut pair, 0..5, FRAME);
            let mut gone = BTreeSet::new();
            pair.up_tap.lose_behind(move |_, packet| match *packet {
                // The older tensor misses a packet for good, and its parity.
                Packet::Data {
                    tensor: 5,
                    index: 3,
                    ..
                }
                | Packet::Repair { tensor: 5, .. } => true,
                Packet::Data {
                    tensor: 6,
                    index: 5,
                    ..
                } => gone.insert(5),
                _ => false,
            });
            send(&mut pair, 5..7, apart);
            pair.run_for(Duration::from_millis(300));
            let older = end_of(&pair, 5);
            // The parity of the newer one is free for it then, if it came before the older one's end.
            let helped = span > 1 && apart == FRAME;
            assert_eq!(
                older.info().slices_received,
                11 + u16::from(helped),
                "span {span}"
            );
            assert_exact(&older, &slices(&[1_100; 12], 5), helped);
            let newer = end_of(&pair, 6);
            let case = format!("span {span}, {apart:?} apart: {:?}", newer.info());
            assert_exact(&newer, &slices(&[1_100; 12], 6), true);
            let whole = [ReleaseReason::Complete, ReleaseReason::Recovered];
            assert!(whole.contains(&newer.info().reason), "{case}");
            let took = newer.info().released - newer.info().captured;
            assert!(took < Duration::from_millis(60), "{case}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// 8 % of first copies are lost, and nothing that is sent again: there is time for several rounds.
    #[test]
    fn with_retransmission_every_tensor_is_whole(
        fates in prop::collection::vec(prop::bool::weighted(0.08), 331),
        span in 1_u8..=8,
        packets in 1_u16..=20,
        ratio in prop_oneof![Just(0.1), Just(0.25), Just(0.5)],
    ) {
        let config = config(packets, ratio, span, |c| {
            c.retransmission = true;
            c.deadline = Duration::from_millis(150);
        });
        let mut pair = warm(config);
        let (mut fates, mut seen) = (fates.into_iter().cycle(), BTreeSet::new());
        pair.up_tap.lose_behind(move |_, packet| match *packet {
            Packet::Data { tensor, index, .. } => seen.insert((tensor, index)) && fates.next().unwrap(),
            Packet::Repair { .. } => fates.next().unwrap(),
            Packet::Other(_) => false,
        });
        send(&mut pair, 0..40, FRAME);
        pair.run_for(Duration::from_millis(300));
        for id in 0..40 {
            let tensor = end_of(&pair, id);
            assert_exact(&tensor, &slices(&lengths(&pair), id), true);
        }
        prop_assert_eq!(pair.cloud.stats().conflicts, 0);
    }
}

/// When a tensor is told that is wholly lost among others of `packets` packets, after the time at which
/// its first packet would have come.
fn told_after(packets: u16, ratio: f64, span: u8) -> Duration {
    let mut pair = warm(config(packets, ratio, span, |c| {
        c.deadline = Duration::from_millis(300);
    }));
    send(&mut pair, 0..6, FRAME);
    pair.up_tap
        .lose_behind(|_, packet| packet.tensor() == Some(6));
    let sent = pair.now;
    send(&mut pair, 6..12, FRAME);
    pair.run_for(Duration::from_millis(500));
    let lost: Vec<_> = pair
        .cloud_events
        .iter()
        .filter_map(|(at, event)| match event {
            Event::Lost { first, count } => Some((*at, first.0, *count)),
            _ => None,
        })
        .collect();
    assert_eq!(lost.len(), 1, "{packets} packets, span {span}: {lost:?}");
    let (at, first, count) = lost[0];
    assert_eq!((first, count), (6, 1));
    assert_eq!(pair.cloud.stats().tensors_complete, 11);
    at - (sent + Duration::from_millis(5))
}

#[test]
fn a_lost_tensor_of_one_packet_is_told_as_early_as_one_of_more() {
    for span in [1, 2, 3] {
        // Without parity that could restore it: as many frames later as the blocks span, when its packets
        // have passed.
        for (packets, ratio) in [(1, 0.0), (2, 0.0), (4, 0.25)] {
            let took = told_after(packets, ratio, span);
            let most = FRAME * u32::from(span)
                + SPACING * u32::from(packets + 2) * 2
                + Duration::from_millis(2);
            assert!(took <= most, "{packets} packets, span {span}: {took:?}");
        }
    }
}

/// With parity of its own, which is lost as well.
#[test]
fn so_is_one_with_parity() {
    for packets in [1, 2, 4] {
        let took = told_after(packets, 1.0, 1);
        let most = FRAME + SPACING * u32::from(packets + 1) * 4 + Duration::from_millis(2);
        assert!(took <= most, "{packets} packets: {took:?}");
    }
}
