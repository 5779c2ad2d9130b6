//! Models that were trained: the one that is built in, and others beside the checkout.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use ndarray::Array2;

use super::largest_difference;
use crate::description::Description;
use crate::images::{Dataset, Rows};
use crate::model::*;

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
    let text = include_str!("../../../models/efficientnet-lite0.toml");
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
    let text = include_str!("../../../models/cifar10-resnet20.toml");
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
