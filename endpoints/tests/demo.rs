//! The README's first command.

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

use std::path::Path;

use serde_json::Value;
use support::{lab, run, text};

/// Streams 40 tensors at each of these losses: the rows, and what is printed.
fn demonstrate(folder: &Path, losses: &str, more: &[&str]) -> (Vec<Value>, String) {
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (json, csv, svg) = (path("demo.json"), path("demo.csv"), path("demo.svg"));
    let mut command = lab();
    // So slow that a busy machine keeps up: whether it does is not what is tested.
    command.args([
        "demo",
        "--tensors",
        "40",
        "--deadline-ms",
        "1000",
        "--fps",
        "10",
    ]);
    command.args(["--losses", losses]).args(more);
    command.args(["--json", &json, "--csv", &csv, "--svg", &svg]);
    let output = run(command);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let rows: Value = serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    let rows = rows["rows"].as_array().unwrap().clone();
    assert_eq!(
        std::fs::read_to_string(&csv).unwrap().lines().count(),
        1 + rows.len()
    );
    let drawing = std::fs::read_to_string(&svg).unwrap();
    assert!(drawing.contains("datagrams lost, %") && drawing.contains("auto"));
    for row in &rows {
        let count = |key: &str| row[key].as_u64().unwrap();
        assert_eq!(count("tensors"), 40);
        assert_eq!(
            count("complete") + count("concealed") + count("dropped"),
            40,
            "{row}"
        );
        for method in [
            "clean",
            "zero",
            "channel-mean",
            "dataset-mean",
            "hybrid",
            "auto",
        ] {
            let top1 = row["top1"][method].as_f64().unwrap();
            assert!((0.5..=1.0).contains(&top1), "{method}: {row}");
        }
        assert!(
            row["latency_ms"]["p50"].as_f64().unwrap() >= 20.0,
            "the link takes 10 ms each way"
        );
        assert_eq!(row["bytes_per_tensor"], 48.0 * 14.0 * 14.0);
    }
    (rows, text(&output.stdout))
}

#[test]
fn the_demonstration_accounts_for_every_tensor() {
    let folder = tempfile::tempdir().unwrap();
    let (rows, _) = demonstrate(folder.path(), "0", &[]);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["loss"], 0.0);
    assert_eq!(rows[0]["missing_share"], 0.0);
    assert_eq!(rows[0]["complete"], 40);

    // What is lost stays lost, and is concealed.
    let unrepaired = ["--fec", "off", "--no-retransmission"];
    let (rows, table) = demonstrate(folder.path(), "0.2", &unrepaired);
    let [lossy] = &rows[..] else {
        panic!("{rows:?}");
    };
    let share = lossy["missing_share"].as_f64().unwrap();
    // 360 packets: four standard deviations are 8.4 points.
    assert!((0.11..0.29).contains(&share), "{share}");
    assert!(lossy["concealed"].as_u64().unwrap() >= 20, "{lossy}");
    assert!(
        table.contains("20.00 %") && table.contains("auto"),
        "{table}"
    );
}

#[test]
fn wrong_losses_and_missing_folders_are_told_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("no/such.svg");
    for (arguments, expected) in [
        (["--losses", "1.5"], "a probability is 0 to 1"),
        (["--burst", "0.5"], "bursts of 0.5 packets"),
        (
            ["--svg", nowhere.to_str().unwrap()],
            "its folder is missing",
        ),
    ] {
        let mut command = lab();
        command.args(["demo", "--tensors", "5"]).args(arguments);
        command.current_dir(folder.path());
        let output = run(command);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(expected), "{stderr}");
    }
}
