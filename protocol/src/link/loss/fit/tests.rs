use proptest::prelude::*;

use super::super::LossProcess;
use super::*;

fn made(model: &str, packets: usize, seed: u64) -> LossTrace {
    let mut process = LossProcess::new(model.parse().unwrap(), seed);
    LossTrace::new((0..packets).map(|_| process.next_is_lost())).unwrap()
}

fn of(fates: &[u8]) -> Fit {
    fit(&LossTrace::new(fates.iter().map(|fate| *fate == 1)).unwrap())
}

#[test]
fn each_model_is_recognised() {
    for (model, seed) in [
        ("iid:0.05", 1),
        ("iid:0.3", 2),
        ("gilbert:0.05,4", 3),
        ("gilbert:0.2,2", 4),
        ("gilbert-elliott:0.02,0.2,0.005,0.6", 5),
        ("gilbert-elliott:0.001,0.01,0.01,0.3", 6),
    ] {
        let fit = fit(&made(model, 50_000, seed));
        let expected = match model.split_once(':').unwrap().0 {
            "iid" => Some(&fit.independent),
            "gilbert" => fit.gilbert.as_ref(),
            _ => fit.gilbert_elliott.as_ref(),
        };
        assert_eq!(Some(fit.chosen()), expected, "{model}: {fit:#?}");
    }
}

#[test]
fn gilberts_figures_come_back() {
    let fit = fit(&made("gilbert:0.05,4", 200_000, 1));
    let gilbert = &fit.chosen().model;
    // 2,500 bursts: the mean burst has a standard error of 0.07, the rate one of 0.0013.
    assert!((gilbert.mean_burst() - 4.0).abs() < 0.3, "{gilbert}");
    assert!((gilbert.rate() - 0.05).abs() < 0.006, "{gilbert}");
    assert!((gilbert.mean_burst() - fit.mean_burst()).abs() < 1e-3);
}

#[test]
fn counted_by_hand() {
    let fit = of(&[0, 1, 1, 0, 0, 0, 1, 0]);
    assert_eq!((fit.packets, fit.lost, fit.bursts), (8, 3, 2));
    assert_eq!(fit.mean_burst(), 1.5);
    // Of four received packets with a successor two are followed by a loss; of three lost ones two by
    // a packet that arrives.
    assert_eq!(
        fit.gilbert.unwrap().model,
        LossModel::gilbert_elliott(0.5, 2.0 / 3.0, 0.0, 1.0).unwrap()
    );
    let expected = 3.0 * 0.375_f64.ln() + 5.0 * 0.625_f64.ln();
    assert!((fit.independent.log_likelihood - expected).abs() < 1e-12);
    assert!((fit.independent.bic - (8_f64.ln() - 2.0 * expected)).abs() < 1e-12);
    assert_eq!(fit.gilbert_elliott, None, "two bursts are too few");
}

#[test]
fn degenerate_observations_give_degenerate_models() {
    let all = LossModel::independent(1.0).unwrap();
    for (fates, model) in [
        (&[0][..], LossModel::None),
        (&[0; 100], LossModel::None),
        (&[1], all.clone()),
        (&[1; 100], all),
        (&[0, 1], LossModel::independent(0.5).unwrap()),
        (&[1, 0, 0, 0], LossModel::independent(0.25).unwrap()),
        (&[0, 0, 0, 1], LossModel::independent(0.25).unwrap()),
    ] {
        let fit = of(fates);
        assert_eq!(fit.chosen().model, model, "{fates:?}");
        assert_eq!((&fit.gilbert, &fit.gilbert_elliott), (&None, &None));
    }
    assert_eq!(of(&[0]).mean_burst(), 0.0);
    assert_eq!(of(&[1; 7]).mean_burst(), 7.0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_observation_gives_sound_models(
        fates in proptest::collection::vec(prop_oneof![4 => Just(false), 1 => Just(true)], 1..400),
    ) {
        let trace = LossTrace::new(fates.iter().copied()).unwrap();
        let fit = fit(&trace);
        prop_assert_eq!(&fit, &super::fit(&trace));
        let fitted = [Some(&fit.independent), fit.gilbert.as_ref(), fit.gilbert_elliott.as_ref()];
        for fitted in fitted.into_iter().flatten() {
            prop_assert!(fitted.log_likelihood <= 1e-9 && fitted.log_likelihood.is_finite());
            prop_assert!(fitted.bic >= fit.chosen().bic);
            prop_assert!((0.0..=1.0).contains(&fitted.model.rate()), "{:?}", fitted);
            let again: LossModel = fitted.model.to_string().parse().unwrap();
            prop_assert_eq!(&again, &fitted.model);
        }
        prop_assert!((fit.independent.model.rate() - trace.rate()).abs() < 1e-12);
        if let Some(LossModel::GilbertElliott { loss_good, loss_bad, .. }) =
            fit.gilbert_elliott.map(|fitted| fitted.model)
        {
            prop_assert!(loss_good <= loss_bad);
        }
    }
}
