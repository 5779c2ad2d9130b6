use ndarray::{Array3, ArrayBase, Axis, Ix3, RawData, ShapeBuilder, Slice, array};
use proptest::prelude::*;

use super::*;
use crate::{Calibration, ClipRule, ImageDigest, number::narrow};

type Shape = (usize, usize, usize);

/// A bundle whose dataset mean is this tensor.
fn bundle(mean: &Array3<f32>) -> Bundle {
    let mut calibration = Calibration::new(mean.dim()).unwrap();
    calibration
        .add(mean.view(), ImageDigest::new([7; 16]))
        .unwrap();
    calibration
        .finish(
            "add_4",
            [0; 32],
            ClipRule::Given {
                low: -1.0,
                high: 1.0,
            },
        )
        .unwrap()
}

fn bits(tensor: &Array3<f32>) -> Vec<u32> {
    tensor.iter().map(|value| value.to_bits()).collect()
}

fn filled(
    fill: Fill,
    tensor: &Array3<f32>,
    mask: &Array3<bool>,
    side: Option<&Bundle>,
) -> Array3<f32> {
    let mut filled = tensor.clone();
    fill.apply(filled.view_mut(), mask.view(), side).unwrap();
    filled
}

/// A tensor with garbage, NaN among it, where nothing was received.
fn received_part(tensor: &Array3<f32>, mask: &Array3<bool>) -> Array3<f32> {
    ndarray::Zip::from(tensor).and(mask).map_collect(
        |&value, &received| {
            if received { value } else { f32::NAN }
        },
    )
}

fn shapes() -> impl Strategy<Value = Shape> {
    prop_oneof![
        (1_usize..=6, Just(1), Just(1)),
        (Just(1), 1_usize..=9, 1_usize..=9),
        (1_usize..=5, 1_usize..=9, 1_usize..=9),
    ]
}

fn array3<T: Clone + fmt::Debug>(
    shape: Shape,
    values: impl Strategy<Value = T>,
) -> impl Strategy<Value = Array3<T>> {
    let entries = shape.0 * shape.1 * shape.2;
    prop::collection::vec(values, entries)
        .prop_map(move |values| Array3::from_shape_vec(shape, values).unwrap())
}

fn finite() -> impl Strategy<Value = f32> {
    prop_oneof![
        3 => -8.0_f32..8.0,
        1 => prop::num::f32::NORMAL | prop::num::f32::SUBNORMAL | prop::num::f32::ZERO,
        1 => prop_oneof![Just(f32::MAX), Just(f32::MIN)],
    ]
}

/// Masks of every density, wholly missing and wholly received channels included.
fn masks(shape: Shape) -> impl Strategy<Value = Array3<bool>> {
    let share = prop_oneof![Just(0.0), Just(1.0), 0.0..=1.0_f64];
    let whole = prop::collection::vec(prop::option::weighted(0.3, any::<bool>()), shape.0);
    (share, whole).prop_flat_map(move |(share, whole)| {
        array3(shape, prop::bool::weighted(share)).prop_map(move |mut mask| {
            for (mut channel, whole) in mask.outer_iter_mut().zip(&whole) {
                if let Some(received) = *whole {
                    channel.fill(received);
                }
            }
            mask
        })
    })
}

/// Tensor, mask and dataset mean of one shape.
fn cases(
    values: fn() -> BoxedStrategy<f32>,
) -> impl Strategy<Value = (Array3<f32>, Array3<bool>, Array3<f32>)> {
    shapes().prop_flat_map(move |shape| {
        (
            array3(shape, values()),
            masks(shape),
            array3(shape, values()),
        )
    })
}

fn any_finite() -> BoxedStrategy<f32> {
    finite().boxed()
}

fn moderate() -> BoxedStrategy<f32> {
    (-8.0_f32..8.0).boxed()
}

fn any_bits() -> BoxedStrategy<f32> {
    prop_oneof![finite(), any::<u32>().prop_map(f32::from_bits)].boxed()
}

/// The entries of each channel from row 1 and column 2 on.
fn window<S: RawData>(
    mut array: ArrayBase<S, Ix3>,
    height: usize,
    width: usize,
) -> ArrayBase<S, Ix3> {
    array.slice_axis_inplace(Axis(1), Slice::from(1..=height));
    array.slice_axis_inplace(Axis(2), Slice::from(2..2 + width));
    array
}

fn reverse_rows<S: RawData>(mut array: ArrayBase<S, Ix3>) -> ArrayBase<S, Ix3> {
    array.invert_axis(Axis(1));
    array
}

