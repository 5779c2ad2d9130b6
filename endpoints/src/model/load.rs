//! From the bytes of an ONNX file to a graph with all shapes known.

use std::collections::{BTreeSet, HashMap};

use tract_onnx::Onnx;
use tract_onnx::pb::{GraphProto, ModelProto};
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::infer::Factoid;
use tract_onnx::tract_hir::internal::DimLike;

use super::guard::guarded;
use super::outside::{NoFiles, external_tensor, subgraph};
use super::{Dimensions, ModelError, Origin};

/// Largest side of an input image, in pixels.
const MAX_SIDE: usize = 4096;

/// An ONNX graph of batch 1 without dead or constant parts, every tensor's shape inferred, no node
/// optimised yet: tensors still have the names of the file.
pub(super) struct Loaded {
    pub(super) graph: InferenceModel,
    pub(super) input: Dimensions,
    pub(super) classes: usize,
    /// ONNX operator by the name of each tensor that it makes.
    pub(super) operators: HashMap<String, String>,
    /// The graph as it stands in the file, from which others than batch 1 are made: what is computed
    /// from the batch is a constant in `graph`. They share the weights.
    parsed: InferenceModel,
}

/// A graph of a fixed batch, prepared as [`Loaded::graph`] is.
pub(super) struct Prepared {
    pub(super) graph: InferenceModel,
    pub(super) input: Dimensions,
    pub(super) classes: usize,
}

impl Loaded {
    /// The same graph for so many images at once.
    pub(super) fn batched(&self, batch: usize) -> Result<Prepared, ModelError> {
        prepare(self.parsed.clone(), &self.operators, batch)
    }
}

pub(super) fn load(mut bytes: &[u8], origin: Origin) -> Result<Loaded, ModelError> {
    let mut onnx = onnx()
        // What exporters note about inner tensors may speak of other batch sizes.
        .with_ignore_value_info(true);
    onnx.provider = Arc::new(NoFiles);
    let proto = guarded("decoded", || onnx.proto_model_for_read(&mut bytes)).map_err(|error| {
        ModelError::NotOnnx {
            reason: error.to_string(),
        }
    })?;
    let graph = check_graph(&onnx, &proto)?;
    if origin == Origin::Upload
        && let Some(operator) = subgraph(graph)
    {
        let operator = operator.to_owned();
        return Err(ModelError::Subgraph { operator });
    }
    let operators = operators(graph);

    let parsed = guarded("parsed", || onnx.parse(&proto, None))?;
    if let Some(name) = parsed.unresolved_inputs.first() {
        return Err(ModelError::NotOnnx {
            reason: format!("nothing makes the tensor `{name}`"),
        });
    }
    let parsed = parsed.model;
    let Prepared {
        graph,
        input,
        classes,
    } = prepare(parsed.clone(), &operators, 1)?;
    Ok(Loaded {
        graph,
        input,
        classes,
        operators,
        parsed,
    })
}

/// Fixes the batch, infers every shape, and folds what is constant then.
fn prepare(
    mut graph: InferenceModel,
    operators: &HashMap<String, String>,
    batch: usize,
) -> Result<Prepared, ModelError> {
    let input = fix_input(&mut graph, batch)?;
    tell_apart(&mut graph);
    skip_final_softmax(&mut graph, operators);
    let graph = guarded("analysed", || {
        let mut graph = graph.into_compact()?;
        graph.analyse(false)?;
        fold_constants(&mut graph)?;
        graph.into_compact()
    })?;
    let classes = check_output(&graph, batch)?;
    Ok(Prepared {
        graph,
        input,
        classes,
    })
}

/// Checks what tract would stumble over, or report less clearly.
fn check_graph<'a>(onnx: &Onnx, proto: &'a ModelProto) -> Result<&'a GraphProto, ModelError> {
    let not_onnx = |reason: &str| ModelError::NotOnnx {
        reason: reason.to_owned(),
    };
    let graph = proto
        .graph
        .as_ref()
        .ok_or_else(|| not_onnx("it holds no graph"))?;
    if graph.node.is_empty() {
        return Err(not_onnx("its graph is empty"));
    }
    let unknown: BTreeSet<&str> = graph
        .node
        .iter()
        .map(|node| node.op_type.as_str())
        .filter(|operator| !onnx.op_register.0.contains_key(*operator))
        .collect();
    if !unknown.is_empty() {
        let operators = unknown.into_iter().collect::<Vec<_>>().join(", ");
        return Err(ModelError::UnsupportedOperators { operators });
    }
    if let Some(tensor) = external_tensor(graph) {
        let tensor = tensor.to_owned();
        return Err(ModelError::ExternalData { tensor });
    }
    match graph.output.as_slice() {
        [output]
            if graph
                .node
                .iter()
                .any(|node| node.output.contains(&output.name)) =>
        {
            Ok(graph)
        }
        [output] => Err(not_onnx(&format!(
            "nothing makes its output `{}`",
            output.name
        ))),
        outputs => Err(ModelError::Output {
            found: format!("there are {} outputs", outputs.len()),
        }),
    }
}

