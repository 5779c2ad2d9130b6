//! Where the channels of a tensor lie in the mosaic (payload format, section 5.2).

use crate::shape::Shape;

/// Side of a JPEG block, samples.
pub(crate) const BLOCK: usize = 8;

/// The grid of tiles, one channel each, every tile padded to whole blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    shape: Shape,
    /// Tiles of one row of the grid.
    columns: usize,
    /// Rows of tiles.
    rows: usize,
    /// Sides of a tile, in blocks.
    tile: (usize, usize),
}

impl Grid {
    pub(crate) fn new(shape: Shape, columns: u16) -> Self {
        let (channels, height, width) = shape.dim();
        let columns = usize::from(columns).max(1);
        Self {
            shape,
            columns,
            rows: channels.div_ceil(columns),
            tile: (height.div_ceil(BLOCK), width.div_ceil(BLOCK)),
        }
    }

    /// Height and width of the mosaic, samples.
    pub(crate) const fn sides(&self) -> (usize, usize) {
        (
            self.rows * self.tile.0 * BLOCK,
            self.columns * self.tile.1 * BLOCK,
        )
    }

    /// Blocks of one row of blocks.
    pub(crate) const fn block_columns(&self) -> usize {
        self.columns * self.tile.1
    }

    /// Blocks of the whole mosaic.
    pub(crate) const fn blocks(&self) -> usize {
        self.rows * self.tile.0 * self.block_columns()
    }

    /// Cells of the grid without a channel.
    pub(crate) fn unused(&self) -> usize {
        self.rows * self.columns - self.shape.dim().0
    }

    /// Offset in the mosaic of the first sample of a channel's tile.
    pub(crate) const fn tile_offset(&self, channel: usize) -> usize {
        let (_, width) = self.sides();
        let (row, column) = (channel / self.columns, channel % self.columns);
        row * self.tile.0 * BLOCK * width + column * self.tile.1 * BLOCK
    }

    /// Appends the numbers of the entries of a block, row by row; none where its cell is unused.
    pub(crate) fn block_entries(&self, block: usize, entries: &mut Vec<u32>) {
        let (channels, height, width) = self.shape.dim();
        let (block_y, block_x) = (block / self.block_columns(), block % self.block_columns());
        let channel = block_y / self.tile.0 * self.columns + block_x / self.tile.1;
        if channel >= channels {
            return;
        }
        let (y, x) = (block_y % self.tile.0 * BLOCK, block_x % self.tile.1 * BLOCK);
        for y in y..height.min(y + BLOCK) {
            let row = (channel * height + y) * width;
            #[expect(
                clippy::cast_possible_truncation,
                reason = "entries are at most MAX_ENTRIES"
            )]
            entries.extend((x..width.min(x + BLOCK)).map(|x| (row + x) as u32));
        }
    }

    /// The number of columns whose mosaic is closest to a square without needless empty cells:
    /// of all column counts whose mosaic is at most twice as wide as high or high as wide, the one
    /// with the fewest unused cells, of those the squarest, and of two the wider.
    pub(crate) fn square_columns(shape: Shape) -> u16 {
        let most = u16::try_from(shape.channels()).unwrap_or(u16::MAX);
        let stretch = |columns: u16| {
            let (height, width) = Self::new(shape, columns).sides();
            let (short, long) = (height.min(width), height.max(width));
            long as f64 / short as f64
        };
        let candidates = || (1..=most).map(|columns| (columns, stretch(columns)));
        let limit = candidates()
            .map(|(_, stretch)| stretch)
            .fold(f64::INFINITY, f64::min)
            .max(2.0);
        candidates()
            .filter(|&(_, stretch)| stretch <= limit)
            .min_by(|&(a, stretch_a), &(b, stretch_b)| {
                let unused = |columns| Self::new(shape, columns).unused();
                unused(a)
                    .cmp(&unused(b))
                    .then(stretch_a.total_cmp(&stretch_b))
                    .then(b.cmp(&a))
            })
            .map_or(1, |(columns, _)| columns)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tiles_are_whole_blocks_in_raster_order() {
        let grid = Grid::new(Shape::new(5, 10, 7).unwrap(), 3);
        assert_eq!(grid.sides(), (32, 24));
        assert_eq!(
            (grid.block_columns(), grid.blocks(), grid.unused()),
            (3, 12, 1)
        );
        assert_eq!(grid.tile_offset(0), 0);
        assert_eq!(grid.tile_offset(2), 16);
        assert_eq!(grid.tile_offset(4), 16 * 24 + 8);
    }

    #[test]
    fn a_block_holds_only_entries_of_its_channel() {
        let grid = Grid::new(Shape::new(5, 10, 7).unwrap(), 3);
        let entries = |block| {
            let mut entries = Vec::new();
            grid.block_entries(block, &mut entries);
            entries
        };
        // Block row 1 holds rows 8 and 9 of channels 0 to 2.
        assert_eq!(entries(4), (70 + 56..70 + 70).collect::<Vec<u32>>());
        // The sixth cell is unused.
        assert_eq!(entries(8), []);
        assert_eq!(entries(11), []);
    }

    #[test]
    fn columns_of_common_shapes() {
        for (shape, columns) in [
            ((40, 28, 28), 8),
            ((80, 14, 14), 10),
            ((128, 28, 28), 16),
            ((192, 7, 7), 16),
            ((1, 28, 28), 1),
            ((1, 1, 900), 1),
            ((256, 1, 1), 16),
        ] {
            let shape = Shape::new(shape.0, shape.1, shape.2).unwrap();
            assert_eq!(Grid::square_columns(shape), columns, "{shape}");
        }
    }

    proptest! {
        #[test]
        fn every_entry_lies_in_exactly_one_block(
            c in 1u32..20, h in 1u32..30, w in 1u32..30, columns in 1u16..20,
        ) {
            let shape = Shape::new(c, h, w).unwrap();
            let grid = Grid::new(shape, columns);
            let mut entries = Vec::new();
            for block in 0..grid.blocks() {
                grid.block_entries(block, &mut entries);
            }
            entries.sort_unstable();
            prop_assert!(entries.into_iter().map(|e| e as usize).eq(0..shape.entries()));
        }
    }
}
