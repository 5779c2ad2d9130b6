//! Finds the tensors that alone separate the input of a graph from its output.

use tract_onnx::prelude::*;

/// The tensors through which every way from `input` to `output` passes, in the order of
/// computation, without `input` and `output` themselves.
///
/// These are the dominators of the output in the graph whose vertices are nodes and tensors
/// (Cooper, Harvey, Kennedy, "A Simple, Fast Dominance Algorithm"; one pass is enough as the graph
/// has no loops). Costs nodes × depth at worst.
pub(super) fn single_cuts(
    graph: &InferenceModel,
    input: OutletId,
    output: OutletId,
) -> TractResult<Vec<OutletId>> {
    let mut tree = DominatorTree::new(graph);
    tree.add_root(input);
    for node in graph.eval_order()? {
        if node != input.node {
            tree.add_node(graph.node(node));
        }
    }
    let mut cuts = tree.above(output);
    cuts.retain(|outlet| *outlet != input);
    cuts.reverse();
    Ok(cuts)
}

/// A vertex that the input reaches.
#[derive(Clone, Copy)]
struct Vertex {
    /// Its immediate dominator; itself at the root.
    parent: usize,
    /// Steps to the root.
    depth: usize,
    /// The tensor, or `None` for a node.
    outlet: Option<OutletId>,
}

struct DominatorTree {
    vertices: Vec<Vertex>,
    /// By node and slot: the vertex of a tensor, if the input reaches it.
    tensors: Vec<Vec<Option<usize>>>,
}

impl DominatorTree {
    fn new(graph: &InferenceModel) -> Self {
        let tensors = graph
            .nodes
            .iter()
            .map(|node| vec![None; node.outputs.len()])
            .collect();
        Self {
            vertices: vec![],
            tensors,
        }
    }

    fn add_root(&mut self, input: OutletId) {
        self.vertices.push(Vertex {
            parent: 0,
            depth: 0,
            outlet: Some(input),
        });
        self.set_tensor(input, 0);
    }

    /// Adds a node whose inputs have been added before, and its outputs.
    fn add_node(&mut self, node: &tract_onnx::tract_hir::infer::InferenceNode) {
        let inputs = node.inputs.iter().filter_map(|input| self.tensor(*input));
        let Some(parent) = inputs.reduce(|a, b| self.common(a, b)) else {
            return;
        };
        let vertex = self.add(parent, None);
        for slot in 0..node.outputs.len() {
            let outlet = OutletId::new(node.id, slot);
            let tensor = self.add(vertex, Some(outlet));
            self.set_tensor(outlet, tensor);
        }
    }

    fn add(&mut self, parent: usize, outlet: Option<OutletId>) -> usize {
        let depth = self.vertex(parent).map_or(0, |vertex| vertex.depth + 1);
        self.vertices.push(Vertex {
            parent,
            depth,
            outlet,
        });
        self.vertices.len() - 1
    }

    /// The deepest vertex that dominates both.
    fn common(&self, mut a: usize, mut b: usize) -> usize {
        while a != b {
            let (Some(x), Some(y)) = (self.vertex(a), self.vertex(b)) else {
                return 0;
            };
            if x.depth >= y.depth {
                a = x.parent;
            }
            if y.depth >= x.depth {
                b = y.parent;
            }
        }
        a
    }

    /// The tensors that dominate `outlet`, nearest first, the root last, without itself.
    fn above(&self, outlet: OutletId) -> Vec<OutletId> {
        let mut found = vec![];
        let mut next = self.tensor(outlet).and_then(|index| self.vertex(index));
        while let Some(vertex) = next.filter(|vertex| vertex.depth > 0) {
            next = self.vertex(vertex.parent);
            found.extend(next.and_then(|parent| parent.outlet));
        }
        found
    }

    fn vertex(&self, index: usize) -> Option<Vertex> {
        self.vertices.get(index).copied()
    }

    fn tensor(&self, outlet: OutletId) -> Option<usize> {
        self.tensors
            .get(outlet.node)?
            .get(outlet.slot)
            .copied()
            .flatten()
    }

    fn set_tensor(&mut self, outlet: OutletId, vertex: usize) {
        let slot = self
            .tensors
            .get_mut(outlet.node)
            .and_then(|node| node.get_mut(outlet.slot));
        if let Some(slot) = slot {
            *slot = Some(vertex);
        }
    }
}
