//! `tw-lab run`, `plot`, `report` and `plan-split`.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Scratch, printed, refused, rows};

const LOSS: &str = r#"
title = "A small grid"
limit = 12

[loss]
maps = ["elements", "rows:7", "raw:16:random"]
missing = [0, 0.2]
bursts = ["independent", 3]
fills = ["minimum", "hybrid", "lmmse"]
mss = 300
"#;

fn plan(folder: &Scratch, text: &str) -> String {
    let path = folder.file("plan.toml");
    fs::write(&path, text).unwrap();
    path
}

fn lines(path: &str) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn an_interrupted_run_ends_with_the_same_bytes() {
    let folder = Scratch::new();
    let plan = plan(&folder, LOSS);
    let [whole, cut] = ["whole.jsonl", "cut.jsonl"].map(|name| folder.file(name));
    let text = printed(&["run", &plan, "--out", &whole]);
    assert!(
        text.contains("27 of 27 cells (27 of 27 measured now)"),
        "{text}"
    );
    let expected = fs::read_to_string(&whole).unwrap();
    let keys: Vec<String> = printed(&["run", &plan, "--list"])
        .lines()
        .map(str::to_owned)
        .collect();
    let found: Vec<Value> = lines(&whole);
    assert_eq!(found[0]["key"], "!plan");
    assert!(
        found[1..]
            .iter()
            .map(|line| line["key"].as_str().unwrap())
            .eq(&keys)
    );

    // Some rows in another order, and one that was being written.
    let mut some: Vec<&str> = expected.lines().take(9).collect();
    some.reverse();
    fs::write(&cut, format!("{}\n{{\"key\": \"half a l", some.join("\n"))).unwrap();
    let cache = folder.file("cache");
    let run = [
        "run",
        &plan,
        "--out",
        &cut,
        "--threads",
        "1",
        "--cache",
        &cache,
    ];
    let text = printed(&run);
    assert!(
        text.contains("27 of 27 cells (19 of 27 measured now)"),
        "{text}"
    );
    assert_eq!(fs::read_to_string(&cut).unwrap(), expected);
    // What was kept serves again, and nothing is left to measure.
    assert_eq!(fs::read_dir(&cache).unwrap().count(), 12);
    fs::remove_file(&cut).unwrap();
    printed(&run);
    assert_eq!(fs::read_to_string(&cut).unwrap(), expected);
    assert!(printed(&run).contains("(0 of 27 measured now)"));
    assert_eq!(lines(&folder.file("cut.timings.jsonl")).len(), 27);
}

#[test]
fn shards_are_the_parts_of_a_run() {
    let folder = Scratch::new();
    let plan = plan(&folder, LOSS);
    let whole = folder.file("whole.jsonl");
    printed(&["run", &plan, "--out", &whole]);
    let mut all = String::new();
    for shard in ["1/3", "2/3", "3/3"] {
        let part = folder.file(&format!("part-{}.jsonl", &shard[..1]));
        let text = printed(&["run", &plan, "--out", &part, "--shard", shard]);
        assert!(text.contains("9 of 27 cells"), "{text}");
        all += &fs::read_to_string(&part).unwrap();
    }
    let gathered = folder.file("gathered.jsonl");
    fs::write(&gathered, all).unwrap();
    assert!(printed(&["run", &plan, "--out", &gathered]).contains("(0 of 27 measured now)"));
    assert_eq!(fs::read(&gathered).unwrap(), fs::read(&whole).unwrap());
}

#[test]
fn rows_say_what_the_quantisers_minimum_costs() {
    let folder = Scratch::new();
    let plan = plan(&folder, LOSS);
    let out = folder.file("rows.jsonl");
    printed(&["run", &plan, "--out", &out]);
    let found = lines(&out);
    let row = |key: &str| {
        let line = found.iter().find(|line| line["key"] == key);
        line.unwrap_or_else(|| panic!("{key}"))["row"].clone()
    };
    let error = |fill: &str| {
        let row = row(&format!("loss add_3 elements 0.2000 independent {fill}"));
        assert_eq!((&row["samples"], &row["images"]), (&12.into(), &12.into()));
        row["nmse"].as_f64().unwrap()
    };
    assert!(error("minimum") > 2.0 && error("hybrid") < 1.0 && error("lmmse") < 0.2);
    let whole = row("loss add_3 elements 0.0000 independent hybrid");
    assert_eq!(
        (&whole["drop"], &whole["missing_share"]),
        (&0.0.into(), &0.0.into())
    );
    // Half of the coder's packets are not lost for all images at once, and coding alone costs little.
    let coded = row("loss add_3 raw:16:random 0.2000 burst 003.000 lmmse");
    let missing = coded["missing_share"].as_f64().unwrap();
    assert!((0.05..0.4).contains(&missing), "{missing}");
    assert!(coded["burst"] == 3.0 && whole["burst"].is_null());
}

