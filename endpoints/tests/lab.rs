//! The laboratory's commands, run as users run them.

#![expect(clippy::unwrap_used, reason = "what goes wrong here fails the test")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::{fs, str};

use ndarray::Array3;
use serde_json::Value;
use tensorwire_concealment::{Bundle, Concealer, ImageDigest, LossKind, Method, PolicyRow};
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
        let cell = ["--map", "elements", "--missing", "0,0.5"];
        let methods = "zero,channel-mean,dataset-mean,hybrid,spatial,auto";
        let rest = ["--limit", "50", "--methods", methods, "--json", &json];
        let text = printed(&[&["conceal"][..], &cell, &rest].concat());
        let mut rows = rows(json.as_ref());
        for row in &mut rows {
            assert!(row["us_per_tensor"].as_f64().unwrap() > 0.0);
            row["us_per_tensor"].take();
        }
        (text, rows)
    };
    let (text, rows) = run("first.json");
    assert_eq!(rows, run("second.json").1);
    assert_eq!(rows.len(), 12);
    for (index, row) in rows.iter().enumerate() {
        let missing = if index < 6 { 0.0 } else { 0.5 };
        let share = |name: &str| row[name].as_f64().unwrap();
        assert_eq!((share("missing"), &row["samples"]), (missing, &50.into()));
        assert_eq!(
            (&row["split"], &row["map"]),
            (&"add_3".into(), &"elements".into())
        );
        assert!(share("top1_clean") >= 0.8 && share("p_true_clean") >= 0.6);
        assert!((share("top1_clean") - share("top1") - share("drop")).abs() < 1e-12);
        let within = |name: &str, figure: f64| {
            let ci = row[name].as_array().unwrap();
            assert!(ci[0].as_f64().unwrap() <= figure && figure <= ci[1].as_f64().unwrap());
        };
        within("ci95", share("drop"));
        within("p_true_drop_ci95", share("p_true_clean") - share("p_true"));
        let method = row["method"].as_str().unwrap();
        assert!(text.contains(method), "{text}");
        if missing == 0.0 {
            assert_eq!((share("drop"), &row["nmse"]), (0.0, &Value::Null));
            assert_eq!(share("missing_share"), 0.0);
            continue;
        }
        // 470,400 entries: eight standard deviations.
        assert!((share("missing_share") - 0.5).abs() < 0.006);
        within("nmse_ci95", share("nmse"));
        within("variance_share_ci95", share("variance_share"));
        match method {
            "zero" => assert_eq!(share("nmse"), 1.0),
            "dataset-mean" => assert!((share("variance_share") - 1.0).abs() < 1e-6),
            _ => assert!(share("nmse") < 1.0, "{method}"),
        }
        assert_eq!(row["took"].is_array(), method == "auto", "{row}");
    }
    assert!(text.contains("best simple") && !text.contains("equal packet loss"));
}

