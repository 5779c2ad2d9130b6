//! The points at which a model can be split, and finding one by its name.

use std::cmp::Reverse;
use std::collections::HashMap;

use tract_onnx::prelude::*;

use super::cost::shares_before;
use super::cut::single_cuts;
use super::guard::guarded;
use super::load::{Loaded, f32_shape};
use super::{Dimensions, ModelError};

/// Similar names that an error offers at most.
const MAX_SUGGESTIONS: usize = 5;

/// A tensor at which a model can be split: everything after it depends on the input through it
/// alone.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SplitPoint {
    /// The tensor's name in the ONNX file.
    pub name: String,
    /// The ONNX operator that makes it, such as `Add`.
    pub operator: String,
    /// Its shape, batch left out.
    pub shape: Dimensions,
    /// Share of the model's multiply-accumulates that come before it, 0..=1: the edge's part of
    /// the work. Convolutions and matrix products are counted.
    pub work_share: f64,
}

impl SplitPoint {
    /// Number of entries of the tensor.
    pub fn elements(&self) -> usize {
        self.shape.elements()
    }

    /// Bytes of the tensor as f32, uncompressed.
    pub fn bytes_f32(&self) -> usize {
        self.shape.bytes_f32()
    }
}

/// All split points of a graph.
pub(super) struct Splits {
    /// In the order of computation.
    pub(super) points: Vec<SplitPoint>,
    /// Where each of `points` is in the graph.
    outlets: Vec<OutletId>,
    /// Everything that can be called by a name, split point or not.
    names: HashMap<String, OutletId>,
}

impl Splits {
    pub(super) fn find(loaded: &Loaded) -> Result<Self, ModelError> {
        let graph = &loaded.graph;
        let cuts = guarded("analysed", || {
            single_cuts(
                graph,
                *graph.input_outlets()?.first().ok_or_else(missing)?,
                *graph.output_outlets()?.first().ok_or_else(missing)?,
            )
        })?;
        let shares = shares_before(graph, &loaded.operators, &cuts);
        let mut splits = Self {
            points: vec![],
            outlets: vec![],
            names: names(graph),
        };
        for (outlet, work_share) in cuts.into_iter().zip(shares) {
            let shape = f32_shape(graph, outlet).and_then(|shape| Dimensions::of_tensor(&shape));
            if let (Some(name), Some(shape)) = (graph.outlet_label(outlet), shape) {
                let name = name.to_owned();
                let operator = loaded.operators.get(&name).cloned().unwrap_or_default();
                splits.points.push(SplitPoint {
                    name,
                    operator,
                    shape,
                    work_share,
                });
                splits.outlets.push(outlet);
            }
        }
        Ok(splits)
    }

    /// The split point of this name, tensors before nodes.
    pub(super) fn get(&self, name: &str) -> Result<(OutletId, &SplitPoint), ModelError> {
        let Some(outlet) = self.names.get(name) else {
            return Err(ModelError::UnknownSplit {
                name: name.to_owned(),
                near: self.near(name),
            });
        };
        let mut known = self.outlets.iter().copied().zip(&self.points);
        known
            .find(|(cut, _)| cut == outlet)
            .ok_or_else(|| ModelError::NotASplit {
                name: name.to_owned(),
                reason: "other ways lead around it, or it is no f32 tensor of [1, C, H, W], \
                     [1, C, L] or [1, C] inside the model",
                near: self.near(name),
            })
    }

    fn near(&self, name: &str) -> Vec<String> {
        #[expect(clippy::cast_possible_truncation, reason = "a similarity is 0..=1")]
        let similarity =
            |point: &&SplitPoint| Reverse((strsim::jaro_winkler(name, &point.name) * 1e6) as u32);
        let mut near: Vec<&SplitPoint> = self.points.iter().collect();
        near.sort_by_key(similarity);
        near.into_iter()
            .take(MAX_SUGGESTIONS)
            .map(|point| point.name.clone())
            .collect()
    }
}

fn missing() -> TractError {
    TractError::msg("the input or the output is missing")
}

/// Tensors by name; and by the name of their node, where it has only one output.
fn names(graph: &InferenceModel) -> HashMap<String, OutletId> {
    let nodes = graph.nodes.iter().filter(|node| node.outputs.len() == 1);
    let nodes = nodes.map(|node| (node.name.clone(), OutletId::new(node.id, 0)));
    let tensors = graph
        .outlet_labels
        .iter()
        .map(|(outlet, name)| (name.clone(), *outlet));
    // Tensors come last and so replace nodes of the same name.
    nodes.chain(tensors).collect()
}

/// The tensor of this name, or of the node with this name, in another graph of the same file.
pub(super) fn named(graph: &InferenceModel, name: &str) -> Option<OutletId> {
    names(graph).get(name).copied()
}
