//! Sets of images that are not part of the project: 500 photographs through the real binaries with
//! EfficientNet-Lite0, split at `add_4`, and the 10,000 test images of Fashion-MNIST.
//!
//! Where a set is missing its test is skipped, saying so.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "what goes wrong here fails the test"
)]

#[allow(
    dead_code,
    reason = "shared by several tests that do not use all of it"
)]
mod support;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use support::{edge, json_lines, lab, run, start_cloud, text};
use tensorwire_endpoints::description::Description;
use tensorwire_endpoints::embedded;
use tensorwire_endpoints::images::Dataset;
use tensorwire_endpoints::lab::parallel::in_order;
use tensorwire_endpoints::model::{Model, top_k};

const PHOTOGRAPHS: usize = 500;

/// The folder, if it is there.
fn present(folder: PathBuf) -> Option<PathBuf> {
    if folder.is_dir() {
        return Some(folder);
    }
    // Unlike eprintln!, this is shown although the test passes.
    let _ = writeln!(
        std::io::stderr(),
        "skipped: there is no {}",
        folder.display()
    );
    None
}

/// Images that the model in one piece classifies rightly.
fn right(model: &Model, description: &Description, dataset: &Dataset) -> usize {
    let model = model.whole().unwrap();
    let mut right = 0;
    let classify = |(): &mut (), index| {
        let sample = dataset.get(index)?;
        let logits = model.run(description.input.prepare(sample.image)?.view())?;
        Ok(top_k(&logits, 1)[0].0 == sample.label.unwrap() as usize)
    };
    in_order(
        "classifying",
        dataset.len(),
        || Ok(()),
        classify,
        |is_right| {
            right += usize::from(is_right);
            Ok(())
        },
    )
    .unwrap();
    right
}

#[test]
fn the_built_in_model_is_right_on_at_least_92_percent_of_the_test_images() {
    let folder = PathBuf::from("/usr/share/datasets/fashion-mnist");
    let Some(folder) = present(folder) else {
        return;
    };
    let images = folder.join("t10k-images-idx3-ubyte.gz");
    let labels = folder.join("t10k-labels-idx1-ubyte.gz");
    let dataset = Dataset::idx(images, Some(&labels)).unwrap();
    assert_eq!(dataset.len(), 10_000);
    let right = right(
        &embedded::model().unwrap(),
        &embedded::description().unwrap(),
        &dataset,
    );
    assert!(right >= 9_200, "{right} of 10,000");
}

#[test]
fn split_over_the_network_is_as_good_as_in_one_piece() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let Some(photographs) = present(data.join("imagenet500")) else {
        return;
    };
    let model = data.join("efficientnet-lite0.onnx");
    let description = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/efficientnet-lite0.toml");
    let folder = tempfile::tempdir().unwrap();
    let (model_text, photographs_text) = (model.to_str().unwrap(), photographs.to_str().unwrap());
    let model_options = [
        "--model",
        model_text,
        "--description",
        description.to_str().unwrap(),
        "--split",
        "add_4",
    ];

    // What the bundle was made from is not tested, so each half serves the other.
    let mut right = 0;
    for (calibrated, tested) in [("even", "odd"), ("odd", "even")] {
        let bundle = folder.path().join(format!("{calibrated}.twb"));
        let bundle = bundle.to_str().unwrap();
        let mut command = lab();
        command
            .arg("calibrate")
            .args(model_options)
            .args(["--images", photographs_text]);
        // Nothing is lost below, so that statistics are enough.
        command.args(["--rows", calibrated, "--hold-out", "0", "--out", bundle]);
        let output = run(command);
        assert!(output.status.success(), "{}", text(&output.stderr));

        let (_cloud, address) = start_cloud(&[&model_options[..4], &["--bundle", bundle]].concat());
        let mut command = edge();
        command
            .args(["--connect", &address])
            .args(model_options)
            .args(["--bundle", bundle]);
        command.args(["--images", photographs_text, "--rows", tested, "--fps", "0"]);
        // No loss and two busy cores: the deadline is not what is tested.
        command.args(["--deadline-ms", "10000", "--in-flight", "4"]);
        let output = run(command);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let lines = json_lines(&text(&output.stdout));
        assert_eq!(lines.len(), PHOTOGRAPHS / 2);
        for line in &lines {
            assert_eq!(line["reason"], "complete", "{line}");
            right += usize::from(line["predictions"][0]["label"] == line["label"]);
        }

        let mut command = edge();
        command
            .args(["--connect", &address])
            .args(model_options)
            .args(["--bundle", bundle]);
        command.args([
            "--images",
            photographs_text,
            "--rows",
            calibrated,
            "--frames",
            "1",
        ]);
        let output = run(command);
        assert!(
            text(&output.stdout).contains("the bundle was made from"),
            "evaluated on its own images"
        );
    }

    let dataset = Dataset::folder(&photographs, &[]).unwrap();
    assert_eq!(dataset.len(), PHOTOGRAPHS);
    let in_one_piece = Model::from_file(&model).unwrap();
    let unsplit = self::right(
        &in_one_piece,
        &Description::from_file(&description).unwrap(),
        &dataset,
    );
    let drop = 100.0 * (unsplit as f64 - right as f64) / PHOTOGRAPHS as f64;
    eprintln!("unsplit {unsplit}, over the network {right} of {PHOTOGRAPHS}: {drop:+.1} points");
    assert!(drop.abs() <= 0.5, "{drop} points");
}
