//! A tensor with slices missing, which a retransmission could still help, is released at its capture
//! plus the deadline, by true time, although neither side knows the other's clock: one may be an hour
//! off and run 100 ppm fast or slow.

use std::time::Duration;

use proptest::prelude::*;
use tensorwire_protocol::link::{LinkConfig, LossModel};
use tensorwire_protocol::{Event, ReleaseReason, Session, Time};
use tensorwire_tests::{Clock, Pair, Path, configs, outgoing, slices, stream, tensor};

const DEADLINE: Duration = Duration::from_millis(80);

/// Either way: short enough for a report to be answered before the deadline, jitter and what is made of
/// it included.
const DELAY: Duration = Duration::from_millis(5);

/// What the mapping may err by beside the drift: half of an age's 64 µs, and what clocks that are
/// 100 ppm apart differ by over a round trip and a deadline.
const ERROR: Duration = Duration::from_micros(60);

/// The most that the mapping of a tensor captured then can err by on a path without queues
/// (wire-format.md, 8.3.3): clocks 100 ppm apart drift 0.5 ms in the window, or more where the newest
/// sample is older.
fn error(pair: &Pair, captured: Time) -> Duration {
    let newest = pair.cloud_told.iter().rev().find(|told| **told <= captured);
    let arrived = captured + DELAY;
    // Samples within half a second share a part of the window.
    let age = arrived - *newest.unwrap() + Duration::from_millis(500);
    age.max(Duration::from_secs(5)) / 10_000 + ERROR
}

fn releases_keep_to_the_deadline(path: Path, jitter: Duration, until: Time) -> (u32, u32) {
    let mut pair = Pair::waiting(stream(40, |c| c.deadline = DEADLINE), path);
    // Before the first sample of the round trip, nothing is known of the delay.
    while pair.cloud.rtt().is_none() || pair.cloud_told.is_empty() {
        pair.step();
    }
    let (mut captured, mut checked, mut complete) = (Vec::new(), 0, 0);
    while pair.now < until {
        let frame = captured.len() as u64;
        captured.push(pair.now);
        let tensor = outgoing(frame, pair.edge_now(), slices(&[140; 40], frame));
        pair.edge.send_tensor(pair.edge_now(), tensor).unwrap();
        pair.run_for(Duration::from_millis(170));
        for (at, event) in std::mem::take(&mut pair.cloud_events) {
            let Event::Tensor(tensor) = event else {
                continue;
            };
            let captured = captured[tensor.info().id.0 as usize];
            let error = error(&pair, captured) + jitter;
            if tensor.info().reason == ReleaseReason::Complete {
                complete += 1;
                assert!(at <= captured + DEADLINE + error);
                continue;
            }
            checked += 1;
            let took = at - captured;
            assert!(took + error >= DEADLINE, "early: {took:?} at {at:?}");
            assert!(took <= DEADLINE + error, "late: {took:?} at {at:?}");
        }
    }
    (checked, complete)
}

fn path(seed: u64, jitter: Duration, edge_clock: Clock, cloud_clock: Clock) -> Path {
    let link = LinkConfig {
        loss: LossModel::independent(0.2).unwrap(),
        delay: DELAY,
        jitter,
        seed,
        ..LinkConfig::default()
    };
    Path {
        edge_clock,
        cloud_clock,
        ..Path::symmetric(link)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn with_clocks_that_disagree(
        seed: u64,
        edge_ahead: bool,
        offset in 0_u64..=3_600_000_000,
        ppm in prop_oneof![Just(-100_i64), Just(100), -100_i64..=100],
    ) {
        let odd = Clock::new(Duration::from_micros(offset), ppm);
        let true_clock = Clock::default();
        let (edge, cloud) = if edge_ahead { (odd, true_clock) } else { (true_clock, odd) };
        let path = path(seed, Duration::ZERO, edge, cloud);
        let (checked, complete) =
            releases_keep_to_the_deadline(path, Duration::ZERO, Time::from_millis(180_000));
        prop_assert!(checked > 200 && complete > 50, "{} {}", checked, complete);
    }

    /// Jitter that the least samples of the window have left adds to the error, on either side: it
    /// delays the sample of the offset, and lengthens that of the round trip.
    #[test]
    fn with_jitter(seed: u64, ppm in -100_i64..=100) {
        let hour = Clock::new(Duration::from_secs(3_600), ppm);
        let jitter = Duration::from_millis(10);
        let path = path(seed, jitter, hour, Clock::default());
        let (checked, _) = releases_keep_to_the_deadline(path, jitter, Time::from_millis(120_000));
        prop_assert!(checked > 100);
    }

    /// The 32 bits of a timestamp wrap while the stream runs.
    #[test]
    fn across_the_wrap_of_the_timestamps(seed: u64, before in 0_u64..20_000_000) {
        let clock = Clock::new(Duration::from_micros((1 << 32) - before), -100);
        let path = path(seed, Duration::ZERO, clock, Clock::default());
        let until = Time::from_millis(25_000);
        let (checked, _) = releases_keep_to_the_deadline(path, Duration::ZERO, until);
        prop_assert!(checked > 20);
    }
}

#[test]
fn a_packet_after_the_deadline_does_not_profit_from_a_late_caller() {
    let (edge, mut cloud) = configs(stream(40, |c| c.deadline = DEADLINE));
    cloud.retransmission = true;
    let mut edge = Session::new(edge, Time::ZERO).unwrap();
    let mut cloud = Session::new(cloud, Time::ZERO).unwrap();
    let (_, packets) = tensor(&mut edge, Time::ZERO, 0, &[100; 40]);
    let (last, others) = packets.split_last().unwrap();
    for packet in others {
        cloud.handle_datagram(Time::ZERO, packet).unwrap();
    }
    // The timer has expired, but the caller hands in the datagram first.
    let late = Time::ZERO + DEADLINE + Duration::from_millis(50);
    cloud.handle_datagram(late, last).unwrap();
    let events = std::iter::from_fn(|| cloud.poll_event());
    let released: Vec<_> = tensorwire_tests::released(events);
    assert_eq!(released.len(), 1);
    assert_eq!(released[0].info().reason, ReleaseReason::Deadline);
    assert_eq!(cloud.stats().late, 1);
}
