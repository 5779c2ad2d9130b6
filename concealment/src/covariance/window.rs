//! Which earlier pixels a pixel is foretold from.

/// A pixel before another in reading order: this many rows up, this many columns to the right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offset {
    pub(crate) up: usize,
    pub(crate) right: isize,
}

const fn offset(up: usize, right: isize) -> Offset {
    Offset { up, right }
}

/// The direct neighbours among the earlier pixels.
const NEAR: [Offset; 4] = [offset(0, -1), offset(1, -1), offset(1, 0), offset(1, 1)];

/// What a pixel that is at least two rows and columns away from the border has in addition, in the
/// order in which they are worth most.
const FAR: [Offset; 8] = [
    offset(0, -2),
    offset(2, 0),
    offset(1, -2),
    offset(1, 2),
    offset(2, -2),
    offset(2, -1),
    offset(2, 1),
    offset(2, 2),
];

/// How far the window reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The four direct neighbours.
    Near,
    /// Four more at a distance of two, without the farthest corners.
    Wide,
    /// All twelve within two rows and columns.
    Whole,
}

impl Reach {
    pub(crate) const ALL: [Self; 3] = [Self::Near, Self::Wide, Self::Whole];

    /// The widest window with which concealing a tensor stays a matter of milliseconds and
    /// calibration one of some hundred images.
    ///
    /// A round of the solver costs 2 (n + 1) C multiplications for each missing entry. Twelve pixels
    /// leave a sixth less error than eight on a model with 48 channels and a fiftieth less with 40;
    /// with 80, and 250 images, they gained nothing.
    pub(crate) const fn of((channels, height, width): (usize, usize, usize)) -> Self {
        let cost = channels
            .saturating_mul(channels)
            .saturating_mul(height)
            .saturating_mul(width);
        match cost {
            0..=1_500_000 if channels <= 64 => Self::Whole,
            0..=4_000_000 => Self::Wide,
            _ => Self::Near,
        }
    }

    /// Pixels of the window besides the one foretold; the code on file.
    pub(crate) const fn neighbours(self) -> usize {
        NEAR.len() + self.far()
    }

    const fn far(self) -> usize {
        match self {
            Self::Near => 0,
            Self::Wide => 4,
            Self::Whole => 8,
        }
    }
}

/// The situations of the pixels of a plane: which part of the window lies inside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    height: usize,
    width: usize,
    reach: Reach,
    /// For each kind of situation, its place among those that occur.
    places: [Option<u8>; KINDS],
    /// The window of each situation that occurs.
    windows: Vec<Vec<Offset>>,
}

/// Kinds of situations, by what lies inside the plane: nothing; left; above; above and right; left
/// and above; all direct neighbours; those and the far ones.
const KINDS: usize = 7;

impl Layout {
    /// For planes of this many rows and columns, each at least one.
    pub(crate) fn new(height: usize, width: usize, reach: Reach) -> Self {
        let mut places = [None; KINDS];
        let mut windows = Vec::with_capacity(KINDS);
        // Rows and columns past the third from a border are like the third.
        let rows = height.min(3);
        let columns = || (0..width.min(3)).chain(width.saturating_sub(3)..width);
        for (kind, place) in (0_u8..).zip(0..KINDS) {
            let occurs = (0..rows).any(|row| {
                columns().any(|column| kind_of(row, column, width, reach) == usize::from(kind))
            });
            if let (true, Some(slot)) = (occurs, places.get_mut(place)) {
                *slot = u8::try_from(windows.len()).ok();
                windows.push(window_of(usize::from(kind), reach));
            }
        }
        Self {
            height,
            width,
            reach,
            places,
            windows,
        }
    }

    /// Windows of the situations that occur, poorest first.
    pub(crate) fn windows(&self) -> &[Vec<Offset>] {
        &self.windows
    }

    /// Place in [`windows`](Self::windows) of the situation of a pixel.
    pub(crate) fn situation(&self, row: usize, column: usize) -> usize {
        let kind = kind_of(row, column, self.width, self.reach);
        usize::from(self.places.get(kind).copied().flatten().unwrap_or(0))
    }

    /// The situation of each pixel in reading order.
    pub(crate) fn situations(&self) -> impl Iterator<Item = usize> {
        (0..self.height)
            .flat_map(move |row| (0..self.width).map(move |column| self.situation(row, column)))
    }

    /// How many pixels before a pixel, in reading order, the pixel of an offset is.
    pub(crate) const fn steps_back(&self, offset: Offset) -> usize {
        (offset.up * self.width).wrapping_add_signed(-offset.right)
    }
}

const fn kind_of(row: usize, column: usize, width: usize, reach: Reach) -> usize {
    let is_deep = row >= 2 && column >= 2 && column + 2 < width;
    match (row > 0, column > 0, column + 1 < width) {
        (false, false, _) => 0,
        (false, true, _) => 1,
        (true, false, false) => 2,
        (true, false, true) => 3,
        (true, true, false) => 4,
        (true, true, true) if is_deep && reach.far() > 0 => 6,
        (true, true, true) => 5,
    }
}

fn window_of(kind: usize, reach: Reach) -> Vec<Offset> {
    let near: &[Offset] = match kind {
        0 => &[],
        1 => &NEAR[..1],
        2 => &NEAR[2..3],
        3 => &NEAR[2..],
        4 => &NEAR[..3],
        _ => &NEAR,
    };
    let far = if kind == 6 { reach.far() } else { 0 };
    near.iter().chain(FAR.iter().take(far)).copied().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn windows_lie_in_the_plane_and_before_the_pixel(
            height in 1_usize..9,
            width in 1_usize..9,
            reach in prop::sample::select(Reach::ALL.to_vec()),
        ) {
            let layout = Layout::new(height, width, reach);
            let mut seen = vec![false; layout.windows().len()];
            for (pixel, situation) in layout.situations().enumerate() {
                let (row, column) = (pixel / width, pixel % width);
                seen[situation] = true;
                let window = &layout.windows()[situation];
                for offset in window {
                    prop_assert!(offset.up <= row);
                    let other = column.checked_add_signed(offset.right);
                    prop_assert!(other.is_some_and(|other| other < width));
                    let back = layout.steps_back(*offset);
                    prop_assert!((1..=pixel).contains(&back));
                    prop_assert_eq!(pixel - back, (row - offset.up) * width + other.unwrap());
                }
                // Every direct neighbour inside the plane is used.
                let inside = NEAR.iter().filter(|offset| {
                    offset.up <= row
                        && column.checked_add_signed(offset.right).is_some_and(|c| c < width)
                });
                prop_assert!(inside.clone().all(|offset| window.contains(offset)));
                prop_assert!(window.len() == inside.count() || window.len() == reach.neighbours());
            }
            prop_assert!(seen.iter().all(|&seen| seen), "a situation that does not occur");
        }
    }
}
