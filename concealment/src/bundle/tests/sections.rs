//! The optional sections.

use ndarray::array;
use proptest::prelude::*;

use super::*;
use crate::{LossKind, Method};

fn row(kind: LossKind, share: f32, method: Method, cost_us: u32, drop: f32) -> PolicyRow {
    PolicyRow {
        kind,
        share,
        method,
        cost_us,
        drop,
    }
}

fn curve() -> AccuracyCurve {
    let points = [(0.0, 0.0), (0.125, 0.5), (0.5, 8.0)];
    AccuracyCurve::new(
        LossKind::Rows,
        points
            .into_iter()
            .map(|(share, drop)| AccuracyPoint { share, drop })
            .collect(),
    )
    .unwrap()
}

fn step(coder: StepCoder, levels: u16, mean_bytes: f32, p95_bytes: u32, drop: f32) -> CodingStep {
    CodingStep {
        coder,
        levels,
        mean_bytes,
        p95_bytes,
        drop,
    }
}

fn ladder() -> CodingLadder {
    let jpeg = StepCoder::Jpeg { quality: 60 };
    let steps = vec![
        step(StepCoder::Raw, 256, 4.0, 4, 0.0),
        step(StepCoder::Raw, 16, 2.0, 2, 0.25),
        step(jpeg, 256, 2.5, 3, 0.5),
    ];
    CodingLadder::new(2, 1, steps).unwrap()
}

/// The bundle of `optional-sections.hex`: that of `two-channels.hex` and all but the covariance.
pub(super) fn optional_sections() -> Bundle {
    let weights = vec![0.5, 0.25, -0.25, 2.0, 0.0, 1.0];
    let rows = vec![
        row(LossKind::Elements, 0.5, Method::Lmmse, 900, 0.25),
        row(LossKind::Elements, 0.5, Method::Spatial, 300, 0.5),
        row(LossKind::Channels, 1.0, Method::DatasetMean, 20, -0.125),
    ];
    two_channels()
        .with_altec(AltecTable::new(1, 2, weights).unwrap())
        .unwrap()
        .with_accuracy(curve())
        .unwrap()
        .with_importance(Importance::from_costs(&[3.0, 1.0]).unwrap())
        .unwrap()
        .with_policy(Policy::new(rows).unwrap())
        .unwrap()
        .with_ladder(ladder())
        .unwrap()
}

#[test]
fn a_bundle_without_them_has_none() {
    let bundle = two_channels();
    assert_eq!(bundle.covariance(), None);
    assert_eq!(bundle.altec(), None);
    assert_eq!(bundle.accuracy(), None);
    assert_eq!(bundle.importance(), None);
    assert_eq!(bundle.policy(), None);
    assert_eq!(bundle.ladder(), None);
}

#[test]
fn their_values_are_those_of_the_vector() {
    let bundle = Bundle::from_bytes(&vector("optional-sections")).unwrap();
    let altec = bundle.altec().unwrap();
    assert_eq!((altec.rows(), altec.channels()), (1, 2));
    assert_eq!(altec.weights(), [0.5, 0.25, -0.25, 2.0, 0.0, 1.0]);
    assert_eq!(bundle.accuracy(), Some(&curve()));
    assert_eq!(bundle.importance().unwrap().channels(), [1.5, 0.5]);
    assert_eq!(bundle.ladder(), Some(&ladder()));
    let policy = bundle.policy().unwrap().rows();
    assert_eq!(
        policy,
        [
            row(LossKind::Elements, 0.5, Method::Spatial, 300, 0.5),
            row(LossKind::Elements, 0.5, Method::Lmmse, 900, 0.25),
            row(LossKind::Channels, 1.0, Method::DatasetMean, 20, -0.125),
        ]
    );
}

#[test]
fn a_covariance_goes_into_the_file_and_comes_back() {
    let mut calibration = Calibration::new((2, 3, 3))
        .unwrap()
        .with_covariance()
        .unwrap();
    for image in 0..4_u8 {
        let tensor = Array3::from_shape_fn((2, 3, 3), |(c, i, j)| {
            (f32::from(image) * 1.7 + (c + 2 * i + 5 * j) as f32).sin()
        });
        calibration
            .add(tensor.view(), ImageDigest::new([image; 16]))
            .unwrap();
    }
    let bundle = calibration.finish("x", [0; 32], ClipRule::MinMax).unwrap();
    let covariance = bundle.covariance().unwrap().clone();
    assert_eq!(Bundle::from_bytes(&bundle.to_bytes()), Ok(bundle));
    let error = two_channels().with_covariance(covariance).unwrap_err();
    assert_eq!(error.section, Section::Covariance);
}

#[test]
fn a_policy_row_of_a_later_kind_or_method_is_left_out() {
    let mut file = vector("optional-sections");
    let after = file.len() - 4 - (6 + 12 + 3 * 16);
    let rows = after - 3 * 14;
    // The method of the second row, and the kind of the third.
    file[rows + 14 + 1] = 200;
    file[rows + 2 * 14] = 9;
    reseal(&mut file);
    let bundle = Bundle::from_bytes(&file).unwrap();
    let kept = row(LossKind::Elements, 0.5, Method::Spatial, 300, 0.5);
    assert_eq!(bundle.policy().unwrap().rows(), [kept]);
}

#[test]
fn a_step_of_a_later_coder_is_left_out() {
    let mut file = vector("optional-sections");
    let steps = file.len() - 4 - 3 * 16;
    file[steps + 2 * 16] = 2;
    reseal(&mut file);
    let bundle = Bundle::from_bytes(&file).unwrap();
    let found = bundle.ladder().unwrap();
    assert_eq!(found.steps(), &ladder().steps()[..2]);
    assert_eq!((found.bytes_images(), found.accuracy_images()), (2, 1));
    file[steps] = 2;
    file[steps + 16] = 2;
    reseal(&mut file);
    assert_eq!(Bundle::from_bytes(&file).unwrap().ladder(), None);
}

