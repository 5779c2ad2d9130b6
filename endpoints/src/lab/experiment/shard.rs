//! A part of a grid.

use std::fmt;
use std::str::FromStr;

/// Every nth cell, from the ith: cells of one kind lie together, so that this shares them evenly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shard {
    /// From 1.
    part: usize,
    of: usize,
}

impl Shard {
    /// The whole grid.
    pub(super) const WHOLE: Self = Self { part: 1, of: 1 };

    /// Whether the cell of this number, from 0, belongs to it.
    pub(super) const fn has(self, cell: usize) -> bool {
        cell % self.of == self.part - 1
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.part, self.of)
    }
}

impl FromStr for Shard {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once('/');
        let parsed = parts.and_then(|(part, of)| Some((part.parse().ok()?, of.parse().ok()?)));
        match parsed {
            Some((part, of)) if (1..=of).contains(&part) => Ok(Self { part, of }),
            _ => Err("a part of the grid is I/N with I of 1 to N, as in 2/4"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_share_all_cells() {
        for of in 1..6 {
            let shards: Vec<Shard> = (1..=of)
                .map(|part| format!("{part}/{of}").parse().unwrap())
                .collect();
            for cell in 0..20 {
                let owners = shards.iter().filter(|shard| shard.has(cell));
                assert_eq!(owners.count(), 1, "{cell} of {of}");
            }
        }
        for text in ["", "1", "0/2", "3/2", "a/b", "1/0"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }
}
