//! The order in which the slices of a tensor are sent (wire-format.md, section 3.7).

use std::sync::Arc;

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::SplitMix64;

use crate::wire::InterleaverKind;

/// Which interleaver a sender uses, and the stream's parameters for all of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "the parameters of the wire format"
)]
pub struct Interleaving {
    /// The permutation of the tensors that this endpoint sends; default sequential.
    pub kind: InterleaverKind,
    /// Step of the stride interleaver, 1 to the number of slices; default 1.
    pub stride: u16,
    /// Seed of the random interleaver; default 0.
    pub seed: u64,
}

impl Default for Interleaving {
    fn default() -> Self {
        Self {
            kind: InterleaverKind::Sequential,
            stride: 1,
            seed: 0,
        }
    }
}

/// The slice index at every position.
pub(crate) type Order = Arc<[u16]>;

/// The permutations of one stream, made when first used. Two bytes a slice each.
#[derive(Debug)]
pub(crate) struct Orders {
    interleaving: Interleaving,
    slices: u16,
    /// The permutation of the priority interleaver.
    priority: Option<Order>,
    made: [Option<Order>; 3],
}

impl Orders {
    pub(crate) const fn new(
        interleaving: Interleaving,
        slices: u16,
        priority: Option<Order>,
    ) -> Self {
        Self {
            interleaving,
            slices,
            priority,
            made: [None, None, None],
        }
    }

    /// Whether the stream has the permutation.
    pub(crate) const fn has(&self, kind: InterleaverKind) -> bool {
        !matches!(kind, InterleaverKind::Priority) || self.priority.is_some()
    }

    /// The permutation; slices in order where the stream has none of that kind.
    pub(crate) fn get(&mut self, kind: InterleaverKind) -> Order {
        let [sequential, stride, random] = &mut self.made;
        let slot = match kind {
            InterleaverKind::Priority if self.priority.is_some() => &mut self.priority,
            InterleaverKind::Sequential | InterleaverKind::Priority => sequential,
            InterleaverKind::Stride => stride,
            InterleaverKind::Random => random,
        };
        let Interleaving { stride, seed, .. } = self.interleaving;
        Arc::clone(slot.get_or_insert_with(|| permutation(kind, self.slices, stride, seed)))
    }
}

fn permutation(kind: InterleaverKind, slices: u16, stride: u16, seed: u64) -> Order {
    match kind {
        InterleaverKind::Sequential | InterleaverKind::Priority => (0..slices).collect(),
        InterleaverKind::Stride => (0..stride)
            .flat_map(|start| (start..slices).step_by(usize::from(stride.max(1))))
            .collect(),
        InterleaverKind::Random => {
            let mut order: Vec<u16> = (0..slices).collect();
            let mut random = SplitMix64::seed_from_u64(seed);
            for i in (1..slices).rev() {
                let j = ((random.next_u64() >> 32) * (u64::from(i) + 1)) >> 32;
                order.swap(usize::from(i), j as usize);
            }
            order.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stride_takes_every_sth_slice() {
        let order = permutation(InterleaverKind::Stride, 7, 3, 0);
        assert_eq!(&*order, [0, 3, 6, 1, 4, 2, 5]);
    }

    #[test]
    fn random_is_the_permutation_of_the_specification() {
        let order = permutation(InterleaverKind::Random, 8, 1, 1);
        assert_eq!(&*order, RANDOM_8_SEED_1);
    }

    /// Computed from the text of the specification, in another language.
    const RANDOM_8_SEED_1: [u16; 8] = [0, 3, 7, 1, 2, 6, 5, 4];

    proptest! {
        #[test]
        fn every_order_is_a_permutation(slices in 1_u16..500, stride in 1_u16..500, seed: u64) {
            let stride = stride.min(slices);
            for kind in [InterleaverKind::Sequential, InterleaverKind::Stride, InterleaverKind::Random] {
                let mut seen = permutation(kind, slices, stride, seed).to_vec();
                seen.sort_unstable();
                prop_assert!(seen.into_iter().eq(0..slices));
            }
        }
    }
}
