//! The displacement of the whole picture between two tensors of a stream.
//!
//! An exhaustive search over whole entries, then over half entries around the best, by the mean
//! squared difference of received entries from the shifted previous tensor, on a sample of
//! channels. Half entries are interpolated linearly.

use super::Holes;
use crate::number::count;

/// Largest displacement in entries, either way, that the search looks at.
const REACH: isize = 4;

/// Entries that the search looks at, about: whole channels, evenly spaced, at least one.
const SAMPLE: usize = 8_192;

/// Differences summed side by side.
const LANES: usize = 8;

/// Least share of a channel that a displacement has to cover.
const COVER: f64 = 0.25;

/// Share of the error by which a displacement must beat no motion to be believed.
const GAIN: f64 = 0.02;

/// How far the picture has moved down and right, in half entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Motion {
    pub(crate) down: isize,
    pub(crate) right: isize,
}

impl Motion {
    /// The motion that explains the received entries best.
    pub(crate) fn estimate(holes: &Holes<'_>, previous: &[f32]) -> Self {
        let error = |motion: Self| motion.error(holes, previous);
        let best_around = |centre: Self, reach: isize, step: isize, start: (Self, f64)| {
            let steps = || (-reach..=reach).map(move |offset| step * offset);
            let candidates = steps().flat_map(|down| steps().map(move |right| (down, right)));
            candidates.fold(start, |best, (down, right)| {
                let motion = Self {
                    down: centre.down + down,
                    right: centre.right + right,
                };
                let error = error(motion);
                if error < best.1 {
                    (motion, error)
                } else {
                    best
                }
            })
        };
        let still = error(Self::default());
        let whole = best_around(Self::default(), REACH, 2, (Self::default(), still));
        let (motion, error) = best_around(whole.0, 1, 1, whole);
        if error < (1.0 - GAIN) * still {
            motion
        } else {
            Self::default()
        }
    }

    /// Mean squared difference over the received entries that the motion covers; infinite if those
    /// are too few.
    fn error(self, holes: &Holes<'_>, previous: &[f32]) -> f64 {
        let (channels, height, width) = holes.shape;
        let plane = height * width;
        let (Some(rows), Some(columns)) =
            (Span::new(self.down, height), Span::new(self.right, width))
        else {
            return f64::INFINITY;
        };
        let step = channels.div_ceil((SAMPLE / plane).max(1));
        let (mut sum, mut number) = (0.0, 0.0);
        let planes = holes
            .entries
            .chunks_exact(plane)
            .zip(holes.received.chunks_exact(plane))
            .zip(previous.chunks_exact(plane))
            .step_by(step);
        for ((entries, received), previous) in planes {
            for (row, near, far) in rows.indices() {
                let Some(sources) = columns.sources(previous, width, near, far) else {
                    continue;
                };
                let start = row * width + columns.to;
                let (Some(entries), Some(received)) = (
                    entries.get(start..start + columns.length),
                    received.get(start..start + columns.length),
                ) else {
                    continue;
                };
                let (row_sum, row_number) = difference(entries, received, sources);
                sum += f64::from(row_sum);
                number += f64::from(row_number);
            }
        }
        let covers = count(rows.length * columns.length) >= COVER * count(plane);
        if covers && number > 0.0 {
            sum / number
        } else {
            f64::INFINITY
        }
    }

    /// Writes the deviations of the moved previous tensor from the ground, zero where it does not
    /// reach.
    pub(crate) fn shift(
        self,
        previous: &[f32],
        ground: &[f32],
        (_, height, width): (usize, usize, usize),
        deviations: &mut Vec<f32>,
    ) {
        let plane = height * width;
        deviations.clear();
        deviations.resize(ground.len(), 0.0);
        let (Some(rows), Some(columns)) =
            (Span::new(self.down, height), Span::new(self.right, width))
        else {
            return;
        };
        let planes = deviations
            .chunks_exact_mut(plane)
            .zip(previous.chunks_exact(plane))
            .zip(ground.chunks_exact(plane));
        for ((deviations, previous), ground) in planes {
            for (row, near, far) in rows.indices() {
                let start = row * width + columns.to;
                let place = start..start + columns.length;
                if let (Some(deviations), Some(ground), Some(sources)) = (
                    deviations.get_mut(place.clone()),
                    ground.get(place),
                    columns.sources(previous, width, near, far),
                ) {
                    let values = means(sources).zip(ground);
                    deviations
                        .iter_mut()
                        .zip(values)
                        .for_each(|(deviation, (value, ground))| *deviation = value - ground);
                }
            }
        }
    }
}

