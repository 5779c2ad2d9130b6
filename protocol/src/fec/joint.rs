//! Several blocks at once: where they share packets that are missing, their repair symbols are
//! equations for the same unknowns (wire-format.md, section 4.4.5).

use std::iter::zip;

use reed_solomon_erasure::galois_8;

use super::code::{add_multiple, coefficient};

/// A source symbol of a block.
#[derive(Clone, Copy, Debug)]
pub enum Term<'a> {
    /// It is at hand.
    Known(&'a [u8]),
    /// It is missing: the unknown with this number.
    Unknown(usize),
}

/// Linear equations over GF(2^8), whose unknowns are whole symbols.
///
/// Memory and time: an equation takes a byte for each unknown and a symbol; solving multiplies each
/// equation into each other once.
#[derive(Debug)]
pub struct Equations {
    unknowns: usize,
    length: usize,
    /// The coefficients of each equation, and the symbol that its sum is.
    coefficients: Vec<u8>,
    sums: Vec<u8>,
}

impl Equations {
    /// No equations yet, for `unknowns` symbols of at most `length` bytes; neither is zero.
    pub fn new(unknowns: usize, length: usize) -> Self {
        Self {
            unknowns: unknowns.max(1),
            length: length.max(1),
            coefficients: Vec::new(),
            sums: Vec::new(),
        }
    }

