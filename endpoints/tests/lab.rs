//! The laboratory's commands, run as users run them.

#![expect(clippy::unwrap_used, reason = "what goes wrong here fails the test")]

use std::path::Path;
use std::process::{Command, Output};
use std::{fs, str};

use serde_json::Value;
use tensorwire_concealment::{Bundle, ImageDigest};
use tensorwire_endpoints::digest::Digest;
use tensorwire_endpoints::embedded;

fn lab(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tw-lab"))
        .args(arguments)
        .output()
        .unwrap()
}

/// What a successful run prints.
fn printed(arguments: &[&str]) -> String {
    let output = lab(arguments);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {errors}");
    assert_eq!(errors, "", "no bar where standard error is no terminal");
    String::from_utf8(output.stdout).unwrap()
}

/// The message of a run that fails.
fn refused(arguments: &[&str], code: i32) -> String {
    let output = lab(arguments);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
    assert!(errors.starts_with("error: "), "{errors}");
    errors
}

fn rows(path: &Path) -> Vec<Value> {
    let file: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    file["rows"].as_array().unwrap().clone()
}

/// A folder, and files in it as arguments.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }
}

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
fn split_lists_shapes_and_bytes() {
    let folder = Scratch::new();
    let json = folder.file("split.json");
    let text = printed(&["split", "--json", &json]);
    let line = text
        .lines()
        .find(|line| line.starts_with("add_3 "))
        .unwrap();
    for part in ["Add", "48×14×14", "9,408", "37,632"] {
        assert!(line.contains(part), "{line}");
    }
    let rows = rows(json.as_ref());
    assert_eq!(rows.len(), text.lines().count() - 2);
    let row = rows.iter().find(|row| row["name"] == "add_3").unwrap();
    assert_eq!(
        (&row["channels"], &row["height"], &row["width"]),
        (&48.into(), &14.into(), &14.into())
    );
    assert_eq!(
        (&row["bytes_f32"], &row["bytes_8bit"]),
        (&37_632.into(), &9_408.into())
    );
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/fashion/model.onnx");
    assert_eq!(printed(&["split", model]), printed(&["split"]));
}

#[test]
fn conceal_gives_the_same_figures_again() {
    let folder = Scratch::new();
    let run = |name: &str| {
        let json = folder.file(name);
        let text = printed(&[
            "conceal",
            "--limit",
            "50",
            "--missing",
            "0,0.5",
            "--json",
            &json,
        ]);
        let mut rows = rows(json.as_ref());
        for row in &mut rows {
            assert!(row["us_per_tensor"].as_f64().unwrap() > 0.0);
            row["us_per_tensor"].take();
        }
        (text, rows)
    };
    let (text, rows) = run("first.json");
    assert_eq!(rows, run("second.json").1);
    assert_eq!(rows.len(), 8);
    for (row, missing) in rows.iter().zip([0.0, 0.0, 0.0, 0.0, 0.5, 0.5, 0.5, 0.5]) {
        let share = |name: &str| row[name].as_f64().unwrap();
        assert_eq!((share("missing"), &row["samples"]), (missing, &50.into()));
        assert_eq!(
            (&row["split"], &row["map"]),
            (&"add_3".into(), &"elements".into())
        );
        assert!(share("top1_clean") >= 0.8);
        assert!((share("top1_clean") - share("top1") - share("drop")).abs() < 1e-12);
        let ci = row["ci95"].as_array().unwrap();
        assert!(
            ci[0].as_f64().unwrap() <= share("drop") && share("drop") <= ci[1].as_f64().unwrap()
        );
        let method = row["method"].as_str().unwrap();
        assert!(text.contains(method), "{text}");
        if missing == 0.0 {
            assert_eq!((share("drop"), &row["nmse"]), (0.0, &Value::Null));
        } else if method == "zero" {
            assert_eq!(share("nmse"), 1.0);
        } else {
            assert!(share("nmse") < 1.0, "{method}");
        }
    }
}

#[test]
fn more_seeds_are_more_samples() {
    let folder = Scratch::new();
    let json = folder.file("rows.json");
    let run = |seeds: &str| {
        let options = [
            "--limit",
            "20",
            "--missing",
            "0.4",
            "--fills",
            "zero,hybrid",
        ];
        printed(
            &[
                &["conceal"][..],
                &options,
                &["--seeds", seeds, "--json", &json],
            ]
            .concat(),
        );
        rows(json.as_ref())
    };
    let (one, three) = (run("1"), run("3"));
    assert_eq!((one.len(), three.len()), (2, 2));
    assert_eq!(
        (&one[0]["samples"], &three[0]["samples"]),
        (&20.into(), &60.into())
    );
    assert_ne!(one[1]["nmse"], three[1]["nmse"]);
}