/// Mean of the received entries of a channel, the obvious way.
fn level(tensor: &Array3<f32>, mask: &Array3<bool>, channel: usize) -> Option<f64> {
    let (tensor, mask) = (
        tensor.index_axis(Axis(0), channel),
        mask.index_axis(Axis(0), channel),
    );
    let received: Vec<f64> = tensor
        .iter()
        .zip(&mask)
        .filter(|(_, m)| **m)
        .map(|(v, _)| f64::from(*v))
        .collect();
    (!received.is_empty()).then(|| received.iter().sum::<f64>() / received.len() as f64)
}

fn close(a: f32, b: f64, scale: f64) -> bool {
    (f64::from(a) - b).abs() <= 1e-6 * scale.max(1.0)
}

proptest! {
    #[test]
    fn received_entries_keep_their_bits_and_filled_ones_are_finite(
        (tensor, mask, mean) in cases(any_finite),
    ) {
        let bundle = bundle(&mean);
        let tensor = received_part(&tensor, &mask);
        for &fill in Fill::ALL {
            let filled = filled(fill, &tensor, &mask, Some(&bundle));
            for ((after, before), received) in filled.iter().zip(&tensor).zip(&mask) {
                prop_assert!(after.is_finite(), "{fill} left {after}");
                prop_assert!(!received || after.to_bits() == before.to_bits());
            }
        }
    }

    #[test]
    fn non_finite_received_entries_are_kept_and_never_spread(
        (tensor, mask, mean) in cases(any_bits),
    ) {
        let bundle = bundle(&mean.mapv(|value| if value.is_finite() { value } else { 1.0 }));
        for &fill in Fill::ALL {
            let filled = filled(fill, &tensor, &mask, Some(&bundle));
            for ((after, before), received) in filled.iter().zip(&tensor).zip(&mask) {
                prop_assert!(*received || after.is_finite(), "{fill} wrote {after}");
                prop_assert!(!received || after.to_bits() == before.to_bits());
            }
        }
    }

    #[test]
    fn formulas_hold((tensor, mask, mean) in cases(moderate)) {
        let bundle = bundle(&mean);
        let input = received_part(&tensor, &mask);
        let all = Array3::from_elem(mean.dim(), true);
        let zero = filled(Fill::Zero, &input, &mask, None);
        let channel = filled(Fill::ChannelMean, &input, &mask, Some(&bundle));
        let bare = filled(Fill::ChannelMean, &input, &mask, None);
        let dataset = filled(Fill::DatasetMean, &input, &mask, Some(&bundle));
        let hybrid = filled(Fill::Hybrid, &input, &mask, Some(&bundle));
        for ((index, &received), &mu) in mask.indexed_iter().zip(&mean) {
            if received {
                continue;
            }
            let mean_level = level(&mean, &all, index.0).unwrap();
            let level = level(&tensor, &mask, index.0);
            prop_assert_eq!(zero[index].to_bits(), 0);
            prop_assert_eq!(dataset[index], mu);
            prop_assert!(close(channel[index], level.unwrap_or(mean_level), 8.0));
            prop_assert!(close(bare[index], level.unwrap_or(0.0), 8.0));
            let shift = level.map_or(0.0, |level| level - mean_level);
            prop_assert!(close(hybrid[index], f64::from(mu) + shift, 32.0));
        }
    }

    #[test]
    fn channel_mean_is_one_value_a_channel((tensor, mask, _) in cases(any_finite)) {
        let filled = filled(Fill::ChannelMean, &tensor, &mask, None);
        for (channel, mask) in filled.outer_iter().zip(mask.outer_iter()) {
            let missing = channel.iter().zip(mask).filter(|(_, m)| !**m);
            let mut values: Vec<u32> = missing.map(|(value, _)| value.to_bits()).collect();
            values.dedup();
            prop_assert!(values.len() <= 1);
        }
    }

    #[test]
    fn hybrid_over_a_uniform_mean_is_the_channel_mean(
        (tensor, mask, _) in cases(any_finite),
        levels in prop::collection::vec(finite(), 6),
    ) {
        let mean = Array3::from_shape_fn(tensor.dim(), |(c, _, _)| levels[c]);
        let bundle = bundle(&mean);
        let hybrid = filled(Fill::Hybrid, &tensor, &mask, Some(&bundle));
        let channel = filled(Fill::ChannelMean, &tensor, &mask, Some(&bundle));
        prop_assert_eq!(hybrid, channel);
    }

    #[test]
    fn hybrid_restores_a_shifted_dataset_mean_where_what_arrived_is_a_fair_sample(
        (height, pairs) in (1_usize..6, 1_usize..6),
        swing in prop::collection::vec(-8.0_f32..8.0, 25),
        received in prop::collection::vec(any::<bool>(), 25),
        level in -4.0_f32..4.0,
        shift in -4.0_f32..4.0,
    ) {
        // Neighbours swing about the level by as much up as down, and come or go together.
        let shape = (1, height, 2 * pairs);
        let mean = Array3::from_shape_fn(shape, |(_, i, j)| {
            let swing = swing[5 * i + j / 2];
            level + if j % 2 == 0 { swing } else { -swing }
        });
        let mask = Array3::from_shape_fn(shape, |(_, i, j)| {
            (i, j / 2) == (0, 0) || received[5 * i + j / 2]
        });
        let clean = &mean + shift;
        let input = received_part(&clean, &mask);
        let restored = filled(Fill::Hybrid, &input, &mask, Some(&bundle(&mean)));
        for (&value, &expected) in restored.iter().zip(&clean) {
            prop_assert!(close(value, f64::from(expected), 32.0), "{value} for {expected}");
        }
    }

    #[test]
    fn memory_layout_changes_nothing((tensor, mask, mean) in cases(any_finite)) {
        let bundle = bundle(&mean);
        let (channels, height, width) = tensor.dim();
        for &fill in Fill::ALL {
            let expected = bits(&filled(fill, &tensor, &mask, Some(&bundle)));

            // Columns first in memory, and the mask as it was.
            let mut permuted = Array3::zeros((channels, height, width).f());
            permuted.assign(&tensor);
            fill.apply(permuted.view_mut(), mask.view(), Some(&bundle)).unwrap();
            prop_assert_eq!(&bits(&permuted), &expected);

            // A window of a larger array; every entry around it stays.
            let mut large = Array3::from_elem((channels, height + 2, width + 3), f32::NAN);
            window(large.view_mut(), height, width).assign(&tensor);
            let mut large_mask = Array3::from_elem(large.dim(), false);
            window(large_mask.view_mut(), height, width).assign(&mask);
            let view = window(large.view_mut(), height, width);
            fill.apply(view, window(large_mask.view(), height, width), Some(&bundle)).unwrap();
            let kept = large.iter().filter(|value| value.is_nan()).count();
            prop_assert_eq!(kept, large.len() - tensor.len());
            prop_assert_eq!(&bits(&window(large.view(), height, width).to_owned()), &expected);

            // Backwards strides.
            let mut reversed = reverse_rows(tensor.view()).to_owned();
            let reversed_mask = reverse_rows(mask.view()).to_owned();
            let view = reverse_rows(reversed.view_mut());
            fill.apply(view, reverse_rows(reversed_mask.view()), Some(&bundle)).unwrap();
            prop_assert_eq!(&bits(&reverse_rows(reversed.view()).to_owned()), &expected);
        }
    }
}

