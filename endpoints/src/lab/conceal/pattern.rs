//! What is lost, and which methods repair it: choices by name.

use std::str::FromStr;

use anyhow::Result;
use ndarray::Array3;
use tensorwire_concealment::{LossKind, Method, UnknownMethod};

use crate::digest::Digest;
use crate::lab::loss::{LossMap, PacketMap, Packets};

/// What is lost together: units of the tensor, or packets of a map of the codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Pattern {
    Units(LossMap),
    Packets(PacketMap),
}

impl Pattern {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Units(map) => map.name(),
            Self::Packets(map) => map.name(),
        }
    }

    pub(super) const fn kind(self) -> LossKind {
        match self {
            Self::Units(map) => map.kind(),
            Self::Packets(map) => map.kind(),
        }
    }

    pub(super) fn units() -> impl Iterator<Item = Self> {
        LossMap::ALL.into_iter().map(Self::Units)
    }

    pub(super) fn packets() -> impl Iterator<Item = Self> {
        PacketMap::ALL.into_iter().map(Self::Packets)
    }

    /// Ready to draw from, for tensors of this shape.
    pub(super) fn losses(self, shape: (usize, usize, usize), packets: usize) -> Result<Losses> {
        Ok(match self {
            Self::Units(map) => Losses::Units(map, shape),
            Self::Packets(map) => Losses::Packets(Packets::new(map, shape, packets)?),
        })
    }
}

/// Patterns in the order in which they were given.
#[derive(Clone, Debug)]
pub(super) struct Patterns(pub(super) Vec<Pattern>);

impl FromStr for Patterns {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut patterns = vec![];
        for name in text.split(',').map(str::trim) {
            match name {
                "all" => patterns.extend(Pattern::units().chain(Pattern::packets())),
                "packets" => patterns.extend(Pattern::packets()),
                _ => patterns.push(
                    Pattern::units()
                        .chain(Pattern::packets())
                        .find(|pattern| pattern.name() == name)
                        .ok_or_else(|| format!("unknown map `{name}`"))?,
                ),
            }
        }
        Ok(Self(once_each(patterns)))
    }
}

/// Methods in the order in which they were given.
#[derive(Clone, Debug)]
pub(super) struct Methods(pub(super) Vec<Method>);

impl FromStr for Methods {
    type Err = UnknownMethod;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "all" {
            return Ok(Self(Method::ALL.to_vec()));
        }
        let methods = text.split(',').map(|name| name.trim().parse());
        Ok(Self(once_each(methods.collect::<Result<_, _>>()?)))
    }
}

fn once_each<T: PartialEq>(items: Vec<T>) -> Vec<T> {
    items.into_iter().fold(vec![], |mut kept, item| {
        if !kept.contains(&item) {
            kept.push(item);
        }
        kept
    })
}

/// A pattern to draw masks from.
#[derive(Debug)]
pub(super) enum Losses {
    Units(LossMap, (usize, usize, usize)),
    Packets(Packets),
}

impl Losses {
    /// A mask, `true` being received.
    pub(super) fn mask(&self, missing: f64, image: &Digest, seed: u64) -> Array3<bool> {
        match self {
            Self::Units(map, shape) => map.mask(*shape, missing, image, seed),
            Self::Packets(packets) => packets.mask(missing, image, seed),
        }
    }
}
