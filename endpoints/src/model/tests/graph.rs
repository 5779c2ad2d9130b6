//! ONNX files made here, also for tests elsewhere.

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};

pub(crate) fn node(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: operator.to_owned(),
        name: format!("node_{output}"),
        input: inputs.iter().map(|input| (*input).to_owned()).collect(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    }
}

pub(crate) fn with_ints(mut node: NodeProto, name: &str, ints: &[i64]) -> NodeProto {
    node.attribute.push(AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Ints as i32,
        ints: ints.to_vec(),
        ..AttributeProto::default()
    });
    node
}

pub(crate) fn with_int(mut node: NodeProto, name: &str, i: i64) -> NodeProto {
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

pub(crate) fn conv(input: &str, weights: &str, output: &str) -> NodeProto {
    with_ints(
        node("Conv", &[input, weights], output),
        "pads",
        &[1, 1, 1, 1],
    )
}

/// Weights that look random and are always the same.
pub(crate) fn weights(name: &str, shape: &[i64]) -> TensorProto {
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

pub(crate) fn indices(name: &str, values: &[i64]) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: vec![values.len() as i64],
        data_type: DataType::Int64 as i32,
        int64_data: values.to_vec(),
        ..TensorProto::default()
    }
}

/// `0` stands for an axis of unknown length.
pub(crate) fn value(name: &str, kind: DataType, shape: &[i64]) -> ValueInfoProto {
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

pub(crate) fn file(graph: GraphProto) -> ModelProto {
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
pub(crate) fn residual() -> GraphProto {
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
