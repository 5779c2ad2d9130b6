//! A set of small numbers.

/// Numbers below a bound, a bit each.
#[derive(Clone, Debug)]
pub(crate) struct Bits {
    words: Vec<u64>,
    count: u32,
}

impl Bits {
    /// An empty set of numbers below `bound`.
    pub(crate) fn new(bound: u32) -> Self {
        Self {
            words: vec![0; bound.div_ceil(64) as usize],
            count: 0,
        }
    }

    pub(crate) fn contains(&self, number: u32) -> bool {
        let word = self.words.get((number / 64) as usize).copied().unwrap_or(0);
        word >> (number % 64) & 1 != 0
    }

    /// Adds a number; false if it was there already or is beyond the bound.
    pub(crate) fn insert(&mut self, number: u32) -> bool {
        let Some(word) = self.words.get_mut((number / 64) as usize) else {
            return false;
        };
        let bit = 1 << (number % 64);
        let new = *word & bit == 0;
        *word |= bit;
        self.count += u32::from(new);
        new
    }

    /// How many numbers are in the set.
    pub(crate) const fn count(&self) -> u32 {
        self.count
    }
}
