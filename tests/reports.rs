//! FEEDBACK: the round-trip time it yields is right, every tensor's end comes back to the edge, and
//! an idle session is quiet.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use tensorwire_protocol::link::{LinkConfig, LossModel};
use tensorwire_protocol::wire::Load;
use tensorwire_protocol::{Event, Time};
use tensorwire_tests::{Clock, Pair, Path, everything, outgoing, slices, stream};

fn send(pair: &mut Pair, frame: u64) {
    let tensor = outgoing(frame, pair.edge_now(), slices(&[300; 24], frame));
    pair.edge.send_tensor(pair.edge_now(), tensor).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn the_round_trip_time_is_right_within_a_millisecond(
        delay in 0_u64..150,
        offset in 0_u64..3_600,
        ppm in -100_i64..=100,
        period in 3_u64..200,
    ) {
        let path = Path {
            cloud_clock: Clock::new(Duration::from_secs(offset), ppm),
            ..Path::delay(delay)
        };
        let mut pair = Pair::new(stream(24, |_| ()), path);
        for frame in 0..100 {
            send(&mut pair, frame);
            pair.run_for(Duration::from_millis(period));
        }
        let rtt = Duration::from_millis(2 * delay);
        for session in [&pair.edge, &pair.cloud] {
            let smoothed = session.rtt().expect("sampled");
            prop_assert!(smoothed.abs_diff(rtt) < Duration::from_millis(1), "{:?}", smoothed);
            let least = session.least_rtt(pair.now).expect("sampled");
            prop_assert!(least.abs_diff(rtt) < Duration::from_millis(1), "{:?}", least);
        }
    }

    #[test]
    fn every_end_is_told_once_as_it_was(seed: u64, loss in prop_oneof![Just(0.0), 0.0..0.3]) {
        let up = LinkConfig {
            loss: LossModel::independent(loss).unwrap(),
            delay: Duration::from_millis(20),
            seed,
            ..LinkConfig::default()
        };
        let path = Path { up: up.clone(), down: LinkConfig { loss: LossModel::None, ..up }, ..Path::default() };
        let mut pair = Pair::new(stream(24, |_| ()), path);
        for frame in 0..100 {
            send(&mut pair, frame);
            pair.run_for(Duration::from_millis(30));
        }
        pair.run_for(Duration::from_secs(1));
        let mut told = BTreeMap::new();
        for (_, event) in &pair.edge_events {
            let Event::Delivery { tensor, reason, missing_share } = event else { continue };
            let before = told.insert(tensor.0, (reason.name(), f64::from(*missing_share)));
            prop_assert_eq!(before, None, "told twice");
        }
        let mut ends = 0;
        for (_, event) in &pair.cloud_events {
            match event {
                Event::Tensor(tensor) => {
                    let info = tensor.info();
                    let (reason, share) = told[&info.id.0];
                    prop_assert_eq!(reason, info.reason.name());
                    prop_assert!((share - info.missing_share()).abs() < 1.0 / 4_095.0);
                    ends += 1;
                }
                Event::Lost { first, count } => {
                    for id in first.0..first.0 + count {
                        prop_assert_eq!(told[&id], ("lost", 1.0));
                        ends += 1;
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        prop_assert_eq!(told.len(), ends);
    }
}

#[test]
fn reports_wait_ten_milliseconds_at_most() {
    let mut pair = Pair::new(stream(24, |_| ()), Path::delay(20));
    pair.run_until(Time::from_millis(500));
    let before = pair.cloud.stats().datagrams_sent;
    send(&mut pair, 0);
    pair.run_for(Duration::from_micros(29_999));
    assert_eq!(pair.cloud.stats().datagrams_sent, before);
    pair.run_for(Duration::from_micros(1));
    assert_eq!(pair.cloud.stats().datagrams_sent, before + 1);
}

#[test]
fn an_idle_session_pings_about_once_a_second() {
    let mut pair = Pair::new(stream(24, |_| ()), Path::delay(20));
    pair.run_until(Time::from_millis(100_000));
    for session in [&pair.edge, &pair.cloud] {
        let sent = session.stats().datagrams_sent;
        assert!((100..=210).contains(&sent), "{sent} datagrams in 100 s");
    }
}

#[test]
fn load_is_told_and_harmless() {
    let mut pair = Pair::new(stream(24, |_| ()), Path::delay(20));
    pair.cloud.set_load(Load {
        queue_length: 3,
        service_micros: 9_000,
        admission_micros: 0,
    });
    send(&mut pair, 0);
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.edge.stats().refused.total(), 0);
    assert!(pair.edge.rtt().is_some());
}

#[test]
fn a_report_that_was_overtaken_does_not_tell_the_load() {
    let mut pair = Pair::new(stream(24, |_| ()), Path::delay(20));
    let mut report = |millis: u64, queue_length| {
        let now = Time::from_millis(millis);
        pair.cloud.set_load(Load {
            queue_length,
            service_micros: 9_000,
            admission_micros: 0,
        });
        let tensor = outgoing(millis, now, slices(&[300; 24], millis));
        pair.edge.send_tensor(now, tensor).unwrap();
        for datagram in everything(&mut pair.edge, now) {
            pair.cloud.handle_datagram(now, &datagram).unwrap();
        }
        let later = now + Duration::from_millis(30);
        pair.cloud.handle_timeout(later);
        let (mut reports, mut buffer) = (Vec::new(), Vec::new());
        while pair.cloud.poll_transmit(later, &mut buffer).is_some() {
            reports.push(buffer.clone());
        }
        reports
    };
    let (first, second) = (report(0, 3), report(100, 7));
    let now = Time::from_millis(200);
    for datagram in second.iter().chain(&first) {
        pair.edge.handle_datagram(now, datagram).unwrap();
    }
    assert_eq!(pair.edge.peer_load().unwrap().load.queue_length, 7);
}
