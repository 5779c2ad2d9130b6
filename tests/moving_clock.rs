//! A caller reads its clock anew for every packet: those of one tensor then leave some microseconds
//! apart. What is lost of them is found and repaired as fast as where all leave at one moment.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use tensorwire_protocol::link::LinkConfig;
use tensorwire_protocol::{Event, Redundancy, ReleaseReason, Time};
use tensorwire_tests::{Packet, Pair, Path, assert_exact, outgoing, slices, stream};

/// Source packets of a tensor, one slice each.
const PACKETS: u16 = 12;
const FRAME: Duration = Duration::from_millis(33);
/// One way: a round trip takes 10 ms.
const DELAY: Duration = Duration::from_millis(5);
/// Packets of 1,155 bytes with all headers, on a path of 20 Mbit/s.
const SPACING: Duration = Duration::from_micros(462);
/// The longest time from what a report tells to the report.
const REPORT: Duration = Duration::from_millis(10);
/// The tensor that loses packets, after as many that lose none.
const HIT: u64 = 20;

/// Time from capture to release of a tensor that loses these packets once, in a stream whose packets
/// leave `tick` apart.
fn repaired_after(tick: Duration, lost: &'static [u16]) -> Duration {
    let config = stream(PACKETS, |c| c.retransmission = true);
    let link = LinkConfig {
        delay: DELAY,
        rate: Some(20_000_000),
        ..LinkConfig::default()
    };
    let mut pair = Pair::new(config, Path::symmetric(link));
    pair.tick = tick;
    pair.run_until(Time::from_millis(500));
    let mut gone = BTreeSet::new();
    pair.up_tap.lose_behind(move |_, packet| match packet {
        Packet::Data { tensor, index, .. } => {
            u64::from(*tensor) == HIT && lost.contains(index) && gone.insert(*index)
        }
        _ => false,
    });
    for id in 0..=HIT {
        let tensor = outgoing(id, pair.edge_now(), slices(&[1_100; 12], id));
        pair.edge.send_tensor(pair.edge_now(), tensor).unwrap();
        pair.run_for(FRAME);
    }
    pair.run_for(Duration::from_millis(200));
    assert_eq!(
        pair.edge.stats().packets_retransmitted,
        lost.len() as u64,
        "once each, {tick:?} apart"
    );
    assert_eq!(pair.cloud.stats().duplicates, 0);
    let of_it = pair.cloud_events.iter().find_map(|(_, event)| match event {
        Event::Tensor(tensor) if tensor.info().id.0 == HIT => Some(tensor),
        _ => None,
    });
    let tensor = of_it.unwrap();
    assert_exact(tensor, &slices(&[1_100; 12], HIT), true);
    assert_eq!(tensor.info().reason, ReleaseReason::Complete);
    tensor.info().released - tensor.info().captured
}

/// What each scenario loses.
const LOST: [&[u16]; 4] = [
    &[9, 10, 11],
    &[11],
    &[4],
    &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
];
/// Microseconds from packet to packet: all of a tensor leave within a millisecond.
const TICKS: [u64; 5] = [1, 3, 10, 40, 80];

#[test]
fn a_loss_is_repaired_within_two_round_trips_and_reports() {
    for lost in LOST {
        // All packets pass the bottleneck, the report of what came goes back, the lost ones come again.
        // A report that is sent too early to tell of a loss costs another one.
        let most = SPACING * (12 + lost.len() as u32) + (DELAY + DELAY + REPORT) * 2;
        for tick in [0].into_iter().chain(TICKS) {
            let took = repaired_after(Duration::from_micros(tick), lost);
            assert!(
                took <= most,
                "{lost:?} {tick} µs apart: {took:?}, more than {most:?}"
            );
        }
    }
}

#[test]
fn it_takes_no_longer_than_where_all_leave_at_one_moment() {
    for lost in LOST {
        let at_once = repaired_after(Duration::ZERO, lost);
        for tick in TICKS {
            let took = repaired_after(Duration::from_micros(tick), lost);
            // The packets themselves leave later, and a report may just miss one of them.
            let most = at_once + Duration::from_micros(tick) * 12 + Duration::from_millis(2);
            assert!(
                took <= most,
                "{lost:?} {tick} µs apart: {took:?} and {at_once:?}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Nothing else depends on it either: a stream with losses ends as it does under one moment.
    #[test]
    fn a_stream_ends_as_well(
        fates in prop::collection::vec(prop::bool::weighted(0.1), 97),
        tick in 1_u64..200,
        parity: bool,
    ) {
        let config = stream(PACKETS, |c| {
            c.retransmission = true;
            c.deadline = Duration::from_millis(200);
            let ratio = if parity { 0.25 } else { 0.0 };
            c.redundancy = Redundancy::Fixed { ratio };
        });
        let mut pair = Pair::new(config, Path::delay(5));
        pair.tick = Duration::from_micros(tick);
        pair.run_until(Time::from_millis(500));
        let mut fates = fates.into_iter().cycle();
        pair.up_tap.lose_behind(move |_, packet| packet.tensor().is_some() && fates.next().unwrap());
        for id in 0..44 {
            if id == 40 {
                // The last ones tell what became of those before.
                pair.up_tap.lose_behind(|_, _| false);
            }
            let tensor = outgoing(id, pair.edge_now(), slices(&[1_100; 12], id));
            pair.edge.send_tensor(pair.edge_now(), tensor).unwrap();
            pair.run_for(FRAME);
        }
        pair.run_for(Duration::from_millis(300));
        let stats = *pair.cloud.stats();
        prop_assert_eq!(stats.tensors_complete + stats.tensors_recovered, 44);
        prop_assert_eq!(stats.conflicts + stats.refused.total(), 0);
        for (_, event) in &pair.cloud_events {
            let Event::Tensor(tensor) = event else { panic!("{event:?}") };
            assert_exact(tensor, &slices(&[1_100; 12], tensor.info().id.0), true);
        }
    }
}