#[test]
fn quality_counts_bytes() {
    let folder = Scratch::new();
    let (json, svg) = (folder.file("rows.json"), folder.file("curve.svg"));
    let coders = [
        "--coder",
        "jpeg,raw",
        "--qualities",
        "20,80",
        "--levels",
        "4,256",
    ];
    let files = ["--limit", "40", "--json", &json, "--plot", &svg];
    printed(&[&["quality"][..], &coders, &files].concat());
    let rows = rows(json.as_ref());
    let of = |index: usize, name: &str| rows[index][name].as_f64();
    assert_eq!(rows.len(), 4);
    // 9,408 entries of 2 and of 8 bits; slices end on whole bytes.
    let four_levels = of(2, "bytes_mean").unwrap();
    assert!((2_352.0..2_372.0).contains(&four_levels), "{four_levels}");
    assert_eq!(of(3, "bytes_mean"), Some(9_408.0));
    assert!(of(0, "bytes_mean") < of(1, "bytes_mean") && of(1, "bytes_mean") < of(3, "bytes_mean"));
    assert_eq!(of(3, "drop"), Some(0.0));
    for index in [0, 1] {
        let overhead = of(index, "restart_overhead").unwrap();
        assert!(overhead > 0.0 && overhead <= 0.03, "{overhead}");
    }
    assert_eq!(rows[3]["restart_overhead"], Value::Null);
    let drawing = fs::read_to_string(&svg).unwrap();
    assert!(drawing.contains("JPEG, by quality") && drawing.contains("raw, by levels"));
}

#[test]
fn calibrated_images_are_not_evaluated_on() {
    let folder = Scratch::new();
    let bundle = folder.file("even.twb");
    let calibrate = |out: &str| printed(&["calibrate", "--rows", "even", "--out", out]);
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

    let small = ["--limit", "10", "--missing", "0.1", "--bundle", &bundle];
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
fn swapping_halves_needs_no_bundle() {
    let folder = Scratch::new();
    let json = folder.file("rows.json");
    let shared = ["--swap", "--limit", "31", "--json", &json];
    printed(&[&["conceal", "--missing", "0.1"][..], &shared].concat());
    assert!(rows(json.as_ref()).iter().all(|row| row["samples"] == 31));
    let coder = [
        "quality", "--coder", "raw", "--levels", "256", "--sigma", "3",
    ];
    printed(&[&coder[..], &shared].concat());
    assert!(rows(json.as_ref()).iter().all(|row| row["samples"] == 31));
}

#[test]
fn failures_say_what_to_do() {
    let missing = refused(&["split", "no/such/model.onnx"], 1);
    assert!(missing.contains("no/such/model.onnx"), "{missing}");
    let missing = refused(&["conceal", "--images", "no/such/images"], 1);
    assert!(missing.contains("no/such/images"), "{missing}");
    let unknown = refused(&["conceal", "--split", "ad_3"], 1);
    assert!(
        unknown.contains("ad_3") && unknown.contains("add_3"),
        "{unknown}"
    );
    let bundle = refused(&["conceal", "--split", "add_2", "--limit", "5"], 1);
    assert!(
        bundle.contains("--bundle") && bundle.contains("--swap"),
        "{bundle}"
    );
    let range = refused(&["quality", "--split", "add_2", "--limit", "5"], 1);
    assert!(
        range.contains("--clip") && range.contains("--swap"),
        "{range}"
    );
    let sigma = refused(&["quality", "--sigma", "3", "--limit", "5"], 1);
    assert!(sigma.contains("--swap"), "{sigma}");
    let early = refused(
        &[
            "conceal",
            "--limit",
            "5",
            "--json",
            "no/such/folder/rows.json",
        ],
        1,
    );
    assert!(early.contains("no/such/folder"), "{early}");
}

#[test]
fn wrong_usage_is_told_apart() {
    for arguments in [
        &["conceal", "--no-such-flag"][..],
        &["conceal", "--missing", "1.5"],
        &["conceal", "--fills", "zero,best"],
        &["conceal", "--swap", "--bundle", "x.twb"],
        &["quality", "--qualities", "0"],
        &["calibrate", "--sigma", "0", "--out", "x.twb"],
        &["calibrate", "--sigma", "3", "--min-max", "--out", "x.twb"],
    ] {
        refused(arguments, 2);
    }
    let help = printed(&["conceal", "--help"]);
    assert!(
        help.contains("Examples:") && help.contains("--missing"),
        "{help}"
    );
}
