//! Each method on small examples whose outcome is known, and on tensors that it is made for.

use ndarray::{Array3, Axis, Zip, array};

use super::*;
use crate::{AltecTable, LossKind, nmse};

const NAN: f32 = f32::NAN;

/// Smooth in each channel, and each channel mostly one of three patterns, upright or inverted:
/// correlated as feature maps are. `phase` moves the patterns.
fn smooth((channels, height, width): Shape, phase: f32) -> Array3<f32> {
    let wave = |k: usize, y: f32, x: f32| match k {
        0 => (0.35 * x + 0.2 * y + phase).sin(),
        1 => (0.3 * y - 0.25 * x + 2.0 * phase).cos(),
        _ => (0.15 * (x + y) - phase).sin(),
    };
    Array3::from_shape_fn((channels, height, width), |(c, i, j)| {
        let own = if c % 2 == 0 { 1.5 } else { -2.0 } * wave(c % 3, i as f32, j as f32);
        own + 0.1 * (0..3).map(|k| wave(k, i as f32, j as f32)).sum::<f32>()
    })
}

/// Noise without any structure, 0 to 99, the same each time (SplitMix64's finaliser).
fn noise(c: usize, i: usize, j: usize) -> u64 {
    let mut z = ((c * 4096 + i) * 4096 + j) as u64;
    z = z.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) % 100
}

/// A fifth of the entries, one by one.
fn scattered(shape: Shape) -> Array3<bool> {
    Array3::from_shape_fn(shape, |(c, i, j)| noise(c, i, j) >= 20)
}

/// Packets of four rows, of each channel another one.
fn row_slices(shape: Shape) -> Array3<bool> {
    Array3::from_shape_fn(shape, |(c, i, _)| (i / 4 + c) % 5 != 0)
}

fn calibrated(shape: Shape) -> Bundle {
    let calibration = Calibration::new(shape).unwrap();
    let mut calibration = calibration
        .with_covariance()
        .unwrap()
        .with_altec(4)
        .unwrap();
    for image in 0..24_u8 {
        let tensor = smooth(shape, 0.3 * f32::from(image) + 0.05);
        calibration
            .add(tensor.view(), ImageDigest::new([image; 16]))
            .unwrap();
    }
    calibration
        .finish("add_4", [0; 32], ClipRule::MinMax)
        .unwrap()
}

fn error(method: Method, clean: &Array3<f32>, mask: &Array3<bool>, side: Option<&Bundle>) -> f64 {
    let filled = filled(method, &received_part(clean, mask), mask, side);
    nmse(clean.view(), filled.view(), mask.view())
        .unwrap()
        .unwrap()
}

#[test]
fn every_method_beats_zero_on_a_smooth_correlated_tensor() {
    let shape = (8, 20, 16);
    let clean = smooth(shape, 0.9);
    let bundle = calibrated(shape);
    for mask in [scattered(shape), row_slices(shape)] {
        for &method in Method::ALL.iter().filter(|&&method| method != Method::Zero) {
            let error = error(method, &clean, &mask, Some(&bundle));
            assert!(error < 0.995, "{method}: {error}");
        }
    }
}

#[test]
fn methods_for_it_are_far_better_than_the_mean() {
    let shape = (8, 20, 16);
    let clean = smooth(shape, 0.9);
    let bundle = calibrated(shape);
    for (method, scattered_below, rows_below) in [
        (Method::Spatial, 0.02, 0.4),
        (Method::Altec, 0.2, 0.3),
        (Method::Caltec, 0.3, 0.3),
        (Method::Silrtc, 0.05, 0.1),
        (Method::Halrtc, 0.01, 0.05),
        (Method::Lmmse, 0.02, 0.05),
    ] {
        let of_scattered = error(method, &clean, &scattered(shape), Some(&bundle));
        let of_rows = error(method, &clean, &row_slices(shape), Some(&bundle));
        assert!(of_scattered < scattered_below, "{method}: {of_scattered}");
        assert!(of_rows < rows_below, "{method}: {of_rows}");
    }
}

#[test]
fn spatial_restores_what_its_neighbours_determine() {
    // A plane is harmonic: every entry is the mean of its four neighbours.
    let clean = Array3::from_shape_fn((1, 9, 9), |(_, i, j)| i as f32 + 2.0 * j as f32 - 12.0);
    let mut mask = Array3::from_elem(clean.dim(), true);
    mask[(0, 4, 4)] = false;
    let filled = filled(Method::Spatial, &received_part(&clean, &mask), &mask, None);
    let error = (filled[(0, 4, 4)] - clean[(0, 4, 4)]).abs();
    assert!(error < 0.1, "{error}");
}

