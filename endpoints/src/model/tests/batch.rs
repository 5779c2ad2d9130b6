//! Several tensors in one run compute what each does alone, or are not used.

use ndarray::Array3;
use prost::Message as _;
use tract_onnx::pb::tensor_proto::DataType;

use super::graph::{conv, file, indices, node, residual, value, with_int, with_ints};
use super::{image, load};
use crate::embedded;
use crate::model::*;

fn tensors(shape: Dimensions, count: usize) -> Vec<Array3<f32>> {
    (0..count)
        .map(|number| image(shape).mapv(|x| x * (1.0 + number as f32 / 10.0) - 0.3))
        .collect()
}

fn assert_close(scores: &Result<Vec<f32>, ModelError>, alone: &[f32]) {
    let scores = scores.as_ref().unwrap();
    let largest = alone.iter().fold(1.0, |a: f32, b| a.max(b.abs()));
    let far = super::largest_difference(scores, alone) / largest;
    assert!(far <= 1e-5, "{far}: {scores:?} instead of {alone:?}");
}

fn agrees(model: &Model, split: &str) {
    let cloud = model.cloud(split).unwrap();
    let shared = SharedModel::new(cloud.clone());
    for learnt in shared.learn(model, split, 8, Keep::All) {
        let gain = learnt.gain.unwrap();
        assert!(learnt.used && gain.difference <= 1e-5 && gain.factor > 0.0);
        assert!(shared.uses(learnt.size));
    }
    assert!(BATCH_SIZES.iter().all(|size| shared.uses(*size)));
    // 15 = 8 + 4 + 2 + 1
    let tensors = tensors(cloud.input(), 15);
    let views: Vec<_> = tensors.iter().map(|tensor| tensor.view()).collect();
    let scores = shared.run_each(&views);
    assert_eq!(scores.len(), 15);
    for (view, scores) in views.iter().zip(&scores) {
        assert_close(scores, &cloud.run(*view).unwrap());
    }
}

#[test]
fn a_run_of_several_computes_what_each_does_alone() {
    agrees(&load(residual()).unwrap(), "add_1");
    let model = embedded::model().unwrap();
    for split in ["add_3", "add_5"] {
        agrees(&model, split);
    }
}

#[test]
fn a_size_that_gains_too_little_is_not_used() {
    let model = load(residual()).unwrap();
    let shared = SharedModel::new(model.cloud("add_1").unwrap());
    let learnt = shared.learn(&model, "add_1", 8, Keep::Gaining(1e9));
    assert_eq!(learnt.len(), 1, "the others are not tried");
    assert!(learnt[0].gain.is_ok() && !learnt[0].used);
    assert!(BATCH_SIZES.iter().all(|size| !shared.uses(*size)));
    assert!(shared.learn(&model, "add_1", 1, Keep::All).is_empty());
}

/// A graph in which the images of a batch have to do with each other.
#[test]
fn a_model_that_mixes_images_runs_them_one_by_one() {
    let mut graph = residual();
    let mixed = with_int(node("ReduceMean", &["a_relu"], "mixed"), "keepdims", 1);
    let mixed = with_ints(mixed, "axes", &[0]);
    graph.node.retain(|node| node.output[0] != "b");
    graph.node.insert(5, mixed);
    graph
        .node
        .insert(6, node("Add", &["a_relu", "mixed"], "more"));
    graph.node.insert(7, conv("more", "w_b", "b"));
    let model = load(graph).unwrap();
    let shared = SharedModel::new(model.cloud("relu").unwrap());
    let learnt = shared.learn(&model, "relu", 8, Keep::All);
    assert!(learnt.iter().all(|learnt| !learnt.used));
    let error = learnt[0].gain.as_ref().unwrap_err().to_string();
    assert!(error.contains("differ"), "{error}");
    let tensors = tensors(shared.single().input(), 3);
    let views: Vec<_> = tensors.iter().map(|tensor| tensor.view()).collect();
    assert!(shared.run_each(&views).iter().all(Result::is_ok));
}

#[test]
fn a_file_of_one_image_at_a_time_runs_so() {
    let mut graph = residual();
    graph.input = vec![value("image", DataType::Float, &[1, 1, 8, 6])];
    graph.initializer.retain(|tensor| tensor.name != "zero");
    graph.initializer.push(indices("flat_shape", &[1, 4]));
    graph.initializer.retain(|tensor| tensor.name != "rest");
    let unused = ["shape", "batch", "flat_shape"];
    graph
        .node
        .retain(|node| !unused.contains(&node.output[0].as_str()));
    let model = Model::from_bytes(&file(graph).encode_to_vec()).unwrap();
    let shared = SharedModel::new(model.cloud("add_1").unwrap());
    for learnt in shared.learn(&model, "add_1", 8, Keep::All) {
        assert!(!learnt.used && learnt.gain.is_err());
    }
    let tensors = tensors(shared.single().input(), 2);
    let views: Vec<_> = tensors.iter().map(|tensor| tensor.view()).collect();
    assert!(shared.run_each(&views).iter().all(Result::is_ok));
}

#[test]
fn a_run_takes_its_number_of_tensors_of_their_shape() {
    let model = load(residual()).unwrap();
    let batch = model.cloud_batch("add_1", 2).unwrap();
    let tensor = Array3::zeros(batch.input().as_tuple());
    let error = batch.run(&[tensor.view(); 3]).unwrap_err();
    assert!(matches!(
        error,
        ModelError::Batch {
            expected: 2,
            found: 3
        }
    ));
    let small = Array3::zeros((1, 2, 3));
    let error = batch.run(&[tensor.view(), small.view()]).unwrap_err();
    assert!(matches!(error, ModelError::Shape { .. }));
    // What is not finite is the failure of its own tensor.
    let broken = tensor.mapv(|_: f32| f32::INFINITY);
    let scores = batch.run(&[tensor.view(), broken.view()]).unwrap();
    assert!(scores[0].is_ok() && matches!(scores[1], Err(ModelError::NotFinite)));
    let one = model.cloud("add_1").unwrap();
    assert_close(&scores[0], &one.run(tensor.view()).unwrap());
}
