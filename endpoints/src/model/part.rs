//! The runnable parts of a model.

use std::sync::Arc;

use ndarray::{Array3, ArrayView3};
use tract_onnx::prelude::*;

use super::guard::guarded;
use super::{Dimensions, ModelError};

/// The first part of a split model: from an image to the features at the split.
///
/// Shareable between threads; a run keeps its state to itself. Clones share the weights.
#[derive(Clone, Debug)]
pub struct EdgeModel {
    part: Part,
    output: Dimensions,
}

impl EdgeModel {
    pub(super) fn new(
        graph: InferenceModel,
        ends: Ends,
        output: Dimensions,
    ) -> Result<Self, ModelError> {
        Ok(Self {
            part: Part::new(graph, ends)?,
            output,
        })
    }

    /// Shape of the image that [`run`](Self::run) takes.
    pub fn input(&self) -> Dimensions {
        self.part.input
    }

    /// Shape of the features that [`run`](Self::run) gives.
    pub fn output(&self) -> Dimensions {
        self.output
    }

    /// Computes the features of one preprocessed image, C×H×W.
    ///
    /// Fails for an image of another shape than [`input`](Self::input). Features of an image with
    /// NaN or infinity are computed like others: the codec refuses what is not finite.
    pub fn run(&self, image: ArrayView3<'_, f32>) -> Result<Array3<f32>, ModelError> {
        let features = self.part.run(image)?;
        let found = features.len();
        Array3::from_shape_vec(self.output.as_tuple(), features).map_err(|_| ModelError::Graph {
            stage: "run",
            reason: format!("it gave {found} features instead of {}", self.output),
        })
    }
}

/// The second part of a split model: from the features at the split to a score per class.
///
/// Shareable between threads; a run keeps its state to itself. Clones share the weights.
#[derive(Clone, Debug)]
pub struct CloudModel {
    part: Part,
    classes: usize,
}

impl CloudModel {
    pub(super) fn new(
        graph: InferenceModel,
        ends: Ends,
        classes: usize,
    ) -> Result<Self, ModelError> {
        Ok(Self {
            part: Part::new(graph, ends)?,
            classes,
        })
    }

    /// Shape of the features that [`run`](Self::run) takes.
    pub fn input(&self) -> Dimensions {
        self.part.input
    }

    /// Length of the vector that [`run`](Self::run) gives.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Computes one logit per class from the features of one image, C×H×W.
    ///
    /// Fails for features of another shape than [`input`](Self::input), and with
    /// [`ModelError::NotFinite`] rather than give scores that cannot be compared.
    pub fn run(&self, features: ArrayView3<'_, f32>) -> Result<Vec<f32>, ModelError> {
        self.part.scores(features, self.classes)
    }
}

/// A model in one piece: from an image to a score per class.
///
/// Shareable between threads; a run keeps its state to itself. Clones share the weights.
#[derive(Clone, Debug)]
pub struct WholeModel {
    part: Part,
    classes: usize,
}

impl WholeModel {
    pub(super) fn new(
        graph: InferenceModel,
        ends: Ends,
        classes: usize,
    ) -> Result<Self, ModelError> {
        Ok(Self {
            part: Part::new(graph, ends)?,
            classes,
        })
    }

    /// Shape of the image that [`run`](Self::run) takes.
    pub fn input(&self) -> Dimensions {
        self.part.input
    }

    /// Length of the vector that [`run`](Self::run) gives.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Computes one logit per class of one preprocessed image, C×H×W. Fails as
    /// [`CloudModel::run`] does.
    pub fn run(&self, image: ArrayView3<'_, f32>) -> Result<Vec<f32>, ModelError> {
        self.part.scores(image, self.classes)
    }
}

/// What goes into a part: its shape to us, and its shape in the graph, batch included.
pub(super) struct Ends {
    pub(super) input: Dimensions,
    pub(super) input_shape: Vec<usize>,
    /// Whether every tensor has to be of a known size, so that all runs cost alike.
    pub(super) bounded: bool,
}

#[derive(Clone, Debug)]
struct Part {
    plan: Arc<TypedRunnableModel>,
    input: Dimensions,
    input_shape: Arc<[usize]>,
}

impl Part {
    /// Optimises a graph that has been cut. Costs tens to hundreds of milliseconds.
    fn new(graph: InferenceModel, ends: Ends) -> Result<Self, ModelError> {
        let Ends {
            input,
            input_shape,
            bounded,
        } = ends;
        let plan = plan(graph, bounded)?;
        Ok(Self {
            plan,
            input,
            input_shape: input_shape.into(),
        })
    }

    fn run(&self, input: ArrayView3<'_, f32>) -> Result<Vec<f32>, ModelError> {
        if input.dim() != self.input.as_tuple() {
            return Err(ModelError::Shape {
                expected: self.input,
                found: input.dim(),
            });
        }
        guarded("run", || {
            let entries = input.as_standard_layout();
            let entries = entries.as_slice().unwrap_or_default();
            let tensor = Tensor::from_shape(&self.input_shape, entries)?;
            let outputs = self.plan.run(tvec!(tensor.into()))?;
            let output = outputs
                .first()
                .ok_or_else(|| TractError::msg("it gave no output"))?;
            Ok(output
                .to_plain_array_view::<f32>()?
                .iter()
                .copied()
                .collect())
        })
    }

    fn scores(&self, input: ArrayView3<'_, f32>, classes: usize) -> Result<Vec<f32>, ModelError> {
        let scores = self.run(input)?;
        if scores.len() != classes {
            let reason = format!("it gave {} scores instead of {classes}", scores.len());
            return Err(ModelError::Graph {
                stage: "run",
                reason,
            });
        }
        if scores.iter().all(|score| score.is_finite()) {
            Ok(scores)
        } else {
            Err(ModelError::NotFinite)
        }
    }
}

/// Optimises a graph that has been cut; all its tensors have to be of known sizes if it is `bounded`.
pub(super) fn plan(
    graph: InferenceModel,
    bounded: bool,
) -> Result<Arc<TypedRunnableModel>, ModelError> {
    let graph = guarded("optimised", || graph.into_compact()?.into_optimized())?;
    if bounded {
        check_sizes(&graph)?;
    }
    guarded("optimised", || graph.into_runnable())
}

/// Checks that the size of every tensor is known before any comes.
fn check_sizes(graph: &TypedModel) -> Result<(), ModelError> {
    let unknown = graph.nodes.iter().find(|node| {
        let mut outlets = node.outputs.iter();
        outlets.any(|outlet| outlet.fact.shape.as_concrete().is_none())
    });
    match unknown {
        Some(node) => Err(ModelError::UnknownSize {
            tensor: node.name.clone(),
        }),
        None => Ok(()),
    }
}