#[test]
fn plans_that_make_no_sense_are_refused_by_line_and_key() {
    let folder = Scratch::new();
    let out = folder.file("out.jsonl");
    let error = |text: &str| refused(&["run", &plan(&folder, text), "--out", &out], 1);
    for (from, to, parts) in [
        ("0.2]", "1.2]", ["line 7", "share of 0 to 1"]),
        (
            "\"rows:7\"",
            "\"rows:0\"",
            ["line 6", "unknown map `rows:0`"],
        ),
        ("\"hybrid\"", "\"hybird\"", ["line 9", "hybird"]),
        ("mss = 300", "msss = 300", ["line 10", "msss"]),
        ("limit = 12", "limit = 0", ["line 3", "at least 1"]),
        (
            "[loss]",
            "[size]\n[loss]",
            ["one section", "[distribution]"],
        ),
        (
            "title",
            "swap = true\nbundle = 'x'\ntitle",
            ["`bundle` and `swap`", "plan.toml"],
        ),
        (
            "\"hybrid\"",
            "\"motion\"",
            ["cannot measure `motion`", "`motion` in a plan"],
        ),
        ("[0, 0.2]", "[0.2, 0.2]", ["twice", "0.2000"]),
        ("[0, 0.2]", "[0.9]", ["bursts of 3 packets", "0.9"]),
        ("[loss]", "[loss]\nsplits = ['add_9']", ["add_9", "add_"]),
    ] {
        let text = error(&LOSS.replacen(from, to, 1));
        assert!(parts.iter().all(|part| text.contains(part)), "{to}: {text}");
    }
    let size = "title = 'x'\n[size]\njpeg2000_ratios = [4, 0]";
    let text = error(size);
    for part in ["line 3", "compression ratio", "1 to 1,000"] {
        assert!(text.contains(part), "{text}");
    }
    fs::write(&out, "").unwrap();
    printed(&[
        "run",
        &plan(&folder, LOSS),
        "--out",
        &out,
        "--shard",
        "27/27",
    ]);
    let text = error(&LOSS.replace("limit = 12", "limit = 13"));
    assert!(text.contains("another plan (other image_count)"), "{text}");
    let text = error(
        &LOSS
            .replace("\"minimum\", ", "")
            .replace("\"lmmse\"", "\"zero\""),
    );
    assert!(text.contains("which the plan has not"), "{text}");
    let text = refused(
        &["run", &plan(&folder, LOSS), "--out", &out, "--shard", "3/2"],
        2,
    );
    assert!(text.contains("2/4"), "{text}");
}

