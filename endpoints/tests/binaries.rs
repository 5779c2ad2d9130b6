//! The real binaries over the loopback interface.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "what goes wrong here fails the test"
)]

use std::net::UdpSocket;
use std::sync::{Arc, OnceLock};

#[allow(
    dead_code,
    reason = "shared by several tests that do not use all of it"
)]
mod support;

use support::{Running, edge, edge_to, free_port, json_lines, run, start_cloud, text};

/// However slow the machine is, every frame is sent.
const ALL: [&str; 2] = ["--drop-rule", "off"];

#[test]
fn every_frame_is_answered_with_the_models_answer() {
    let (cloud, address) = start_cloud(&[]);
    let mut command = edge_to(
        &address,
        &["--frames", "40", "--fps", "100", "--deadline-ms", "10000"],
    );
    command.args(ALL);
    let output = run(command);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");

    let lines = json_lines(&text(&output.stdout));
    let mut frames: Vec<_> = lines
        .iter()
        .map(|line| line["frame"].as_u64().unwrap())
        .collect();
    frames.sort_unstable();
    assert!(frames.into_iter().eq(0..40), "{stderr}");
    for line in &lines {
        assert_eq!(line["outcome"], "answered", "{line}");
        assert_eq!(line["reason"], "complete", "{line}");
        assert_eq!(line["missing_share"], 0.0, "{line}");
        let predictions = line["predictions"].as_array().unwrap();
        assert_eq!(predictions.len(), 3);
        let scores: Vec<_> = predictions
            .iter()
            .map(|p| p["score"].as_f64().unwrap())
            .collect();
        assert!(
            scores.is_sorted_by(|a, b| a >= b) && scores.iter().all(|s| (0.0..=1.0).contains(s))
        );
        assert!(line["inference_ms"].as_f64().unwrap() > 0.0);
    }
    let right = lines
        .iter()
        .filter(|line| line["predictions"][0]["label"] == line["label"])
        .count();
    assert!(right >= 36, "{right} of the first 40 test images");
    assert!(
        stderr.contains("40 tensors sent: 40 answered (40 of them whole)"),
        "{stderr}"
    );

    cloud.interrupt();
    let (code, _, said) = cloud.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("tensors: 40 complete"), "{said}");
}

/// Streams 60 frames through a link that loses a fifth of the datagrams, with further options of the
/// edge; its lines.
fn through_a_lossy_link(options: &[&str]) -> Vec<serde_json::Value> {
    let (_cloud, address) = start_cloud(&[]);
    let front = format!("127.0.0.1:{}", free_port());
    let mut command = support::lab();
    command.args([
        "link", "--listen", &front, "--to", &address, "--loss", "0.2", "--seed", "3",
    ]);
    let mut link = Running::start(command);
    link.wait_for("relaying");

    let mut arguments = vec!["--frames", "60", "--fps", "60", "--deadline-ms", "500"];
    arguments.extend(ALL);
    arguments.extend(options);
    let output = run(edge_to(&front, &arguments));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let lines = json_lines(&text(&output.stdout));
    assert_eq!(lines.len(), 60);
    assert!(lines.iter().all(|line| line["outcome"] != "skipped"));

    link.interrupt();
    let (code, table, said) = link.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(table.contains("to the cloud"), "{table}");
    lines
}

#[test]
fn a_link_that_loses_packets_costs_slices_but_no_answers() {
    let lines = through_a_lossy_link(&["--fec", "off", "--no-retransmission"]);
    let partial = lines.iter().filter(|line| line["reason"] == "exhausted");
    let partial: Vec<_> = partial
        .map(|line| line["missing_share"].as_f64().unwrap())
        .collect();
    // Of nine packets at 20 % loss, all arrive for 13 % of the tensors.
    assert!(
        partial.len() >= 30,
        "{} of 60 released with slices missing",
        partial.len()
    );
    assert!(
        partial.iter().all(|share| *share > 0.0 && *share < 1.0),
        "{partial:?}"
    );
}

#[test]
fn what_a_link_loses_is_sent_again() {
    let lines = through_a_lossy_link(&["--fec", "50%"]);
    let whole = lines.iter().filter(|line| line["missing_share"] == 0.0);
    // Half a second is time for many rounds; without repair eight would be whole.
    let whole = whole.count();
    assert!(whole >= 45, "{whole} of 60 whole");
    let recovered = lines.iter().filter(|line| line["reason"] == "recovered");
    assert!(recovered.count() > 0);
}

