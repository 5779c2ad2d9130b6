//! Models cut in two, files made here and real ones.

mod batch;
mod cut;
pub(crate) mod graph;
mod real;
mod refused;

use ndarray::Array3;
use prost::Message as _;
use tract_onnx::pb::GraphProto;

use super::{Dimensions, Model, ModelError};

fn load(graph: GraphProto) -> Result<Model, ModelError> {
    Model::from_bytes(&graph::file(graph).encode_to_vec())
}

fn image(dimensions: Dimensions) -> Array3<f32> {
    Array3::from_shape_fn(dimensions.as_tuple(), |(c, y, x)| {
        ((c * 31 + y * 17 + x * 7) % 23) as f32 / 11.0 - 1.0
    })
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}
