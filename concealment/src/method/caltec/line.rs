//! The least-squares line of one packet on another.

use std::iter;

/// Partial sums kept side by side, so that additions do not wait for each other.
const LANES: usize = 16;

/// Over the entries that two packets have: their number, their sums, and those of the squares of the
/// first and of the products.
#[derive(Default)]
pub(super) struct Sums {
    n: [f32; LANES],
    x: [f32; LANES],
    y: [f32; LANES],
    xx: [f32; LANES],
    xy: [f32; LANES],
}

/// Entries of a packet with whether they were received.
#[derive(Clone, Copy)]
pub(super) struct Flagged<'a> {
    pub(super) entries: &'a [f32],
    pub(super) received: &'a [bool],
}

impl Flagged<'_> {
    /// As many at a time as there are lanes; after the last, entries that were not received.
    #[inline(always)]
    fn rows(self) -> impl Iterator<Item = ([f32; LANES], [bool; LANES])> {
        let (rows, tail) = self.entries.as_chunks();
        let (flags, tail_flags) = self.received.as_chunks();
        let mut last = ([0.0; LANES], [false; LANES]);
        let slots = last.0.iter_mut().zip(&mut last.1);
        for (slot, (&entry, &flag)) in slots.zip(tail.iter().zip(tail_flags)) {
            (*slot.0, *slot.1) = (entry, flag);
        }
        let rows = rows.iter().copied().zip(flags.iter().copied());
        rows.chain(iter::once(last))
    }
}

impl Sums {
    #[inline(always)]
    pub(super) fn of(x: Flagged<'_>, y: Flagged<'_>) -> Self {
        let mut sums = Self::default();
        for ((x, x_in), (y, y_in)) in x.rows().zip(y.rows()) {
            for lane in 0..LANES {
                let both = if x_in[lane] & y_in[lane] { 1.0 } else { 0.0 };
                let (x, y) = (both * x[lane], both * y[lane]);
                sums.n[lane] += both;
                sums.x[lane] += x;
                sums.y[lane] += y;
                sums.xx[lane] += x * x;
                sums.xy[lane] += x * y;
            }
        }
        sums
    }

    /// Slope and offset of the line of y on x, given the means that were taken off both.
    pub(super) fn line(&self, x_mean: f32, y_mean: f32) -> (f32, f32) {
        let [n, x, y, xx, xy] =
            [self.n, self.x, self.y, self.xx, self.xy].map(|lanes| lanes.iter().sum::<f32>());
        if n == 0.0 {
            return (0.0, y_mean);
        }
        let variance = xx - x * x / n;
        let slope = if variance > f32::EPSILON * xx {
            (xy - x * y / n) / variance
        } else {
            0.0
        };
        (slope, (y_mean + y / n) - slope * (x_mean + x / n))
    }
}