#[test]
fn jpeg_slices_and_other_maps_and_interleavers_work() {
    let (_cloud, address) = start_cloud(&[]);
    for arguments in [
        [
            "--coder",
            "jpeg",
            "--quality",
            "90",
            "--interleaver",
            "random",
        ],
        ["--map", "rows", "--levels", "64", "--interleaver", "stride"],
        ["--map", "mosaic", "--mss", "576", "--slice-bytes", "2000"],
    ] {
        let mut command = edge_to(&address, &["--frames", "20", "--fps", "100"]);
        command.args(["--deadline-ms", "10000"]);
        command.args(ALL).args(arguments);
        let output = run(command);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let lines = json_lines(&text(&output.stdout));
        let right = lines
            .iter()
            .filter(|l| l["predictions"][0]["label"] == l["label"])
            .count();
        assert!(right >= 17, "{arguments:?}: {right} of 20");
    }
}

/// 200 frames a second on a path that takes some ten: what cannot come in time is not computed, the lines
/// and the summary say why, and each frame is told once.
#[test]
fn frames_that_would_come_late_are_skipped_with_the_reason() {
    let (_cloud, address) = start_cloud(&[]);
    let folder = tempfile::tempdir().unwrap();
    let summary = folder.path().join("summary.json");
    for rule in ["predictive", "published"] {
        let options = ["--frames", "300", "--fps", "200", "--deadline-ms", "500"];
        let mut command = edge_to(&address, &options);
        command.args(["--rate-control", "1mbit", "--drop-rule", rule, "--json"]);
        command.arg(&summary);
        let output = run(command);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{stderr}");
        let lines = json_lines(&text(&output.stdout));
        let mut frames: Vec<_> = lines.iter().map(|l| l["frame"].as_u64().unwrap()).collect();
        frames.sort_unstable();
        assert!(frames.into_iter().eq(0..300), "{stderr}");
        let skipped = |reason: &str| {
            let of_it = |l: &&serde_json::Value| l["outcome"] == "skipped" && l["reason"] == reason;
            lines.iter().filter(of_it).count()
        };
        let reasons = ["rate", "deadline", "server-busy", "superseded"];
        let all: usize = reasons.iter().map(|reason| skipped(reason)).sum();
        assert!((100..300).contains(&all), "{rule}: {stderr}");
        assert!(
            skipped("rate") + skipped("superseded") >= 50,
            "{rule}: {stderr}"
        );
        let counted: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&summary).unwrap()).unwrap();
        assert_eq!(counted["drop_rule"], rule);
        assert_eq!(counted["frames"], 300);
        for reason in reasons {
            let told = counted["skipped"][reason].as_u64().unwrap_or(0);
            assert_eq!(told, skipped(reason) as u64, "{rule}: {stderr}");
        }
        let ends = ["answered", "failed", "dropped", "unanswered"];
        let sent: u64 = ends.iter().map(|end| counted[end].as_u64().unwrap()).sum();
        assert_eq!(sent + all as u64, 300, "{rule}: {stderr}");
        assert!(
            counted["answered"].as_u64().unwrap() >= 3,
            "{rule}: {stderr}"
        );
        assert!(
            stderr.contains(&format!("{all} frames skipped (")),
            "{stderr}"
        );
    }
}

#[test]
fn ctrl_c_ends_an_edge_with_a_summary() {
    let (_cloud, address) = start_cloud(&[]);
    let command = edge_to(&address, &["--frames", "100000", "--fps", "50", "--quiet"]);
    let mut edge = Running::start(command);
    edge.wait_for("streaming");
    std::thread::sleep(std::time::Duration::from_millis(500));
    edge.interrupt();
    let (code, _, said) = edge.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("tensors sent") && said.contains("top-1"),
        "{said}"
    );
}

#[test]
fn an_edge_notices_that_its_cloud_is_gone() {
    let (cloud, address) = start_cloud(&[]);
    let command = edge_to(&address, &["--frames", "100000", "--fps", "50", "--quiet"]);
    let mut edge = Running::start(command);
    edge.wait_for("streaming");
    drop(cloud);
    let (code, _, said) = edge.end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the cloud went away"), "{said}");
}

#[test]
fn a_cloud_refuses_what_it_cannot_serve_and_says_why() {
    let (_cloud, address) = start_cloud(&["--conceal", "hybrid"]);
    let command = edge_to(
        &address,
        &["--split", "add_2", "--clip=-5,5", "--frames", "1"],
    );
    let output = run(command);
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert!(
        stderr.contains("the cloud refuses") && stderr.contains("add_3"),
        "{stderr}"
    );
}