#[test]
fn the_published_shift_compares_with_the_mean_of_the_whole_channel() {
    // Received: 1 and 3, level 2. Mean of μ over all four entries: 5; over the received two: 0.
    let mean = array![[[0.0, 0.0], [10.0, 10.0]]];
    let tensor = array![[[1.0, 3.0], [f32::NAN, f32::NAN]]];
    let mask = array![[[true, true], [false, false]]];
    let filled = filled(Fill::Hybrid, &tensor, &mask, Some(&bundle(&mean)));
    assert_eq!(filled, array![[[1.0, 3.0], [7.0, 7.0]]]);
}

#[test]
fn non_finite_received_entries_are_left_out_of_the_level() {
    let tensor = array![
        [[2.0, f32::NAN, f32::INFINITY, 4.0, 0.0]],
        [[f32::NAN, 0.0, 0.0, 0.0, 0.0]]
    ];
    let mask = array![
        [[true, true, true, true, false]],
        [[true, false, false, false, false]]
    ];
    let filled = filled(Fill::ChannelMean, &tensor, &mask, None);
    assert_eq!(filled[(0, 0, 4)], 3.0);
    assert_eq!(
        filled[(1, 0, 1)],
        0.0,
        "only NaN arrived, so nothing usable did"
    );
    assert!(filled[(0, 0, 1)].is_nan() && filled[(0, 0, 2)] == f32::INFINITY);
}

#[test]
fn a_received_nan_keeps_its_payload() {
    let signalling = f32::from_bits(0xffa0_1234);
    let tensor = array![[[signalling, 1.0]]];
    let mask = array![[[true, false]]];
    for &fill in Fill::ALL {
        let filled = filled(fill, &tensor, &mask, Some(&bundle(&array![[[1.0, 2.0]]])));
        assert_eq!(filled[(0, 0, 0)].to_bits(), 0xffa0_1234, "{fill}");
    }
}

