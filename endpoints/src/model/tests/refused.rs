//! Files that are refused, or run as they are.

use prost::Message as _;
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::{
    AttributeProto, GraphProto, SparseTensorProto, StringStringEntryProto, TensorProto,
};

use super::graph::{file, indices, node, residual, value, with_int, with_ints};
use super::{image, load};
use crate::model::*;

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

#[test]
fn weights_that_lie_elsewhere_are_found_wherever_they_are_named() {
    let outside = || TensorProto {
        name: "passwords".to_owned(),
        data_type: DataType::Float as i32,
        dims: vec![4],
        external_data: vec![StringStringEntryProto {
            key: "location".to_owned(),
            value: "/etc/passwd".to_owned(),
        }],
        ..TensorProto::default()
    };
    let attribute = |change: &dyn Fn(&mut AttributeProto)| {
        let mut attribute = AttributeProto::default();
        change(&mut attribute);
        let mut graph = residual();
        graph.node[1].attribute.push(attribute);
        graph
    };
    let mut weights = residual();
    weights.initializer.push(outside());
    let graphs = [
        weights,
        attribute(&|attribute| attribute.t = Some(outside())),
        attribute(&|attribute| attribute.tensors.push(outside())),
        attribute(&|attribute| {
            attribute.sparse_tensor = Some(SparseTensorProto {
                values: Some(outside()),
                ..SparseTensorProto::default()
            });
        }),
        attribute(&|attribute| {
            attribute.g = Some(GraphProto {
                initializer: vec![outside()],
                ..GraphProto::default()
            });
        }),
    ];
    for graph in graphs {
        let error = load(graph).unwrap_err();
        let named = matches!(&error, ModelError::ExternalData { tensor } if tensor == "passwords");
        assert!(named, "{error}");
    }
}

#[test]
fn a_stranger_s_model_costs_what_it_cost_before() {
    let upload = |graph: GraphProto| {
        let bytes = file(graph).encode_to_vec();
        Model::from_upload(&bytes).and_then(|model| model.cloud("add_1"))
    };
    upload(residual()).unwrap();
    let mut inner = residual();
    inner.node[1].attribute.push(AttributeProto {
        name: "body".to_owned(),
        g: Some(GraphProto::default()),
        ..AttributeProto::default()
    });
    let error = upload(inner).unwrap_err();
    assert!(matches!(error, ModelError::Subgraph { .. }), "{error}");
    // As many products as the largest entry says.
    let mut dynamic = residual();
    dynamic.initializer.push(indices("one", &[1]));
    let most = with_ints(node("ReduceMax", &["flat"], "most"), "axes", &[0, 1]);
    dynamic.node.splice(
        11..12,
        [
            most,
            with_int(node("Cast", &["most"], "most_i64"), "to", 7),
            node("Reshape", &["most_i64", "rest"], "end"),
            node("Slice", &["flat", "zero", "end", "one"], "some"),
            node("Slice", &["w_head", "zero", "end", "zero"], "weights"),
            node("MatMul", &["some", "weights"], "logits"),
        ],
    );
    let error = upload(dynamic).unwrap_err();
    // Where the engine loses track of the sizes altogether, it does not know that of the scores either.
    let sizes = matches!(
        error,
        ModelError::UnknownSize { .. } | ModelError::Output { .. }
    );
    assert!(sizes, "{error}");
}
