//! Blocks that span several tensors, solved together (wire-format.md, section 4.4.5).

use super::repairs::{Block, Holding, Recovered, Repairs};
use crate::fec::{Equations, Term};

/// Blocks that are solved together at most, the newest ones: twice the longest span.
const MOST_BLOCKS: usize = 32;
/// Equations and unknowns at most: two blocks' worth.
const MOST: usize = 128;
/// Bytes that elimination may go through, so that no packet can cost more than some milliseconds.
const MOST_WORK: usize = 1 << 25;

impl Repairs {
    /// Computes what the blocks that span several tensors determine together: symbols of as many bytes
    /// as the result says into `out`, in the order of `found`.
    pub(super) fn recover_jointly<'a>(
        &self,
        holding: &impl Fn(u64) -> Holding<'a>,
        out: &mut Vec<u8>,
        found: &mut Vec<Recovered>,
    ) -> usize {
        let spanning = self
            .blocks
            .iter()
            .rev()
            .filter(|block| block.cover.span > 1);
        let blocks: Vec<&Block> = spanning.take(MOST_BLOCKS).collect();
        let mut unknowns: Vec<(Recovered, bool)> = Vec::new();
        let mut systems = Vec::new();
        let mut equations = 0;
        for block in blocks {
            let Some(terms) = terms(block, holding, &mut unknowns) else {
                continue;
            };
            equations += block.rows.len();
            if equations > MOST || unknowns.len() > MOST {
                return 0;
            }
            systems.push((block, terms));
        }
        let length = systems.iter().map(|(block, _)| block.length).max();
        let Some(length) = length.filter(|_| !unknowns.is_empty()) else {
            return 0;
        };
        let solvable = unknowns.len() <= equations;
        if !solvable || equations * unknowns.len() * length > MOST_WORK {
            return 0;
        }
        let mut all = Equations::new(unknowns.len(), length);
        for (block, terms) in &systems {
            let symbols = block.symbols.chunks_exact(block.length);
            for (row, symbol) in block.rows.iter().zip(symbols) {
                all.add(*row, symbol, terms.iter().copied());
            }
        }
        for (unknown, symbol) in all.solve() {
            if let Some((packet, true)) = unknowns.get(unknown) {
                found.push(*packet);
                out.extend_from_slice(&symbol);
            }
        }
        if found.is_empty() { 0 } else { length }
    }
}

/// The source symbols of a block, those that are missing being added to the unknowns, with whether they
/// are wanted; none if the block contradicts a tensor.
fn terms<'a>(
    block: &Block,
    holding: &impl Fn(u64) -> Holding<'a>,
    unknowns: &mut Vec<(Recovered, bool)>,
) -> Option<Vec<Term<'a>>> {
    let mut terms = Vec::new();
    for (tensor, index, packets) in block.cover.packets() {
        let held = holding(tensor);
        terms.push(
            if let Some(symbol) = held.find(index, packets, block.length).ok()? {
                Term::Known(symbol)
            } else {
                let packet = Recovered { tensor, index };
                let known = unknowns.iter().position(|(other, _)| *other == packet);
                Term::Unknown(known.unwrap_or_else(|| {
                    unknowns.push((packet, held.is_open()));
                    unknowns.len() - 1
                }))
            },
        );
    }
    Some(terms)
}
