//! The seeded permutation of the random map (payload format, section 5.3).

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::SplitMix64;

/// The permutation of 0 … `entries` − 1 that `seed` stands for: Fisher–Yates from the end, each
/// draw the high half of a SplitMix64 output times the number of choices.
///
/// Part of the format: both ends compute it, it never crosses the wire.
pub(crate) fn permutation(seed: u64, entries: u32) -> Vec<u32> {
    let mut generator = SplitMix64::from_seed(seed.to_le_bytes());
    let mut order: Vec<u32> = (0..entries).collect();
    for i in (1..order.len()).rev() {
        let choices = i as u128 + 1;
        let drawn = (u128::from(generator.next_u64()) * choices) >> 64;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "drawn < choices ≤ order.len()"
        )]
        order.swap(i, drawn as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// SplitMix64 as section 5.3 of the payload format writes it.
    fn split_mix(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    proptest! {
        #[test]
        fn the_generator_is_the_one_of_the_specification(seed in any::<u64>()) {
            let mut generator = SplitMix64::from_seed(seed.to_le_bytes());
            let mut state = seed;
            for _ in 0..8 {
                prop_assert_eq!(generator.next_u64(), split_mix(&mut state));
            }
        }

        #[test]
        fn every_entry_comes_once(seed in any::<u64>(), entries in 1u32..2000) {
            let mut order = permutation(seed, entries);
            order.sort_unstable();
            prop_assert!(order.iter().copied().eq(0..entries));
        }
    }

    #[test]
    fn the_worked_example_of_the_specification() {
        assert_eq!(permutation(1, 1), [0]);
        assert_eq!(permutation(42, 8), [4, 3, 2, 0, 7, 6, 1, 5]);
    }
}
