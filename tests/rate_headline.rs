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
/// Bytes of the eleven packets of a tensor, headers included, over the rate, and the delay; milliseconds.
const LIMIT: f64 = (12_000.0 + 11.0 * 58.0) * 8e3 / RATE as f64 + 20.0;

/// The path of the headline.
fn path(loss: LossModel, seed: u64) -> Dumbbell {
    Dumbbell::new(LinkConfig {
        rate: Some(RATE),
        delay: DELAY,
        loss,
        seed,
        ..LinkConfig::default()
    })
}

/// Releases of three thousand tensors: sorted milliseconds from capture, and the share that was whole.
fn releases(loss: LossModel, deadline: u64, parity: f64, seed: u64) -> (Vec<f64>, f64) {
    let mut net = path(loss, seed);
    let config = stream(SLICES, |config| {
        config.rate = RateControl::Adaptive(AdaptiveRate::default());
        config.deadline = Duration::from_millis(deadline);
        config.retransmission = deadline == 100;
        config.redundancy = Redundancy::Fixed { ratio: parity };
    });
    let flow = net.stream(config, STREAM, Time::from_millis(500));
    net.run_until(Time::from_millis(100_500));
    let tensors = &net.of(flow).released;
    let took = tensors
        .iter()
        .map(|tensor| tensor.released - tensor.captured);
    let mut took: Vec<f64> = took.map(|took| took.as_secs_f64() * 1e3).collect();
    took.sort_by(f64::total_cmp);
    let whole = tensors.iter().filter(|t| t.slices_received == t.slices);
    (took, whole.count() as f64 / tensors.len() as f64)
}

#[test]
fn tensors_are_as_fast_as_the_path() {
    let independent = |rate| LossModel::independent(rate).unwrap();
    let bursts = LossModel::gilbert(0.05, 4.0).unwrap();
    let cells = [
        ("none", independent(0.0), 0.1),
        ("1 %", independent(0.01), 0.2),
        ("5 %", independent(0.05), 0.3),
        ("10 %", independent(0.1), 0.4),
        ("bursts", bursts, 0.4),
    ];
    for (name, loss, parity) in cells {
        for deadline in [35, 100] {
            let (took, whole) = releases(loss.clone(), deadline, parity, 11);
            let [p50, p99] = [50, 99].map(|percent| took[took.len() * percent / 100]);
            println!(
                "loss {name}, deadline {deadline} ms: {} tensors, p50 {:.3} and p99 {:.3} of {LIMIT:.2} ms, whole {whole:.4}",
                took.len(),
                p50 / LIMIT,
                p99 / LIMIT,
            );
            // A burst now and then takes a whole tensor.
            assert!(took.len() >= if name == "bursts" { 2_985 } else { 2_999 });
            assert!(p50 <= 1.05 * LIMIT);
            // How many are whole is a matter of parity; pacing must not make their last packets late.
            assert!(
                p99 <= if deadline == 35 {
                    1.25 * LIMIT
                } else {
                    LIMIT + 40.0 + 10.0
                }
            );
        }
    }
}

#[test]
fn a_second_round_makes_nearly_every_tensor_whole() {
    let (mut tensors, mut whole) = (0.0, 0.0);
    for seed in 1..=8 {
        let bursts = LossModel::gilbert(0.05, 4.0).unwrap();
        let (took, share) = releases(bursts, 100, 0.4, seed);
        println!("seed {seed}: {} tensors, whole {share:.4}", took.len());
        tensors += 3_000.0;
        whole += share * took.len() as f64;
    }
    assert!(whole / tensors >= 0.999);
}

#[test]
fn on_a_measured_path_the_first_tensors_are_as_fast_as_the_others() {
    let are_fast = |probe: bool| {
        let mut net = path(LossModel::independent(0.0).unwrap(), 1);
        let config = stream(SLICES, |config| {
            config.rate = RateControl::Adaptive(AdaptiveRate::default());
            config.deadline = Duration::from_millis(300);
        });
        let flow = net.stream(config, STREAM, Time::from_millis(500));
        net.run_until(Time::from_millis(400));
        if probe {
            assert!(
                net.of_mut(flow).edge.probe(Time::from_millis(400)),
                "nothing is known"
            );
        }
        net.run_until(Time::from_millis(499));
        if probe {
            let edge = &mut net.of_mut(flow).edge;
            assert!(!edge.probe(Time::from_millis(499)), "the path is known");
            let bottleneck = edge.path(Time::from_millis(499)).bottleneck.unwrap();
            assert!(
                (18_000_000..=22_000_000).contains(&bottleneck),
                "{bottleneck}"
            );
        }
        net.run_until(Time::from_millis(1_000));
        let mut first = net.of(flow).released[..3].iter();
        first.all(|tensor| {
            let took = (tensor.released - tensor.captured).as_secs_f64() * 1e3;
            tensor.slices_received == tensor.slices && took <= 1.05 * LIMIT
        })
    };
    assert!(are_fast(true));
    assert!(
        !are_fast(false),
        "what the first window does not hold waits for a round trip"
    );
}
