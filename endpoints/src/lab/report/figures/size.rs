//! Accuracy against size.

use serde_json::Value;

use super::{axis, curve, figure, logarithmic, percent};
use crate::lab::figure::{Axis, Curve, Figure, Point, Style};
use crate::lab::report::records::{Record, Results, once_each};

/// What a record of [`figures`] is about.
pub(in crate::lab::report) fn size_name(record: &Record) -> String {
    match record.text("split") {
        "input" if record.text("coder") == "jpeg2000" => {
            "image as JPEG 2000 (server only)".to_owned()
        }
        "input" => "image as JPEG (server only)".to_owned(),
        split => format!("{split}, {}", record.text("coder")),
    }
}

/// For each split its coders beside the image's: all splits in one figure would be too many curves.
pub(super) fn figures(results: &Results) -> Vec<Figure> {
    let splits = results.texts("split");
    let (inputs, splits): (Vec<_>, Vec<_>) = splits.into_iter().partition(|split| split == "input");
    let of = |split: Option<&str>| {
        let belongs = |record: &&Record| {
            let at = record.text("split");
            at == "input" || Some(at) == split
        };
        let records: Vec<&Record> = results.records.iter().filter(belongs).collect();
        let title = split.map_or_else(String::new, |split| format!(" at {split}"));
        at_split(&format!("{}{title}", results.said("model")), &records)
    };
    if splits.is_empty() && !inputs.is_empty() {
        return of(None);
    }
    splits.iter().flat_map(|split| of(Some(split))).collect()
}

fn at_split(title: &str, records: &[&Record]) -> Vec<Figure> {
    let names = once_each(records.iter().map(|record| size_name(record)));
    let of = |name: &String| {
        let name = name.clone();
        let records = records.iter().copied();
        records.filter(move |record| size_name(record) == name)
    };
    let clean = records
        .first()
        .map_or(0.0, |one| 100.0 * one.number("top1_clean"));
    let curves = names.iter().map(|name| {
        curve(name, of(name), |record| {
            Some(Point {
                x: record.number("bytes_mean") / 1e3,
                y: 100.0 * record.number("top1"),
                interval: record.top1_interval().map(percent),
            })
        })
    });
    let (x, y) = (
        logarithmic("mean size of an image, kB"),
        axis("top-1 accuracy, %"),
    );
    let by_setting = figure(
        format!("{title}: accuracy against size, by setting of the coder"),
        x.clone(),
        y.clone(),
        curves.collect(),
    );
    let binned = names.iter().map(|name| bins(name, of(name)));
    let by_bin = figure(
        format!("{title}: accuracy of images of one size (ten bins a decade)"),
        Axis {
            title: "size of an image, kB".into(),
            ..x
        },
        y,
        binned.collect(),
    );
    let level = ("without compression".to_owned(), clean);
    let all = by_setting.into_iter().chain(by_bin);
    all.map(|figure| Figure {
        levels: vec![level.clone()],
        ..figure
    })
    .collect()
}

/// Images of about one size, whatever the setting that made them so.
fn bins<'r>(name: &str, records: impl Iterator<Item = &'r Record>) -> Curve {
    /// Fewer say too little.
    const FEWEST: f64 = 30.0;
    let mut bins = std::collections::BTreeMap::new();
    for bin in records
        .filter_map(|one| one.row.get("bins")?.as_array())
        .flatten()
    {
        let of = |key: &str| bin.get(key).and_then(Value::as_f64).unwrap_or_default();
        let place = bin.get("bin").and_then(Value::as_i64).unwrap_or_default();
        let sums = bins.entry(place).or_insert((0.0, 0.0));
        sums.0 += of("images");
        sums.1 += of("right");
    }
    let bins = bins
        .into_iter()
        .filter(|(_, (images, _))| *images >= FEWEST);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "numbers of images"
    )]
    let points = bins.map(|(bin, (images, right))| {
        let found = crate::statistics::wilson_interval(right as usize, images as usize);
        Point {
            x: 10_f64.powf((bin as f64 + 0.5) / 10.0) / 1e3,
            y: 100.0 * right / images,
            interval: found.map(|found| percent([found.low, found.high])),
        }
    });
    Curve {
        name: name.to_owned(),
        points: points.collect(),
        labels: vec![],
        style: Style::Joined,
    }
}