#[test]
fn bad_input_is_told_plainly() {
    let nobody = format!("127.0.0.1:{}", free_port());
    let cases: &[(&[&str], i32, &str)] = &[
        (&["--no-such-flag"], 2, "unexpected argument"),
        (&["--mss", "100"], 2, "576..=65000"),
        (&["--rate-control", "20"], 2, "`off`, `adaptive` or a rate"),
        (&["--drop-rule", "some"], 2, "predictive"),
        (
            &["--split", "add_9", "--connect", "127.0.0.1:1"],
            1,
            "add_3",
        ),
        (&["--images", "/no/such/folder"], 1, "/no/such/folder"),
        (&["--connect", "nowhere"], 1, "HOST:PORT"),
        (
            &["--model", "/no/such.onnx", "--description", "/no/such.toml"],
            1,
            "/no/such.onnx",
        ),
        (&["--bundle", "/no/such.twb"], 1, "/no/such.twb"),
        (&["--connect", &nobody], 1, "is tw-cloud running there"),
    ];
    for (arguments, code, expected) in cases {
        let mut command = edge();
        command.args(*arguments);
        let output = run(command);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(*code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
    }
}

#[test]
fn a_full_cloud_refuses_a_second_edge() {
    let (_cloud, address) = start_cloud(&["--sessions", "1"]);
    let command = edge_to(&address, &["--frames", "100000", "--quiet"]);
    let mut first = Running::start(command);
    first.wait_for("streaming");
    let command = edge_to(&address, &["--frames", "1"]);
    let output = run(command);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("as many sessions as it can"));
}

#[test]
fn every_frame_is_told_once_when_the_cloud_dies() {
    let (cloud, address) = start_cloud(&[]);
    let command = edge_to(&address, &["--frames", "100000", "--fps", "50"]);
    let mut edge = Running::start(command);
    edge.wait_for("streaming");
    std::thread::sleep(std::time::Duration::from_millis(500));
    drop(cloud);
    let (code, stdout, said) = edge.end();
    assert_eq!(code, Some(1), "{said}");
    let lines = json_lines(&stdout);
    let mut frames: Vec<_> = lines
        .iter()
        .map(|line| line["frame"].as_u64().unwrap())
        .collect();
    frames.sort_unstable();
    assert!(
        frames.iter().copied().eq(0..frames.len() as u64),
        "{frames:?}"
    );
    let unanswered = lines
        .iter()
        .filter(|line| line["outcome"] == "unanswered")
        .count();
    assert!(unanswered >= 1, "the frames after the cloud's end");
}

/// A link that lets QUIC through and loses every datagram of TSP: where it begins.
fn without_tsp(cloud: &str) -> String {
    let [front, back] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    back.connect(cloud).unwrap();
    let through = front.local_addr().unwrap().to_string();
    let [front_too, back_too] = [&front, &back].map(|socket| socket.try_clone().unwrap());
    let client = Arc::new(OnceLock::new());
    let known = Arc::clone(&client);
    std::thread::spawn(move || {
        let mut datagram = [0; 2_048];
        while let Ok((length, from)) = front.recv_from(&mut datagram) {
            known.get_or_init(|| from);
            if datagram[0] >> 6 != 0b10 {
                let _ = back.send(&datagram[..length]);
            }
        }
    });
    std::thread::spawn(move || {
        let mut datagram = [0; 2_048];
        while let Ok(length) = back_too.recv(&mut datagram) {
            if let Some(client) = client.get() {
                let _ = front_too.send_to(&datagram[..length], client);
            }
        }
    });
    through
}

#[test]
fn ctrl_c_ends_an_edge_that_nobody_answers() {
    let (_cloud, address) = start_cloud(&[]);
    for interrupts in [1, 2] {
        let through = without_tsp(&address);
        let mut command = edge_to(&through, &["--frames", "100", "--deadline-ms", "3000"]);
        command.args(ALL);
        let mut edge = Running::start(command);
        edge.wait_for("streaming");
        std::thread::sleep(std::time::Duration::from_millis(500));
        edge.interrupt();
        if interrupts == 2 {
            std::thread::sleep(std::time::Duration::from_millis(500));
            edge.interrupt();
        }
        let (code, stdout, said) = edge.end();
        if interrupts == 2 {
            assert_eq!(code, Some(130), "{said}");
        } else {
            assert_eq!(code, Some(0), "{said}");
            let lines = json_lines(&stdout);
            assert!(!lines.is_empty() && lines.iter().all(|line| line["outcome"] == "unanswered"));
            assert!(said.contains("is UDP let through"), "{said}");
        }
    }
}