/// Which entries along one axis have come from which.
#[derive(Debug, Clone, Copy)]
struct Span {
    /// First entry that something has moved to.
    to: usize,
    /// The entry that moved there, or of two whose mean did, the later and the earlier.
    near: usize,
    far: usize,
    length: usize,
}

impl Span {
    /// Of a move by `halves` half entries along an axis of this size; `None` if nothing stays.
    fn new(halves: isize, size: usize) -> Option<Self> {
        let (whole, half) = (halves.div_euclid(2), halves.rem_euclid(2));
        let to = usize::try_from((whole + half).max(0)).ok()?;
        let near = to.checked_add_signed(-whole)?;
        let far = near.checked_add_signed(-half)?;
        let length = size
            .checked_sub(to.max(near))
            .filter(|&length| length > 0)?;
        Some(Self {
            to,
            near,
            far,
            length,
        })
    }

    /// Each entry with the two that it is the mean of.
    fn indices(self) -> impl Iterator<Item = (usize, usize, usize)> {
        (0..self.length).map(move |step| (self.to + step, self.near + step, self.far + step))
    }

    /// The stretches of two rows of a plane that have moved, each later and earlier.
    fn sources(self, plane: &[f32], width: usize, near: usize, far: usize) -> Option<[&[f32]; 4]> {
        let stretch = |row: usize, from: usize| {
            let start = row * width + from;
            plane.get(start..start + self.length)
        };
        Some([
            stretch(near, self.near)?,
            stretch(near, self.far)?,
            stretch(far, self.near)?,
            stretch(far, self.far)?,
        ])
    }
}

/// Means of what the four stretches hold at each place.
fn means([a, b, c, d]: [&[f32]; 4]) -> impl Iterator<Item = f32> {
    let values = a.iter().zip(b).zip(c.iter().zip(d));
    values.map(|((&a, &b), (&c, &d))| 0.25 * ((a + b) + (c + d)))
}

/// Sum of the squared differences of the received entries, and their number.
fn difference(entries: &[f32], received: &[bool], [a, b, c, d]: [&[f32]; 4]) -> (f32, f32) {
    let (entries, entries_tail) = entries.as_chunks::<LANES>();
    let (received, received_tail) = received.as_chunks::<LANES>();
    let ((a, a_tail), (b, b_tail)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let ((c, c_tail), (d, d_tail)) = (c.as_chunks::<LANES>(), d.as_chunks::<LANES>());
    let (mut sums, mut numbers) = ([0.0_f32; LANES], [0.0_f32; LANES]);
    let blocks = entries
        .iter()
        .zip(received)
        .zip(a.iter().zip(b))
        .zip(c.iter().zip(d));
    for (((entries, received), (a, b)), (c, d)) in blocks {
        let values = a.iter().zip(b).zip(c.iter().zip(d));
        let lanes = sums.iter_mut().zip(&mut numbers);
        for (((&entry, &received), ((&a, &b), (&c, &d))), (sum, number)) in
            entries.iter().zip(received).zip(values).zip(lanes)
        {
            let difference = entry - 0.25 * ((a + b) + (c + d));
            *sum += if received {
                difference * difference
            } else {
                0.0
            };
            *number += if received { 1.0 } else { 0.0 };
        }
    }
    let values = means([a_tail, b_tail, c_tail, d_tail]);
    let tail = entries_tail.iter().zip(received_tail).zip(values);
    let (sum, number) = (sums.iter().sum(), numbers.iter().sum());
    tail.filter(|&((_, &received), _)| received).fold(
        (sum, number),
        |(sum, number), ((&entry, _), value)| {
            (sum + (entry - value) * (entry - value), number + 1.0)
        },
    )
}
