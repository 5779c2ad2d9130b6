//! A set of small numbers.

/// Numbers below a bound, a bit each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bits {
    words: Vec<u64>,
    count: u32,
}

impl Bits {
    /// An empty set of numbers below `bound`, in the memory of this one.
    pub(crate) fn emptied(mut self, bound: u32) -> Self {
        self.words.clear();
        self.words.resize(bound.div_ceil(64) as usize, 0);
        self.count = 0;
        self
    }

    /// Bytes of its memory.
    pub(crate) const fn capacity(&self) -> usize {
        self.words.capacity() * size_of::<u64>()
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
