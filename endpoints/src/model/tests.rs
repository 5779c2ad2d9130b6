use std::io::Write as _;
use std::path::{Path, PathBuf};

use ndarray::{Array2, Array3, ArrayView3};
use prost::Message as _;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};

use super::*;
use crate::description::Description;
use crate::images::{Dataset, Rows};

// ONNX files made here

fn node(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: operator.to_owned(),
        name: format!("node_{output}"),
        input: inputs.iter().map(|input| (*input).to_owned()).collect(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    }
}

fn with_ints(mut node: NodeProto, name: &str, ints: &[i64]) -> NodeProto {
    node.attribute.push(AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Ints as i32,
        ints: ints.to_vec(),
        ..AttributeProto::default()
    });
    node
}

fn with_int(mut node: NodeProto, name: &str, i: i64) -> NodeProto {
    let r#type = AttributeType::Int as i32;
    let name = name.to_owned();
    node.attribute.push(AttributeProto {
        name,
        r#type,
        i,
        ..AttributeProto::default()
    });
    node
}

fn conv(input: &str, weights: &str, output: &str) -> NodeProto {
    with_ints(
        node("Conv", &[input, weights], output),
        "pads",
        &[1, 1, 1, 1],
    )
}

/// Weights that look random and are always the same.
fn weights(name: &str, shape: &[i64]) -> TensorProto {
    let count = shape.iter().product::<i64>();
    let seed = name.bytes().map(i64::from).sum::<i64>();
    TensorProto {
        name: name.to_owned(),
        dims: shape.to_vec(),
        data_type: DataType::Float as i32,
        float_data: (0..count)
            .map(|i| ((i * 7919 + seed * 104_729) % 101) as f32 / 100.0 - 0.5)
            .collect(),
        ..TensorProto::default()
    }
}

fn indices(name: &str, values: &[i64]) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: vec![values.len() as i64],
        data_type: DataType::Int64 as i32,
        int64_data: values.to_vec(),
        ..TensorProto::default()
    }
}

/// `0` stands for an axis of unknown length.
fn value(name: &str, kind: DataType, shape: &[i64]) -> ValueInfoProto {
    let axis = |length: &i64| Dimension {
        value: Some(match length {
            0 => dimension::Value::DimParam("N".to_owned()),
            length => dimension::Value::DimValue(*length),
        }),
        ..Dimension::default()
    };
    let shape = Some(TensorShapeProto {
        dim: shape.iter().map(axis).collect(),
    });
    let tensor = type_proto::Tensor {
        elem_type: kind as i32,
        shape,
    };
    let value = Some(type_proto::Value::TensorType(tensor));
    let r#type = Some(TypeProto {
        value,
        ..TypeProto::default()
    });
    ValueInfoProto {
        name: name.to_owned(),
        r#type,
        ..ValueInfoProto::default()
    }
}

fn file(graph: GraphProto) -> ModelProto {
    ModelProto {
        ir_version: 8,
        opset_import: vec![OperatorSetIdProto {
            domain: String::new(),
            version: 13,
        }],
        graph: Some(graph),
        ..ModelProto::default()
    }
}

/// stem → relu → two convolutions and a way around them → add_1 → mean → flat → logits → softmax,
/// with the shape of the flattened tensor computed inside the graph, as exporters do.
fn residual() -> GraphProto {
    GraphProto {
        input: vec![value("image", DataType::Float, &[0, 1, 8, 6])],
        output: vec![value("scores", DataType::Float, &[0, 3])],
        initializer: vec![
            weights("w_stem", &[4, 1, 3, 3]),
            weights("w_a", &[4, 4, 3, 3]),
            weights("w_b", &[4, 4, 3, 3]),
            weights("w_head", &[4, 3]),
            indices("zero", &[0]),
            indices("rest", &[-1]),
        ],
        node: vec![
            conv("image", "w_stem", "stem"),
            node("Relu", &["stem"], "relu"),
            conv("relu", "w_a", "a"),
            node("Relu", &["a"], "a_relu"),
            conv("a_relu", "w_b", "b"),
            node("Add", &["relu", "b"], "add_1"),
            node("GlobalAveragePool", &["add_1"], "mean"),
            node("Shape", &["mean"], "shape"),
            with_int(node("Gather", &["shape", "zero"], "batch"), "axis", 0),
            with_int(node("Concat", &["batch", "rest"], "flat_shape"), "axis", 0),
            node("Reshape", &["mean", "flat_shape"], "flat"),
            node("Gemm", &["flat", "w_head"], "logits"),
            with_int(node("Softmax", &["logits"], "scores"), "axis", -1),
        ],
        ..GraphProto::default()
    }
}

