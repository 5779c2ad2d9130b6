use ndarray::{Array3, array};

use super::*;
use crate::{Concealer, Method};

#[test]
fn only_missing_entries_count() {
    let clean = array![[[1.0, 2.0, 3.0, 4.0]]];
    let filled = array![[[9.0, 2.0, 1.0, 5.0]]];
    let mask = array![[[true, true, false, false]]];
    let value = nmse(clean.view(), filled.view(), mask.view()).unwrap();
    assert_eq!(value, Some((4.0 + 1.0) / (9.0 + 16.0)));
}

#[test]
fn a_perfect_fill_scores_zero_and_the_zero_fill_one() {
    let clean = array![[[1.0, -2.0, 3.0]], [[4.0, 5.0, -6.0]]];
    let mask = array![[[true, false, true]], [[false, false, true]]];
    let perfect = nmse(clean.view(), clean.view(), mask.view()).unwrap();
    assert_eq!(perfect, Some(0.0));
    let mut filled = clean.clone();
    Concealer::new(Method::Zero, filled.dim(), None)
        .unwrap()
        .conceal(filled.view_mut(), mask.view())
        .unwrap();
    assert_eq!(
        nmse(clean.view(), filled.view(), mask.view()).unwrap(),
        Some(1.0)
    );
}

#[test]
fn without_missing_energy_there_is_no_figure() {
    let clean = array![[[0.0, 2.0]]];
    let filled = array![[[1.0, 2.0]]];
    for mask in [array![[[true, true]]], array![[[false, true]]]] {
        assert_eq!(
            nmse(clean.view(), filled.view(), mask.view()).unwrap(),
            None
        );
    }
}

#[test]
fn a_set_is_judged_by_the_quotient_of_sums() {
    let mask = array![[[false]]];
    let mut distortion = Distortion::default();
    for (clean, filled) in [(10.0, 9.0), (1.0, 0.0)] {
        let (clean, filled) = (array![[[clean]]], array![[[filled]]]);
        distortion
            .add(clean.view(), filled.view(), mask.view())
            .unwrap();
    }
    let expected = Distortion {
        squared_error: 2.0,
        energy: 101.0,
        missing: 2,
    };
    assert_eq!(distortion, expected);
    assert_eq!(distortion.nmse(), Some(2.0 / 101.0));
}

#[test]
fn what_cannot_be_judged_is_an_error_and_adds_nothing() {
    let clean = array![[[1.0, 2.0]]];
    let mask = array![[[true, false]]];
    let mut distortion = Distortion::default();
    let nan = array![[[1.0, f32::NAN]]];
    let result = distortion.add(clean.view(), nan.view(), mask.view());
    assert_eq!(result, Err(MetricError::NotFinite));
    let other = Array3::zeros((1, 2, 1));
    let result = distortion.add(clean.view(), other.view(), mask.view());
    assert!(matches!(
        result,
        Err(MetricError::Shape {
            filled: (1, 2, 1),
            ..
        })
    ));
    assert_eq!(distortion, Distortion::default());
}
