//! Losses that were recorded come back as they were, and are fitted by the model that made them.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tensorwire_protocol::Time;
use tensorwire_protocol::link::{
    Link, LinkConfig, LinkStats, LossModel, LossProcess, LossTrace, fit,
};

fn recorded(model: &LossModel, seed: u64, packets: usize) -> LossTrace {
    let mut process = LossProcess::new(model.clone(), seed);
    LossTrace::new((0..packets).map(|_| process.next_is_lost())).unwrap()
}

fn replay(trace: LossTrace) -> LossModel {
    LossModel::Trace(Arc::new(trace))
}

/// Which of so many packets arrive, and when, and what is counted.
fn through_link(loss: LossModel, seed: u64, packets: u16) -> (Vec<(Time, u16)>, LinkStats) {
    let mut link = Link::new(LinkConfig {
        loss,
        delay: Duration::from_millis(10),
        jitter: Duration::from_millis(3),
        rate: Some(20_000_000),
        seed,
        ..LinkConfig::default()
    });
    for packet in 0..packets {
        link.send(
            Time::from_millis(u64::from(packet)),
            packet.to_be_bytes().to_vec(),
        );
    }
    let far = Time::from_millis(1_000_000);
    let arrivals = std::iter::from_fn(|| link.receive(far))
        .map(|(at, packet)| (at, u16::from_be_bytes([packet[0], packet[1]])))
        .collect();
    (arrivals, *link.stats())
}

fn arb_model() -> impl Strategy<Value = LossModel> {
    let parse = |text: String| text.parse().unwrap();
    prop_oneof![
        (0.0..0.5).prop_map(move |rate| parse(format!("iid:{rate}"))),
        (0.01..0.4, 1.5..8.0)
            .prop_map(move |(rate, burst)| parse(format!("gilbert:{rate},{burst}"))),
        (0.01..0.2, 0.1..0.9, 0.0..0.1, 0.3..1.0).prop_map(move |(p, r, good, bad)| parse(
            format!("gilbert-elliott:{p},{r},{good},{bad}")
        )),
        (2_u32..30, 0_u32..50)
            .prop_map(move |(every, at)| parse(format!("periodic:{every},1,{at}"))),
        (0.01..0.4, any::<u64>()).prop_map(|(rate, seed)| {
            replay(recorded(&LossModel::gilbert(rate, 3.0).unwrap(), seed, 700))
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_recorded_trace_replays_the_same_fates(model in arb_model(), seed: u64, packets in 1_u16..1_000) {
        let trace = recorded(&model, seed, usize::from(packets));
        let mut again = LossProcess::new(replay(trace.clone()), 0);
        for lost in trace.fates().chain(trace.fates()) {
            prop_assert_eq!(again.next_is_lost(), lost);
        }
        let (arrivals, stats) = through_link(replay(trace.clone()), 0, packets);
        let mut arrived: Vec<u16> = arrivals.iter().map(|(_, packet)| *packet).collect();
        arrived.sort_unstable();
        let kept = (0..packets).zip(trace.fates()).filter(|(_, lost)| !lost);
        prop_assert_eq!(arrived, kept.map(|(packet, _)| packet).collect::<Vec<_>>());
        prop_assert_eq!(stats.lost, trace.lost() as u64);
    }

    #[test]
    fn a_seed_decides_every_bit_of_a_link(model in arb_model(), seed: u64) {
        let run = |seed| through_link(model.clone(), seed, 500);
        prop_assert_eq!(run(seed), run(seed));
        prop_assert_ne!(run(seed).0, run(seed ^ 1).0);
    }
}

/// Gilbert and Elliott's figures from 200,000 packets. That is 3,600 bad episodes of five packets in
/// the first case: a transition is then known to about 5 %, as states are not seen but inferred.
#[test]
fn the_figures_of_a_long_sequence_come_back() {
    for (figures, errors, seed) in [
        ([0.02, 0.2, 0.005, 0.6], [0.15, 0.15, 0.2, 0.1], 1),
        ([0.001, 0.01, 0.01, 0.3], [0.25, 0.25, 0.1, 0.1], 2),
        ([0.05, 0.4, 0.0, 0.9], [0.15, 0.15, f64::INFINITY, 0.1], 3),
    ] {
        let [p, r, good, bad] = figures;
        let model = LossModel::gilbert_elliott(p, r, good, bad).unwrap();
        let fit = fit(&recorded(&model, seed, 200_000));
        let chosen = &fit.chosen().model;
        let LossModel::GilbertElliott {
            to_bad,
            to_good,
            loss_good,
            loss_bad,
        } = *chosen
        else {
            panic!("{chosen}");
        };
        let found = [to_bad, to_good, loss_good, loss_bad];
        for ((found, figure), error) in found.iter().zip(figures).zip(errors) {
            assert!(
                (found - figure).abs() <= error * figure.max(1e-12),
                "{chosen} for {model}"
            );
        }
        assert!(loss_good < good + 0.005, "{chosen} for {model}");
        assert!((chosen.rate() / model.rate() - 1.0).abs() < 0.1, "{chosen}");
        assert!(
            (chosen.mean_burst() / fit.mean_burst() - 1.0).abs() < 0.02,
            "{chosen}: bursts of {}",
            fit.mean_burst()
        );
    }
}
