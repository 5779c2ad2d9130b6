//! Streams share a bottleneck fairly, and hold their own beside TCP without starving it.

use std::time::Duration;

use tensorwire_protocol::link::LinkConfig;
use tensorwire_protocol::{AdaptiveRate, Config, RateControl, Time};
use tensorwire_tests::{Dumbbell, SLICES, Source, stream};

const UNLIMITED: Source = Source::Unlimited { bytes: 12_000 };

const fn at(seconds: u64) -> Time {
    Time::from_millis(seconds * 1_000)
}

fn adaptive() -> Config {
    stream(SLICES, |config| {
        config.rate = RateControl::Adaptive(AdaptiveRate::default());
    })
}

/// Both ways 20 ms, a queue of so many round trips.
fn link(rate: u64, queue: f64) -> LinkConfig {
    LinkConfig {
        rate: Some(rate),
        delay: Duration::from_millis(20),
        queue: (rate as f64 / 8.0 * 0.04 * queue) as usize,
        ..LinkConfig::default()
    }
}

/// Jain's index of fairness.
fn jain(rates: &[f64]) -> f64 {
    let squares: f64 = rates.iter().map(|rate| rate * rate).sum();
    rates.iter().sum::<f64>().powi(2) / (rates.len() as f64 * squares)
}

#[test]
fn streams_that_come_one_after_another_get_equal_shares() {
    for flows in [2, 4] {
        for rate in [10_000_000, 20_000_000] {
            let mut net = Dumbbell::new(link(rate, 5.0));
            for flow in 0..flows {
                net.stream(
                    adaptive(),
                    UNLIMITED,
                    at(flow * 10) + Duration::from_millis(100),
                );
            }
            let end = at(flows * 10 + 30);
            net.run_until(end);
            let from = end - Duration::from_secs(20);
            let rates: Vec<f64> = (0..flows as usize)
                .map(|flow| net.rate_of(flow, from, end) / 1e6)
                .collect();
            let queued = net.queued(from, end);
            let [p50, p95] = [50, 95].map(|p| queued[queued.len() * p / 100]);
            println!(
                "{rate} {rates:.2?} jain {:.4} queue {p50:.1} {p95:.1}",
                jain(&rates)
            );
            assert!(jain(&rates) >= 0.95);
            assert!(rates.iter().sum::<f64>() >= 0.85 * rate as f64 / 1e6);
        }
    }
}

#[test]
fn beside_cubic_neither_starves() {
    for rate in [10_000_000, 20_000_000] {
        for first in ["stream", "cubic"] {
            let mut net = Dumbbell::new(link(rate, 1.0));
            let late = at(10);
            let (stream, bulk) = if first == "stream" {
                (Time::from_millis(100), late)
            } else {
                (late, Time::from_millis(100))
            };
            let stream = net.stream(adaptive(), UNLIMITED, stream);
            let bulk = net.bulk(bulk);
            net.run_until(at(60));
            for s in (10..60).step_by(5) {
                print!(
                    "{:.2} ",
                    net.rate_of(stream, at(s), at(s + 5)) / rate as f64
                );
            }
            println!();
            let share = |flow| net.rate_of(flow, at(20), at(60)) / rate as f64;
            let [ours, theirs] = [stream, bulk].map(share);
            println!("{rate} {first} first: stream {ours:.3}, CUBIC {theirs:.3}");
            assert!((0.2..=0.8).contains(&ours) && theirs >= 0.2);
        }
    }
}
