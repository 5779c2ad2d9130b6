//! Which of the newest numbers have been seen.

/// The newest numbers remembered.
const WINDOW: u64 = 1_024;

/// A sliding window over numbers, for what must be told once however often it is repeated.
#[derive(Debug)]
pub(crate) struct Seen {
    /// One more than the greatest number seen.
    end: u64,
    bits: [u64; (WINDOW / 64) as usize],
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            end: 0,
            bits: [0; (WINDOW / 64) as usize],
        }
    }
}

impl Seen {
    /// Marks a number; false if it was marked before or is older than the window.
    pub(crate) fn insert(&mut self, number: u64) -> bool {
        if number.saturating_add(WINDOW) < self.end {
            return false;
        }
        if number >= self.end {
            let clear = (number + 1 - self.end).min(WINDOW);
            for slid in number + 1 - clear..=number {
                *self.word(slid).0 &= !self.word(slid).1;
            }
            self.end = number + 1;
        }
        let (word, bit) = self.word(number);
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    /// Whether a number has been marked and is within the window.
    pub(crate) fn contains(&self, number: u64) -> bool {
        let slot = (number % WINDOW) as usize;
        let known = number < self.end && number.saturating_add(WINDOW) >= self.end;
        known && self.bits[slot / 64] >> (slot % 64) & 1 != 0
    }

    fn word(&mut self, number: u64) -> (&mut u64, u64) {
        let slot = (number % WINDOW) as usize;
        (&mut self.bits[slot / 64], 1 << (slot % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn behaves_like_a_set_with_a_horizon(steps in prop::collection::vec(0_u64..3_000, 1..400)) {
            let (mut seen, mut model, mut end) = (Seen::default(), BTreeSet::new(), 0);
            for number in steps {
                let expected = number + WINDOW >= end && model.insert(number);
                prop_assert_eq!(seen.insert(number), expected);
                end = end.max(number + 1);
            }
        }
    }
}
