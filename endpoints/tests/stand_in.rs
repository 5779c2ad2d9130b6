//! The real binaries without a model: what they write down for the network laboratory, and a stream that
//! changes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what goes wrong here fails the test"
)]

#[allow(
    dead_code,
    reason = "shared by several tests that do not use all of it"
)]
mod support;

use std::fs;
use std::path::Path;

use serde_json::Value;
use support::{Running, edge_to, json_lines, run, start_cloud, text};

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("the program has written it")).unwrap()
}

#[test]
fn both_ends_write_down_the_same_stream() {
    let folder = tempfile::tempdir().unwrap();
    let (cloud_json, edge_json) = (folder.path().join("cloud"), folder.path().join("edge"));
    let (cloud, address) = start_cloud(&["--stand-in", "--json", cloud_json.to_str().unwrap()]);
    let options = [
        "--stand-in",
        "5000",
        "--frames",
        "50",
        "--fps",
        "200",
        "--deadline-ms",
        "20000",
        "--drop-rule",
        "off",
        // So that parity is never late enough to be no longer needed.
        "--rate-control",
        "off",
        "--fec",
        "25%",
        "--json",
        edge_json.to_str().unwrap(),
    ];
    let output = run(edge_to(&address, &options));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let lines = json_lines(&text(&output.stdout));
    assert!(
        lines
            .iter()
            .all(|line| line["outcome"] == "answered" && line["bytes"] == 5_000)
    );
    cloud.interrupt();
    let (code, _, said) = cloud.end();
    assert_eq!(code, Some(0), "{said}");

    let edge = json(&edge_json);
    assert_eq!(edge["frames"], 50);
    assert_eq!(edge["answered"], 50);
    assert_eq!(edge["bytes"], 250_000);
    assert_eq!(edge["on_wire"]["packets"], 5);
    // ⌊0.25 × 250⌋ REPAIR packets for the five of each tensor.
    assert_eq!(edge["parity_ratio"], 62.0 / 250.0);
    let cloud = json(&cloud_json);
    let [session] = &cloud["sessions"].as_array().unwrap()[..] else {
        panic!("{cloud}")
    };
    assert_eq!(session["stream"], edge["stream"]);
    assert_eq!(session["tensors"], 50);
    assert_eq!(session["whole"], 50);
    assert_eq!(session["damaged"], 0);
    assert_eq!(session["counters"]["tensors_lost"], 0);
    assert_eq!(session["releases"].as_array().unwrap().len(), 50);
    let (p50, p99) = (
        &session["latency_ms"]["p50"]["value"],
        &session["latency_ms"]["p99"]["value"],
    );
    let (p50, p99) = (p50.as_f64().unwrap(), p99.as_f64().unwrap());
    // The stamps are on one clock: no tensor is older than the test, and none comes from the future.
    assert!(0.0 < p50 && p50 <= p99 && p99 < 120e3, "{p50} {p99}");
}

#[test]
fn a_model_and_a_stand_in_refuse_each_other() {
    let (_cloud, address) = start_cloud(&["--stand-in"]);
    let output = run(edge_to(&address, &["--frames", "1"]));
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("it was started with --stand-in"), "{said}");

    let (_cloud, address) = start_cloud(&[]);
    let output = run(edge_to(&address, &["--stand-in", "--frames", "1"]));
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("start this cloud with --stand-in"), "{said}");
}

#[test]
fn a_signal_changes_the_stream_without_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("edge.options");
    fs::write(&file, "--stand-in 0\n").unwrap();
    let (cloud, address) = start_cloud(&["--stand-in"]);
    let options = ["--stand-in", "4000", "--fps", "50", "--frames", "300"];
    let mut command = edge_to(&address, &options);
    command.args(["--drop-rule", "off", "--deadline-ms", "20000"]);
    command.arg("--reload").arg(&file);
    let mut edge = Running::start(command);
    edge.wait_for("streaming");

    edge.signal("-HUP");
    edge.wait_for("the stream stays as it is");
    fs::write(&file, "# twice as much\n--stand-in 8000\n").unwrap();
    edge.signal("-HUP");
    let line = edge.wait_for("the stream has changed from frame");
    let from: u64 = line.rsplit(' ').next().unwrap().parse().unwrap();

    let (code, stdout, said) = edge.end();
    assert_eq!(code, Some(0), "{said}");
    let lines = json_lines(&stdout);
    let mut frames: Vec<u64> = lines.iter().map(|l| l["frame"].as_u64().unwrap()).collect();
    frames.sort_unstable();
    assert_eq!(frames, (0..300).collect::<Vec<_>>());
    for line in &lines {
        let bytes = if line["frame"].as_u64().unwrap() < from {
            4_000
        } else {
            8_000
        };
        assert_eq!(line["outcome"], "answered", "{line}");
        assert_eq!(line["bytes"], bytes, "{line}");
    }
    cloud.interrupt();
    assert_eq!(cloud.end().0, Some(0));
}