#[test]
fn spatial_keeps_to_the_mean_where_neighbours_say_nothing() {
    // White noise: the four neighbours, all large, must not be believed.
    let mut clean =
        Array3::from_shape_fn((1, 24, 24), |(c, i, j)| noise(c, i, j) as f32 / 50.0 - 1.0);
    for (i, j) in [(11, 12), (13, 12), (12, 11), (12, 13)] {
        clean[(0, i, j)] = 1.0;
    }
    let mut mask = Array3::from_elem(clean.dim(), true);
    mask[(0, 12, 12)] = false;
    let filled = filled(Method::Spatial, &received_part(&clean, &mask), &mask, None);
    let mean = clean.mean().unwrap();
    assert!((filled[(0, 12, 12)] - mean).abs() < 0.4);
}

#[test]
fn a_channel_of_which_nothing_arrived_takes_the_dataset_mean_or_zero() {
    let mean = array![[[1.0, 3.0], [5.0, 7.0]], [[10.0, 30.0], [20.0, 40.0]]];
    let tensor = array![[[5.0, 7.0], [2.0, 1.0]], [[NAN, NAN], [NAN, NAN]]];
    let mask = array![
        [[true, true], [true, true]],
        [[false, false], [false, false]]
    ];
    let bundle = bundle(&mean);
    for method in [
        Method::Spatial,
        Method::Caltec,
        Method::Silrtc,
        Method::Halrtc,
        Method::Temporal,
    ] {
        let told = filled(method, &tensor, &mask, Some(&bundle));
        assert_eq!(told.index_axis(Axis(0), 1), mean.index_axis(Axis(0), 1));
        let untold = filled(method, &tensor, &mask, None);
        assert_eq!(
            untold.index_axis(Axis(0), 1),
            Array3::<f32>::zeros((1, 2, 2)).index_axis(Axis(0), 0)
        );
    }
}

#[test]
fn altec_is_the_weighted_sum_of_its_table() {
    // Packets of one row. Channel 1: 0.5 of channel 0, 2 of channel 2, 0.25 of above, -1 of below.
    let weights = vec![
        0.0, 0.0, 0.0, 0.0, //
        0.5, 2.0, 0.25, -1.0, //
        0.0, 1.0, 0.0, 0.0,
    ];
    let mean = Array3::zeros((3, 3, 2));
    let table = AltecTable::new(1, 3, weights).unwrap();
    let bundle = bundle(&mean).with_altec(table).unwrap();
    let tensor = array![
        [[0.0, 0.0], [4.0, 6.0], [0.0, 0.0]],
        [[8.0, 4.0], [NAN, NAN], [1.0, NAN]],
        [[0.0, 0.0], [NAN, 1.0], [0.0, NAN]],
    ];
    let mask = tensor.mapv(|value| !value.is_nan());
    let filled = filled(Method::Altec, &tensor, &mask, Some(&bundle));
    // Its neighbour in channel 2 is lost, and so zero: 0.5·4 + 2·0 + 0.25·8 − 1·1.
    assert_eq!(filled[(1, 1, 0)], 3.0);
    // Below is lost: 0.5·6 + 2·1 + 0.25·4 − 0.
    assert_eq!(filled[(1, 1, 1)], 6.0);
    // Channel 2 comes later and sees the repaired entry of channel 1.
    assert_eq!(filled[(2, 1, 0)], 3.0);
    // Repaired above: 0.5·0 + 2·0 + 0.25·6.
    assert_eq!(filled[(1, 2, 1)], 1.5);
    assert_eq!(filled[(2, 2, 1)], 1.5);
}

#[test]
fn altec_learns_the_weights_of_a_linear_tensor() {
    // Channel 1 is twice channel 0: with other channels and rows independent, pinv finds it.
    let mut calibration = Calibration::new((2, 2, 8)).unwrap().with_altec(1).unwrap();
    for image in 0..8_u8 {
        let mut tensor = Array3::from_shape_fn((2, 2, 8), |(_, i, j)| {
            noise(usize::from(image), i, j) as f32 / 50.0 - 1.0
        });
        let first = tensor.index_axis(Axis(0), 0).to_owned();
        tensor.index_axis_mut(Axis(0), 1).assign(&(2.0 * first));
        calibration
            .add(tensor.view(), ImageDigest::new([image; 16]))
            .unwrap();
    }
    let bundle = calibration.finish("x", [0; 32], ClipRule::MinMax).unwrap();
    let weights = bundle.altec().unwrap().weights().to_vec();
    let expected = [0.5, 0.0, 0.0, 2.0, 0.0, 0.0];
    for (weight, expected) in weights.iter().zip(expected) {
        assert!((weight - expected).abs() < 1e-4, "{weights:?}");
    }
}

