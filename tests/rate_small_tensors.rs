//! Tensors of a single packet make no trains, and tell nothing of what else the path would take. A sender that
//! wants to know measures it again, and costs the stream little.

use std::time::Duration;

use tensorwire_protocol::link::LinkConfig;
use tensorwire_protocol::{AdaptiveRate, RateControl, Time};
use tensorwire_tests::{Dumbbell, SLICES, Source, stream};

const INTERVAL: Duration = Duration::from_millis(5);
/// Two hundred a second: 0.8 Mbit/s.
const STREAM: Source = Source::Periodic {
    bytes: 430,
    interval: INTERVAL,
};
const MBIT: u64 = 1_000_000;

/// What is known of the bottleneck 1.5 s after it went from 1 to 20 Mbit/s, Mbit/s, if anything; and how long packets
/// waited at most while it had 1, milliseconds. `measures` is whether the sender measures when it may.
fn after_the_step(measures: bool) -> (Option<f64>, f64) {
    let mut net = Dumbbell::new(LinkConfig {
        rate: Some(10 * MBIT),
        delay: Duration::from_millis(20),
        ..LinkConfig::default()
    });
    let config = stream(SLICES, |config| {
        config.rate = RateControl::Adaptive(AdaptiveRate::default());
        config.deadline = Duration::from_millis(100);
    });
    let flow = net.stream(config, STREAM, Time::from_millis(500));
    let run = |net: &mut Dumbbell, until: u64| {
        while net.now < Time::from_millis(until) {
            net.run_until(net.now + INTERVAL);
            let now = net.now;
            if measures {
                net.of_mut(flow).edge.probe(now);
            }
        }
    };
    run(&mut net, 3_000);
    net.set_rate(MBIT);
    run(&mut net, 10_000);
    net.set_rate(20 * MBIT);
    run(&mut net, 11_500);
    let known = net.of(flow).edge.path(net.now).bottleneck;
    let queued = net.queued(Time::from_millis(5_000), Time::from_millis(10_000));
    let longest = queued.into_iter().fold(0.0, f64::max);
    (known.map(|rate| rate as f64 / 1e6), longest)
}

#[test]
fn a_path_that_became_faster_is_noticed_by_measuring_it() {
    let (known, longest) = after_the_step(true);
    assert!(
        known.is_some_and(|rate| (16.0..=24.0).contains(&rate)),
        "{known:?} Mbit/s"
    );
    // Four packets of 1,228 bytes and what came meanwhile.
    assert!(longest < 60.0, "{longest} ms");
    let (unknown, alone) = after_the_step(false);
    assert!(
        unknown.is_none() && alone < longest,
        "{unknown:?}, {alone} ms"
    );
}