fn load(graph: GraphProto) -> Result<Model, ModelError> {
    Model::from_bytes(&file(graph).encode_to_vec())
}

fn names(model: &Model) -> Vec<&str> {
    model
        .split_points()
        .iter()
        .map(|point| point.name.as_str())
        .collect()
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

#[test]
fn split_points_are_the_tensors_that_separate() {
    let model = load(residual()).unwrap();
    assert_eq!(model.input().as_tuple(), (1, 8, 6));
    assert_eq!(model.classes(), 3);
    assert_eq!(names(&model), ["stem", "relu", "add_1", "mean", "flat"]);
    let add = model.split_point("add_1").unwrap();
    assert_eq!(add.shape.as_tuple(), (4, 8, 6));
    assert_eq!(
        (add.elements(), add.bytes_f32(), add.operator.as_str()),
        (192, 768, "Add")
    );
    assert_eq!(
        model.split_point("flat").unwrap().shape.as_tuple(),
        (4, 1, 1)
    );
    // Multiply-accumulates: stem 192·9, a and b 192·36 each, logits 12.
    let total = 192.0 * 9.0 + 2.0 * 192.0 * 36.0 + 12.0;
    assert!((model.split_point("stem").unwrap().work_share - 192.0 * 9.0 / total).abs() < 1e-12);
    assert!((add.work_share - (total - 12.0) / total).abs() < 1e-12);
}

#[test]
fn a_node_can_be_named_too() {
    let model = load(residual()).unwrap();
    assert_eq!(model.split_point("node_add_1").unwrap().name, "add_1");
    // Tensors go before nodes, and a name of two nodes means neither.
    let mut graph = residual();
    graph.node[0].name = "add_1".to_owned();
    graph.node[6].name = "node_add_1".to_owned();
    let model = load(graph).unwrap();
    assert_eq!(
        model.split_point("add_1").unwrap().shape.as_tuple(),
        (4, 8, 6)
    );
    assert!(matches!(
        model.split_point("node_add_1"),
        Err(ModelError::UnknownSplit { .. })
    ));
}

#[test]
fn other_names_are_refused_with_the_nearest() {
    let model = load(residual()).unwrap();
    let Err(ModelError::UnknownSplit { near, .. }) = model.split_point("add_2") else {
        panic!("add_2 does not exist")
    };
    assert_eq!(near[0], "add_1");
    // Inside the block, the input, the output, a weight.
    for name in ["a", "b", "image", "logits", "w_a"] {
        let error = model.edge(name).unwrap_err();
        assert!(
            matches!(error, ModelError::NotASplit { .. }),
            "{name}: {error}"
        );
        assert!(error.to_string().contains("add_1"), "{error}");
    }
    assert!(model.cloud("").is_err());
}

#[test]
fn halves_are_the_whole() {
    let model = load(residual()).unwrap();
    let whole = model.whole().unwrap();
    let image = image(model.input());
    let expected = whole.run(image.view()).unwrap();
    // The closing softmax is left out.
    assert!((expected.iter().sum::<f32>() - 1.0).abs() > 1e-3);
    for point in model.split_points() {
        let edge = model.edge(&point.name).unwrap();
        let cloud = model.cloud(&point.name).unwrap();
        assert_eq!((edge.output(), cloud.input()), (point.shape, point.shape));
        let features = edge.run(image.view()).unwrap();
        let scores = cloud.run(features.view()).unwrap();
        assert!(
            largest_difference(&scores, &expected) < 1e-5,
            "{}",
            point.name
        );
    }
}

#[test]
fn strides_of_the_caller_do_not_matter() {
    let model = load(residual()).unwrap();
    let whole = model.whole().unwrap();
    let image = image(model.input());
    let transposed = image
        .clone()
        .permuted_axes([0, 2, 1])
        .as_standard_layout()
        .into_owned();
    let strided: ArrayView3<'_, f32> = transposed.view().permuted_axes([0, 2, 1]);
    assert_eq!(
        whole.run(strided).unwrap(),
        whole.run(image.view()).unwrap()
    );
}

#[test]
fn shapes_and_values_are_checked() {
    let model = load(residual()).unwrap();
    let cloud = model.cloud("add_1").unwrap();
    let wrong = Array3::zeros((4, 6, 8));
    assert!(matches!(
        cloud.run(wrong.view()),
        Err(ModelError::Shape {
            found: (4, 6, 8),
            ..
        })
    ));
    let nan = Array3::from_elem((4, 8, 6), f32::NAN);
    assert!(matches!(cloud.run(nan.view()), Err(ModelError::NotFinite)));
}

#[test]
fn parts_are_shared_between_threads() {
    fn shareable<T: Send + Sync + Clone + 'static>() {}
    fn sendable<T: Send + Sync + 'static>() {}
    shareable::<EdgeModel>();
    shareable::<CloudModel>();
    shareable::<WholeModel>();
    sendable::<Model>();

    let model = load(residual()).unwrap();
    let whole = model.whole().unwrap();
    let image = image(model.input());
    let expected = whole.run(image.view()).unwrap();
    std::thread::scope(|scope| {
        let run = || {
            (0..20)
                .map(|_| whole.run(image.view()).unwrap())
                .collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
        for thread in threads {
            assert!(
                thread
                    .join()
                    .unwrap()
                    .iter()
                    .all(|scores| *scores == expected)
            );
        }
    });
}

#[test]
fn a_node_with_two_outputs() {
    let mut graph = residual();
    // Two halves of the channels, added: neither half is a split, the tensors around them are.
    let mut halves = with_int(node("Split", &["add_1"], "half_1"), "axis", 1);
    halves.output.push("half_2".to_owned());
    graph.node.splice(
        6..7,
        [
            halves,
            node("Add", &["half_1", "half_2"], "sum"),
            node("Concat", &["sum", "half_2"], "joined"),
            node("GlobalAveragePool", &["joined"], "mean"),
        ],
    );
    let joined = graph
        .node
        .iter_mut()
        .find(|node| node.output == ["joined"])
        .unwrap();
    *joined = with_int(joined.clone(), "axis", 1);
    let model = load(graph).unwrap();
    assert_eq!(
        names(&model),
        ["stem", "relu", "add_1", "joined", "mean", "flat"]
    );
    let features = model
        .edge("add_1")
        .unwrap()
        .run(image(model.input()).view())
        .unwrap();
    let scores = model.cloud("add_1").unwrap().run(features.view()).unwrap();
    let expected = model
        .whole()
        .unwrap()
        .run(image(model.input()).view())
        .unwrap();
    assert!(largest_difference(&scores, &expected) < 1e-5);
}

#[test]
fn models_of_another_kind_are_refused_with_the_reason() {
    let refused = |change: &dyn Fn(&mut GraphProto)| {
        let mut graph = residual();
        change(&mut graph);
        load(graph).unwrap_err()
    };
    let input = |kind, shape: &'static [i64]| {
        refused(&move |graph| graph.input = vec![value("image", kind, shape)])
    };
    for shape in [
        &[0, 1, 8][..],
        &[0, 2, 8, 6],
        &[0, 1, 0, 6],
        &[0, 1, 8, 4097],
        &[2, 1, 8, 6],
        &[0, 8, 6, 1],
    ] {
        let error = input(DataType::Float, shape);
        assert!(
            matches!(error, ModelError::Input { .. }),
            "{shape:?}: {error}"
        );
    }
    assert!(matches!(
        input(DataType::Uint8, &[0, 1, 8, 6]),
        ModelError::Input { .. }
    ));
    let two = refused(&|graph| graph.input.push(value("more", DataType::Float, &[1])));
    assert!(matches!(two, ModelError::Input { .. }), "{two}");
    let two = refused(&|graph| {
        graph
            .output
            .push(value("mean", DataType::Float, &[0, 4, 1, 1]))
    });
    assert!(matches!(two, ModelError::Output { .. }), "{two}");
    let map = refused(&|graph| graph.output = vec![value("add_1", DataType::Float, &[0, 4, 8, 6])]);
    assert!(matches!(map, ModelError::Output { .. }), "{map}");
    let unknown = refused(&|graph| graph.node[1].op_type = "Sparkle".to_owned());
    assert!(unknown.to_string().contains("Sparkle"), "{unknown}");
    let elsewhere = refused(&|graph| {
        graph.initializer[0].data_location = Some(DataLocation::External as i32);
    });
    assert!(elsewhere.to_string().contains("w_stem"), "{elsewhere}");
}

#[test]
fn graphs_that_contradict_themselves_are_refused() {
    let refused = |change: &dyn Fn(&mut GraphProto)| {
        let mut graph = residual();
        change(&mut graph);
        let error = load(graph)
            .and_then(|model| model.whole())
            .map(|_| ())
            .unwrap_err();
        assert!(!error.to_string().is_empty());
    };
    refused(&|graph| graph.node.clear());
    refused(&|graph| graph.output.clear());
    refused(&|graph| graph.output[0].name = "nowhere".to_owned());
    refused(&|graph| graph.node[3].input[0] = "nowhere".to_owned());
    refused(&|graph| graph.node[0].input[0] = "logits".to_owned());
    refused(&|graph| graph.input[0].r#type = None);
    refused(&|graph| graph.initializer[1].dims = vec![4, 5, 3, 3]);
    refused(&|graph| graph.initializer[1].dims = vec![i64::MAX, i64::MAX, 3, 3]);
    refused(&|graph| graph.initializer[1].data_type = 999);
    refused(&|graph| graph.node[0].input.truncate(1));
    refused(&|graph| graph.node[5].input.clear());
}

#[test]
fn bytes_that_are_no_model() {
    assert!(matches!(
        Model::from_bytes(b""),
        Err(ModelError::NotOnnx { .. })
    ));
    assert!(matches!(
        Model::from_bytes(b"\x89PNG\r\n\x1a\n"),
        Err(ModelError::NotOnnx { .. })
    ));
    let missing = Model::from_file("no/such/model.onnx")
        .unwrap_err()
        .to_string();
    assert!(missing.contains("no/such/model.onnx"), "{missing}");
}

#[test]
fn damaged_files_are_refused_or_run() {
    let bytes = file(residual()).encode_to_vec();
    let image = image(load(residual()).unwrap().input());
    let try_it = |bytes: &[u8]| {
        let whole = Model::from_bytes(bytes).and_then(|model| model.whole());
        match whole.and_then(|whole| whole.run(image.view())) {
            Ok(scores) => assert!(scores.len() >= 2 && scores.iter().all(|x| x.is_finite())),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    };
    for length in (0..bytes.len()).step_by(37) {
        try_it(&bytes[..length]);
    }
    for bit in (0..8 * bytes.len()).step_by(211) {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        try_it(&flipped);
    }
}

/// The model that is built in, its description and its images.
fn fashion() -> (Model, Description, Dataset) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/fashion");
    let labels = folder.join("labels.idx1.gz");
    (
        Model::from_file(folder.join("model.onnx")).unwrap(),
        Description::from_file(folder.join("description.toml")).unwrap(),
        Dataset::idx(folder.join("images.idx3.gz"), Some(&labels)).unwrap(),
    )
}

#[test]
fn the_model_built_in_agrees_with_the_framework_that_trained_it() {
    let (model, description, set) = fashion();
    description.check(&model).unwrap();
    let whole = model.whole().unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/fashion/reference-logits.npy");
    let reference: Array2<f32> = ndarray_npy::read_npy(file).unwrap();
    assert_eq!((set.len(), reference.dim()), (1000, (1000, 10)));
    let mut hits = 0;
    for (sample, expected) in set.iter().zip(reference.outer_iter()) {
        let sample = sample.unwrap();
        let input = description.input.prepare(sample.image).unwrap();
        let scores = whole.run(input.view()).unwrap();
        let difference = largest_difference(&scores, expected.as_slice().unwrap());
        assert!(difference < 1e-3, "image {}: {difference}", sample.name);
        hits += usize::from(sample.label == u32::try_from(top_k(&scores, 1)[0].0).ok());
    }
    assert_eq!(hits, 957);
}

#[test]
fn the_model_built_in_splits_at_every_addition() {
    let (model, description, set) = fashion();
    let few = set.select(&Rows::Range(0..20)).unwrap();
    classify_all(
        &model,
        &description,
        &few,
        &["add_1", "add_2", "add_3", "add_4", "add_5"],
    );
    let split = model
        .split_point(description.default_split.as_deref().unwrap())
        .unwrap();
    let Dimensions {
        channels,
        height,
        width,
    } = split.shape;
    assert!(
        channels >= 32 && height >= 14 && width >= 14,
        "{}",
        split.shape
    );
}

// Real models, beside the checkout

fn shared(file: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/data")
        .join(file);
    if !path.exists() {
        // Unlike eprintln!, this is shown although the test passes.
        let _ = writeln!(std::io::stderr(), "skipped: {} is missing", path.display());
    }
    path.exists().then_some(path)
}

fn classify_all(model: &Model, description: &Description, set: &Dataset, splits: &[&str]) -> f64 {
    description.check(model).unwrap();
    let whole = model.whole().unwrap();
    let halves: Vec<_> = splits
        .iter()
        .map(|split| {
            (
                *split,
                model.edge(split).unwrap(),
                model.cloud(split).unwrap(),
            )
        })
        .collect();
    let mut hits = 0;
    for sample in set.iter() {
        let sample = sample.unwrap();
        let input = description.input.prepare(sample.image).unwrap();
        let expected = whole.run(input.view()).unwrap();
        hits += usize::from(u32::try_from(top_k(&expected, 1)[0].0).ok() == sample.label);
        for (split, edge, cloud) in &halves {
            let features = edge.run(input.view()).unwrap();
            let scores = cloud.run(features.view()).unwrap();
            let difference = largest_difference(&scores, &expected);
            assert!(difference < 1e-4, "{split}, {}: {difference}", sample.name);
        }
    }
    hits as f64 / set.len() as f64
}

const ADDS: [&str; 9] = [
    "add_1", "add_2", "add_3", "add_4", "add_5", "add_6", "add_7", "add_8", "add_9",
];

#[test]
fn efficientnet_lite0_on_photographs() {
    let (Some(file), Some(photographs)) =
        (shared("efficientnet-lite0.onnx"), shared("imagenet500"))
    else {
        return;
    };
    let model = Model::from_file(file).unwrap();
    let shapes = [
        (24, 56, 56),
        (40, 28, 28),
        (80, 14, 14),
        (80, 14, 14),
        (112, 14, 14),
        (112, 14, 14),
        (192, 7, 7),
        (192, 7, 7),
        (192, 7, 7),
    ];
    for (add, shape) in ADDS.into_iter().zip(shapes) {
        assert_eq!(
            model.split_point(add).unwrap().shape.as_tuple(),
            shape,
            "{add}"
        );
    }
    let text = include_str!("../../models/efficientnet-lite0.toml");
    let description = Description::from_toml(text).unwrap();
    let set = Dataset::folder(photographs, &[]).unwrap();
    assert_eq!(set.len(), 500);
    let few = set.clone().select(&Rows::Range(0..2)).unwrap();
    classify_all(&model, &description, &few, &ADDS);
    let more = set.select(&Rows::Range(0..40)).unwrap();
    // 88.4 % over a thousand such photographs: fewer than 32 of 40 would be 5 in 100 at the most.
    assert!(classify_all(&model, &description, &more, &["add_4"]) >= 0.8);
}

#[test]
fn cifar10_resnet20_on_its_test_images() {
    let (Some(file), Some(images), Some(labels)) = (
        shared("cifar10-resnet20.onnx"),
        shared("cifar10-images.npy"),
        shared("cifar10-labels.npy"),
    ) else {
        return;
    };
    let model = Model::from_file(file).unwrap();
    let text = include_str!("../../models/cifar10-resnet20.toml");
    let description = Description::from_toml(text).unwrap();
    let set = Dataset::open(images, Some(&labels), &[]).unwrap();
    assert_eq!(set.len(), 2000);
    let few = set.clone().select(&Rows::Range(0..4)).unwrap();
    classify_all(&model, &description, &few, &ADDS);
    // 81.0 % over 10,000 such images, and a standard error of 2 points over 400 of them.
    let more = set.select(&Rows::Range(0..400)).unwrap();
    let accuracy = classify_all(&model, &description, &more, &["relu_3"]);
    assert!((0.73..0.89).contains(&accuracy), "{accuracy}");
}
