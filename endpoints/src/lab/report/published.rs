//! What was published, beside what was measured.
//!
//! The figures are those of Ulhaq's slides on shared inference (ResNet-34, 16,384 photographs of ImageNet,
//! 224×224, split at 28×28×128), and of DFTS2 (Dhondea, Cohen and Bajić: ResNet-18, add_1, 56×56×64,
//! packets of rows).

use super::records::{Record, Results};
use super::tables::{Sheet, by_coder, size_at};
use crate::lab::table::points;

/// Entries of the published tensor, 28×28×128.
const ENTRIES: f64 = 100_352.0;

/// A line of the table.
struct Line {
    what: &'static str,
    published: String,
    ours: String,
    /// Whether ours is better; none where that cannot be said.
    better: Option<bool>,
    of: String,
}

/// A table of everything published that the results have something beside; none if there is nothing.
pub(super) fn sheet(files: &[Results]) -> Option<Sheet> {
    let mut lines = vec![];
    for results in files {
        let found = match results.kind() {
            "size" => sizes(results),
            "quantisation" => levels(results),
            "loss" => losses(results),
            "motion" => shifts(results),
            _ => vec![],
        };
        lines.extend(found);
    }
    let rows = lines.into_iter().map(|line| {
        let verdict = match line.better {
            Some(true) => "better or equal",
            Some(false) => "WORSE",
            None => "not told apart",
        };
        vec![
            line.what.to_owned(),
            verdict.to_owned(),
            line.published,
            line.ours,
            line.of,
        ]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    (!rows.is_empty()).then(|| Sheet {
        caption: "Published figures beside these. Models, images and tensors differ (the published ones are \
                  of ResNet-34 and ResNet-18 on ImageNet), so that a line says how well a thing works here, not \
                  which code is better. Sizes are compared in bits an entry, as tensors are of other sizes"
            .to_owned(),
        columns: vec!["figure", "verdict", "published", "here", "measured on"],
        rows,
    })
}

fn about(record: &Record, results: &Results) -> String {
    format!(
        "{} at {}, {} images",
        results.said("model"),
        record.text("split"),
        record.number("images")
    )
}

fn sizes(results: &Results) -> Vec<Line> {
    let mut lines = vec![];
    for (what, drop, kilobytes, of_input) in [
        ("bytes at a drop of 1 %, tensor", 0.01, 10.0, false),
        ("bytes at a drop of 10 %, tensor", 0.1, 3.0, false),
        ("bytes at a drop of 1 %, server only", 0.01, 15.0, true),
    ] {
        let best = by_coder(results)
            .into_iter()
            .filter(|(_, records)| {
                records
                    .iter()
                    .all(|one| (one.text("split") == "input") == of_input)
            })
            .filter_map(|(name, records)| {
                Some((name, size_at(&records, drop)?.bytes, *records.first()?))
            })
            .min_by(|a, b| a.1.total_cmp(&b.1));
        let Some((name, bytes, record)) = best else {
            continue;
        };
        let entries = record.number("entries");
        let bits = 8.0 * bytes / entries;
        let published_bits = 8e3 * kilobytes
            / if of_input {
                3.0 * 224.0 * 224.0
            } else {
                ENTRIES
            };
        lines.push(Line {
            what,
            published: format!("{kilobytes} kB ({published_bits:.2} bits an entry)"),
            ours: format!("{bytes:.0} bytes ({bits:.2} bits an entry): {name}"),
            better: entries.is_finite().then_some(bits <= published_bits),
            of: about(record, results),
        });
    }
    lines.extend(against_input(results));
    lines
}

/// What the best split takes of what the image takes, both at a drop of 1 %.
fn against_input(results: &Results) -> Option<Line> {
    const PUBLISHED: f64 = 10.0 / 15.0;
    let best = |of_input: bool| {
        let all = by_coder(results).into_iter().filter(|(_, records)| {
            let is_input = |one: &&Record| one.text("split") == "input";
            records.iter().all(|one| is_input(one) == of_input)
        });
        let sizes =
            all.filter_map(|(name, of)| Some((name, size_at(&of, 0.01)?.bytes, *of.first()?)));
        sizes.min_by(|a, b| a.1.total_cmp(&b.1))
    };
    let ((name, tensor, record), (_, image, _)) = (best(false)?, best(true)?);
    let share = tensor / image;
    Some(Line {
        what: "tensor over image, bytes at a drop of 1 %",
        published: format!("{PUBLISHED:.2}"),
        ours: format!("{share:.2} ({tensor:.0} of {image:.0} bytes): {name}"),
        better: Some(share <= PUBLISHED),
        of: about(record, results),
    })
}

fn levels(results: &Results) -> Vec<Line> {
    let mut lines = vec![];
    for split in results.texts("split") {
        let mut of: Vec<&Record> = results
            .with("split", &split)
            .filter(|one| one.text("width") == "3")
            .collect();
        of.sort_by(|a, b| b.number("levels").total_cmp(&a.number("levels")));
        // The fewest before the first that costs something for sure.
        let harmless = |one: &&&Record| one.interval("ci95").is_some_and(|[low, _]| low <= 0.0);
        let Some(fewest) = of.iter().take_while(harmless).last() else {
            continue;
        };
        lines.push(Line {
            what: "levels over ±3σ without a drop that is told from none",
            published: "7".to_owned(),
            ours: format!(
                "{} (drop {})",
                fewest.number("levels"),
                points(fewest.number("drop"))
            ),
            better: Some(fewest.number("levels") <= 7.0),
            of: about(fewest, results),
        });
    }
    lines
}

fn losses(results: &Results) -> Vec<Line> {
    const FILLS: [&str; 4] = ["zero", "channel-mean", "dataset-mean", "hybrid"];
    let mut lines = vec![];
    let mut compare = |what, published: f64, found: Option<&Record>| {
        let Some(record) = found else { return };
        let drop = record.number("drop");
        let interval = record.interval("ci95").unwrap_or([drop; 2]);
        let better = if interval[0] <= published && published <= interval[1] {
            None
        } else {
            Some(drop <= published)
        };
        lines.push(Line {
            what,
            published: points(published),
            ours: format!(
                "{} ({} to {}): {}",
                points(drop),
                points(interval[0]),
                points(interval[1]),
                record.text("method")
            ),
            better,
            of: about(record, results),
        });
    };
    let best = |map: &str, missing: f64, allowed: &dyn Fn(&Record) -> bool| {
        let of = results.records.iter().filter(|one| {
            one.text("map") == map && (one.number("missing") - missing).abs() < 1e-9 && allowed(one)
        });
        of.min_by(|a, b| a.number("drop").total_cmp(&b.number("drop")))
    };
    for (missing, published, what, any) in [
        (
            0.05,
            0.002,
            "drop at 5 % of the entries missing, simple fills",
            "… and any method",
        ),
        (
            0.1,
            0.02,
            "drop at 10 % of the entries missing, simple fills",
            "… and any method",
        ),
        (
            0.2,
            0.05,
            "drop at 20 % of the entries missing, simple fills",
            "… and any method",
        ),
    ] {
        let alone = |one: &Record| one.row.get("burst").is_none();
        let simple = |one: &Record| alone(one) && FILLS.contains(&one.text("method"));
        compare(what, published, best("elements", missing, &simple));
        compare(any, published, best("elements", missing, &alone));
    }
    for (missing, none, caltec, what) in [
        (
            0.01,
            0.007,
            0.001,
            [
                "1 % of row packets lost, filled with the minimum",
                "… by CALTeC",
                "… CALTeC beside the best here",
            ],
        ),
        (
            0.1,
            0.106,
            0.02,
            [
                "10 % of row packets lost, filled with the minimum",
                "… by CALTeC",
                "… CALTeC beside the best here",
            ],
        ),
        (
            0.2,
            0.299,
            0.067,
            [
                "20 % of row packets lost, filled with the minimum",
                "… by CALTeC",
                "… CALTeC beside the best here",
            ],
        ),
        (
            0.3,
            0.512,
            0.157,
            [
                "30 % of row packets lost, filled with the minimum",
                "… by CALTeC",
                "… CALTeC beside the best here",
            ],
        ),
    ] {
        let [filled, by_caltec, by_best] = what;
        for map in ["rows:4", "rows:8"] {
            let single = |one: &Record| one.number("burst") == 1.0;
            let minimum = |one: &Record| single(one) && one.text("method") == "minimum";
            let of_caltec = |one: &Record| single(one) && one.text("method") == "caltec";
            // Not the low-rank methods, which are measured on fewer images.
            let whole = |one: &Record| single(one) && !one.text("method").ends_with("lrtc");
            compare(filled, none, best(map, missing, &minimum));
            compare(by_caltec, caltec, best(map, missing, &of_caltec));
            compare(by_best, caltec, best(map, missing, &whole));
        }
    }
    lines
}

fn shifts(results: &Results) -> Vec<Line> {
    let mut lines = vec![];
    for split in results.texts("split") {
        for (whole, published, what) in [
            (true, 90.0, "PSNR of whole shifts, movement known"),
            (
                false,
                75.0,
                "PSNR of shifts between entries, movement known",
            ),
        ] {
            let of: Vec<&Record> = results
                .with("split", &split)
                .filter(|one| {
                    let by = one.text("transform").strip_prefix("shift ");
                    let by = by.and_then(|by| by.split_once(','));
                    let fits = |text: &str| {
                        let pixels: f64 = text.trim().parse().unwrap_or(f64::NAN);
                        (pixels / one.number("stride")).fract() == 0.0
                    };
                    by.is_some_and(|(down, right)| (fits(down) && fits(right)) == whole)
                })
                .collect();
            let db = |key: &str| {
                let each = of
                    .iter()
                    .filter_map(|one| one.row.get(key)?.get("db")?.as_f64());
                let each: Vec<f64> = each.collect();
                (!each.is_empty()).then(|| each.iter().sum::<f64>() / each.len() as f64)
            };
            let (Some(all), Some(first)) = (db("known"), of.first()) else {
                continue;
            };
            let inner = db("known_inner")
                .map_or_else(String::new, |db| format!(", {db:.0} dB without edges"));
            lines.push(Line {
                what,
                published: format!("{published} dB"),
                ours: format!("{all:.0} dB{inner}"),
                better: Some(all >= published),
                of: about(first, results),
            });
        }
    }
    lines
}
