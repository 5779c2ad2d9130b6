use ndarray::{Array3, Axis, array};
use proptest::prelude::*;

use super::*;

fn digest(number: usize) -> ImageDigest {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&(number as u64).to_be_bytes());
    ImageDigest::new(bytes)
}

fn calibrate(tensors: &[Array3<f32>]) -> Calibration {
    let mut calibration = Calibration::new(tensors[0].dim()).unwrap();
    for (number, tensor) in tensors.iter().enumerate() {
        assert_eq!(calibration.add(tensor.view(), digest(number)), Ok(true));
    }
    calibration
}

fn finish(tensors: &[Array3<f32>], rule: ClipRule) -> Result<Bundle, CalibrationError> {
    calibrate(tensors).finish("add_4", [3; 32], rule)
}

/// Mean and standard deviation in two passes.
fn moments(values: impl Iterator<Item = f32> + Clone) -> (f64, f64) {
    let number = values.clone().count() as f64;
    let mean = values.clone().map(f64::from).sum::<f64>() / number;
    let squares = values
        .map(|value| (f64::from(value) - mean).powi(2))
        .sum::<f64>();
    (mean, (squares / number).sqrt())
}

fn close(a: f32, b: f64) -> bool {
    (f64::from(a) - b).abs() <= 1e-6 * (1.0 + b.abs())
}

proptest! {
    #[test]
    fn statistics_are_those_of_two_passes(
        shape in (1_usize..4, 1_usize..4, 1_usize..4),
        values in prop::collection::vec(-100.0_f32..100.0, 27 * 5),
        images in 1_usize..=5,
        offset in prop_oneof![Just(0.0_f32), Just(1e4)],
    ) {
        let tensors: Vec<_> = (0..images)
            .map(|image| Array3::from_shape_fn(shape, |(c, i, j)| {
                offset + values[image * 27 + c * 9 + i * 3 + j]
            }))
            .collect();
        let rule = ClipRule::Given { low: 0.0, high: 1.0 };
        let bundle = finish(&tensors, rule).unwrap();
        let all = tensors.iter().flatten().copied();
        let (mean, std) = moments(all.clone());
        let summary = bundle.summary();
        prop_assert!(close(summary.mean, mean) && close(summary.std, std));
        prop_assert_eq!(summary.min, all.clone().fold(f32::INFINITY, f32::min));
        prop_assert_eq!(summary.max, all.fold(f32::NEG_INFINITY, f32::max));
        for channel in 0..shape.0 {
            let of_channel: Vec<f32> = tensors
                .iter()
                .flat_map(|tensor| tensor.index_axis(Axis(0), channel).to_owned())
                .collect();
            let (mean, std) = moments(of_channel.into_iter());
            // The mean of μ as stored, each entry rounded to f32.
            let scale = f64::from(summary.max.abs().max(summary.min.abs()));
            let error = f64::from(bundle.channel_means()[channel]) - mean;
            prop_assert!(error.abs() <= 2.0 * f64::from(f32::EPSILON) * scale);
            prop_assert!(close(bundle.channel_std()[channel], std));
        }
        for (entry, &mean) in bundle.mean().iter().enumerate() {
            let (expected, _) = moments(tensors.iter().map(|tensor| {
                *tensor.iter().nth(entry).unwrap()
            }));
            prop_assert!(close(mean, expected));
        }
    }
}

#[test]
fn clip_rules_choose_their_ranges() {
    let tensors = [array![[[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 8.0]]]];
    let clip = |rule| finish(&tensors, rule).unwrap().clip();
    assert_eq!(
        clip(ClipRule::MinMax),
        ClipRange {
            low: 0.0,
            high: 8.0
        }
    );
    let given = ClipRule::Given {
        low: -3.0,
        high: 3.0,
    };
    assert_eq!(
        clip(given),
        ClipRange {
            low: -3.0,
            high: 3.0
        }
    );
    // Mean 1, standard deviation √7; the lower end is cut to what was seen.
    let sigma = clip(ClipRule::Sigma(2.0));
    assert_eq!(sigma.low, 0.0);
    assert!((sigma.high - (1.0 + 2.0 * 7.0_f32.sqrt())).abs() < 1e-5);
    assert_eq!(
        clip(ClipRule::Sigma(100.0)),
        ClipRange {
            low: 0.0,
            high: 8.0
        }
    );
}

