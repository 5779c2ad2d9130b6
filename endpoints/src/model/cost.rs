//! How much of a model's work lies before each cut.

use std::collections::HashMap;

use tract_onnx::prelude::*;
use tract_onnx::tract_hir::infer::InferenceNode;

use super::load::f32_shape;

/// The share of the model's multiply-accumulates that `cuts`, in the order of computation, each
/// have before them: 0..=1, rising. Only convolutions and matrix products are counted; where there
/// is none, nodes are.
pub(super) fn shares_before(
    graph: &InferenceModel,
    operators: &HashMap<String, String>,
    cuts: &[OutletId],
) -> Vec<f64> {
    let costs: Vec<f64> = graph
        .nodes
        .iter()
        .map(|node| cost(graph, operators, node))
        .collect();
    let total: f64 = costs.iter().sum();
    let (costs, total) = if total > 0.0 {
        (costs, total)
    } else {
        (vec![1.0; costs.len()], costs.len() as f64)
    };
    // A cut's ancestors include those of the cuts before it, so each node is visited once.
    let mut seen = vec![false; graph.nodes.len()];
    let mut sum = 0.0;
    let mut shares = Vec::new();
    for cut in cuts {
        let mut stack = vec![cut.node];
        while let Some(id) = stack.pop() {
            let (Some(seen), Some(node)) = (seen.get_mut(id), graph.nodes.get(id)) else {
                continue;
            };
            if !std::mem::replace(seen, true) {
                sum += costs.get(id).copied().unwrap_or(0.0);
                stack.extend(node.inputs.iter().map(|input| input.node));
            }
        }
        shares.push((sum / total).min(1.0));
    }
    shares
}

/// Multiply-accumulates of one node; 0 for operators other than convolutions and matrix products.
fn cost(graph: &InferenceModel, operators: &HashMap<String, String>, node: &InferenceNode) -> f64 {
    let input = |index: usize| {
        node.inputs
            .get(index)
            .and_then(|outlet| f32_shape(graph, *outlet))
            .unwrap_or_default()
    };
    let product = |axes: &[usize]| axes.iter().map(|axis| *axis as f64).product::<f64>();
    let output = OutletId::new(node.id, 0);
    let made = f32_shape(graph, output).unwrap_or_default();
    let operator = graph
        .outlet_label(output)
        .and_then(|name| operators.get(name));
    match operator.map(String::as_str) {
        // Weights: [out, in / groups, kernel…].
        Some("Conv") => product(&made) * product(input(1).get(1..).unwrap_or_default()),
        // Weights: [in, out / groups, kernel…].
        Some("ConvTranspose") => {
            product(&input(0)) * product(input(1).get(1..).unwrap_or_default())
        }
        // The first factor has rows × inner entries, transposed or not.
        Some("Gemm") => {
            let rows = made.first().copied().unwrap_or(1).max(1);
            product(&made) * product(&input(0)) / rows as f64
        }
        Some("MatMul") => product(&made) * input(0).last().map_or(0.0, |inner| *inner as f64),
        _ => 0.0,
    }
}
