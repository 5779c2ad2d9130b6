//! `tw-lab trace`.

use std::fs;

use serde_json::Value;

use crate::support::{Scratch, printed, refused, rows};

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
