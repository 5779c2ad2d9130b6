//! Models of strangers, tried by real children of the real program.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what goes wrong here fails the test"
)]

#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../src/model/tests/graph.rs"]
mod graph;

use std::sync::Arc;
use std::time::Duration;

use graph::{conv, file, node, residual, value, weights, with_int};
use prost::Message as _;
use tensorwire_endpoints::digest::Digest;
use tensorwire_endpoints::store::{Begun, Blob, Store, StoreLimits};
use tensorwire_endpoints::vet::{Verdict, VetError, VetLimits, Vetter};
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, StringStringEntryProto, TensorProto};

const LIMITS: VetLimits = VetLimits::new(512 << 20, Duration::from_secs(20));

struct Bench {
    _dir: tempfile::TempDir,
    store: Arc<Store>,
    vetter: Vetter,
}

impl Bench {
    fn new(limits: VetLimits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            store: Store::new(dir.path(), StoreLimits::default()),
            _dir: dir,
            vetter: Vetter::with_program(env!("CARGO_BIN_EXE_tw-cloud"), limits),
        }
    }

    fn put(&self, bytes: &[u8]) -> Blob {
        loop {
            match self.store.begin(Digest::of(bytes)).unwrap() {
                Begun::Writing(mut partial) => {
                    partial.expect(bytes.len() as u64).unwrap();
                    partial.write(bytes).unwrap();
                    return partial.finish().unwrap();
                }
                Begun::Present(blob) => return blob,
                // Another thread of the test writes the same.
                Begun::Busy => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    fn vet(&self, bytes: &[u8], split: &str) -> Result<Verdict, VetError> {
        self.vetter.vet(&self.store, &self.put(bytes), split)
    }

    fn vet_graph(&self, graph: GraphProto, split: &str) -> Result<Verdict, VetError> {
        self.vet(&file(graph).encode_to_vec(), split)
    }

    /// A model that is as it should be passes, whatever came before.
    fn check_that_others_pass(&self) {
        let verdict = self.vet_graph(residual(), "add_1").unwrap();
        assert_eq!((verdict.split(), verdict.classes), ([4, 8, 6], 3));
    }
}

fn reason(result: Result<Verdict, VetError>) -> String {
    let error = result.unwrap_err();
    assert!(error.is_the_models(), "{error}");
    error.to_string()
}

#[test]
fn a_model_that_passes_is_measured_once() {
    let bench = Bench::new(LIMITS);
    let bytes = file(residual()).encode_to_vec();
    let verdict = bench.vet(&bytes, "add_1").unwrap();
    assert_eq!(verdict.digest(), Digest::of(&bytes));
    assert_eq!(
        (verdict.input(), verdict.split(), verdict.classes),
        ([1, 8, 6], [4, 8, 6], 3)
    );
    assert!(verdict.memory > 0 && verdict.memory < LIMITS.memory);
    assert!(!verdict.run().is_zero() && !verdict.load().is_zero());
    // Another cloud on the same folder need not start a child; for another split or limit it has to.
    let none = Vetter::with_program("/no/such/program", LIMITS);
    let blob = bench.put(&bytes);
    assert_eq!(none.vet(&bench.store, &blob, "add_1"), Ok(verdict));
    let error = none.vet(&bench.store, &blob, "relu").unwrap_err();
    assert!(matches!(error, VetError::System { .. }), "{error}");
    let stricter = VetLimits {
        memory: 256 << 20,
        ..LIMITS
    };
    let none = Vetter::with_program("/no/such/program", stricter);
    assert!(none.vet(&bench.store, &blob, "add_1").is_err());
}

#[test]
fn a_child_can_do_nothing_but_compute() {
    let sandbox = Bench::new(LIMITS).vetter.probe().unwrap();
    assert!(
        sandbox.open.is_empty(),
        "a model could {}",
        sandbox.open.join(", ")
    );
    assert!(sandbox.seccomp || sandbox.landlock != "none", "{sandbox:?}");
}

#[test]
fn models_that_cannot_be_are_refused_in_words() {
    let bench = Bench::new(LIMITS);
    let outside = TensorProto {
        name: "w_stem".to_owned(),
        data_type: DataType::Float as i32,
        dims: vec![4, 1, 3, 3],
        data_location: Some(1),
        external_data: vec![StringStringEntryProto {
            key: "location".to_owned(),
            value: "/etc/passwd".to_owned(),
        }],
        ..TensorProto::default()
    };
    let mut graph = residual();
    graph.initializer[0] = outside.clone();
    let told = reason(bench.vet_graph(graph, "add_1"));
    assert!(told.contains("outside the ONNX file"), "{told}");

    let mut graph = residual();
    graph.initializer.remove(0);
    let mut constant = node("Constant", &[], "w_stem");
    constant.attribute.push(AttributeProto {
        name: "value".to_owned(),
        r#type: 4,
        t: Some(outside),
        ..AttributeProto::default()
    });
    graph.node.insert(0, constant);
    let told = reason(bench.vet_graph(graph, "add_1"));
    assert!(told.contains("outside the ONNX file"), "{told}");

    let mut graph = residual();
    let mut endless = node("Loop", &["relu"], "a_relu");
    endless.attribute.push(AttributeProto {
        name: "body".to_owned(),
        r#type: 5,
        g: Some(residual()),
        ..AttributeProto::default()
    });
    graph.node[3] = endless.clone();
    let told = reason(bench.vet_graph(graph, "add_1"));
    assert!(told.contains("Loop"), "{told}");
    let mut graph = residual();
    endless.op_type = "Scan".to_owned();
    graph.node[3] = endless;
    let told = reason(bench.vet_graph(graph, "add_1"));
    assert!(told.contains("Scan"), "{told}");

    assert!(reason(bench.vet(b"garbage", "add_1")).contains("ONNX"));
    assert!(reason(bench.vet(&[0xFF; 5_000], "add_1")).contains("ONNX"));
    assert!(reason(bench.vet_graph(residual(), "add_2")).contains("add_1"));
    assert!(reason(bench.vet_graph(residual(), "a\0b")).contains("name"));
    bench.check_that_others_pass();
}

#[test]
fn memory_is_bounded() {
    let bench = Bench::new(LIMITS);
    // 1 GiB of zeros from a few bytes, made while the model is loaded.
    let mut graph = residual();
    graph
        .initializer
        .push(graph::indices("shape_of_much", &[1 << 14, 1 << 14]));
    graph
        .node
        .insert(0, node("ConstantOfShape", &["shape_of_much"], "much"));
    graph.node.insert(1, node("ReduceMax", &["much"], "most"));
    let add = graph
        .node
        .iter_mut()
        .find(|node| node.output == ["b"])
        .unwrap();
    add.output[0] = "b_less".to_owned();
    let at = graph
        .node
        .iter()
        .position(|node| node.output == ["add_1"])
        .unwrap();
    graph.node.insert(
        at,
        with_int(node("ReduceMax", &["much"], "one"), "keepdims", 1),
    );
    graph
        .node
        .insert(at + 1, node("Add", &["b_less", "one"], "b"));
    let told = reason(bench.vet_graph(graph, "add_1"));
    assert_eq!(told, "the model needs more than 512 MiB");

    // A weight that says that it is large.
    let mut graph = residual();
    graph.initializer[0].dims = vec![1 << 20, 1 << 20, 3, 3];
    assert!(!reason(bench.vet_graph(graph, "add_1")).is_empty());
    bench.check_that_others_pass();
}

#[test]
fn time_is_bounded() {
    // However busy the machine is, it is the computing that counts.
    let limits = VetLimits {
        time: Duration::from_secs(1),
        wall: Duration::from_secs(600),
        ..LIMITS
    };
    let bench = Bench::new(limits);
    let mut graph = GraphProto {
        input: vec![value("image", DataType::Float, &[1, 1, 512, 512])],
        output: vec![value("scores", DataType::Float, &[1, 32])],
        initializer: vec![
            weights("w_0", &[32, 1, 3, 3]),
            weights("w", &[32, 32, 3, 3]),
        ],
        node: vec![
            conv("image", "w_0", "split"),
            node("Relu", &["split"], "t_0"),
        ],
        ..GraphProto::default()
    };
    for layer in 0..60 {
        let (from, to) = (format!("t_{layer}"), format!("t_{}", layer + 1));
        graph.node.push(conv(&from, "w", &to));
    }
    graph
        .node
        .push(node("GlobalAveragePool", &["t_60"], "scores"));
    let told = reason(bench.vet_graph(graph, "split"));
    assert!(told.contains("more than 1 s"), "{told}");
    bench.check_that_others_pass();
}

#[test]
fn deep_graphs_do_no_harm() {
    let bench = Bench::new(LIMITS);
    // A long chain of operators: it passes, or is refused, but brings nobody down.
    let mut graph = residual();
    graph.node[1].output[0] = "r_0".to_owned();
    let chain = (0..20_000).map(|i| node("Neg", &[&format!("r_{i}")], &format!("r_{}", i + 1)));
    let chain: Vec<_> = chain.collect();
    graph.node.splice(2..2, chain);
    graph
        .node
        .insert(20_002, node("Identity", &["r_20000"], "relu"));
    if let Err(error) = bench.vet_graph(graph, "add_1") {
        assert!(error.is_the_models(), "{error}");
    }
    // Graphs in graphs, deeper than any stack.
    let mut bytes = Vec::new();
    for _ in 0..100_000 {
        // Field 5 or 6 of whatever stands there, with all that follows inside.
        let mut outer = vec![0x32];
        prost::encoding::encode_varint(bytes.len().min(1 << 20) as u64, &mut outer);
        bytes.splice(0..0, outer);
        if bytes.len() > 1 << 16 {
            break;
        }
    }
    assert!(!reason(bench.vet(&bytes, "add_1")).is_empty());
    bench.check_that_others_pass();
}

#[test]
fn a_child_that_does_not_end_is_killed() {
    let limits = VetLimits {
        wall: Duration::from_secs(1),
        ..LIMITS
    };
    let bench = Bench::new(limits);
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("endless");
    std::fs::write(&program, "#!/bin/sh\nexec yes\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(&program, mode).unwrap();
    let blob = bench.put(b"model");
    let error = Vetter::with_program(&program, limits)
        .vet(&bench.store, &blob, "x")
        .unwrap_err();
    assert_eq!(error, VetError::Slow { seconds: 1 });
    assert!(!error.is_the_models());
}

#[test]
fn failures_are_remembered_and_few_are_tried_at_once() {
    let bench = Bench::new(LIMITS);
    let graphs: Vec<_> = (1..=6)
        .map(|classes| {
            let mut graph = residual();
            graph.initializer[3] = weights("w_head", &[4, classes]);
            file(graph).encode_to_vec()
        })
        .collect();
    // One class is too few.
    std::thread::scope(|scope| {
        for bytes in graphs.iter().chain(&graphs) {
            let bench = &bench;
            let first = bytes == &graphs[0];
            scope.spawn(move || assert_eq!(bench.vet(bytes, "add_1").is_err(), first));
        }
    });
    let told = reason(bench.vet(&graphs[0], "add_1"));
    assert!(told.contains("score"), "{told}");
}
