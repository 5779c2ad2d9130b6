//! What a model may not reach for: files beside it, and graphs inside it.

use std::path::Path;

use tract_onnx::data_resolver::ModelDataResolver;
use tract_onnx::pb::tensor_proto::DataLocation;
use tract_onnx::pb::{AttributeProto, GraphProto, SparseTensorProto, TensorProto};
use tract_onnx::prelude::{TractError, TractResult};

/// Gives the engine no file, whatever it asks for. Models that name files are refused before; this is for
/// what a check may have overlooked.
pub(super) struct NoFiles;

impl ModelDataResolver for NoFiles {
    fn read_bytes_from_path(
        &self,
        _buffer: &mut Vec<u8>,
        _path: &Path,
        _offset: usize,
        _length: Option<usize>,
    ) -> TractResult<()> {
        Err(TractError::msg("models may not read files"))
    }
}

/// The first tensor whose values lie outside the file, wherever it stands: weights, constants, those of
/// inner graphs. How deep graphs may lie in each other is bounded by the decoder.
pub(super) fn external_tensor(graph: &GraphProto) -> Option<&str> {
    let weights = graph.initializer.iter().find_map(outside);
    let sparse = || graph.sparse_initializer.iter().find_map(sparse_outside);
    let attributes = || {
        let mut attributes = graph.node.iter().flat_map(|node| &node.attribute);
        attributes.find_map(attribute_outside)
    };
    weights.or_else(sparse).or_else(attributes)
}

/// The operator of the first node that has a graph inside: what it costs depends on the values that come.
pub(super) fn subgraph(graph: &GraphProto) -> Option<&str> {
    let has_graph =
        |attribute: &AttributeProto| attribute.g.is_some() || !attribute.graphs.is_empty();
    let mut nodes = graph.node.iter();
    let node = nodes.find(|node| node.attribute.iter().any(has_graph))?;
    Some(&node.op_type)
}

fn outside(tensor: &TensorProto) -> Option<&str> {
    let external = tensor.data_location == Some(DataLocation::External as i32)
        || !tensor.external_data.is_empty();
    external.then_some(tensor.name.as_str())
}

fn sparse_outside(tensor: &SparseTensorProto) -> Option<&str> {
    let parts = [&tensor.values, &tensor.indices];
    parts.into_iter().flatten().find_map(outside)
}

fn attribute_outside(attribute: &AttributeProto) -> Option<&str> {
    let tensors = attribute.t.iter().chain(&attribute.tensors);
    let sparse = attribute
        .sparse_tensor
        .iter()
        .chain(&attribute.sparse_tensors);
    let graphs = attribute.g.iter().chain(&attribute.graphs);
    let tensor = { tensors }.find_map(outside);
    tensor
        .or_else(|| { sparse }.find_map(sparse_outside))
        .or_else(|| { graphs }.find_map(external_tensor))
}