fn operators(graph: &GraphProto) -> HashMap<String, String> {
    let made = |node: &tract_onnx::pb::NodeProto| {
        let operator = node.op_type.clone();
        node.output
            .clone()
            .into_iter()
            .map(move |name| (name, operator.clone()))
    };
    graph.node.iter().flat_map(made).collect()
}

/// Checks the input and sets its batch.
fn fix_input(graph: &mut InferenceModel, size: usize) -> Result<Dimensions, ModelError> {
    let refused = |found: String| ModelError::Input { found };
    let [input] = *graph.inputs else {
        return Err(refused(format!("there are {} inputs", graph.inputs.len())));
    };
    let fact = guarded("analysed", || graph.outlet_fact(input).cloned())?;
    let found = || refused(format!("it is {}", fact.format_dt_shape()));
    if fact.datum_type.concretize() != Some(f32::datum_type()) || fact.shape.is_open() {
        return Err(found());
    }
    let axes: Vec<Option<usize>> = fact.shape.dims().map(known_length).collect();
    let &[batch, Some(channels @ (1 | 3)), Some(height), Some(width)] = axes.as_slice() else {
        return Err(found());
    };
    let sides = 1..=MAX_SIDE;
    if batch.is_some_and(|n| n != 1) || !sides.contains(&height) || !sides.contains(&width) {
        return Err(found());
    }
    let fact = InferenceFact::dt_shape(f32::datum_type(), [size, channels, height, width]);
    guarded("analysed", || graph.set_outlet_fact(input, fact))?;
    Ok(Dimensions {
        channels,
        height,
        width,
    })
}

fn known_length(axis: &tract_onnx::tract_hir::infer::DimFact) -> Option<usize> {
    axis.concretize()?.to_usize().ok()
}

/// Renames nodes that share their name with another: tract's checks refuse them, and no one can mean
/// one of them by it.
fn tell_apart(graph: &mut InferenceModel) {
    let mut uses: HashMap<String, usize> = HashMap::new();
    for node in &graph.nodes {
        *uses.entry(node.name.clone()).or_default() += 1;
    }
    for node in &mut graph.nodes {
        if uses.get(&node.name).is_some_and(|uses| *uses > 1) {
            node.name = format!("{}#{}", node.name, node.id);
        }
    }
}

/// Takes the output before a closing softmax, so that scores are logits in every model.
fn skip_final_softmax(graph: &mut InferenceModel, operators: &HashMap<String, String>) {
    let [output] = *graph.outputs else { return };
    let operator = graph
        .outlet_label(output)
        .and_then(|name| operators.get(name));
    if operator.is_some_and(|name| name == "Softmax" || name == "LogSoftmax")
        && let Some(node) = graph.nodes.get(output.node)
        && let Some(logits) = node.inputs.first()
    {
        graph.outputs = vec![*logits];
    }
}

/// Replaces tensors whose value is known by that value.
///
/// Exporters compute shapes inside the graph (`Shape`, `Gather`, `Concat`, `Reshape`). With the
/// batch fixed these are constants, and must not count as ways from the input to the output.
fn fold_constants(graph: &mut InferenceModel) -> TractResult<()> {
    let mut known = vec![];
    for node in &graph.nodes {
        if node.inputs.is_empty() {
            continue;
        }
        for (slot, outlet) in node.outputs.iter().enumerate() {
            if let Some(value) = outlet.fact.value.concretize() {
                known.push((OutletId::new(node.id, slot), value));
            }
        }
    }
    for (outlet, value) in known {
        let constant = graph.add_const(format!("constant.{outlet:?}"), value)?;
        redirect(graph, outlet, constant)?;
    }
    Ok(())
}

/// Makes every reader of `from` read `to` instead.
pub(super) fn redirect(
    graph: &mut InferenceModel,
    from: OutletId,
    to: OutletId,
) -> TractResult<()> {
    let outlet = graph
        .nodes
        .get(from.node)
        .and_then(|node| node.outputs.get(from.slot));
    let readers = outlet
        .map(|outlet| outlet.successors.clone())
        .unwrap_or_default();
    readers
        .into_iter()
        .try_for_each(|reader| graph.add_edge(to, reader))
}

/// The shape of a tensor, if it is f32 and known in full.
pub(super) fn f32_shape(graph: &InferenceModel, outlet: OutletId) -> Option<Vec<usize>> {
    let fact = graph.outlet_fact(outlet).ok()?;
    let is_f32 = fact.datum_type.concretize() == Some(f32::datum_type());
    let shape = fact.shape.as_concrete_finite().ok().flatten()?;
    is_f32.then(|| shape.to_vec())
}

fn check_output(graph: &InferenceModel, batch: usize) -> Result<usize, ModelError> {
    let fact = match *graph.outputs {
        [output] => guarded("analysed", || graph.outlet_fact(output).cloned())?,
        _ => {
            return Err(ModelError::Output {
                found: "there are several".to_owned(),
            });
        }
    };
    let shape = graph
        .outputs
        .first()
        .and_then(|output| f32_shape(graph, *output));
    match shape.as_deref() {
        Some([found, classes, rest @ ..])
            if *found == batch && *classes >= 2 && rest.iter().all(|axis| *axis == 1) =>
        {
            Ok(*classes)
        }
        _ => Err(ModelError::Output {
            found: format!("it is {}", fact.format_dt_shape()),
        }),
    }
}
