//! `tw-lab recovery`, run as users run it.

#![expect(clippy::unwrap_used, reason = "what goes wrong here fails the test")]

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;

fn recovery(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tw-lab"))
        .arg("recovery")
        .args(arguments)
        .output()
        .unwrap()
}

/// The rows of a small run: 20 images, 200 tensors a cell.
fn rows(arguments: &[&str]) -> Vec<Value> {
    report(arguments)["rows"].as_array().unwrap().clone()
}

/// What a small run writes.
fn report(arguments: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("rows.json");
    let common = ["--limit", "20", "--tensors", "200", "--warm-up", "30"];
    let output = recovery(&[&common, arguments, &["--json", json.to_str().unwrap()]].concat());
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&fs::read(json).unwrap()).unwrap()
}

fn number(row: &Value, field: &str) -> f64 {
    row[field].as_f64().unwrap()
}

#[test]
fn repair_makes_tensors_whole_at_the_price_it_says() {
    let rows = rows(&[
        "--loss",
        "10%",
        "--burst",
        "1",
        "--rtt",
        "10",
        "--fec",
        "off,fixed:50%,adaptive,retransmission",
    ]);
    let [off, fixed, adaptive, again] = rows.as_slice() else {
        panic!("{rows:?}")
    };
    for row in [off, fixed, adaptive, again] {
        assert_eq!(row["tensors"], 200);
        assert_eq!(row["k"], 11);
        assert!(number(row, "top1") > 0.8 && number(row, "top1_clean") > 0.8);
        assert!(row["method"] == "auto" && row["deadline_ms"] == 100);
    }
    for row in [off, fixed] {
        // Where repair does not depend on the losses, the whole share is known in closed form.
        let [low, high] = [0, 1].map(|end| row["whole_interval"][end].as_f64().unwrap());
        let expected = number(row, "whole_expected");
        assert!((low..=high).contains(&expected), "{row}");
    }
    assert_eq!(number(off, "parity_ratio"), 0.0);
    // Five and six of eleven in turns.
    assert!((number(fixed, "parity_ratio") - 0.5).abs() < 1e-9);
    assert!(number(adaptive, "parity_ratio") <= 0.25);
    assert!(number(again, "whole_share") > 0.95, "{again}");
    assert!(
        (0.08..0.2).contains(&number(again, "retransmitted_ratio")),
        "{again}"
    );
    assert!(number(fixed, "missing_share") < number(off, "missing_share"));
}

#[test]
fn a_seed_decides_everything_and_losses_may_change() {
    let run = |seed| {
        rows(&[
            "--loss", "1%>20%", "--burst", "2", "--rtt", "40", "--seed", seed,
        ])
    };
    let first = run("3");
    assert_eq!(first, run("3"));
    assert_ne!(first, run("4"));
    assert!((number(&first[0], "loss") - 0.105).abs() < 1e-12);
}

#[test]
fn adaptive_parity_is_put_beside_every_fixed_ratio() {
    let cell = ["--loss", "20%", "--burst", "1", "--rtt", "80", "--k", "6"];
    let repair = ["--fec", "every,adaptive", "--most-parity", "50%"];
    let more = ["--accuracy-target", "0.02", "--classify", "120"];
    let file = report(&[&cell[..], &repair, &more].concat());
    let rows = file["rows"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().filter_map(|row| row["fec"].as_str()).collect();
    let fixed = ["off", "fixed:16.6667%", "fixed:33.3333%", "fixed:50%"];
    assert_eq!(names, [&fixed[..], &["adaptive"]].concat());
    for (packets, row) in rows.iter().take(4).enumerate() {
        assert!((number(row, "parity_ratio") - packets as f64 / 6.0).abs() < 1e-9);
        let strata = row["strata"].as_array().unwrap();
        let of = |field: &str| {
            strata
                .iter()
                .map(|stratum| number(stratum, field))
                .sum::<f64>()
        };
        assert_eq!((of("tensors"), of("classified")), (200.0, 120.0));
        assert_eq!(
            (&row["tensors"], &row["classified"]),
            (&200.into(), &120.into())
        );
        assert!((of("right") / 120.0 - number(row, "top1")).abs() < 1e-9);
        let missing = strata.iter().map(|stratum| {
            number(stratum, "packets_missing") / 6.0 * number(stratum, "tensors") / 200.0
        });
        assert!((missing.sum::<f64>() - number(row, "missing_share")).abs() < 0.01);
    }
    let thrift = file["thrift"].as_array().unwrap();
    assert_eq!(thrift.len(), 1);
    let spent = number(&thrift[0], "parity_ratio");
    assert_eq!(spent, number(&rows[4], "parity_ratio"));
    assert!(number(&thrift[0], "drop") <= number(&thrift[0], "drop_without"));
    if let Some(fixed) = thrift[0]["fixed"]["drop"].as_f64() {
        assert!(fixed <= number(&thrift[0], "drop"), "{thrift:?}");
    }
    assert_eq!(
        report(&[&cell[..], &["--fec", "off"]].concat())["thrift"],
        Value::Array(vec![])
    );
}

#[test]
fn what_cannot_be_measured_is_said_plainly() {
    for (arguments, code, says) in [
        (&["--fec", "some"][..], 2, "off, fixed:RATIO"),
        (&["--most-parity", "3"], 2, "0 to 2"),
        (&["--accuracy-target=-1"], 2, "0 to 100"),
        (&["--span", "17"], 2, "1..=16"),
        (&["--loss", "1.5"], 2, "a share of 0 to 1"),
        (&["--burst", "0.5"], 1, "at least 1 packet"),
        (&["--method", "magic"], 2, "unknown method"),
        (&["--k", "13", "--swap"], 1, "one bundle is needed"),
        (&["--out", "/nowhere/rows.jsonl"], 1, "/nowhere"),
    ] {
        let output = recovery(arguments);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
        assert!(errors.contains(says), "{arguments:?}: {errors}");
    }
}
