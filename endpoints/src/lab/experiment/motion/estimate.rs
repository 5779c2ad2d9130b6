//! Motion estimation in the tensor domain.

use ndarray::Array3;

use super::transform::interpolated;

/// The finest step of the search, entries.
const FINEST: f64 = 0.125;

/// Of so many channels one is looked at for a first guess.
const SKIPPED: usize = 8;

/// Sums that are kept side by side, so that a processor's lanes are used.
const LANES: usize = 8;

/// How far the tensor has moved down and right since the one before, in entries: whole entries up to a
/// quarter of a side, exhaustively, then halves, quarters and eighths around the best. What counts is the
/// mean squared difference where both overlap. The search looks at `before` and `after` alone.
///
/// A shift is given up as soon as it is worse than a guess from some of the channels, which changes nothing
/// but the time: the best one is never worse. The bound is a little higher, so that no rounding gives up the
/// guess itself.
pub(super) fn estimate(before: &Array3<f32>, after: &Array3<f32>) -> (f64, f64) {
    let guess = best_whole(before, after, SKIPPED, f64::INFINITY).0;
    let bound = 1.000_001 * whole_error(before, after, guess, 1, f64::INFINITY);
    let ((down, right), error) = best_whole(before, after, 1, bound);
    let mut best = ((down as f64, right as f64), error);
    let mut step = 0.5;
    while step >= FINEST {
        let (down, right) = best.0;
        for (dy, dx) in (-1..=1).flat_map(|dy| (-1..=1).map(move |dx| (dy, dx))) {
            let shift = (down + step * f64::from(dy), right + step * f64::from(dx));
            try_shift(before, after, shift, &mut best);
        }
        step /= 2.0;
    }
    best.0
}

/// The best shift by whole entries as every `step`th channel tells it, with its error; those worse than
/// `most` are given up.
fn best_whole(
    before: &Array3<f32>,
    after: &Array3<f32>,
    step: usize,
    most: f64,
) -> ((isize, isize), f64) {
    let (_, height, width) = before.dim();
    let reach = |side: usize| isize::try_from(side.div_ceil(4)).unwrap_or(isize::MAX);
    let mut best = ((0, 0), f64::INFINITY);
    for down in -reach(height)..=reach(height) {
        for right in -reach(width)..=reach(width) {
            let error = whole_error(before, after, (down, right), step, most.min(best.1));
            if error < best.1 {
                best = ((down, right), error);
            }
        }
    }
    best
}

/// Mean squared difference of every `step`th channel where the tensor, shifted by whole entries, covers the
/// other; infinite above `most`.
fn whole_error(
    before: &Array3<f32>,
    after: &Array3<f32>,
    (down, right): (isize, isize),
    step: usize,
    most: f64,
) -> f64 {
    let (channels, height, width) = before.dim();
    // Where the overlap begins, now and then, and how long it is.
    let overlap = |by: isize, side: usize| {
        let now = by.max(0).unsigned_abs();
        let then = by.min(0).unsigned_abs();
        (now, then, side.saturating_sub(by.unsigned_abs()))
    };
    let (now_y, then_y, rows) = overlap(down, height);
    let (now_x, then_x, columns) = overlap(right, width);
    let (Some(now), Some(then)) = (after.as_slice(), before.as_slice()) else {
        return f64::INFINITY;
    };
    let count = (channels.div_ceil(step) * rows * columns) as f64;
    if count == 0.0 {
        return f64::INFINITY;
    }
    let mut sum = 0.0;
    for c in (0..channels).step_by(step) {
        for row in 0..rows {
            let place = |y: usize, x: usize| (c * height + y + row) * width + x;
            let (now_at, then_at) = (place(now_y, now_x), place(then_y, then_x));
            let now = now.get(now_at..now_at + columns).unwrap_or_default();
            let then = then.get(then_at..then_at + columns).unwrap_or_default();
            sum += f64::from(squares(now, then));
        }
        if sum > most * count {
            return f64::INFINITY;
        }
    }
    sum / count
}

/// Squared distance of two rows of one length.
fn squares(one: &[f32], other: &[f32]) -> f32 {
    let (ones, rest) = one.as_chunks::<LANES>();
    let (others, other_rest) = other.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for (one, other) in ones.iter().zip(others) {
        for ((lane, a), b) in lanes.iter_mut().zip(one).zip(other) {
            *lane += (a - b) * (a - b);
        }
    }
    let rest = rest.iter().zip(other_rest).map(|(a, b)| (a - b) * (a - b));
    lanes.into_iter().chain(rest).sum()
}

/// Takes the shift if it explains the tensor better.
fn try_shift(
    before: &Array3<f32>,
    after: &Array3<f32>,
    shift: (f64, f64),
    best: &mut ((f64, f64), f64),
) {
    let error = error(before, after, shift, best.1);
    if error < best.1 {
        *best = (shift, error);
    }
}

/// Mean squared difference where the tensor, shifted by fractions, covers the other; given up above
/// `most`.
fn error(before: &Array3<f32>, after: &Array3<f32>, (down, right): (f64, f64), most: f64) -> f64 {
    let (channels, height, width) = before.dim();
    let covered = |side: usize, by: f64| {
        let last = side as f64 - 1.0;
        (0..side)
            .map(|at| (at, at as f64 - by))
            .filter(|(_, from)| (0.0..=last).contains(from))
            .collect::<Vec<_>>()
    };
    let (rows, columns) = (covered(height, down), covered(width, right));
    let count = (rows.len() * columns.len() * channels) as f64;
    if count == 0.0 {
        return f64::INFINITY;
    }
    let mut sum = 0.0;
    for c in 0..channels {
        for (y, from_y) in &rows {
            for (x, from_x) in &columns {
                let now = after.get((c, *y, *x)).copied().unwrap_or_default();
                let then = interpolated(before, c, (*from_y, *from_x));
                sum += f64::from(now - then).powi(2);
            }
        }
        if sum > most * count {
            return f64::INFINITY;
        }
    }
    sum / count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shifts_are_found() {
        let scene = |c: usize, y: f32, x: f32| {
            ((c as f32 + 1.0) * (0.31 * y + 0.17 * x)).sin() + (0.23 * x).cos()
        };
        let at = |down: f32, right: f32| {
            Array3::from_shape_fn((3, 12, 10), |(c, y, x)| {
                scene(c, y as f32 - down, x as f32 - right)
            })
        };
        for shift in [
            (0.0, 0.0),
            (3.0, -2.0),
            (-3.0, 2.5),
            (1.5, 0.0),
            (0.25, -0.75),
        ] {
            let (down, right) = estimate(&at(0.0, 0.0), &at(shift.0, shift.1));
            let error = (down - f64::from(shift.0))
                .abs()
                .max((right - f64::from(shift.1)).abs());
            assert!(error <= FINEST, "{shift:?}: {down},{right}");
        }
    }
}