#[test]
fn every_experiment_runs_and_is_reported() {
    let folder = Scratch::new();
    let kinds = [
        (
            "size",
            "swap = true",
            "input_qualities = [5, 80]\ninput_jpeg2000_ratios = [1, 3]\njpeg_qualities = [5, 80]\n\
             jpeg2000_ratios = [1, 4, 30]\nraw_levels = [4, 64]",
        ),
        (
            "quantisation",
            "swap = true",
            "levels = [3, 64]\nwidths = [3, 'min-max']",
        ),
        ("distribution", "", "splits = ['add_1', 'pool']"),
        (
            "loss",
            "",
            "maps = ['channels']\nmissing = [0.05, 0.2]\nfills = ['zero', 'auto']",
        ),
        (
            "motion",
            "",
            "transforms = ['shift 2,0', 'shift 1,0', 'rotate 5', 'scale 1.1']",
        ),
        (
            "recovery",
            "",
            "losses = ['5%']\nfec = ['off', 'fixed:50%']\nrtt_ms = [10]\ntensors = 60",
        ),
        (
            "latency",
            "",
            "coders = ['raw:256:random', 'jpeg:80']\nimages = 4",
        ),
    ];
    let mut files = vec![];
    for (kind, before, keys) in kinds {
        let text = format!("title = 'What <{kind}> is'\nlimit = 24\n{before}\n[{kind}]\n{keys}\n");
        let out = folder.file(&format!("{kind}.jsonl"));
        printed(&["run", &plan(&folder, &text), "--out", &out]);
        files.push(out);
    }
    let row = |file: usize, key: &str| {
        let found = lines(&files[file]);
        let line = found.into_iter().find(|line| line["key"] == key);
        line.unwrap_or_else(|| panic!("{key}"))["row"].clone()
    };
    let bytes = |key: &str| row(0, key)["bytes_mean"].as_f64().unwrap();
    assert!(bytes("size input jpeg 005") < bytes("size input jpeg 080"));
    assert!(bytes("size input jpeg2000 003") < bytes("size input jpeg2000 001"));
    let of = |ratio: &str| row(0, &format!("size add_3 jpeg2000 {ratio}"));
    let (fine, middle, coarse) = (of("001"), of("004"), of("030"));
    let size = |row: &Value| row["bytes_mean"].as_f64().unwrap();
    assert!(size(&fine) > size(&middle) && size(&middle) > size(&coarse));
    // The ratio counts the headers, the size does not.
    assert!(size(&middle) < 9_408.0 / 4.0 && size(&middle) > 0.8 * 9_408.0 / 4.0);
    assert!(fine["drop"].as_f64().unwrap().abs() < 0.1 && fine["coder"] == "jpeg2000");
    assert!(coarse["drop"].as_f64().unwrap() > 0.0);
    // Two bits an entry, and every slice whole bytes.
    let raw = bytes("size add_3 raw 004") / (9_408.0 / 4.0);
    assert!((1.0..1.01).contains(&raw), "{raw}");
    let error = |key: &str| row(1, key)["mse"].as_f64().unwrap();
    assert!(
        error("quantisation add_3 sigma 003.00 levels 064")
            < error("quantisation add_3 sigma 003.00 levels 003")
    );
    let bars = row(2, "distribution add_1")["histogram"].clone();
    let sum: f64 = bars
        .as_array()
        .unwrap()
        .iter()
        .map(|bar| bar.as_f64().unwrap())
        .sum();
    assert!((sum - 1.0).abs() < 1e-9, "{sum}");
    let db = |key: &str, what: &str| row(4, key)[what]["db"].as_f64().unwrap();
    assert!(db("motion add_3 shift 2,0", "known") > db("motion add_3 shift 2,0", "still"));
    let whole = |fec: &str| {
        let key = format!("recovery add_3 packets 011 loss 0.0500 independent rtt 0010 {fec}");
        row(5, &key)["whole_share"].as_f64().unwrap()
    };
    assert!(whole("fixed:50%") > whole("off"));
    assert!(row(6, "latency client")["bytes_mean"].is_null());

    let svg = folder.file("all.svg");
    let mut plot = vec!["plot"];
    plot.extend(files.iter().map(String::as_str));
    let titles = printed(&[&plot[..], &["--list"]].concat());
    // Sizes 1, as there are too few images for bins; 2, 2, 1, 1, 2, 1 for the others.
    assert_eq!(titles.lines().count(), 10, "{titles}");
    printed(&[&plot[..], &["--out", &svg]].concat());
    let drawn = fs::read_to_string(&svg).unwrap();
    for name in [
        "Mbit/s",
        "PSNR, dB",
        "kB",
        "levels",
        "standard deviations",
        "points",
    ] {
        assert!(drawn.contains(name), "{name}");
    }
    // As a pattern would name them.
    files.push(folder.file("latency.timings.jsonl"));
    let html = folder.file("report.html");
    let mut report = vec!["report", "--out", &html];
    report.extend(files.iter().map(String::as_str));
    printed(&report);
    let page = fs::read_to_string(&html).unwrap();
    for part in [
        "What &lt;motion&gt; is",
        "Beside what was published",
        "<svg",
        "95 %",
        "WORSE",
    ] {
        assert!(page.contains(part), "{part}");
    }
    for outside in ["<script", "http:", "https:", "<link", "url("] {
        let named = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!named.contains(outside), "{outside}");
    }
    fs::write(&svg, "{}").unwrap();
    assert!(refused(&["report", &svg, "--out", &html], 1).contains("line 1"));
}