#[test]
fn more_seeds_are_more_samples() {
    let folder = Scratch::new();
    let json = folder.file("rows.json");
    let run = |seeds: &str| {
        let cell = ["--limit", "20", "--missing", "0.4", "--map", "rows"];
        let methods = [
            "--methods",
            "zero,hybrid",
            "--seeds",
            seeds,
            "--json",
            &json,
        ];
        printed(&[&["conceal"][..], &cell, &methods].concat());
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
fn conceal_goes_on_where_it_was() {
    let folder = Scratch::new();
    let [whole, cut, json] =
        ["whole.jsonl", "cut.jsonl", "rows.json"].map(|name| folder.file(name));
    let run = |out: &str, methods: &str, maps: &str| {
        let cells = ["--limit", "12", "--missing", "0.3", "--map", maps];
        let rest = ["--methods", methods, "--out", out, "--json", &json];
        printed(&[&["conceal"][..], &cells, &rest].concat());
        rows(json.as_ref())
    };
    let untimed = |path: &str| {
        let lines = fs::read_to_string(path).unwrap();
        let lines = lines.lines().map(|line| {
            let mut line: Value = serde_json::from_str(line).unwrap();
            line["row"]["row"]["us_per_tensor"].take();
            line
        });
        lines.collect::<Vec<_>>()
    };
    let rows = run(&whole, "zero,hybrid,auto", "channels,blocks");
    assert_eq!(rows.len(), 6);

    // Some rows are there, and one that was being written when it ended.
    run(&cut, "zero", "blocks");
    let first = fs::read_to_string(&cut).unwrap();
    assert_eq!(first.lines().count(), 1);
    fs::write(&cut, format!("{first}{{\"key\": \"half a l")).unwrap();
    let resumed = run(&cut, "zero,hybrid,auto", "channels,blocks");
    assert_eq!(resumed.len(), 6);
    assert_eq!(untimed(&cut), untimed(&whole));
    // What was there was not measured again: its time would differ.
    let before: Value = serde_json::from_str(first.trim()).unwrap();
    let time = |row: &Value| row["us_per_tensor"].as_f64().unwrap();
    let kept = resumed
        .iter()
        .find(|row| row["map"] == "blocks" && row["method"] == "zero");
    let ratio = time(kept.unwrap()) / time(&before["row"]["row"]);
    assert!((ratio - 1.0).abs() < 1e-9, "{ratio}");
    let again = run(&cut, "zero,hybrid,auto", "channels,blocks");
    assert_eq!(again.len(), 6);
    for (again, resumed) in again.iter().zip(&resumed) {
        assert!((time(again) / time(resumed) - 1.0).abs() < 1e-9);
    }

    fs::write(&cut, "{}\n").unwrap();
    let error = refused(&["conceal", "--limit", "5", "--out", &cut], 1);
    assert!(
        error.contains("cut.jsonl, line 1") && error.contains("--out"),
        "{error}"
    );
}

#[test]
fn maps_are_compared_at_equal_packet_loss() {
    let folder = Scratch::new();
    let json = folder.file("rows.json");
    let text = printed(&[
        "conceal",
        "--map",
        "packets",
        "--missing",
        "0.3",
        "--limit",
        "30",
        "--methods",
        "hybrid,auto",
        "--json",
        &json,
    ]);
    assert!(text.contains("at equal packet loss, 11 packets"), "{text}");
    let file: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    let maps = file["maps"].as_array().unwrap();
    let (first, rest) = maps.split_first().unwrap();
    assert_eq!(first["behind"], 0.0);
    for name in ["random-packets", "row-packets", "mosaic-packets"] {
        assert!(maps.iter().any(|line| line["map"] == name), "{name}");
        assert!(text.contains(name), "{text}");
    }
    for line in rest {
        let behind = line["drop"].as_f64().unwrap() - first["drop"].as_f64().unwrap();
        assert!((line["behind"].as_f64().unwrap() - behind).abs() < 1e-12);
    }
    // The same packets are lost, whatever is in them.
    let shares: Vec<f64> = maps
        .iter()
        .map(|line| line["missing_share"].as_f64().unwrap())
        .collect();
    assert!(
        shares.iter().all(|share| (share - shares[0]).abs() < 0.03),
        "{shares:?}"
    );
}

#[test]
fn a_motion_makes_a_previous_tensor() {
    let folder = Scratch::new();
    let json = folder.file("rows.json");
    let nmse = |motion: &str| {
        let cell = ["--map", "channels", "--missing", "0.3", "--limit", "20"];
        let methods = ["--methods", "spatial,temporal,motion", "--motion", motion];
        printed(&[&["conceal", "--json", &json][..], &cell, &methods].concat());
        let rows = rows(json.as_ref());
        let figures = rows.iter().map(|row| row["nmse"].as_f64().unwrap());
        figures.collect::<Vec<_>>()
    };
    let [spatial, temporal, _] = nmse("0,0")[..] else {
        panic!("three rows");
    };
    // What was there before tells everything where nothing moves.
    assert!(
        temporal < 0.01 && temporal < spatial,
        "{temporal} {spatial}"
    );
    let [_, temporal, motion] = nmse("4,-2")[..] else {
        panic!("three rows");
    };
    assert!(motion < temporal, "{motion} {temporal}");
}

#[test]
fn methods_that_cannot_work_are_left_out_or_refused() {
    let cell = ["--map", "elements", "--missing", "0.2", "--limit", "4"];
    let text = printed(&[&["conceal", "--split", "add_2"][..], &cell].concat());
    for part in [
        "--motion",
        "`hybrid` needs a bundle",
        "--swap",
        "silrtc",
        "spatial",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let asked = |method: &str| {
        let split = ["conceal", "--split", "add_2", "--methods", method];
        refused(&[&split[..], &cell].concat(), 1)
    };
    let error = asked("zero,lmmse");
    assert!(
        error.contains("lmmse") && error.contains("tw-lab calibrate") && error.contains("--swap"),
        "{error}"
    );
    assert!(asked("temporal").contains("--motion"));
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

#[test]
fn a_trace_is_made_fitted_and_put_in_the_words_of_tc() {
    let folder = Scratch::new();
    let make = |name: &str, seed: &str| {
        let file = folder.file(name);
        let size = ["--packets", "20000", "--seed", seed, "--out", &file];
        let text = printed(&[&["trace", "make", "gilbert:10%,4"][..], &size].concat());
        assert!(
            text.contains("20,000 packets") && text.contains(&file),
            "{text}"
        );
        file
    };
    let (csv, npy) = (make("losses.csv", "3"), make("losses.npy", "3"));
    let again = make("again.csv", "3");
    assert_eq!(fs::read(&csv).unwrap(), fs::read(again).unwrap());
    let other = make("other.csv", "4");
    assert_ne!(fs::read(&csv).unwrap(), fs::read(other).unwrap());

    let json = folder.file("fit.json");
    let text = printed(&["trace", "fit", &csv, "--json", &json]);
    let lines = |text: &str| text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(lines(&text), lines(&printed(&["trace", "fit", &npy])));
    let fitted = rows(json.as_ref());
    let chosen: Vec<&Value> = fitted.iter().filter(|row| row["chosen"] == true).collect();
    let [chosen] = chosen[..] else {
        panic!("{fitted:?}")
    };
    assert_eq!(
        (&chosen["model"], &chosen["packets"]),
        (&"gilbert".into(), &20_000.into())
    );
    let figure = |name: &str| chosen[name].as_f64().unwrap();
    // 500 bursts: 0.15 is the standard error of their mean, 0.006 that of the share lost.
    assert!((figure("model_burst") - 4.0).abs() < 0.6, "{chosen}");
    assert!((figure("model_loss") - 0.1).abs() < 0.024, "{chosen}");
    let ends = chosen["ci95"].as_array().unwrap();
    let (low, high) = (ends[0].as_f64().unwrap(), ends[1].as_f64().unwrap());
    assert!(
        low < figure("loss") && figure("loss") < high,
        "{low} to {high}"
    );

    // What is printed can be used.
    let after = |word: &str| {
        let line = text.lines().find(|line| line.starts_with(word)).unwrap();
        line.strip_prefix(word).unwrap().trim().to_owned()
    };
    let model = after("emulator  tw-lab link --loss-model");
    assert_eq!(printed(&["trace", "netem", &model]).trim(), after("kernel"));
    let netem = printed(&[
        "trace",
        "netem",
        "gilbert-elliott:1%,25%,0.5%,98%",
        "--dev",
        "lo",
    ]);
    assert_eq!(
        netem,
        "tc qdisc replace dev lo root netem loss gemodel 1% 25% 98% 0.5%\n"
    );

    // As in a loss map that says what arrived.
    let from_stdout = printed(&["trace", "fit", &npy, "--received", "--json", "-"]);
    let value: Value = serde_json::from_str(&from_stdout).unwrap();
    let loss = value["rows"][0]["loss"].as_f64().unwrap();
    assert!((loss + figure("loss") - 1.0).abs() < 1e-12, "{loss}");
}

#[test]
fn what_is_no_trace_or_model_says_why() {
    let folder = Scratch::new();
    let missing = folder.file("no/losses.csv");
    let error = refused(&["trace", "fit", &missing], 1);
    assert!(error.contains("no/losses.csv"), "{error}");
    let bad = folder.file("bad.csv");
    fs::write(&bad, "packet,lost\n0,0\n1,maybe\n").unwrap();
    let error = refused(&["trace", "fit", &bad], 1);
    assert!(
        error.contains("bad.csv") && error.contains("line 3: `maybe`"),
        "{error}"
    );
    let source = format!("trace:{bad}");
    for arguments in [
        &["link", "--listen", "127.0.0.1:0", "--loss-model", &source][..],
        &["demo", "--loss-model", &source],
        &["trace", "netem", &source],
    ] {
        let error = refused(arguments, 1);
        assert!(error.contains("line 3"), "{error}");
    }
    let error = refused(&["trace", "netem", "periodic:20,1"], 1);
    assert!(
        error.contains("netem") && error.contains("iid:0.05"),
        "{error}"
    );
    let out = folder.file("no/x.csv");
    let make = ["trace", "make", "iid:5%", "--packets", "9", "--out"];
    let error = refused(&[&make[..], &[&out]].concat(), 1);
    assert!(error.contains("its folder is missing"), "{error}");
    for arguments in [
        &[
            "trace",
            "make",
            "iid:5%",
            "--packets",
            "0",
            "--out",
            "x.csv",
        ][..],
        &[
            "trace",
            "make",
            "iid:5%",
            "--packets",
            "9",
            "--out",
            "x.txt",
        ],
        &[
            "trace",
            "make",
            "iid:500%",
            "--packets",
            "9",
            "--out",
            "x.csv",
        ],
        &["trace", "netem", "gilbert:0.1"],
        &["link", "--loss-model", "iid:5%", "--loss", "0.1"],
        &["link", "--loss-model", "iid:5%", "--burst", "2"],
        &["link", "--loss-model", "losses.csv"],
        &["demo", "--loss-model", "iid:5%", "--losses", "0.1"],
    ] {
        refused(arguments, 2);
    }
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
    let hybrid = ["--limit", "5", "--methods", "hybrid"];
    let bundle = refused(&[&["conceal", "--split", "add_2"][..], &hybrid].concat(), 1);
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
        &["conceal", "--methods", "zero,best"],
        &["conceal", "--map", "elements,columns"],
        &["conceal", "--motion", "2"],
        &["conceal", "--packets", "0"],
        &["conceal", "--swap", "--bundle", "x.twb"],
        &["quality", "--qualities", "0"],
        &["calibrate", "--sigma", "0", "--out", "x.twb"],
        &["calibrate", "--hold-out", "1", "--out", "x.twb"],
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
