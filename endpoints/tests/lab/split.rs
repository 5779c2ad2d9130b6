//! `tw-lab split` and `tw-lab quality`: what is sent.

use std::fs;

use serde_json::Value;

use crate::support::{Scratch, printed, rows};

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
