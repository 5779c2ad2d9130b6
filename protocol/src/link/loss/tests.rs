use std::sync::Arc;

use proptest::prelude::*;

use super::*;

/// Any model but a trace.
pub(super) fn arb_model() -> impl Strategy<Value = LossModel> {
    let share = || {
        prop_oneof![
            0.0..=1.0,
            Just(0.0),
            Just(1.0),
            (0_u32..1_000).prop_map(|n| f64::from(n) / 1e3)
        ]
    };
    prop_oneof![
        Just(LossModel::None),
        share().prop_map(|rate| LossModel::independent(rate).unwrap()),
        (0.0..0.5, 1.0..20.0).prop_map(|(rate, burst)| LossModel::gilbert(rate, burst).unwrap()),
        (0_u32..50, 2_u32..20).prop_map(|(rate, burst)| {
            LossModel::gilbert(f64::from(rate) / 100.0, f64::from(burst)).unwrap()
        }),
        (share(), share(), share(), share())
            .prop_map(|(p, r, good, bad)| LossModel::gilbert_elliott(p, r, good, bad).unwrap()),
        (1_u32..500, any::<u32>(), 0_u32..500).prop_map(|(every, burst, offset)| {
            LossModel::periodic(every, burst % every + 1, offset).unwrap()
        }),
    ]
}

fn fates(model: &LossModel, seed: u64, n: usize) -> Vec<bool> {
    let mut process = LossProcess::new(model.clone(), seed);
    (0..n).map(|_| process.next_is_lost()).collect()
}

fn share_lost(fates: &[bool]) -> f64 {
    fates.iter().filter(|lost| **lost).count() as f64 / fates.len() as f64
}

/// Mean length of the runs of lost packets.
fn mean_burst(fates: &[bool]) -> f64 {
    let bursts = fates.chunk_by(|a, b| a == b).filter(|run| run[0]).count();
    fates.iter().filter(|lost| **lost).count() as f64 / bursts as f64
}

#[test]
fn independent_loss_has_its_rate_and_no_memory() {
    let model = LossModel::independent(0.1).unwrap();
    let fates = fates(&model, 1, 200_000);
    let rate = share_lost(&fates);
    // Five standard deviations: sqrt(0.09 / 200,000) = 0.00067.
    assert!((rate - 0.1).abs() < 0.0034, "{rate}");
    assert!((mean_burst(&fates) - 1.0 / 0.9).abs() < 0.02);
    assert!((model.mean_burst() - 1.0 / 0.9).abs() < 1e-12);
}

#[test]
fn gilbert_has_its_rate_and_burst_length() {
    for (rate, burst) in [(0.05, 4.0), (0.2, 2.0), (0.3, 7.0)] {
        let model = LossModel::gilbert(rate, burst).unwrap();
        assert!((model.rate() - rate).abs() < 1e-12);
        assert!((model.mean_burst() - burst).abs() < 1e-9);
        let fates = fates(&model, 7, 400_000);
        let measured = share_lost(&fates);
        assert!((measured - rate).abs() < 0.01, "{measured} for {rate}");
        assert!(
            (mean_burst(&fates) - burst).abs() < 0.15,
            "{} for {burst}",
            mean_burst(&fates)
        );
    }
}

#[test]
fn the_burst_length_of_a_general_chain_is_what_it_does() {
    for (p, r, good, bad) in [(0.02, 0.2, 0.005, 0.6), (0.3, 0.1, 0.1, 0.9)] {
        let model = LossModel::gilbert_elliott(p, r, good, bad).unwrap();
        let measured = mean_burst(&fates(&model, 3, 400_000));
        let expected = model.mean_burst();
        assert!(
            (measured / expected - 1.0).abs() < 0.03,
            "{measured} for {expected}"
        );
    }
}

#[test]
fn models_without_losses_and_without_arrivals() {
    let trace =
        |fates: &[bool]| LossModel::Trace(Arc::new(LossTrace::new(fates.iter().copied()).unwrap()));
    for none in [LossModel::None, trace(&[false; 3])] {
        assert_eq!((none.rate(), none.mean_burst()), (0.0, 0.0));
    }
    let all = [
        LossModel::independent(1.0).unwrap(),
        LossModel::periodic(3, 3, 0).unwrap(),
        LossModel::gilbert_elliott(0.1, 0.2, 1.0, 1.0).unwrap(),
        trace(&[true; 3]),
    ];
    for all in all {
        assert_eq!((all.rate(), all.mean_burst()), (1.0, f64::INFINITY));
    }
}

