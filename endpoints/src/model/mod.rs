//! ONNX classifiers, split in two at a named tensor.
//!
//! Edge and cloud load the same file and name the same tensor: the edge runs what comes before it,
//! the cloud what comes after. The file is cut while its tensors still have their names, and each
//! half is optimised by itself. [`Model::digest`] tells the two sides that they hold the same file.
//!
//! ```no_run
//! use ndarray::Array3;
//! use tensorwire_endpoints::model::{Model, top_k};
//!
//! let model = Model::from_file("efficientnet-lite0.onnx")?;
//! let edge = model.edge("add_4")?;
//! let cloud = model.cloud("add_4")?;
//! let image = Array3::zeros(edge.input().as_tuple());
//! let features = edge.run(image.view())?;
//! let logits = cloud.run(features.view())?;
//! let best = top_k(&logits, 3);
//! # Ok::<(), tensorwire_endpoints::model::ModelError>(())
//! ```

mod batch;
mod cost;
mod cut;
mod error;
mod gain;
mod guard;
mod load;
mod outside;
mod part;
mod scores;
mod shape;
mod shared;
mod split;
#[cfg(test)]
pub(crate) mod tests;

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use tract_onnx::prelude::*;

use self::load::{Loaded, f32_shape, redirect};
use self::part::Ends;
use self::split::Splits;
use crate::digest::Digest;

pub use self::batch::BatchModel;
pub use self::error::ModelError;
pub use self::gain::Gain;
pub use self::part::{CloudModel, EdgeModel, WholeModel};
pub use self::scores::{softmax, top_k};
pub use self::shape::Dimensions;
pub use self::shared::{BATCH_SIZES, Keep, LEAST_GAIN, Learnt, SharedModel};
pub use self::split::SplitPoint;

/// Largest model file that is loaded, in bytes: 1 GiB.
pub const MAX_MODEL_BYTES: u64 = 1 << 30;

/// An image classifier read from an ONNX file, of which parts can be made.
///
/// One input, `[N, 1 or 3, H, W]` f32 with fixed height and width, and one output with a score per
/// class. Batch is 1. A softmax at the very end is left out, so that scores are logits in all
/// models. Parts do not need the model: drop it once they are made.
pub struct Model {
    loaded: Loaded,
    splits: Splits,
    digest: Digest,
    origin: Origin,
}

/// Whose a model is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// Ours: it may do what it likes.
    Own,
    /// A stranger's: what it costs has to be known before it runs.
    Upload,
}

