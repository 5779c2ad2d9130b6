//! `tw-lab conceal`.

use std::fs;

use serde_json::Value;

use crate::support::{Scratch, printed, refused, rows};

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
