//! An unlimited stream uses its bottleneck and hardly queues, whatever is lost by chance, and is marked
//! where the bottleneck marks.

use std::time::Duration;

use tensorwire_protocol::link::{CoDel, LinkConfig, LossModel};
use tensorwire_protocol::{AdaptiveRate, Config, RateControl, Time};
use tensorwire_tests::{Dumbbell, SLICES, Source, stream};

const RATE: u64 = 10_000_000;
const UNLIMITED: Source = Source::Unlimited { bytes: 12_000 };
const END: Time = Time::from_millis(30_000);

fn adaptive(change: impl FnOnce(&mut Config)) -> Config {
    stream(SLICES, |config| {
        config.rate = RateControl::Adaptive(AdaptiveRate::default());
        change(config);
    })
}

/// A queue of 200 ms.
fn link(loss: f64) -> LinkConfig {
    LinkConfig {
        rate: Some(RATE),
        delay: Duration::from_millis(20),
        queue: 250_000,
        loss: LossModel::independent(loss).unwrap(),
        seed: 7,
        ..LinkConfig::default()
    }
}

/// Share of the rate that was used, and the wait that 95 % of packets stayed below, milliseconds.
fn figures(link: LinkConfig, config: Config) -> (f64, f64, Dumbbell) {
    let mut net = Dumbbell::new(link);
    let flow = net.stream(config, UNLIMITED, Time::from_millis(100));
    net.run_until(END);
    let used = net.rate_of(flow, Time::ZERO, END) / RATE as f64;
    let queued = net.queued(Time::ZERO, END);
    let p95 = queued[queued.len() * 95 / 100];
    println!(
        "used {used:.3}, queue p95 {p95:.1} ms, most {:.1} ms",
        queued[queued.len() - 1]
    );
    (used, p95, net)
}

#[test]
fn a_lossless_path_is_used_and_not_queued_on() {
    let (used, p95, _) = figures(link(0.0), adaptive(|_| ()));
    assert!(used >= 0.85 && p95 <= 20.0);
}

#[test]
fn losses_by_chance_are_no_congestion() {
    for loss in [0.05, 0.1] {
        let (used, p95, _) = figures(link(loss), adaptive(|_| ()));
        assert!(used >= 0.85 && p95 <= 20.0);
    }
}

#[test]
fn marks_are_taken_instead_of_losses() {
    let codel = LinkConfig {
        codel: Some(CoDel::default()),
        ..link(0.0)
    };
    let (used, p95, net) = figures(codel, adaptive(|config| config.ecn = true));
    println!("{:?}", net.link_stats());
    assert!(used >= 0.85 && p95 <= 20.0);
    assert_eq!(net.link_stats().overflowed, 0);
}
