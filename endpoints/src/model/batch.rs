//! Several tensors in one run.

use std::sync::Arc;

use ndarray::ArrayView3;
use tract_onnx::prelude::*;

use super::guard::guarded;
use super::part::{Ends, plan};
use super::{Dimensions, ModelError};

/// The second part of a split model for several tensors at once: from their features at the split to a
/// score per class of each.
///
/// Shareable between threads; a run keeps its state to itself.
#[derive(Clone, Debug)]
pub struct BatchModel {
    plan: Arc<TypedRunnableModel>,
    input: Dimensions,
    input_shape: Arc<[usize]>,
    classes: usize,
    size: usize,
}

impl BatchModel {
    /// Optimises a graph that has been cut, whose first axis is the batch.
    pub(super) fn new(
        graph: InferenceModel,
        ends: Ends,
        classes: usize,
        size: usize,
    ) -> Result<Self, ModelError> {
        let Ends {
            input,
            input_shape,
            bounded,
        } = ends;
        let entries: usize = input_shape.iter().product();
        if input_shape.first() != Some(&size) || entries != size * input.elements() {
            return Err(ModelError::Graph {
                stage: "split",
                reason: format!("{size} tensors of {input} at once are {input_shape:?} in it"),
            });
        }
        let plan = plan(graph, bounded)?;
        Ok(Self {
            plan,
            input,
            input_shape: input_shape.into(),
            classes,
            size,
        })
    }

    /// How many tensors a run takes, and never fewer.
    pub const fn size(&self) -> usize {
        self.size
    }

    /// Shape of each of the features that [`run`](Self::run) takes.
    pub const fn input(&self) -> Dimensions {
        self.input
    }

    /// Computes one logit per class of each of [`size`](Self::size) tensors, C×H×W, in their order.
    ///
    /// Fails for another number of tensors, and for one of another shape than [`input`](Self::input).
    /// Scores that are not finite are the failure of their own tensor only.
    pub fn run(
        &self,
        tensors: &[ArrayView3<'_, f32>],
    ) -> Result<Vec<Result<Vec<f32>, ModelError>>, ModelError> {
        if tensors.len() != self.size {
            return Err(ModelError::Batch {
                expected: self.size,
                found: tensors.len(),
            });
        }
        let mut entries = Vec::with_capacity(self.size * self.input.elements());
        for tensor in tensors {
            if tensor.dim() != self.input.as_tuple() {
                return Err(ModelError::Shape {
                    expected: self.input,
                    found: tensor.dim(),
                });
            }
            match tensor.as_slice() {
                Some(slice) => entries.extend_from_slice(slice),
                None => entries.extend(tensor.iter()),
            }
        }
        let scores: Vec<f32> = guarded("run", || {
            let tensor = Tensor::from_shape(&self.input_shape, &entries)?;
            let outputs = self.plan.run(tvec!(tensor.into()))?;
            let output = outputs
                .first()
                .ok_or_else(|| TractError::msg("it gave no output"))?;
            let scores = output.to_plain_array_view::<f32>()?;
            Ok(scores.iter().copied().collect())
        })?;
        if scores.len() != self.size * self.classes {
            let (found, expected) = (scores.len(), self.size * self.classes);
            return Err(ModelError::Graph {
                stage: "run",
                reason: format!("it gave {found} scores instead of {expected}"),
            });
        }
        let rows = scores.chunks_exact(self.classes);
        Ok(rows
            .map(|row| {
                let finite = row.iter().all(|score| score.is_finite());
                finite.then(|| row.to_vec()).ok_or(ModelError::NotFinite)
            })
            .collect())
    }
}
