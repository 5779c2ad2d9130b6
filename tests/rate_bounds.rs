//! A sender never sends much more than the path takes, however it probes; a rate that is given is kept.

use std::time::Duration;

use tensorwire_protocol::link::{LinkConfig, LossModel};
use tensorwire_protocol::{AdaptiveRate, RateControl, Redundancy, Time};
use tensorwire_tests::{Dumbbell, SLICES, Source, stream};

const MS: Duration = Duration::from_millis(1);
const UNLIMITED: Source = Source::Unlimited { bytes: 12_000 };
const STREAM: Source = Source::Periodic {
    bytes: 12_000,
    interval: Duration::from_micros(33_333),
};

const fn at(millis: u64) -> Time {
    Time::from_millis(millis)
}

fn link(rate: u64) -> LinkConfig {
    LinkConfig {
        rate: Some(rate),
        delay: 20 * MS,
        queue: 1 << 20,
        ..LinkConfig::default()
    }
}

fn adaptive() -> RateControl {
    RateControl::Adaptive(AdaptiveRate::default())
}

/// Probing sends a quarter more than the bottleneck takes for a round trip and a report at most: 50 ms
/// here. The first packets of an unknown path are ten.
#[test]
fn a_probe_queues_no_more_than_a_quarter_of_a_round_trip() {
    for rate in [1_000_000, 3_000_000, 10_000_000, 50_000_000, 200_000_000] {
        let mut net = Dumbbell::new(link(rate));
        let config = stream(SLICES, |config| config.rate = adaptive());
        net.stream(config, UNLIMITED, at(100));
        net.run_until(at(10_000));
        let most = |from, to| net.queued(from, to).last().copied().unwrap();
        let packets = |count: f64| count * 1_228.0 * 8e3 / rate as f64;
        let [begin, later] = [most(at(0), at(1_000)), most(at(1_000), at(10_000))];
        println!("{rate}: {begin:.1} ms at the beginning, {later:.1} ms later");
        assert!(begin <= packets(10.0) + 12.5);
        assert!(later <= packets(4.0) + 12.5);
    }
}

#[test]
fn what_the_application_limits_neither_decays_nor_grows_without_bound() {
    let mut net = Dumbbell::new(link(20_000_000));
    let config = stream(SLICES, |config| config.rate = adaptive());
    let flow = net.stream(config, STREAM, at(100));
    let mut windows = Vec::new();
    for second in 1..=60 {
        net.run_until(at(second * 1_000));
        windows.push(net.of(flow).edge.path(net.now).window.unwrap());
    }
    let settled = &windows[2..];
    let [least, most] = [settled.iter().min().unwrap(), settled.iter().max().unwrap()];
    println!("{least} to {most} bytes");
    // Two tensors are on their way at once, twice that may be.
    assert!(*least >= 24_000 && *most <= 4 * 26_000);

    net.of_mut(flow).set_source(UNLIMITED);
    net.run_until(at(61_000));
    let used = net.rate_of(flow, at(60_200), at(60_700)) / 20e6;
    println!("used {used:.3} of the rate from 0.2 s after the application has more");
    assert!(used >= 0.85);
}

#[test]
fn losses_far_beyond_chance_are_answered_though_nothing_queues() {
    let mut net = Dumbbell::new(link(100_000_000));
    let config = stream(SLICES, |config| {
        config.rate = RateControl::Adaptive(AdaptiveRate {
            most: 20_000_000,
            ..AdaptiveRate::default()
        });
    });
    let flow = net.stream(config, UNLIMITED, at(100));
    net.run_until(at(5_000));
    let before = net.rate_of(flow, at(3_000), at(5_000));
    net.set_loss(LossModel::independent(0.4).unwrap(), 3);
    net.run_until(at(10_000));
    let window = net.of(flow).edge.path(net.now).rate.unwrap();
    println!("{before:.0} bit/s before, may send {window} bit/s at 40 % of loss");
    assert!(before >= 17e6);
    assert!(window <= 14_000_000);
    net.set_loss(LossModel::independent(0.05).unwrap(), 4);
    net.run_until(at(15_000));
    assert!(net.rate_of(flow, at(12_000), at(15_000)) >= 0.85 * 0.95 * 20e6);
}

#[test]
fn a_fixed_rate_is_kept_parity_included() {
    let mut net = Dumbbell::new(link(20_000_000));
    let config = stream(SLICES, |config| {
        config.rate = RateControl::Fixed {
            bits_per_second: 4_000_000,
        };
        config.redundancy = Redundancy::Fixed { ratio: 0.3 };
        config.deadline = 200 * MS;
    });
    let flow = net.stream(config, UNLIMITED, at(100));
    net.run_until(at(10_000));
    let rate = net.rate_of(flow, at(1_000), at(10_000));
    assert!((3.9e6..=4.02e6).contains(&rate), "{rate}");
    assert!(net.queued(at(0), at(10_000)).last().unwrap() < &2.0);
}
