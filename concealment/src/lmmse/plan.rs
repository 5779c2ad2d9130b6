//! Which entries of a tensor are multiplied together.

use std::ops::Range;

use super::index::Index;

/// Pixels next to each other from which on a matrix product is faster than one pixel at a time.
const LEAST_PIXELS: usize = 8;

/// Entries of each of these pixels likewise.
const LEAST_ENTRIES: usize = 8;

/// For each block of columns, the pixels whose windows have entries in it: runs of pixels next to each
/// other with entries of the same channels, and the others.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pixels: Vec<usize>,
    runs: Vec<Range<usize>>,
    /// For each block, where its pixels and its runs end.
    ends: Vec<(usize, usize)>,
}

impl Plan {
    /// Starts anew.
    pub(super) fn clear(&mut self) {
        self.pixels.clear();
        self.runs.clear();
        self.ends.clear();
    }

    /// Adds a block: of the columns that stand, for each of these pixels, for the entries so many steps
    /// back. The pixels are in order.
    pub(super) fn add(&mut self, entries: &Index, pixels: &[usize], step: usize) {
        for pixels in pixels.chunk_by(|this, next| this + 1 == *next) {
            let (mut pixel, end) = match pixels {
                &[first, .., last] => (first, last + 1),
                &[only] => (only, only + 1),
                [] => continue,
            };
            while pixel < end {
                let number = entries.of_pixel(pixel - step).len();
                let next = end.min(pixel + entries.alike(pixel - step));
                if number >= LEAST_ENTRIES && next - pixel >= LEAST_PIXELS {
                    self.runs.push(pixel..next);
                } else if number > 0 {
                    self.pixels.extend(pixel..next);
                }
                pixel = next;
            }
        }
        self.ends.push((self.pixels.len(), self.runs.len()));
    }

    /// For each block, its pixels and its runs.
    pub(super) fn blocks(&self) -> impl Iterator<Item = (&[usize], &[Range<usize>])> {
        let starts = [(0, 0)].into_iter().chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| {
            let pixels = self.pixels.get(start.0..end.0).unwrap_or_default();
            let runs = self.runs.get(start.1..end.1).unwrap_or_default();
            (pixels, runs)
        })
    }
}