#[test]
fn sections_for_another_shape_are_refused() {
    let table = AltecTable::new(1, 3, vec![0.0; 12]).unwrap();
    assert!(two_channels().with_altec(table).is_err());
    let tall = AltecTable::new(2, 2, vec![0.0; 6]).unwrap();
    assert!(two_channels().with_altec(tall).is_err());
    let importance = Importance::from_costs(&[1.0]).unwrap();
    assert!(two_channels().with_importance(importance).is_err());
}

#[test]
fn values_that_break_a_rule_are_refused() {
    assert!(AltecTable::new(0, 1, vec![0.0; 2]).is_err());
    assert!(AltecTable::new(1, 1, vec![0.0; 3]).is_err());
    assert!(AltecTable::new(1, 1, vec![0.0, f32::NAN]).is_err());
    assert!(AltecTable::new(1, limits::MAX_ALTEC_CHANNELS + 1, Vec::new()).is_err());
    let raw = |levels, mean, p95, drop| step(StepCoder::Raw, levels, mean, p95, drop);
    let ladder = |steps| CodingLadder::new(2, 1, steps);
    assert!(ladder(vec![]).is_err());
    assert!(ladder(vec![raw(1, 1.0, 1, 0.0)]).is_err());
    assert!(ladder(vec![raw(256, f32::NAN, 1, 0.0)]).is_err());
    assert!(ladder(vec![raw(256, 1.0, 0, 0.0)]).is_err());
    assert!(ladder(vec![raw(256, 1.0, 1, f32::NAN)]).is_err());
    let long = |steps: u32| (0..steps).map(|i| raw(256, 1.0, 500 - i, 0.0));
    assert!(ladder(long(128).collect()).is_ok());
    assert!(ladder(long(129).collect()).is_err());
    assert!(Importance::from_costs(&[]).is_err());
    assert!(Importance::from_costs(&[-1.0, 2.0]).is_err());
    assert!(Importance::from_costs(&[f32::INFINITY]).is_err());
    let curve = |points: &[(f32, f32)]| {
        let points = points
            .iter()
            .map(|&(share, drop)| AccuracyPoint { share, drop });
        AccuracyCurve::new(LossKind::Rows, points.collect())
    };
    assert!(curve(&[]).is_err());
    assert!(curve(&[(0.1, 0.0)]).is_err());
    assert!(curve(&[(0.0, 0.0), (0.2, 1.0), (0.2, 2.0)]).is_err());
    assert!(curve(&[(0.0, 0.0), (1.5, 1.0)]).is_err());
    assert!(curve(&[(0.0, 0.0), (f32::NAN, 1.0)]).is_err());
    assert!(curve(&[(0.0, f32::NAN)]).is_err());
    assert!(curve(&[(0.0, 0.0), (1.0, 100.0)]).is_ok());
}

#[test]
fn costs_become_importances_of_mean_one() {
    let of = |costs: &[f32]| Importance::from_costs(costs).unwrap().channels().to_vec();
    assert_eq!(of(&[2.0, 6.0]), [0.5, 1.5]);
    assert_eq!(of(&[0.0, 0.0, 0.0]), [1.0, 1.0, 1.0]);
    assert_eq!(of(&[f32::MAX, f32::MAX]), [1.0, 1.0]);
}

#[test]
fn the_curve_is_straight_between_its_points_and_beyond() {
    let curve = curve();
    for (share, drop) in [
        (-1.0, 0.0),
        (0.0, 0.0),
        (0.0625, 0.25),
        (0.125, 0.5),
        (0.3125, 4.25),
        (0.5, 8.0),
        (0.75, 13.0),
    ] {
        assert_eq!(curve.drop_at(share), drop, "at {share}");
    }
    let point = AccuracyPoint {
        share: 0.0,
        drop: 0.5,
    };
    let flat = AccuracyCurve::new(LossKind::Rows, vec![point]).unwrap();
    assert_eq!(flat.drop_at(0.7), 0.5);
}

proptest! {
    #[test]
    fn importance_of_any_costs_is_read_back(
        costs in prop::collection::vec(0.0_f32..1e30, 2),
    ) {
        let importance = Importance::from_costs(&costs).unwrap();
        let bundle = two_channels().with_importance(importance).unwrap();
        prop_assert_eq!(Bundle::from_bytes(&bundle.to_bytes()), Ok(bundle));
    }
}

#[test]
fn calibration_measures_what_was_asked_for() {
    let calibration = Calibration::new((2, 3, 3)).unwrap();
    let bundle = |mut calibration: Calibration| {
        let tensor = array![
            [[1.0, 2.0, 0.0], [0.0, 1.0, 1.0], [2.0, 2.0, 5.0]],
            [[0.0, 1.0, 0.0], [3.0, 1.0, 1.0], [2.0, 0.0, 1.0]],
        ];
        calibration
            .add(tensor.view(), ImageDigest::new([0; 16]))
            .unwrap();
        calibration.finish("x", [0; 32], ClipRule::MinMax).unwrap()
    };
    let bare = bundle(calibration.clone());
    assert!(bare.altec().is_none() && bare.covariance().is_none());
    let full = bundle(
        calibration
            .with_altec(2)
            .unwrap()
            .with_covariance()
            .unwrap(),
    );
    assert_eq!(full.altec().unwrap().rows(), 2);
    assert!(full.covariance().is_some());
    assert_eq!(full.mean(), bare.mean());
}
