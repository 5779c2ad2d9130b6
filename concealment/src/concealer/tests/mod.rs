//! What every method promises, on any mask and any values, and what the tests share.

mod auto;
mod methods;
mod simple;
mod stream;

use std::fmt;

use ndarray::{Array3, ArrayBase, Axis, Ix3, RawData, ShapeBuilder, Slice};
use proptest::prelude::*;

use super::*;
use crate::{Calibration, ClipRule, ImageDigest};

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

fn concealer(method: Method, shape: Shape, side: Option<&Bundle>) -> Concealer {
    Concealer::new(method, shape, side.cloned().map(Arc::new)).unwrap()
}

/// What a new concealer makes of a tensor.
fn filled(
    method: Method,
    tensor: &Array3<f32>,
    mask: &Array3<bool>,
    side: Option<&Bundle>,
) -> Array3<f32> {
    let mut filled = tensor.clone();
    concealer(method, tensor.dim(), side)
        .conceal(filled.view_mut(), mask.view())
        .unwrap();
    filled
}

/// A bundle with every section that a method needs, from the mean itself and from it and some swing.
fn full_bundle(mean: &Array3<f32>) -> Bundle {
    let calibration = Calibration::new(mean.dim()).unwrap();
    let mut calibration = calibration
        .with_covariance()
        .unwrap()
        .with_altec(mean.dim().1.min(2))
        .unwrap();
    for image in 0..4_u8 {
        let tensor = Array3::from_shape_fn(mean.dim(), |(c, i, j)| {
            let phase = f32::from(image) + (c + i + 2 * j) as f32;
            mean[(c, i, j)] + phase.sin()
        });
        calibration
            .add(tensor.view(), ImageDigest::new([image; 16]))
            .unwrap();
    }
    let rule = ClipRule::Given {
        low: -1.0,
        high: 1.0,
    };
    calibration.finish("add_4", [0; 32], rule).unwrap()
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
    means: fn() -> BoxedStrategy<f32>,
) -> impl Strategy<Value = (Array3<f32>, Array3<bool>, Array3<f32>)> {
    shapes().prop_flat_map(move |shape| {
        (
            array3(shape, values()),
            masks(shape),
            array3(shape, means()),
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn received_entries_keep_their_bits_and_filled_ones_are_finite(
        (tensor, mask, mean) in cases(any_finite, moderate),
    ) {
        let bundle = full_bundle(&mean);
        let tensor = received_part(&tensor, &mask);
        for &method in Method::ALL {
            let filled = filled(method, &tensor, &mask, Some(&bundle));
            for ((after, before), received) in filled.iter().zip(&tensor).zip(&mask) {
                prop_assert!(after.is_finite(), "{method} left {after}");
                prop_assert!(!received || after.to_bits() == before.to_bits());
            }
        }
    }

    #[test]
    fn non_finite_received_entries_are_kept_and_never_spread(
        (tensor, mask, mean) in cases(any_bits, moderate),
    ) {
        let bundle = full_bundle(&mean);
        for &method in Method::ALL {
            let filled = filled(method, &tensor, &mask, Some(&bundle));
            for ((after, before), received) in filled.iter().zip(&tensor).zip(&mask) {
                prop_assert!(*received || after.is_finite(), "{method} wrote {after}");
                prop_assert!(!received || after.to_bits() == before.to_bits());
            }
        }
    }

    #[test]
    fn dataset_means_of_any_size_leave_no_entry_infinite(
        (tensor, mask, mean) in cases(any_bits, any_finite),
    ) {
        let bundle = bundle(&mean);
        for &method in Method::ALL.iter().filter(|method| method.section().is_none()) {
            let mut concealer = concealer(method, tensor.dim(), Some(&bundle));
            // Twice, so that methods that look back have something to look at.
            for _ in 0..2 {
                let mut filled = tensor.clone();
                concealer.conceal(filled.view_mut(), mask.view()).unwrap();
                for ((after, before), received) in filled.iter().zip(&tensor).zip(&mask) {
                    prop_assert!(*received || after.is_finite(), "{method} wrote {after}");
                    prop_assert!(!received || after.to_bits() == before.to_bits());
                }
            }
        }
    }

    #[test]
    fn memory_layout_changes_nothing((tensor, mask, mean) in cases(any_finite, moderate)) {
        let bundle = full_bundle(&mean);
        let (channels, height, width) = tensor.dim();
        for &method in Method::ALL {
            let expected = bits(&filled(method, &tensor, &mask, Some(&bundle)));

            // Columns first in memory, and the mask as it was.
            let mut permuted = Array3::zeros((channels, height, width).f());
            permuted.assign(&tensor);
            let mut concealer = concealer(method, tensor.dim(), Some(&bundle));
            concealer.conceal(permuted.view_mut(), mask.view()).unwrap();
            prop_assert_eq!(&bits(&permuted), &expected);

            // A window of a larger array; every entry around it stays.
            let mut large = Array3::from_elem((channels, height + 2, width + 3), f32::NAN);
            window(large.view_mut(), height, width).assign(&tensor);
            let mut large_mask = Array3::from_elem(large.dim(), false);
            window(large_mask.view_mut(), height, width).assign(&mask);
            let view = window(large.view_mut(), height, width);
            concealer.forget();
            concealer.conceal(view, window(large_mask.view(), height, width)).unwrap();
            let kept = large.iter().filter(|value| value.is_nan()).count();
            prop_assert_eq!(kept, large.len() - tensor.len());
            prop_assert_eq!(&bits(&window(large.view(), height, width).to_owned()), &expected);

            // Backwards strides.
            let mut reversed = reverse_rows(tensor.view()).to_owned();
            let reversed_mask = reverse_rows(mask.view()).to_owned();
            let view = reverse_rows(reversed.view_mut());
            concealer.forget();
            concealer.conceal(view, reverse_rows(reversed_mask.view())).unwrap();
            prop_assert_eq!(&bits(&reverse_rows(reversed.view()).to_owned()), &expected);
        }
    }
}
