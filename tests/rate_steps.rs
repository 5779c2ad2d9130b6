//! The path becomes seven times slower, and as fast as before: the queue stays short, the new rate is
//! used soon, and nothing late is delivered.

use std::time::Duration;

use tensorwire_protocol::link::LinkConfig;
use tensorwire_protocol::{AdaptiveRate, RateControl, Time};
use tensorwire_tests::{Dumbbell, SLICES, Source, stream};

const FAST: u64 = 20_000_000;
const SLOW: u64 = 3_000_000;
const UNLIMITED: Source = Source::Unlimited { bytes: 12_000 };

const fn at(seconds: u64) -> Time {
    Time::from_millis(seconds * 1_000)
}

#[test]
fn a_step_of_the_rate_is_followed_both_ways() {
    // A queue of a second at the lower rate.
    let mut net = Dumbbell::new(LinkConfig {
        rate: Some(FAST),
        delay: Duration::from_millis(20),
        queue: 375_000,
        ..LinkConfig::default()
    });
    let config = stream(SLICES, |config| {
        config.rate = RateControl::Adaptive(AdaptiveRate::default());
    });
    let flow = net.stream(config, UNLIMITED, Time::from_millis(100));
    net.run_until(at(20));
    net.set_rate(SLOW);
    net.run_until(at(40));
    net.set_rate(FAST);
    net.run_until(at(60));

    let most = |from, to| net.queued(from, to).last().copied().unwrap();
    let peak = most(at(20), at(40));
    let after = most(at(21), at(40));
    let used = |from, to, rate| net.rate_of(flow, from, to) / rate as f64;
    let second = used(at(41), at(42), FAST);
    let third = used(at(42), at(43), FAST);
    println!("peak {peak:.0} ms, after a second {after:.1} ms");
    println!("used {second:.3} in the second second after the step up, {third:.3} in the third");
    let whole = [
        (at(1), at(20), FAST),
        (at(22), at(40), SLOW),
        (at(42), at(60), FAST),
    ];
    let whole = whole.map(|(from, to, rate)| used(from, to, rate));
    println!("used in the long run {whole:.3?}");
    for ms in (0..2_000).step_by(100) {
        let from = at(40) + Duration::from_millis(ms);
        print!(
            "{:.2} ",
            used(from, from + Duration::from_millis(100), FAST)
        );
    }
    println!();
    for ms in (0..2_000).step_by(100) {
        let from = at(20) + Duration::from_millis(ms);
        print!("{:.0} ", most(from, from + Duration::from_millis(100)));
    }
    println!();
    assert!(peak <= 400.0 && after < 25.0);
    assert!(third >= 0.85);
    assert!(whole.iter().all(|used| *used >= 0.85), "{whole:?}");
    for tensor in &net.of(flow).released {
        assert!(tensor.released - tensor.captured <= Duration::from_millis(100));
    }
}