#[test]
fn caltec_follows_the_channel_that_mirrors_its_own() {
    let rows = |sign: f32, offset: f32| {
        Array3::from_shape_fn((1, 8, 16), |(_, i, j)| {
            sign * ((i * 16 + j) as f32 * 0.7).sin() + offset
        })
    };
    let other = Array3::from_shape_fn((1, 8, 16), |(_, i, j)| ((i * j) as f32).cos());
    let clean = ndarray::concatenate(
        Axis(0),
        &[rows(1.0, 0.0).view(), other.view(), rows(-2.0, 3.0).view()],
    )
    .unwrap();
    let mask = Array3::from_shape_fn(clean.dim(), |(c, i, _)| (c, i / 4) != (0, 1));
    let filled = filled(Method::Caltec, &received_part(&clean, &mask), &mask, None);
    for (value, expected) in filled.iter().zip(&clean) {
        assert!((value - expected).abs() < 1e-4);
    }
}

#[test]
fn caltec_takes_the_next_nearest_packet_if_no_channel_has_both() {
    // Packets of four rows. Packet 1 of channel 0 is lost; channel 1 lacks packet 0 and has the
    // others, so packet 2 has to tell.
    let clean = Array3::from_shape_fn((2, 12, 16), |(c, i, j)| {
        let value = ((i * 16 + j) as f32 * 0.9).sin();
        if c == 0 { 3.0 * value + 1.0 } else { value }
    });
    let mask = Array3::from_shape_fn(clean.dim(), |(c, i, _)| {
        (c, i / 4) != (0, 1) && (c, i / 4) != (1, 0)
    });
    let filled = filled(Method::Caltec, &received_part(&clean, &mask), &mask, None);
    let own = |tensor: &Array3<f32>| tensor.index_axis(Axis(0), 0).to_owned();
    for (value, expected) in own(&filled).iter().zip(&own(&clean)) {
        assert!((value - expected).abs() < 1e-4);
    }
}

#[test]
fn low_rank_methods_recover_a_tensor_of_low_rank() {
    // Rank one in every unfolding.
    let clean = Array3::from_shape_fn((12, 16, 14), |(c, i, j)| {
        (1.0 + c as f32 / 4.0) * (i as f32 * 0.4).cos() * (1.5 + (j as f32 * 0.7).sin())
    });
    let mask = scattered(clean.dim());
    let of = |method| error(method, &clean, &mask, None);
    assert!(of(Method::Halrtc) < 1e-4, "{}", of(Method::Halrtc));
    assert!(of(Method::Silrtc) < 1e-2, "{}", of(Method::Silrtc));
}

#[test]
fn low_rank_results_scale_with_the_tensor() {
    let clean = smooth((6, 8, 8), 0.4);
    let mask = scattered(clean.dim());
    for method in [Method::Silrtc, Method::Halrtc] {
        let small = filled(method, &received_part(&clean, &mask), &mask, None);
        let large = filled(
            method,
            &received_part(&(1024.0 * &clean), &mask),
            &mask,
            None,
        );
        Zip::from(&small).and(&large).for_each(|&small, &large| {
            assert!((1024.0 * small - large).abs() < 2.0, "{small} {large}");
        });
    }
}

#[test]
fn kinds_of_loss_are_told_from_masks() {
    let shape = (10, 16, 16);
    let kind = |mask: Array3<bool>| LossKind::of(&Losses::of(mask.as_slice().unwrap(), shape));
    let of = |f: &dyn Fn(usize, usize, usize) -> bool| {
        kind(Array3::from_shape_fn(shape, |(c, i, j)| f(c, i, j)))
    };
    assert_eq!(of(&|_, _, _| true), LossKind::Elements);
    assert_eq!(of(&|c, i, j| noise(c, i, j) >= 5), LossKind::Elements);
    assert_eq!(of(&|c, i, j| noise(c, i, j) >= 50), LossKind::Elements);
    assert_eq!(of(&|c, i, _| noise(c, i / 4, 0) >= 20), LossKind::Rows);
    assert_eq!(of(&|c, _, _| c != 3), LossKind::Channels);
    assert_eq!(of(&|_, _, _| false), LossKind::Channels);
    assert_eq!(
        of(&|c, i, j| noise(c, i / 4, j / 4) >= 20),
        LossKind::Blocks
    );
}
