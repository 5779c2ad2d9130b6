//! The simple fills: their formulas and what they do with channels of which nothing arrived.

use ndarray::{Array3, Axis, array};
use proptest::prelude::*;

use super::*;
use crate::number::narrow;

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
    fn formulas_hold((tensor, mask, mean) in cases(moderate, moderate)) {
        let bundle = bundle(&mean);
        let input = received_part(&tensor, &mask);
        let all = Array3::from_elem(mean.dim(), true);
        let zero = filled(Method::Zero, &input, &mask, None);
        let channel = filled(Method::ChannelMean, &input, &mask, Some(&bundle));
        let bare = filled(Method::ChannelMean, &input, &mask, None);
        let dataset = filled(Method::DatasetMean, &input, &mask, Some(&bundle));
        let hybrid = filled(Method::Hybrid, &input, &mask, Some(&bundle));
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
    fn channel_mean_is_one_value_a_channel((tensor, mask, _) in cases(any_finite, any_finite)) {
        let filled = filled(Method::ChannelMean, &tensor, &mask, None);
        for (channel, mask) in filled.outer_iter().zip(mask.outer_iter()) {
            let missing = channel.iter().zip(mask).filter(|(_, m)| !**m);
            let mut values: Vec<u32> = missing.map(|(value, _)| value.to_bits()).collect();
            values.dedup();
            prop_assert!(values.len() <= 1);
        }
    }

    #[test]
    fn hybrid_over_a_uniform_mean_is_the_channel_mean(
        (tensor, mask, _) in cases(any_finite, any_finite),
        levels in prop::collection::vec(finite(), 6),
    ) {
        let mean = Array3::from_shape_fn(tensor.dim(), |(c, _, _)| levels[c]);
        let bundle = bundle(&mean);
        let hybrid = filled(Method::Hybrid, &tensor, &mask, Some(&bundle));
        let channel = filled(Method::ChannelMean, &tensor, &mask, Some(&bundle));
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
        let restored = filled(Method::Hybrid, &input, &mask, Some(&bundle(&mean)));
        for (&value, &expected) in restored.iter().zip(&clean) {
            prop_assert!(close(value, f64::from(expected), 32.0), "{value} for {expected}");
        }
    }
}

#[test]
fn the_published_shift_compares_with_the_mean_of_the_whole_channel() {
    // Received: 1 and 3, level 2. Mean of μ over all four entries: 5; over the received two: 0.
    let mean = array![[[0.0, 0.0], [10.0, 10.0]]];
    let tensor = array![[[1.0, 3.0], [f32::NAN, f32::NAN]]];
    let mask = array![[[true, true], [false, false]]];
    let filled = filled(Method::Hybrid, &tensor, &mask, Some(&bundle(&mean)));
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
    let filled = filled(Method::ChannelMean, &tensor, &mask, None);
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
    for fill in Method::SIMPLE {
        let filled = filled(fill, &tensor, &mask, Some(&bundle(&array![[[1.0, 2.0]]])));
        assert_eq!(filled[(0, 0, 0)].to_bits(), 0xffa0_1234, "{fill}");
    }
}

#[test]
fn the_largest_values_do_not_overflow() {
    let tensor = Array3::from_elem((1, 40, 40), f32::MAX);
    let mask = Array3::from_shape_fn(tensor.dim(), |(_, i, _)| i > 0);
    let channel = filled(Method::ChannelMean, &tensor, &mask, None);
    assert_eq!(channel[(0, 0, 0)], f32::MAX);
    let signs = Array3::from_shape_fn(
        tensor.dim(),
        |(_, i, _)| if i > 19 { f32::MIN } else { 1.0 },
    );
    let channel = filled(Method::ChannelMean, &signs, &mask, None);
    let expected = narrow(level(&signs, &mask, 0).unwrap());
    assert_eq!(channel[(0, 0, 0)], expected);
    let mean = Array3::from_shape_fn(
        tensor.dim(),
        |(_, i, _)| if i == 0 { f32::MAX } else { 0.0 },
    );
    let hybrid = filled(Method::Hybrid, &tensor, &mask, Some(&bundle(&mean)));
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
            Method::ChannelMean,
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
    assert_eq!(second(Method::ChannelMean, None), array![[0.0, 0.0]]);
    assert_eq!(
        second(Method::ChannelMean, Some(&bundle)),
        array![[20.0, 20.0]]
    );
    assert_eq!(
        second(Method::DatasetMean, Some(&bundle)),
        array![[10.0, 30.0]]
    );
    assert_eq!(second(Method::Hybrid, Some(&bundle)), array![[10.0, 30.0]]);
}

#[test]
fn hybrid_and_dataset_mean_need_a_bundle() {
    for method in [Method::DatasetMean, Method::Hybrid] {
        let error = Concealer::new(method, (1, 2, 2), None).unwrap_err();
        assert_eq!(error, ConcealError::NeedsBundle { method });
    }
}