    /// Adds the repair symbol with index `repair_index` of the block of these source symbols, in order.
    /// False, and nothing is added, if they are not those of a block or a symbol is too long.
    pub fn add<'a>(
        &mut self,
        repair_index: u8,
        repair: &[u8],
        terms: impl ExactSizeIterator<Item = Term<'a>> + Clone,
    ) -> bool {
        let fits = |term: Term<'_>| match term {
            Term::Known(symbol) => symbol.len() <= self.length,
            Term::Unknown(unknown) => unknown < self.unknowns,
        };
        let k = terms.len();
        if repair.len() > self.length
            || !terms.clone().all(fits)
            || coefficient(k, repair_index, 0).is_none()
        {
            return false;
        }
        let (equation, sum) = (self.coefficients.len(), self.sums.len());
        self.coefficients.resize(equation + self.unknowns, 0);
        self.sums.extend_from_slice(repair);
        self.sums.resize(sum + self.length, 0);
        for (position, term) in zip(0.., terms) {
            let Some(coefficient) = coefficient(k, repair_index, position) else {
                break;
            };
            match term {
                Term::Known(symbol) => {
                    add_multiple(coefficient, symbol, &mut self.sums[sum..]);
                }
                Term::Unknown(unknown) => self.coefficients[equation + unknown] ^= coefficient,
            }
        }
        true
    }

    /// Solves for as many unknowns as the equations determine, and tells each with its symbol, `length`
    /// bytes, by Gauss and Jordan's elimination.
    pub fn solve(mut self) -> Vec<(usize, Vec<u8>)> {
        let equations = self.sums.len() / self.length;
        let mut pivots = Vec::new();
        for unknown in 0..self.unknowns {
            let first = pivots.len();
            let Some(pivot) = (first..equations).find(|at| self.coefficient(*at, unknown) != 0)
            else {
                continue;
            };
            self.swap(first, pivot);
            self.scale(first, self.coefficient(first, unknown));
            for other in (0..equations).filter(|other| *other != first) {
                self.subtract(other, first, self.coefficient(other, unknown));
            }
            pivots.push(unknown);
        }
        let alone = |equation: usize| {
            let row = &self.coefficients[equation * self.unknowns..][..self.unknowns];
            row.iter().filter(|coefficient| **coefficient != 0).count() == 1
        };
        let solved = pivots.iter().enumerate().filter(|(at, _)| alone(*at));
        solved
            .map(|(at, unknown)| {
                (
                    *unknown,
                    self.sums[at * self.length..][..self.length].to_vec(),
                )
            })
            .collect()
    }

    fn coefficient(&self, equation: usize, unknown: usize) -> u8 {
        self.coefficients[equation * self.unknowns + unknown]
    }

    fn swap(&mut self, a: usize, b: usize) {
        if a == b {
            return;
        }
        let (low, high) = (a.min(b), a.max(b));
        for (all, width) in [
            (&mut self.coefficients, self.unknowns),
            (&mut self.sums, self.length),
        ] {
            let (before, after) = all.split_at_mut(high * width);
            before[low * width..][..width].swap_with_slice(&mut after[..width]);
        }
    }

    /// Divides an equation by a number that is not zero.
    fn scale(&mut self, equation: usize, by: u8) {
        let inverse = galois_8::div(1, by);
        for (all, width) in [
            (&mut self.coefficients, self.unknowns),
            (&mut self.sums, self.length),
        ] {
            for byte in &mut all[equation * width..][..width] {
                *byte = galois_8::mul(*byte, inverse);
            }
        }
    }

    /// Subtracts a multiple of one equation from another.
    fn subtract(&mut self, from: usize, equation: usize, times: u8) {
        if times == 0 {
            return;
        }
        for (all, width) in [
            (&mut self.coefficients, self.unknowns),
            (&mut self.sums, self.length),
        ] {
            let (low, high) = (from.min(equation), from.max(equation));
            let (before, after) = all.split_at_mut(high * width);
            let (low, high) = (&mut before[low * width..][..width], &mut after[..width]);
            let (what, sum) = if equation < from {
                (low, high)
            } else {
                (high, low)
            };
            add_multiple(times, what, sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fec::encode;

    /// Three tensors of four packets, a block of two symbols over each two neighbours.
    fn symbols() -> Vec<Vec<u8>> {
        (0..12_u8)
            .map(|n| (0..20 + n % 5).map(|i| n.wrapping_mul(31) ^ i).collect())
            .collect()
    }

    fn solved(lost: &[usize]) -> Vec<usize> {
        let symbols = symbols();
        let mut equations = Equations::new(lost.len(), 24);
        for first in [0, 4] {
            let block = &symbols[first..first + 8];
            for index in 0..2 {
                let mut repair = Vec::new();
                encode(block.iter().map(Vec::as_slice), index, &mut repair).unwrap();
                let terms: Vec<Term<'_>> = (first..first + 8)
                    .map(|at| match lost.iter().position(|lost| *lost == at) {
                        Some(unknown) => Term::Unknown(unknown),
                        None => Term::Known(&symbols[at]),
                    })
                    .collect();
                assert!(equations.add(index, &repair, terms.iter().copied()));
            }
        }
        let mut found: Vec<usize> = equations
            .solve()
            .into_iter()
            .map(|(unknown, symbol)| {
                let expected = &symbols[lost[unknown]];
                assert_eq!(&symbol[..expected.len()], expected);
                assert!(symbol[expected.len()..].iter().all(|byte| *byte == 0));
                lost[unknown]
            })
            .collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn two_blocks_repair_what_neither_does_alone() {
        assert_eq!(
            solved(&[4, 5, 6, 7]),
            [4, 5, 6, 7],
            "four lost, two symbols a block"
        );
        assert_eq!(solved(&[0, 1, 4, 9]), [0, 1, 4, 9]);
    }

    #[test]
    fn what_is_not_determined_stays_unknown() {
        assert_eq!(
            solved(&[0, 1, 2, 9]),
            [9],
            "three in the first tensor, two equations"
        );
        assert_eq!(solved(&[4, 5, 6, 7, 8]), [0; 0]);
    }

    #[test]
    fn what_is_no_block_is_refused() {
        let mut equations = Equations::new(2, 4);
        let known = [Term::Known(&[1, 2, 3])];
        assert!(
            !equations.add(0, &[0; 5], known.into_iter()),
            "longer than the symbols"
        );
        assert!(
            !equations.add(255, &[0; 4], known.into_iter()),
            "beyond the last point"
        );
        assert!(
            !equations.add(0, &[0; 4], [Term::Unknown(2)].into_iter()),
            "no such unknown"
        );
        assert!(!equations.add(0, &[0; 4], [].into_iter()), "no symbols");
        assert!(equations.solve().is_empty());
    }

    proptest! {
        #[test]
        fn whatever_comes_out_is_right(lost in prop::sample::subsequence((0..12).collect::<Vec<_>>(), 1..12)) {
            solved(&lost);
        }
    }
}
