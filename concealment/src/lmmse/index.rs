//! Entries of a tensor by pixel.

use std::ops::Range;

/// The received or the missing entries of a tensor, pixel by pixel in reading order and by channel
/// within each.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// For each pixel, where its entries start; then their number.
    starts: Vec<usize>,
    channels: Vec<usize>,
    /// For each pixel, how many from it on have entries of the same channels.
    alike: Vec<usize>,
    /// Working memory: where the next entry of each pixel goes.
    next: Vec<usize>,
}

impl Index {
    /// Lists the entries whose flag in `received`, in C, H, W order, is `wanted`.
    pub(super) fn list(&mut self, received: &[bool], plane: usize, wanted: bool) {
        self.next.clear();
        self.next.resize(plane, 0);
        for channel in received.chunks_exact(plane) {
            for (number, &received) in self.next.iter_mut().zip(channel) {
                *number += usize::from(received == wanted);
            }
        }
        let mut start = 0;
        self.starts.clear();
        self.starts.reserve(plane + 1);
        for next in &mut self.next {
            self.starts.push(start);
            start += std::mem::replace(next, start);
        }
        self.starts.push(start);
        self.channels.clear();
        self.channels.resize(start, 0);
        for (number, channel) in received.chunks_exact(plane).enumerate() {
            for (next, _) in
                (self.next.iter_mut().zip(channel)).filter(|&(_, &received)| received == wanted)
            {
                if let Some(slot) = self.channels.get_mut(*next) {
                    *slot = number;
                }
                *next += 1;
            }
        }
        self.alike.clear();
        self.alike.resize(plane, 1);
        for pixel in (1..plane).rev() {
            let (before, this) = (self.of_pixel(pixel - 1), self.of_pixel(pixel));
            if self.channels(before) == self.channels(this) {
                self.alike[pixel - 1] = self.alike[pixel] + 1;
            }
        }
    }

    /// Number of entries listed.
    pub(super) const fn len(&self) -> usize {
        self.channels.len()
    }

    /// The places of a pixel's entries in the list.
    pub(super) fn of_pixel(&self, pixel: usize) -> Range<usize> {
        match self.starts.get(pixel..=pixel + 1) {
            Some(&[start, end]) => start..end,
            _ => 0..0,
        }
    }

    /// How many pixels from this one on have entries of the same channels; at least one.
    pub(super) fn alike(&self, pixel: usize) -> usize {
        self.alike.get(pixel).copied().unwrap_or(1)
    }

    /// The channels of the entries at these places of the list.
    pub(super) fn channels(&self, places: Range<usize>) -> &[usize] {
        self.channels.get(places).unwrap_or_default()
    }

    /// Pixel and channel of every entry.
    pub(super) fn entries(&self) -> impl Iterator<Item = (usize, usize)> {
        self.starts
            .windows(2)
            .enumerate()
            .flat_map(|(pixel, bounds)| {
                let places = match bounds {
                    &[start, end] => start..end,
                    _ => 0..0,
                };
                self.channels(places)
                    .iter()
                    .map(move |&channel| (pixel, channel))
            })
    }
}
