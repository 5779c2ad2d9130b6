use ndarray::Array3;
use proptest::prelude::*;

use super::*;
use crate::limits::MAX_COVARIANCE_CHANNELS;

/// The covariance of some tensors of this shape, whose values are `values` over and over.
fn measured(shape: (usize, usize, usize), reach: Reach, values: &[f32]) -> Covariance {
    let entries = shape.0 * shape.1 * shape.2;
    let mut cycle = values.iter().copied().cycle();
    let tensors: Vec<Array3<f32>> = (0..3)
        .map(|_| Array3::from_shape_simple_fn(shape, || cycle.next().unwrap()))
        .collect();
    let mut accumulator = Accumulator::with_reach(shape, reach).unwrap();
    let mut mean = vec![0.0; entries];
    for tensor in &tensors {
        accumulator.add(tensor.view());
        for (mean, value) in mean.iter_mut().zip(tensor) {
            *mean += value / 3.0;
        }
    }
    accumulator.finish(&mean)
}

fn encoded(covariance: &Covariance) -> Vec<u8> {
    let mut bytes = Vec::new();
    covariance.encode(&mut bytes);
    bytes
}

fn some_reach() -> impl Strategy<Value = Reach> {
    prop::sample::select(Reach::ALL.to_vec())
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(
        shape in (1_usize..5, 1_usize..6, 1_usize..7),
        reach in some_reach(),
        values in prop::collection::vec(-1e3_f32..1e3, 1..200),
    ) {
        let covariance = measured(shape, reach, &values);
        let bytes = encoded(&covariance);
        prop_assert_eq!(Covariance::decode(&bytes, shape), Ok(covariance));
        for length in (0..bytes.len()).rev().take(40) {
            prop_assert!(Covariance::decode(&bytes[..length], shape).is_err());
        }
        let longer = [&bytes[..], &[0]].concat();
        prop_assert!(Covariance::decode(&longer, shape).is_err());
    }

    #[test]
    fn no_bytes_panic(
        shape in (1_usize..4, 1_usize..5, 1_usize..5),
        reach in some_reach(),
        noise in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
    ) {
        let mut bytes = encoded(&measured(shape, reach, &[1.0, 3.0, -2.0, 0.5, 7.0]));
        for (place, value) in noise {
            *place.get_mut(&mut bytes) = value;
        }
        if let Ok(covariance) = Covariance::decode(&bytes, shape) {
            prop_assert_eq!(encoded(&covariance), bytes);
        }
    }

    #[test]
    fn noise_is_no_covariance(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = Covariance::decode(&bytes, (1, 2, 2));
    }

    #[test]
    fn values_of_any_size_give_finite_factors(
        shape in (1_usize..4, 1_usize..5, 1_usize..5),
        values in prop::collection::vec(
            any::<f32>().prop_filter("calibration refuses others", |value| value.is_finite()),
            1..60,
        ),
    ) {
        let covariance = measured(shape, Reach::of(shape), &values);
        let bytes = encoded(&covariance);
        prop_assert_eq!(Covariance::decode(&bytes, shape), Ok(covariance));
    }
}

#[test]
fn a_section_that_breaks_a_rule_is_refused() {
    let shape = (2, 3, 5);
    let good = encoded(&measured(shape, Reach::Near, &[1.0, 3.0, -2.0, 0.5, 7.0]));
    let with = |place: usize, bytes: &[u8]| {
        let mut broken = good.clone();
        broken[place..place + bytes.len()].copy_from_slice(bytes);
        Covariance::decode(&broken, shape)
    };
    assert!(with(0, &[0, 4]).is_ok());
    assert!(with(0, &[0, 5]).is_err(), "pixels of the window");
    assert!(with(0, &[0, 8]).is_err(), "a window that calls for more");
    for scale in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e-40] {
        assert!(
            with(2, &scale.to_be_bytes()).is_err(),
            "channel scale {scale}"
        );
        assert!(with(10, &scale.to_be_bytes()).is_err(), "row scale {scale}");
    }
    assert!(with(10, &1.5_f32.to_be_bytes()).is_err(), "row scale 1.5");
    // The first situation has no window: row 0 is its scale and one coefficient, its own.
    for own in [0_i16, -1] {
        assert!(
            with(14, &own.to_be_bytes()).is_err(),
            "own coefficient {own}"
        );
    }
    assert!(Covariance::decode(&good, (2, 3, 2)).is_err());
}

#[test]
fn too_many_channels_have_no_covariance() {
    let most = (MAX_COVARIANCE_CHANNELS, 1, 1);
    assert!(Covariance::is_supported(most));
    let more = (MAX_COVARIANCE_CHANNELS + 1, 1, 1);
    assert!(!Covariance::is_supported(more));
    assert!(Accumulator::new(more).is_none());
    assert!(Covariance::decode(&[], more).is_err());
}

#[test]
fn a_large_mean_does_not_drown_the_deviations() {
    let values: Vec<f32> = (0..97_u16)
        .map(|number| f32::from(number * 37 % 97) / 8.0)
        .collect();
    let raised: Vec<f32> = values.iter().map(|value| value + 4096.0).collect();
    let shape = (2, 4, 4);
    let (near, far) = (
        measured(shape, Reach::Near, &values),
        measured(shape, Reach::Near, &raised),
    );
    for (near, far) in near.scales().iter().zip(far.scales()) {
        assert!((near / far - 1.0).abs() < 1e-3, "{near} and {far}");
    }
}

#[test]
fn a_bundle_of_48_channels_stays_small() {
    let covariance = measured(
        (48, 14, 14),
        Reach::of((48, 14, 14)),
        &[1.0, 2.0, 4.0, -3.0, 0.1],
    );
    assert_eq!(covariance.neighbours(), 12);
    assert_eq!(encoded(&covariance).len(), 116_834);
}

/// The file and what follows from it for a tensor, worked out by hand: of the noises only that of the
/// second pixel's channel 1 depends on the missing entry, and it is zero where y is that of channel
/// 0, (8 - 4) / 2; so x = 2 + 0.5 * 2.
#[test]
fn the_vector_reads_and_conceals_as_the_specification_says() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../spec/vectors/bundle/covariance.hex"
    );
    let text = std::fs::read_to_string(path).unwrap();
    let digits: String = text
        .lines()
        .flat_map(|line| line.split('#').next())
        .flat_map(str::split_whitespace)
        .collect();
    let file: Vec<u8> = (0..digits.len() / 2)
        .map(|byte| u8::from_str_radix(&digits[2 * byte..2 * byte + 2], 16).unwrap())
        .collect();
    let bundle = crate::Bundle::from_bytes(&file).unwrap();
    assert_eq!(bundle.to_bytes(), file);
    assert_eq!(bundle.covariance().unwrap().neighbours(), 4);

    let mut concealer = crate::Concealer::new(
        crate::Method::Lmmse,
        bundle.shape(),
        Some(std::sync::Arc::new(bundle)),
    )
    .unwrap();
    let mut tensor = ndarray::array![[[4.0, 8.0]], [[-2.0, 99.0]]];
    let mask = ndarray::array![[[true, true]], [[true, false]]];
    concealer.conceal(tensor.view_mut(), mask.view()).unwrap();
    assert_eq!(tensor, ndarray::array![[[4.0, 8.0]], [[-2.0, 3.0]]]);
}
