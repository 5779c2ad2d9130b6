//! `tw-lab calibrate`, and what a bundle is good for.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use ndarray::Array3;
use tensorwire_concealment::{Bundle, Concealer, ImageDigest, LossKind, Method, PolicyRow};
use tensorwire_endpoints::digest::Digest;
use tensorwire_endpoints::embedded;

use crate::support::{Scratch, printed, refused, rows};

#[test]
fn the_bundle_that_is_built_in() {
    let bundle = Bundle::from_bytes(embedded::bundle()).unwrap();
    let (model, description) = (embedded::model().unwrap(), embedded::description().unwrap());
    let split = model
        .split_point(description.default_split.as_deref().unwrap())
        .unwrap();
    assert_eq!(bundle.split(), split.name);
    assert_eq!(bundle.shape(), split.shape.as_tuple());
    assert_eq!(bundle.model_digest(), model.digest().as_bytes());
    assert!(bundle.images().len() >= 1_000);
    for sample in embedded::images().unwrap().iter() {
        let sample = sample.unwrap();
        let image = ImageDigest::from_sha256(sample.digest.as_bytes());
        assert!(!bundle.contains_image(&image), "test image {}", sample.name);
    }
}

#[test]
fn calibrated_images_are_not_evaluated_on() {
    let folder = Scratch::new();
    let bundle = folder.file("even.twb");
    let calibrate = |out: &str| {
        let statistics = ["--rows", "even", "--hold-out", "0", "--out", out];
        printed(&[&["calibrate"][..], &statistics].concat())
    };
    let text = calibrate(&bundle);
    assert!(
        text.contains("add_3 48×14×14") && text.contains("500"),
        "{text}"
    );
    let bytes = fs::read(&bundle).unwrap();
    assert!(text.contains(&Digest::of(&bytes).to_string()), "{text}");
    let again = folder.file("again.twb");
    calibrate(&again);
    assert_eq!(fs::read(&again).unwrap(), bytes);

    let small = [
        "--limit",
        "10",
        "--missing",
        "0.1",
        "--map",
        "rows",
        "--bundle",
        &bundle,
    ];
    let conceal = |rows: &[&'static str]| [&["conceal"][..], &small, rows].concat();
    let error = refused(&conceal(&[]), 1);
    assert!(
        error.contains("made from the image 0") && error.contains("--rows odd"),
        "{error}"
    );
    printed(&conceal(&["--rows", "odd"]));
    let error = refused(&["quality", "--limit", "10", "--bundle", &bundle], 1);
    assert!(error.contains("made from the image 0"), "{error}");
}

#[test]
fn calibration_measures_on_images_that_it_holds_out() {
    let folder = Scratch::new();
    let json = folder.file("rows.json");
    let calibrate = |name: &str| {
        let out = folder.file(name);
        let options = [
            "--rows", "0..120", "--quick", "--out", &out, "--json", &json,
        ];
        let text = printed(&[&["calibrate"][..], &options].concat());
        assert!(text.contains("120; measured on 24 held out"), "{text}");
        assert!(text.contains("by the random map, on 120 images"), "{text}");
        Bundle::from_bytes(&fs::read(&out).unwrap()).unwrap()
    };
    let bundle = calibrate("first.twb");
    assert_eq!(bundle.images().len(), 120, "nobody tests on either part");
    let channels = bundle.importance().unwrap().channels();
    assert_eq!(channels.len(), 48);
    assert!(channels.iter().any(|&importance| importance > 1.0));

    // A method for every kind and share, each at its own cost.
    let policy = bundle.policy().unwrap().rows();
    let cells: BTreeSet<(LossKind, u32)> = policy
        .iter()
        .map(|row| (row.kind, row.share.to_bits()))
        .collect();
    assert_eq!((cells.len(), policy.len()), (8, 8 * 8));
    let accuracy = bundle.accuracy().unwrap();
    assert_eq!(accuracy.kind(), LossKind::Elements);
    assert!(accuracy.points().is_sorted_by(|a, b| a.drop <= b.drop));
    let measured = rows(json.as_ref());
    let of = |section: &str| {
        let rows = measured.iter().filter(|row| row["section"] == section);
        rows.collect::<Vec<_>>()
    };
    assert_eq!(of("policy").len(), policy.len());
    assert!(of("policy").iter().all(|row| row["images"] == 24));
    assert_eq!(of("accuracy").len() + 1, accuracy.points().len());
    // The curve takes all images, each held out in its turn, and each twice or more.
    for row in of("accuracy") {
        assert_eq!(row["images"], 120);
        assert!(row["samples"].as_u64().unwrap() >= 240);
        let [low, high] = [0, 1].map(|end| row["gradual_ci95"][end].as_f64().unwrap());
        assert!((low..=high).contains(&row["gradual_drop"].as_f64().unwrap()));
    }
    assert_eq!(of("importance").len(), channels.len());
    let best = of("policy").into_iter().find(|row| {
        (&row["map"], &row["missing"], &row["rank"]) == (&"rows".into(), &0.3.into(), &1.into())
    });
    let best = best.unwrap()["method"].as_str().unwrap();

    // The same images give the same bundle, but for what a clock says.
    let again = calibrate("again.twb");
    assert_eq!(bundle.covariance(), again.covariance());
    assert_eq!(bundle.altec(), again.altec());
    assert_eq!(
        (accuracy, bundle.importance()),
        (again.accuracy().unwrap(), again.importance())
    );
    let untimed = |row: &PolicyRow| PolicyRow { cost_us: 0, ..*row };
    let others = again.policy().unwrap().rows().iter().map(untimed);
    assert!(policy.iter().map(untimed).eq(others));

    // `auto` takes it, and does what was best.
    let shape = bundle.shape();
    let auto = Concealer::new(Method::Auto, shape, Some(Arc::new(bundle))).unwrap();
    let mut tensor = Array3::zeros(shape);
    let mask = Array3::from_shape_fn(shape, |(channel, row, _)| (channel + row) % 7 >= 2);
    let mut auto = auto.with_kind(LossKind::Rows);
    let method = auto.conceal(tensor.view_mut(), mask.view()).unwrap();
    assert_eq!(method.name(), best);
}

#[test]
fn without_labels_there_are_only_statistics() {
    let folder = Scratch::new();
    let out = folder.file("statistics.twb");
    let images = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/fashion/images.idx3.gz");
    let calibrate = |options: &[&'static str]| {
        let shared = [
            "calibrate",
            "--images",
            images,
            "--rows",
            "0..40",
            "--out",
            &out,
        ];
        let text = printed(&[&shared[..], options].concat());
        (text, Bundle::from_bytes(&fs::read(&out).unwrap()).unwrap())
    };
    let (text, bundle) = calibrate(&[]);
    assert!(
        text.contains("statistics only: the images have no labels"),
        "{text}"
    );
    assert!(
        text.contains("COVARIANCE") && text.contains("ALTEC"),
        "{text}"
    );
    assert!(bundle.covariance().is_some() && bundle.altec().is_some());
    assert_eq!(
        (bundle.policy(), bundle.accuracy(), bundle.importance()),
        (None, None, None)
    );
    assert_eq!(bundle.images().len(), 40);
    let bytes = bundle.to_bytes();
    assert_eq!(calibrate(&["--quick"]).1.images(), bundle.images());
    assert_eq!(calibrate(&[]).1.to_bytes(), bytes);
    let few = ["calibrate", "--rows", "0..40", "--out", &out];
    let text = printed(&few);
    assert!(text.contains("too few images are held out"), "{text}");
}

#[test]
fn swapping_halves_needs_no_bundle() {
    let folder = Scratch::new();
    let json = folder.file("rows.json");
    let shared = ["--swap", "--limit", "31", "--json", &json];
    let cell = [
        "conceal",
        "--missing",
        "0.1",
        "--map",
        "elements",
        "--methods",
    ];
    printed(&[&cell[..], &["zero,altec,lmmse"], &shared].concat());
    assert!(rows(json.as_ref()).iter().all(|row| row["samples"] == 31));
    let error = |row: usize| rows(json.as_ref())[row]["nmse"].as_f64().unwrap();
    assert!(error(1) < error(0) && error(2) < error(1));
    let coder = [
        "quality", "--coder", "raw", "--levels", "256", "--sigma", "3",
    ];
    printed(&[&coder[..], &shared].concat());
    assert!(rows(json.as_ref()).iter().all(|row| row["samples"] == 31));
}
