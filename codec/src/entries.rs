//! The entries of every slice, as a table.

use crate::format::Format;
use crate::map::Map;
use crate::shuffle::permutation;

/// Which entries each slice of a format stands for: a partition of all entries of the tensor.
///
/// Entries are numbered in row-major order, (c × height + y) × width + x. Four bytes an entry.
#[derive(Clone, Debug)]
pub struct EntryMap {
    /// All entries, slice by slice.
    order: Vec<u32>,
    /// Where in `order` each slice ends.
    ends: Vec<u32>,
    /// `order` counts up from 0, so that slices are stretches of the tensor itself.
    contiguous: bool,
}

impl EntryMap {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "entries are at most MAX_ENTRIES"
    )]
    pub(crate) fn new(format: &Format) -> Self {
        let all = format.shape().entries();
        let slices = usize::from(format.slice_count());
        let mut ends = Vec::with_capacity(slices);
        let order = match (format.map(), format.grid()) {
            (Map::Random { seed, entries }, _) => {
                ends.extend((1..=slices).map(|slice| (slice * entries as usize).min(all) as u32));
                permutation(seed, all as u32)
            }
            (Map::Mosaic { blocks, .. }, Some(grid)) => {
                let mut order = Vec::with_capacity(all);
                for slice in 0..slices {
                    let first = slice * usize::from(blocks);
                    for block in first..grid.blocks().min(first + usize::from(blocks)) {
                        grid.block_entries(block, &mut order);
                    }
                    ends.push(order.len() as u32);
                }
                order
            }
            (map, _) => {
                let (channels, height, width) = format.shape().dim();
                let rows = match map {
                    Map::ChannelRows { rows } => usize::from(rows),
                    _ => height,
                };
                for channel in 0..channels {
                    let first = channel * height;
                    let bottoms = (1..=height.div_ceil(rows)).map(|n| height.min(n * rows));
                    ends.extend(bottoms.map(|bottom| ((first + bottom) * width) as u32));
                }
                (0..all as u32).collect()
            }
        };
        let contiguous = matches!(format.map(), Map::ChannelRows { .. });
        Self {
            order,
            ends,
            contiguous,
        }
    }

    /// Number of slices.
    #[must_use]
    pub fn slices(&self) -> usize {
        self.ends.len()
    }

    /// The entries of a slice, in the order in which the raw coder packs them; none for a slice
    /// that does not exist, or that lies wholly in unused cells of a mosaic.
    #[must_use]
    pub fn slice(&self, slice: usize) -> &[u32] {
        self.order.get(self.span(slice)).unwrap_or_default()
    }

    /// The positions of a slice in the order of all entries.
    pub(crate) fn span(&self, slice: usize) -> std::ops::Range<usize> {
        let end = |slice: usize| self.ends.get(slice).map_or(0, |&end| end as usize);
        let start = slice.checked_sub(1).map_or(0, end);
        start..end(slice).max(start)
    }

    /// The slice's stretch of the tensor, where the map makes one.
    pub(crate) fn stretch(&self, slice: usize) -> Option<std::ops::Range<usize>> {
        self.contiguous.then(|| self.span(slice))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClipRange, Coder, Quantiser, Shape};

    fn map(map: Map) -> EntryMap {
        let quantiser = Quantiser::new(ClipRange::new(0.0, 1.0).unwrap(), 16).unwrap();
        let shape = Shape::new(2, 3, 2).unwrap();
        Format::new(shape, quantiser, map, Coder::Raw)
            .unwrap()
            .entry_map()
    }

    fn slices(map: &EntryMap) -> Vec<&[u32]> {
        (0..map.slices()).map(|slice| map.slice(slice)).collect()
    }

    #[test]
    fn rows_never_leave_their_channel() {
        let map = map(Map::ChannelRows { rows: 2 });
        let expected: [&[u32]; 4] = [&[0, 1, 2, 3], &[4, 5], &[6, 7, 8, 9], &[10, 11]];
        assert_eq!(slices(&map), expected);
        assert_eq!(map.slice(4), []);
        assert_eq!(map.slice(usize::MAX), []);
    }

    #[test]
    fn a_mosaic_slice_holds_its_blocks() {
        let map = map(Map::Mosaic {
            columns: 1,
            blocks: 1,
        });
        let expected: [&[u32]; 2] = [&[0, 1, 2, 3, 4, 5], &[6, 7, 8, 9, 10, 11]];
        assert_eq!(slices(&map), expected);
    }

    #[test]
    fn random_slices_cut_the_permutation() {
        let map = map(Map::Random {
            seed: 3,
            entries: 5,
        });
        let order = permutation(3, 12);
        assert_eq!(slices(&map), [&order[..5], &order[5..10], &order[10..]]);
    }
}