#[test]
fn a_seed_decides_everything() {
    let model = LossModel::gilbert(0.1, 3.0).unwrap();
    assert_eq!(fates(&model, 5, 1_000), fates(&model, 5, 1_000));
    assert_ne!(fates(&model, 5, 1_000), fates(&model, 6, 1_000));
}

#[test]
fn a_trace_begins_where_the_seed_says() {
    let recorded = fates(&LossModel::gilbert(0.3, 3.0).unwrap(), 9, 500);
    let trace = LossTrace::new(recorded.iter().copied()).unwrap();
    let model = LossModel::Trace(Arc::new(trace));
    assert_eq!(fates(&model, 0, 500), recorded);
    let twice = fates(&model, 0, 1_000);
    assert_eq!(&twice[500..], &recorded);
    let mut starts = vec![];
    for seed in 1..20 {
        let other = fates(&model, seed, 500);
        let start = (0..500).find(|start| {
            let (head, tail) = recorded.split_at(*start);
            other == [tail, head].concat()
        });
        starts.push(start.expect("the same fates, turned"));
        assert_eq!(fates(&model, seed, 500), other);
    }
    starts.sort_unstable();
    starts.dedup();
    assert!(starts.len() > 15, "{starts:?}");
}

#[test]
fn what_is_no_probability_is_refused() {
    assert!(LossModel::independent(1.1).is_err());
    assert!(LossModel::independent(f64::NAN).is_err());
    assert!(LossModel::gilbert(0.1, 0.5).is_err());
    assert!(LossModel::gilbert(1.0, 4.0).is_err());
    assert!(
        LossModel::gilbert(0.9, 2.0).is_err(),
        "the chain cannot be bad so often"
    );
    assert!(LossModel::gilbert_elliott(0.1, 0.2, -0.1, 1.0).is_err());
}

#[test]
fn figures_that_make_no_period_lose_nothing_and_do_not_panic() {
    let model = LossModel::Periodic {
        every: 0,
        burst: 1,
        offset: 0,
    };
    assert!(!fates(&model, 1, 100).contains(&true));
}

proptest! {
    #[test]
    fn periodic_loss_is_exact(every in 1_u32..40, burst: u32, offset in 0_u32..60, seed: u64) {
        let burst = burst % every + 1;
        let model = LossModel::periodic(every, burst, offset).unwrap();
        let (lead, periods) = (offset as usize, 9);
        let fates = fates(&model, seed, lead + periods * every as usize);
        prop_assert!(!fates[..lead].contains(&true));
        for period in fates[lead..].chunks(every as usize) {
            let (lost, kept) = period.split_at(burst as usize);
            prop_assert!(!lost.contains(&false) && !kept.contains(&true));
        }
        prop_assert_eq!(share_lost(&fates[lead..]), model.rate());
        if burst < every {
            prop_assert!((mean_burst(&fates[lead..]) - model.mean_burst()).abs() < 1e-9);
        }
    }

    #[test]
    fn a_trace_has_the_rate_and_the_bursts_that_it_plays(
        recorded in proptest::collection::vec(any::<bool>(), 1..100),
        seed: u64,
    ) {
        let trace = LossTrace::new(recorded.iter().copied()).unwrap();
        let model = LossModel::Trace(Arc::new(trace));
        let round = fates(&model, seed, recorded.len());
        prop_assert_eq!(share_lost(&round), model.rate());
        let endings = (0..round.len()).filter(|i| round[*i] && !round[(i + 1) % round.len()]).count();
        if endings > 0 {
            let lost = round.iter().filter(|lost| **lost).count();
            prop_assert!((model.mean_burst() - lost as f64 / endings as f64).abs() < 1e-9);
        }
    }

    #[test]
    fn figures_are_figures(model in arb_model()) {
        prop_assert!((0.0..=1.0).contains(&model.rate()), "{}", model);
        let burst = model.mean_burst();
        prop_assert!(burst == 0.0 || burst >= 1.0 - 1e-9, "{}: {}", model, burst);
    }
}
