//! The real binaries without a model: what they write down for the network laboratory.

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
use support::{edge_to, json_lines, run, start_cloud, text};

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
    // One REPAIR packet for the five of a tensor.
    assert_eq!(edge["parity_ratio"], 0.2);
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
