//! A path that becomes longer looks like a queue at first; ten seconds later it is the path.

use std::time::Duration;

use tensorwire_protocol::link::LinkConfig;
use tensorwire_protocol::{AdaptiveRate, RateControl, Time};
use tensorwire_tests::{Dumbbell, SLICES, Source, stream};

const fn at(seconds: u64) -> Time {
    Time::from_millis(seconds * 1_000)
}

#[test]
fn the_longer_path_is_used_and_not_queued_on() {
    for (before, after) in [(20, 25), (20, 40), (20, 120), (40, 20)] {
        let mut net = Dumbbell::new(LinkConfig {
            rate: Some(10_000_000),
            delay: Duration::from_millis(before),
            queue: 250_000,
            ..LinkConfig::default()
        });
        let config = stream(SLICES, |config| {
            config.rate = RateControl::Adaptive(AdaptiveRate::default());
        });
        let flow = net.stream(config, Source::Unlimited { bytes: 12_000 }, at(1));
        net.run_until(at(20));
        net.set_delay(Duration::from_millis(after));
        net.run_until(at(60));
        let used = |from, to| net.rate_of(flow, at(from), at(to)) / 10e6;
        let queued = net.queued(at(32), at(60));
        let p95 = queued[queued.len() * 95 / 100];
        println!(
            "{before} to {after} ms: used {:.3} in the first ten seconds, {:.3} later, queue p95 {p95:.1} ms",
            used(20, 30),
            used(32, 60),
        );
        assert!(used(32, 60) >= 0.85 && p95 <= 20.0);
    }
}