#[test]
fn the_largest_values_do_not_overflow() {
    let tensor = Array3::from_elem((1, 40, 40), f32::MAX);
    let mask = Array3::from_shape_fn(tensor.dim(), |(_, i, _)| i > 0);
    let channel = filled(Fill::ChannelMean, &tensor, &mask, None);
    assert_eq!(channel[(0, 0, 0)], f32::MAX);
    let signs = Array3::from_shape_fn(
        tensor.dim(),
        |(_, i, _)| if i > 19 { f32::MIN } else { 1.0 },
    );
    let channel = filled(Fill::ChannelMean, &signs, &mask, None);
    let expected = narrow(level(&signs, &mask, 0).unwrap());
    assert_eq!(channel[(0, 0, 0)], expected);
    let mean = Array3::from_shape_fn(
        tensor.dim(),
        |(_, i, _)| if i == 0 { f32::MAX } else { 0.0 },
    );
    let hybrid = filled(Fill::Hybrid, &tensor, &mask, Some(&bundle(&mean)));
    assert_eq!(hybrid[(0, 0, 0)], f32::MAX, "saturates");
}

#[test]
fn the_level_of_a_large_channel_counts_every_received_entry_once() {
    // Sizes around the lanes and runs of the summing loops, with values that f32 adds exactly.
    for size in [
        1,
        15,
        16,
        17,
        63,
        64,
        65,
        784,
        16 * 255,
        16 * 256 + 3,
        70_001,
    ] {
        let tensor = Array3::from_shape_fn((1, 1, size + 1), |(_, _, j)| (j % 13) as f32);
        let mask = Array3::from_shape_fn(tensor.dim(), |(_, _, j)| j < size && j % 7 != 3);
        let filled = filled(
            Fill::ChannelMean,
            &received_part(&tensor, &mask),
            &mask,
            None,
        );
        let level = level(&tensor, &mask, 0).unwrap();
        assert_eq!(filled[(0, 0, size)], narrow(level), "{size} entries");
    }
}

#[test]
fn a_channel_of_which_nothing_arrived_falls_back() {
    let mean = array![[[1.0, 3.0]], [[10.0, 30.0]]];
    let tensor = array![[[5.0, 7.0]], [[f32::NAN, f32::NAN]]];
    let mask = array![[[true, true]], [[false, false]]];
    let bundle = bundle(&mean);
    let second = |fill, side| {
        filled(fill, &tensor, &mask, side)
            .index_axis(Axis(0), 1)
            .to_owned()
    };
    assert_eq!(second(Fill::ChannelMean, None), array![[0.0, 0.0]]);
    assert_eq!(
        second(Fill::ChannelMean, Some(&bundle)),
        array![[20.0, 20.0]]
    );
    assert_eq!(
        second(Fill::DatasetMean, Some(&bundle)),
        array![[10.0, 30.0]]
    );
    assert_eq!(second(Fill::Hybrid, Some(&bundle)), array![[10.0, 30.0]]);
}

#[test]
fn what_the_caller_got_wrong_is_named_and_the_tensor_is_left_alone() {
    let mut tensor = array![[[1.0, f32::NAN]]];
    let mask = array![[[true, false]]];
    let before = bits(&tensor);
    for &fill in Fill::ALL {
        let wrong_mask = Array3::from_elem((1, 2, 1), true);
        let error = FillError::MaskShape {
            tensor: (1, 1, 2),
            mask: (1, 2, 1),
        };
        assert_eq!(
            fill.apply(tensor.view_mut(), wrong_mask.view(), None),
            Err(error)
        );
        let other = bundle(&array![[[1.0], [2.0]]]);
        let error = FillError::BundleShape {
            tensor: (1, 1, 2),
            bundle: (1, 2, 1),
        };
        assert_eq!(
            fill.apply(tensor.view_mut(), mask.view(), Some(&other)),
            Err(error)
        );
        if fill.needs_side_information() {
            let error = FillError::NeedsSideInformation { fill };
            assert_eq!(fill.apply(tensor.view_mut(), mask.view(), None), Err(error));
        }
        assert_eq!(bits(&tensor), before);
    }
}

#[test]
fn an_empty_tensor_has_nothing_to_fill() {
    for shape in [(0, 0, 0), (0, 3, 3), (4, 0, 3), (4, 3, 0)] {
        let mut tensor = Array3::<f32>::zeros(shape);
        let mask = Array3::from_elem(shape, false);
        for fill in [Fill::Zero, Fill::ChannelMean] {
            assert_eq!(fill.apply(tensor.view_mut(), mask.view(), None), Ok(()));
        }
    }
}

#[test]
fn names_are_read_as_they_are_written() {
    for &fill in Fill::ALL {
        assert_eq!(fill.to_string().parse(), Ok(fill));
    }
    let names: Vec<_> = Fill::ALL.iter().map(|fill| fill.name()).collect();
    assert_eq!(names, ["zero", "channel-mean", "dataset-mean", "hybrid"]);
    let error = "mean".parse::<Fill>().unwrap_err();
    assert!(names.iter().all(|name| error.to_string().contains(name)));
}
