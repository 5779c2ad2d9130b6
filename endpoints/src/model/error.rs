//! Why a model cannot be loaded, split or run.

use std::io;
use std::path::PathBuf;

use super::Dimensions;

/// Why a model cannot be loaded, split or run.
///
/// The model file is at fault unless a variant says otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The system could not read the file.
    #[error("cannot read the model file {}: {source}", path.display())]
    Read {
        /// The file asked for.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is larger than this program loads.
    #[error("the model has {bytes} bytes; at most {limit} are loaded")]
    TooLarge {
        /// Bytes of the file.
        bytes: u64,
        /// The limit, [`MAX_MODEL_BYTES`](super::MAX_MODEL_BYTES).
        limit: u64,
    },
    /// The bytes are no ONNX model, or a damaged one.
    #[error("not an ONNX model: {reason}")]
    NotOnnx {
        /// What is wrong with the bytes.
        reason: String,
    },
    /// Weights lie in other files, which the model's digest would not cover: save it as one file.
    #[error("the weights `{tensor}` lie outside the ONNX file; save the model as one file")]
    ExternalData {
        /// The first tensor that lies elsewhere.
        tensor: String,
    },
    /// A stranger's model holds a graph inside a node, whose cost nobody can know before it runs.
    #[error(
        "the model has a graph inside its operator `{operator}`; its cost could not be bounded"
    )]
    Subgraph {
        /// The first such operator.
        operator: String,
    },
    /// A stranger's model makes a tensor whose size depends on the values that come.
    #[error(
        "the size of the model's tensor `{tensor}` depends on what it is given; its cost could not be bounded"
    )]
    UnknownSize {
        /// The node that makes it.
        tensor: String,
    },
    /// The model uses operators that the inference engine lacks.
    #[error("the model uses operators that tract does not know: {operators}")]
    UnsupportedOperators {
        /// Their names, separated by commas.
        operators: String,
    },
    /// The input is not one f32 image of known size, `[N, 1 or 3, H, W]`.
    #[error("the input has to be one f32 image [N, 1 or 3, H, W] with known H and W, but {found}")]
    Input {
        /// What the model has instead.
        found: String,
    },
    /// The output is not one vector of scores.
    #[error("the output has to be one f32 score per class, [N, classes], but {found}")]
    Output {
        /// What the model has instead.
        found: String,
    },
    /// The graph contradicts itself, or is beyond the engine.
    #[error("the model cannot be {stage}: {reason}")]
    Graph {
        /// What was being done: "parsed", "analysed", …
        stage: &'static str,
        /// The engine's own words.
        reason: String,
    },
    /// The engine gave up in the middle of its work, as it does on some damaged models.
    #[error("tract stopped while the model was {stage}: {reason}")]
    Panicked {
        /// What was being done: "parsed", "analysed", …
        stage: &'static str,
        /// The engine's own words.
        reason: String,
    },
    /// The caller asked for a tensor that the file does not have.
    #[error(
        "the model has no tensor `{name}` to be split at; {}",
        suggestions(near)
    )]
    UnknownSplit {
        /// The name asked for.
        name: String,
        /// The split points with the most similar names, best first.
        near: Vec<String>,
    },
    /// The caller asked for a tensor that does not separate the model in two.
    #[error(
        "the model cannot be split at `{name}`: {reason}; {}",
        suggestions(near)
    )]
    NotASplit {
        /// The name asked for.
        name: String,
        /// Why not.
        reason: &'static str,
        /// The split points with the most similar names, best first.
        near: Vec<String>,
    },
    /// The caller gave a tensor of another shape than the model takes.
    #[error("the model takes a tensor of {expected}, this one has {found:?}")]
    Shape {
        /// What the model takes.
        expected: Dimensions,
        /// What was given.
        found: (usize, usize, usize),
    },
    /// The caller gave more or fewer tensors than a run takes.
    #[error("a run takes {expected} tensors at once, these are {found}")]
    Batch {
        /// What it takes.
        expected: usize,
        /// What was given.
        found: usize,
    },
    /// The scores hold NaN or infinity: the features were not finite, or the weights are broken.
    #[error("the model's scores are not finite")]
    NotFinite,
}

fn suggestions(near: &[String]) -> String {
    if near.is_empty() {
        "it has no split point at all".to_owned()
    } else {
        format!("split points with similar names: {}", near.join(", "))
    }
}
