//! The view of a tensor and its mask that every method works on.

/// A tensor and its mask as flat slices in C, H, W order.
#[derive(Debug)]
pub(crate) struct Holes<'a> {
    pub(crate) entries: &'a mut [f32],
    /// As long as `entries`; `true` = received.
    pub(crate) received: &'a [bool],
    /// Channels, rows, columns; each at least one, and their product the length.
    pub(crate) shape: (usize, usize, usize),
}

impl<'a> Holes<'a> {
    /// Entries a channel.
    pub(crate) const fn plane(&self) -> usize {
        self.shape.1 * self.shape.2
    }

    /// Entries and mask of each channel.
    pub(crate) fn channels(self) -> impl Iterator<Item = (&'a mut [f32], &'a [bool])> {
        let plane = self.plane();
        self.entries
            .chunks_exact_mut(plane)
            .zip(self.received.chunks_exact(plane))
    }
}

/// Writes `value` into the entries that were not received.
///
/// A select for every entry instead of a branch, so that the loop vectorises and scattered losses
/// cost no mispredicted branches; the same holds for the loops of the other simple fills. Not inlined:
/// the arguments of a function are known not to overlap.
#[inline(never)]
pub(crate) fn fill_with(entries: &mut [f32], received: &[bool], value: f32) {
    for (entry, &received) in entries.iter_mut().zip(received) {
        *entry = if received { *entry } else { value };
    }
}

/// Copies `values` into the entries that were not received.
///
/// Selects by bits: written as a condition it becomes a branch, so as not to read a value that is not
/// needed.
#[inline(never)]
pub(crate) fn fill_from(entries: &mut [f32], received: &[bool], values: &[f32]) {
    for ((entry, &received), value) in entries.iter_mut().zip(received).zip(values) {
        let mask = u32::from(received).wrapping_neg();
        *entry = f32::from_bits(entry.to_bits() & mask | value.to_bits() & !mask);
    }
}