#[test]
fn streams_of_the_network_laboratory_are_shown() {
    let folder = Scratch::new();
    let stream = |carrier: &str, loss: &str, whole: u32, p99: f64| {
        json!({
            "scenario": "bad-day", "carrier": carrier, "congestion": "bbr", "loss": loss, "deadline_ms": 35,
            "parity_ratio": 0.3, "tensors": 3_000, "released": 2_999, "whole": whole, "limit_ms": 25.1,
            "p50_ms": 25.9, "p99_ms": p99, "p99_interval": [p99 - 1.0, null], "queue_p95_ms": 3.2,
            "utilisation": 0.2, "kernel": "6.1",
        })
    };
    let answers = |case: &str, share: f64| {
        json!({
            "scenario": "eyes", "case": case, "carrier": "udp", "congestion": "adaptive", "loss": "none",
            "deadline_ms": 100, "frames": 12_000, "answered": 11_000, "whole": 10_900,
            "accuracy_in_time": {"value": share, "interval": [share - 0.01, share + 0.01]},
            "accuracy_of_answered": null, "bytes_mean": null, "p50_ms": 40.0, "p99_ms": null,
        })
    };
    let file = folder.file("streams.json");
    let all = json!({
        "rows": [
            stream("udp", "none", 3_000, 26.3), stream("udp", "iid:5%", 2_982, 27.6),
            stream("tcp", "none", 3_000, 30.0), stream("tcp", "iid:5%", 1_200, 1_822.0),
        ],
        "accuracy": [answers("q95", 0.444), answers("q5", 0.918)],
        "differences": [],
    });
    fs::write(&file, all.to_string()).unwrap();
    let titles = printed(&["plot", &file, "--list"]);
    let titles: Vec<&str> = titles.lines().collect();
    assert_eq!(
        titles,
        [
            "bad-day: whole tensors",
            "bad-day: latency",
            "eyes: right answers in time"
        ]
    );
    let html = folder.file("report.html");
    printed(&["report", &file, "--out", &html]);
    let page = fs::read_to_string(&html).unwrap();
    for part in [
        "Streams over a lossy network: bad-day, eyes",
        "netem of Linux 6.1",
        ">99.40 %<",
        ">1822.0<",
        ">tcp, bbr<",
        ">91.80 %<",
        ">90.80 % to 92.80 %<",
        ">12,000<",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert!(
        !page.contains("NaN") && !page.contains("<dt>images"),
        "{page}"
    );
    fs::write(&file, r#"{"rows": []}"#).unwrap();
    assert!(refused(&["plot", &file, "--list"], 1).contains("not a finished cell"));
}

#[test]
fn plan_split_prints_the_fastest_way() {
    let folder = Scratch::new();
    let json = folder.file("ways.json");
    let path = [
        "--rtt",
        "40",
        "--timed",
        "4",
        "--splits",
        "add_1,add_4",
        "--json",
        &json,
    ];
    let fastest = |rate: &str, slowdown: &str| {
        let circumstances = ["plan-split", "--rate", rate, "--edge-slowdown", slowdown];
        let text = printed(&[&circumstances[..], &path].concat());
        assert!(
            text.contains("Mbit/s on: ") && text.contains("whole, ms"),
            "{text}"
        );
        let ways = rows(json.as_ref());
        assert_eq!(ways.len(), 4);
        let least = ways.iter().map(|way| way["total_ms"].as_f64().unwrap());
        let least = least.fold(f64::INFINITY, f64::min);
        let best = ways.iter().find(|way| way["fastest"] == true).unwrap();
        assert_eq!(best["total_ms"].as_f64().unwrap(), least);
        let name = best["name"].as_str().unwrap().to_owned();
        assert!(text.contains(&format!("fastest    {name}")), "{text}");
        name
    };
    // Nothing is worth sending over next to nothing, and an edge that hardly moves sends the image.
    assert_eq!(fastest("10kbit", "1"), "client");
    assert_eq!(fastest("10gbit", "1000"), "server jpeg:90");
    let error = refused(&["plan-split", "--rate", "20", "--rtt", "40"], 2);
    assert!(error.contains("10kbit"), "{error}");
}