impl Model {
    /// Reads an ONNX file that holds its own weights.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        let path = path.as_ref();
        let failed = |source| ModelError::Read {
            path: path.to_owned(),
            source,
        };
        let mut bytes = vec![];
        // One byte more than allowed, so that `from_bytes` sees a larger file as such.
        let limited = File::open(path).map_err(failed)?.take(MAX_MODEL_BYTES + 1);
        { limited }.read_to_end(&mut bytes).map_err(failed)?;
        Self::from_bytes(&bytes)
    }

    /// Reads the bytes of an ONNX file that holds its own weights.
    ///
    /// Damaged models are refused. A model made to be harmful can still ask for more memory or time
    /// than there is: load what you trust that far.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ModelError> {
        Self::load(bytes, Origin::Own)
    }

    /// Reads the bytes of an ONNX file that a stranger sent and that was vetted (see [`vet`](crate::vet)).
    ///
    /// What such a model costs must not depend on the tensors that come, or what was measured when it was
    /// vetted would mean nothing: one with graphs inside (`If`, `Scan`) is refused here, and one with a tensor
    /// whose size is unknown when a part is made.
    pub fn from_upload(bytes: &[u8]) -> Result<Self, ModelError> {
        Self::load(bytes, Origin::Upload)
    }

    fn load(bytes: &[u8], origin: Origin) -> Result<Self, ModelError> {
        let length = bytes.len() as u64;
        if length > MAX_MODEL_BYTES {
            return Err(ModelError::TooLarge {
                bytes: length,
                limit: MAX_MODEL_BYTES,
            });
        }
        let loaded = load::load(bytes, origin)?;
        let splits = Splits::find(&loaded)?;
        Ok(Self {
            loaded,
            splits,
            digest: Digest::of(bytes),
            origin,
        })
    }

    /// SHA-256 of the file.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Shape of the image that the model takes.
    pub fn input(&self) -> Dimensions {
        self.loaded.input
    }

    /// Number of classes that the model tells apart, at least 2.
    pub fn classes(&self) -> usize {
        self.loaded.classes
    }

    /// Every tensor at which the model can be split, in the order of computation.
    pub fn split_points(&self) -> &[SplitPoint] {
        &self.splits.points
    }

    /// The split point of this name: a tensor of the file, or a node with a single output.
    ///
    /// Fails with the names that come closest if there is none.
    pub fn split_point(&self, name: &str) -> Result<&SplitPoint, ModelError> {
        self.splits.get(name).map(|(_, point)| point)
    }

    /// Makes the part from the image to the tensor `split`. Fails as
    /// [`split_point`](Self::split_point) does.
    pub fn edge(&self, split: &str) -> Result<EdgeModel, ModelError> {
        let (outlet, point) = self.splits.get(split)?;
        let mut graph = self.loaded.graph.clone();
        graph.outputs = vec![outlet];
        EdgeModel::new(graph, self.image_end(), point.shape)
    }

    /// Makes the part from the tensor `split` to the scores. Fails as
    /// [`split_point`](Self::split_point) does.
    pub fn cloud(&self, split: &str) -> Result<CloudModel, ModelError> {
        let (outlet, point) = self.splits.get(split)?;
        let mut graph = self.loaded.graph.clone();
        let input_shape = after(&mut graph, outlet, point)?;
        CloudModel::new(
            graph,
            Ends {
                input: point.shape,
                input_shape,
                bounded: self.origin == Origin::Upload,
            },
            self.classes(),
        )
    }

    /// Makes the part from `size` tensors `split` at once to the scores of each. Fails as
    /// [`split_point`](Self::split_point) does, and for a model that cannot compute several images at
    /// once: exporters may have written a batch of 1 into the file.
    ///
    /// Costs as much as [`cloud`](Self::cloud), and once more the analysis of the whole file. The
    /// weights are packed once more.
    pub fn cloud_batch(&self, split: &str, size: usize) -> Result<BatchModel, ModelError> {
        let (_, point) = self.splits.get(split)?;
        let prepared = self.loaded.batched(size)?;
        let mut graph = prepared.graph;
        let outlet = split::named(&graph, &point.name).ok_or_else(|| ModelError::NotASplit {
            name: point.name.clone(),
            reason: "it is another tensor where several images are computed at once",
            near: vec![],
        })?;
        let input_shape = after(&mut graph, outlet, point)?;
        let ends = Ends {
            input: point.shape,
            input_shape,
            bounded: self.origin == Origin::Upload,
        };
        BatchModel::new(graph, ends, self.classes(), size)
    }

    /// Makes the model in one piece, from the image to the scores.
    pub fn whole(&self) -> Result<WholeModel, ModelError> {
        WholeModel::new(self.loaded.graph.clone(), self.image_end(), self.classes())
    }

    fn image_end(&self) -> Ends {
        let input = self.input();
        Ends {
            input,
            input_shape: vec![1, input.channels, input.height, input.width],
            bounded: self.origin == Origin::Upload,
        }
    }
}

/// Cuts off what comes before a tensor, and gives the tensor's shape in the graph.
fn after(
    graph: &mut InferenceModel,
    outlet: OutletId,
    point: &SplitPoint,
) -> Result<Vec<usize>, ModelError> {
    let shape = f32_shape(graph, outlet).unwrap_or_default();
    guard::guarded("split", || {
        let fact = InferenceFact::dt_shape(f32::datum_type(), &*shape);
        let source = graph.add_source(format!("split.{}", point.name), fact)?;
        redirect(graph, outlet, source)?;
        graph.set_input_outlets(&[source])
    })?;
    Ok(shape)
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model")
            .field("input", &self.input())
            .field("classes", &self.classes())
            .field("split_points", &self.split_points().len())
            .field("digest", &self.digest)
            .finish()
    }
}
