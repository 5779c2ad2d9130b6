//! A stream far below the rate of its path is as fast as the path: pacing costs nothing, since trains
//! leave as fast as the bottleneck takes them.

use std::time::Duration;

use tensorwire_protocol::link::{LinkConfig, LossModel};
use tensorwire_protocol::{AdaptiveRate, RateControl, Redundancy, Time};
use tensorwire_tests::{Dumbbell, SLICES, Source, stream};

const RATE: u64 = 20_000_000;
const DELAY: Duration = Duration::from_millis(20);
const STREAM: Source = Source::Periodic {
    bytes: 12_000,
    interval: Duration::from_micros(33_333),
};

#[test]
fn the_median_is_within_a_twentieth_of_the_limit() {
    for loss in [0.0, 0.01, 0.05, 0.1] {
        for deadline in [35, 100] {
            let mut net = Dumbbell::new(LinkConfig {
                rate: Some(RATE),
                delay: DELAY,
                loss: LossModel::independent(loss).unwrap(),
                seed: 11,
                ..LinkConfig::default()
            });
            let config = stream(SLICES, |config| {
                config.rate = RateControl::Adaptive(AdaptiveRate::default());
                config.deadline = Duration::from_millis(deadline);
                config.retransmission = deadline == 100;
                config.redundancy = Redundancy::Fixed {
                    ratio: if loss > 0.01 { 0.4 } else { 0.2 },
                };
            });
            let flow = net.stream(config, STREAM, Time::from_millis(500));
            net.run_until(Time::from_millis(100_500));
            let tensors = &net.of(flow).released;
            let mut took: Vec<f64> = tensors
                .iter()
                .map(|tensor| (tensor.released - tensor.captured).as_secs_f64() * 1e3)
                .collect();
            let whole = tensors
                .iter()
                .filter(|t| t.slices_received == t.slices)
                .count();
            took.sort_by(f64::total_cmp);
            // Eleven packets, with their headers.
            let limit = (12_000.0 + 11.0 * 58.0) * 8e3 / RATE as f64 + 20.0;
            let [p50, p99] = [50, 99].map(|p| took[took.len() * p / 100]);
            println!(
                "loss {loss} deadline {deadline}: {} tensors, p50 {:.3} p99 {:.3} of {limit:.2} ms, whole {:.4}, path {:?}",
                tensors.len(),
                p50 / limit,
                p99 / limit,
                whole as f64 / tensors.len() as f64,
                net.of(flow).edge.path(net.now),
            );
            assert!(p50 <= 1.05 * limit);
        }
    }
}