#[test]
fn a_rule_without_a_range_is_refused() {
    let spread = [array![[[0.0, 1.0]]]];
    let constant = [array![[[2.0, 2.0]]]];
    let given = |low, high| ClipRule::Given { low, high };
    let cases = [
        (&constant, ClipRule::MinMax),
        (&constant, ClipRule::Sigma(3.0)),
        (&spread, ClipRule::Sigma(0.0)),
        (&spread, ClipRule::Sigma(-1.0)),
        (&spread, ClipRule::Sigma(f32::NAN)),
        (&spread, ClipRule::Sigma(f32::INFINITY)),
        (&spread, given(1.0, 1.0)),
        (&spread, given(1.0, 0.0)),
        (&spread, given(f32::NAN, 0.0)),
        (&spread, given(0.0, f32::INFINITY)),
    ];
    for (tensors, rule) in cases {
        let error = finish(tensors, rule).unwrap_err();
        assert!(
            matches!(error, CalibrationError::Clip { .. }),
            "{rule:?}: {error}"
        );
    }
    assert!(finish(&constant, given(0.0, 4.0)).is_ok());
}

#[test]
fn a_duplicate_counts_once() {
    let mut calibration = Calibration::new((1, 1, 2)).unwrap();
    assert_eq!(
        calibration.add(array![[[0.0, 2.0]]].view(), digest(1)),
        Ok(true)
    );
    assert_eq!(
        calibration.add(array![[[100.0, 100.0]]].view(), digest(1)),
        Ok(false)
    );
    assert_eq!(
        calibration.add(array![[[2.0, 4.0]]].view(), digest(2)),
        Ok(true)
    );
    assert_eq!(calibration.images(), 2);
    let bundle = calibration
        .finish("add_4", [0; 32], ClipRule::MinMax)
        .unwrap();
    assert_eq!(bundle.mean(), [1.0, 3.0]);
    assert_eq!(bundle.images(), [digest(1), digest(2)]);
}

#[test]
fn a_refused_tensor_is_not_counted() {
    let mut calibration = Calibration::new((1, 1, 2)).unwrap();
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let error = CalibrationError::NotFinite { image: digest(1) };
        assert_eq!(
            calibration.add(array![[[5.0, value]]].view(), digest(1)),
            Err(error)
        );
    }
    let error = CalibrationError::Shape {
        expected: (1, 1, 2),
        given: (1, 2, 1),
    };
    assert_eq!(
        calibration.add(array![[[5.0], [5.0]]].view(), digest(1)),
        Err(error)
    );
    assert_eq!(
        calibration.add(array![[[0.0, 1.0]]].view(), digest(1)),
        Ok(true)
    );
    let bundle = calibration
        .finish("add_4", [0; 32], ClipRule::MinMax)
        .unwrap();
    assert_eq!(bundle.mean(), [0.0, 1.0]);
}

#[test]
fn a_calibration_without_images_has_no_bundle() {
    let calibration = Calibration::new((1, 1, 1)).unwrap();
    let result = calibration.finish("add_4", [0; 32], ClipRule::MinMax);
    assert_eq!(result, Err(CalibrationError::Empty));
}

#[test]
fn shapes_beyond_the_limits_are_refused() {
    let side = limits::MAX_SIDE;
    for shape in [
        (0, 1, 1),
        (1, 0, 1),
        (1, 1, 0),
        (side + 1, 1, 1),
        (side, side, side),
    ] {
        let error = Calibration::new(shape).unwrap_err();
        assert_eq!(error, CalibrationError::ShapeLimit { shape });
    }
    assert!(Calibration::new((side, 1, 1)).is_ok());
}

#[test]
fn names_of_splits_are_checked() {
    let name = "x".repeat(limits::MAX_SPLIT_BYTES);
    let long = name.clone() + "x";
    for (split, fits) in [
        ("", false),
        ("a\0b", false),
        (&*long, false),
        (&*name, true),
    ] {
        let result = calibrate(&[array![[[0.0, 1.0]]]]).finish(split, [0; 32], ClipRule::MinMax);
        assert_eq!(result.err(), (!fits).then_some(CalibrationError::Split));
    }
}

#[test]
fn the_largest_values_keep_the_statistics_finite() {
    let tensors = [
        array![[[f32::MAX, f32::MIN]]],
        array![[[f32::MIN, f32::MAX]]],
    ];
    let bundle = finish(&tensors, ClipRule::Sigma(3.0)).unwrap();
    assert_eq!(bundle.summary().std, f32::MAX);
    assert_eq!(
        bundle.clip(),
        ClipRange {
            low: f32::MIN,
            high: f32::MAX
        }
    );
}

#[test]
fn a_layout_other_than_row_major_is_read_by_entry() {
    let tensor = Array3::from_shape_fn((2, 3, 4), |(c, i, j)| (100 * c + 10 * i + j) as f32);
    let mut other = Array3::zeros(ndarray::ShapeBuilder::f((2, 3, 4)));
    other.assign(&tensor);
    let expected = finish(&[tensor], ClipRule::MinMax).unwrap();
    assert_eq!(finish(&[other], ClipRule::MinMax).unwrap(), expected);
}
