//! Which slices matter most: what the bundle knows of channels, told of slices.

use std::cmp::Reverse;

use tensorwire_codec::Format;
use tensorwire_concealment::Importance;

/// What losing each slice of `format` costs: the sum over its entries of what losing their channel
/// does, one for a slice of ordinary entries as many as a slice has on average.
pub(super) fn of_slices(format: &Format, importance: &Importance) -> Vec<f32> {
    let map = format.entry_map();
    let plane = (format.shape().height() as usize * format.shape().width() as usize).max(1);
    let average = format.shape().entries() as f32 / map.slices().max(1) as f32;
    let of_entry = |entry: &u32| {
        let channel = *entry as usize / plane;
        importance.channels().get(channel).copied().unwrap_or(1.0)
    };
    let slices = (0..map.slices()).map(|slice| map.slice(slice).iter().map(of_entry).sum::<f32>());
    slices.map(|sum| sum / average).collect()
}

/// The slices in the order of their importance, the most important first; equal ones stay in order.
pub(super) fn order(importance: &[f32]) -> Vec<u16> {
    let slices = u16::try_from(importance.len()).unwrap_or(u16::MAX);
    let mut order: Vec<u16> = (0..slices).collect();
    // Importance is not negative, so that its bits are in its order.
    order.sort_by_key(|slice| {
        let importance = importance.get(usize::from(*slice));
        Reverse(importance.map_or(0, |value| value.to_bits()))
    });
    order
}

#[cfg(test)]
mod tests {
    use tensorwire_codec::{ClipRange, Coder, Map, Quantiser, Shape};

    use super::*;

    fn format(map: Map) -> Format {
        let quantiser = Quantiser::new(ClipRange::new(-1.0, 1.0).unwrap(), 256).unwrap();
        let shape = Shape::new(3, 4, 2).unwrap();
        Format::new(shape, quantiser, map, Coder::Raw).unwrap()
    }

    #[test]
    fn rows_of_important_channels_come_first() {
        let importance = Importance::from_costs(&[1.0, 4.0, 1.0]).unwrap();
        let slices = of_slices(&format(Map::ChannelRows { rows: 2 }), &importance);
        assert_eq!(slices, [0.5, 0.5, 2.0, 2.0, 0.5, 0.5]);
        assert_eq!(order(&slices), [2, 3, 0, 1, 4, 5]);
    }

    #[test]
    fn the_importance_of_slices_has_the_mean_of_that_of_channels() {
        let importance = Importance::from_costs(&[0.0, 5.0, 1.0]).unwrap();
        let map = Map::Random {
            seed: 1,
            entries: 8,
        };
        let slices = of_slices(&format(map), &importance);
        let mean = slices.iter().sum::<f32>() / slices.len() as f32;
        assert!((mean - 1.0).abs() < 1e-6, "{slices:?}");
    }
}
