//! What was published, beside what was measured.
//!
//! The figures are those of Ulhaq's slides on shared inference (ResNet-34, 16,384 photographs of ImageNet,
//! 224×224, split at 28×28×128), and of DFTS2 (Dhondea, Cohen and Bajić: ResNet-18, add_1, 56×56×64,
//! packets of rows).

use super::records::{Record, Results, once_each};
use super::tables::{Sheet, by_coder, size_at};
use crate::lab::table::points;

/// Entries of the published tensor, 28×28×128.
const ENTRIES: f64 = 100_352.0;

/// What was published, beside what one results file has to it.
struct Line {
    what: String,
    published: String,
    ours: String,
    verdict: Verdict,
    /// Where the model is split, and on how many images.
    of: String,
}

/// What a results file has beside published figures.
type Figures = fn(&Results) -> Vec<Line>;

/// How a figure compares with the published one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Better,
    Worse,
    /// Better, but the interval holds the published figure.
    PerhapsBetter,
    /// Worse, but the interval holds the published figure.
    PerhapsWorse,
    /// Nothing to be better or worse at.
    Beside,
}

impl Verdict {
    const fn of(better: bool) -> Self {
        if better { Self::Better } else { Self::Worse }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Better => "better or equal: ",
            Self::Worse => "WORSE: ",
            Self::PerhapsBetter => "better or equal, not told apart: ",
            Self::PerhapsWorse => "worse, not told apart: ",
            Self::Beside => "",
        }
    }
}

/// A table of everything published that the results have something beside, with a column for each model;
/// none if there is nothing.
pub(super) fn sheet(files: &[Results]) -> Option<Sheet> {
    let mut lines = vec![];
    let experiments: [(&str, Figures); 5] = [
        ("size", sizes),
        ("quantisation", levels),
        ("loss", losses),
        ("motion", shifts),
        ("loss", row_packets),
    ];
    for (kind, figures) in experiments {
        for results in files.iter().filter(|results| results.kind() == kind) {
            let model = results.said("model");
            lines.extend(figures(results).into_iter().map(|line| (model, line)));
        }
    }
    let models = once_each(lines.iter().map(|(model, _)| *model));
    let figures = once_each(lines.iter().map(|(_, line)| (&line.what, &line.published)));
    let row = |(what, published): &(&String, &String)| {
        let ours = models.iter().map(|model| {
            let of = lines
                .iter()
                .filter(|(of, line)| of == model && line.what == **what);
            let texts = of.map(|(_, line)| {
                let Line {
                    verdict, ours, of, ..
                } = line;
                format!("{}{ours} ({of})", verdict.words())
            });
            let texts: Vec<String> = texts.collect();
            if texts.is_empty() {
                "–".to_owned()
            } else {
                texts.join("; ")
            }
        });
        let named = [(*what).clone(), (*published).clone()].into_iter();
        named.chain(ours).collect()
    };
    let rows: Vec<Vec<String>> = figures.iter().map(row).collect();
    let worse = models.iter().map(|model| {
        let of = lines.iter().filter(|(of, _)| of == model);
        let all = of.clone().count();
        let worse = of.filter(|(_, line)| line.verdict == Verdict::Worse);
        format!("{} of {all} with {model}", worse.count())
    });
    let worse: Vec<String> = worse.collect();
    let columns = ["figure", "published"].into_iter().chain(models);
    (!rows.is_empty()).then(|| Sheet {
        caption: format!(
            "Published figures beside these. Models, images and tensors differ (the published ones are of \
             ResNet-34 and, for lost row packets, ResNet-18, on ImageNet), so that a line says how well a thing \
             works here, not which code is better. Sizes are compared in bits an entry, as tensors are of \
             other sizes. Worse than published, and told apart from it: {}",
            worse.join(", ")
        ),
        columns: columns.map(str::to_owned).collect(),
        rows,
    })
}

fn about(record: &Record) -> String {
    format!(
        "{}, {} images",
        record.text("split"),
        record.number("images")
    )
}

/// The records of the split, or of the image, of which `coder` needs the fewest bytes at a drop.
fn smallest<'r>(
    results: &'r Results,
    coder: &str,
    drop: f64,
    of_input: bool,
) -> Option<(f64, &'r Record)> {
    let all = by_coder(results).into_iter().filter(|(_, records)| {
        records
            .iter()
            .all(|one| (one.text("split") == "input") == of_input && one.text("coder") == coder)
    });
    all.filter_map(|(_, records)| Some((size_at(&records, drop)?.bytes, *records.first()?)))
        .min_by(|a, b| a.0.total_cmp(&b.0))
}

fn sizes(results: &Results) -> Vec<Line> {
    let mut lines = vec![];
    for (what, drop, kilobytes, of_input) in [
        ("bytes at a drop of 1 %, tensor as JPEG", 0.01, 10.0, false),
        ("bytes at a drop of 10 %, tensor as JPEG", 0.1, 3.0, false),
        (
            "bytes at a drop of 1 %, image as JPEG (server only)",
            0.01,
            15.0,
            true,
        ),
    ] {
        let Some((bytes, record)) = smallest(results, "jpeg", drop, of_input) else {
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
            what: what.to_owned(),
            published: format!("{kilobytes} kB ({published_bits:.2} bits an entry)"),
            ours: format!("{bytes:.0} bytes ({bits:.2} bits an entry)"),
            verdict: Verdict::of(bits <= published_bits),
            of: about(record),
        });
    }
    lines.extend(against_input(results));
    lines.extend(against_jpeg(results));
    lines
}

/// What the best split takes of what the image takes, both as JPEG at a drop of 1 %.
fn against_input(results: &Results) -> Option<Line> {
    const PUBLISHED: f64 = 10.0 / 15.0;
    let (tensor, record) = smallest(results, "jpeg", 0.01, false)?;
    let (image, _) = smallest(results, "jpeg", 0.01, true)?;
    let share = tensor / image;
    Some(Line {
        what: "tensor over image, bytes at a drop of 1 %".to_owned(),
        published: format!("{PUBLISHED:.2}"),
        ours: format!("{share:.2} ({tensor:.0} of {image:.0} bytes)"),
        verdict: Verdict::of(share <= PUBLISHED),
        of: about(record),
    })
}

/// What JPEG 2000 takes of what JPEG takes, each at its best split.
fn against_jpeg(results: &Results) -> Vec<Line> {
    let line = |(what, drop, published): (&str, f64, &str)| {
        let (jpeg, _) = smallest(results, "jpeg", drop, false)?;
        let (jpeg2000, record) = smallest(results, "jpeg2000", drop, false)?;
        Some(Line {
            what: what.to_owned(),
            published: published.to_owned(),
            ours: format!("{:.2} ({jpeg2000:.0} of {jpeg:.0} bytes)", jpeg2000 / jpeg),
            verdict: Verdict::Beside,
            of: about(record),
        })
    };
    let lines = [
        (
            "JPEG 2000 over JPEG of the tensor, bytes at a drop of 1 %",
            0.01,
            "no figure: holds the maximum a little longer",
        ),
        (
            "JPEG 2000 over JPEG of the tensor, bytes at a drop of 10 %",
            0.1,
            "no figure: falls more sharply",
        ),
    ];
    lines.into_iter().filter_map(line).collect()
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
            what: "levels over ±3σ without a drop that is told from none".to_owned(),
            published: "7".to_owned(),
            ours: format!("{} at {}", fewest.number("levels"), with_interval(fewest)),
            verdict: Verdict::of(fewest.number("levels") <= 7.0),
            of: about(fewest),
        });
    }
    lines
}

/// A drop beside the published one; none where nothing was measured.
fn drop_line(what: String, published: f64, found: Option<&Record>) -> Option<Line> {
    let record = found?;
    let drop = record.number("drop");
    let interval = record.interval("ci95").unwrap_or([drop; 2]);
    let holds = interval[0] <= published && published <= interval[1];
    let verdict = match (drop <= published, holds) {
        (true, true) => Verdict::PerhapsBetter,
        (false, true) => Verdict::PerhapsWorse,
        (better, false) => Verdict::of(better),
    };
    let ours = format!("{}: {}", with_interval(record), record.text("method"));
    Some(Line {
        what,
        published: points(published),
        ours,
        verdict,
        of: about(record),
    })
}

fn with_interval(record: &Record) -> String {
    let drop = record.number("drop");
    let [low, high] = record.interval("ci95").unwrap_or([drop; 2]);
    format!("{} ({} to {})", points(drop), points(low), points(high))
}

/// The smallest drop of those that are allowed.
fn least<'r>(
    results: &'r Results,
    map: &str,
    missing: f64,
    allowed: &dyn Fn(&Record) -> bool,
) -> Option<&'r Record> {
    let of = results.records.iter().filter(|one| {
        one.text("map") == map && (one.number("missing") - missing).abs() < 1e-9 && allowed(one)
    });
    of.min_by(|a, b| a.number("drop").total_cmp(&b.number("drop")))
}

/// Single entries that are missing.
fn losses(results: &Results) -> Vec<Line> {
    const SIMPLE: [&str; 4] = ["zero", "channel-mean", "dataset-mean", "hybrid"];
    /// Methods that look back, which have nothing to look at in what was published, and the low-rank ones,
    /// which are measured on fewer images.
    const BESIDE: [&str; 5] = ["temporal", "motion", "auto", "silrtc", "halrtc"];
    let lines = [(5, 0.002), (10, 0.02), (20, 0.05)].map(|(percent, published)| {
        let alone = |one: &Record| one.row.get("burst").is_none();
        let simple = |one: &Record| alone(one) && SIMPLE.contains(&one.text("method"));
        let any = |one: &Record| alone(one) && !BESIDE.contains(&one.text("method"));
        let of = |fills: &str, allowed: &dyn Fn(&Record) -> bool| {
            let what = format!("drop at {percent} % of the entries missing, {fills}");
            let found = least(results, "elements", f64::from(percent) / 100.0, allowed);
            drop_line(what, published, found)
        };
        [of("simple fills", &simple), of("any method", &any)]
    });
    lines.into_iter().flatten().flatten().collect()
}

/// Packets of rows, in the simulator's way.
fn row_packets(results: &Results) -> Vec<Line> {
    let mut lines = vec![];
    for (percent, unfilled, caltec) in [
        (1, 0.007, 0.001),
        (10, 0.106, 0.02),
        (20, 0.299, 0.067),
        (30, 0.512, 0.157),
    ] {
        for map in ["rows:4", "rows:8"] {
            let single = |one: &Record| one.number("burst") == 1.0;
            let minimum = |one: &Record| single(one) && one.text("method") == "minimum";
            let of_caltec = |one: &Record| single(one) && one.text("method") == "caltec";
            // Not the low-rank methods, which are measured on fewer images.
            let whole = |one: &Record| single(one) && !one.text("method").ends_with("lrtc");
            let missing = f64::from(percent) / 100.0;
            let mut of = |what: &str, published: f64, allowed: &dyn Fn(&Record) -> bool| {
                let what = format!("{percent} % of row packets lost, {what}");
                lines.extend(drop_line(
                    what,
                    published,
                    least(results, map, missing, allowed),
                ));
            };
            of("filled with the minimum", unfilled, &minimum);
            of("CALTeC", caltec, &of_caltec);
            of("CALTeC beside the best here", caltec, &whole);
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
                what: what.to_owned(),
                published: format!("{published} dB"),
                ours: format!("{all:.0} dB{inner}"),
                verdict: Verdict::of(all >= published),
                of: about(first),
            });
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::{Value, json};

    use super::*;

    fn results(model: &str, experiment: &str, rows: &[Value]) -> Results {
        let records = rows.iter().map(|row| Record {
            row: row.clone(),
            timing: Value::Null,
        });
        Results {
            path: PathBuf::new(),
            header: json!({"experiment": experiment, "model": model}),
            records: records.collect(),
        }
    }

    fn lost(missing: f64, method: &str, drop: f64) -> Value {
        json!({
            "split": "s", "map": "elements", "missing": missing, "method": method, "images": 9, "drop": drop,
            "ci95": [drop - 0.001, drop + 0.001],
        })
    }

    fn coded(split: &str, coder: &str, bytes: f64, drop: f64) -> Value {
        json!({
            "split": split, "coder": coder, "bytes_mean": bytes, "drop": drop, "images": 9, "entries": 80_000,
            "ci95": [drop, drop],
        })
    }

    #[test]
    fn models_stand_side_by_side_and_what_is_worse_says_so() {
        let of_a = [
            lost(0.05, "zero", 0.01),
            lost(0.05, "temporal", 0.0),
            lost(0.1, "hybrid", 0.0195),
        ];
        let of_b = [lost(0.05, "zero", 0.1), lost(0.05, "lmmse", 0.001)];
        let files = [results("A", "loss", &of_a), results("B", "loss", &of_b)];
        let sheet = sheet(&files).unwrap();
        assert_eq!(sheet.columns, ["figure", "published", "A", "B"]);
        let row = |what: &str| {
            let row = sheet.rows.iter().find(|row| row[0].starts_with(what));
            row.unwrap().clone()
        };
        let at_five = row("drop at 5 % of the entries missing, simple");
        assert!(at_five[2].starts_with("WORSE: ") && at_five[2].contains("zero (s, 9 images)"));
        assert!(at_five[3].starts_with("WORSE: "));
        assert!(row("drop at 10 %")[2].starts_with("better or equal, not told apart: "));
        assert_eq!(row("drop at 10 %")[3], "–");
        // A method that looks back is none to compare.
        assert!(row("drop at 5 % of the entries missing, any")[2].contains("zero"));
        assert!(
            row("drop at 5 % of the entries missing, any")[3]
                .starts_with("better or equal, not told apart: ")
        );
        assert!(
            sheet.caption.ends_with("2 of 4 with A, 1 of 2 with B"),
            "{}",
            sheet.caption
        );
    }

    #[test]
    fn sizes_are_those_of_one_coder() {
        let rows = [
            coded("t", "jpeg", 4_000.0, 0.005),
            coded("t", "jpeg2000", 3_000.0, 0.005),
            coded("t", "jpeg2000", 2_000.0, 0.2),
            coded("input", "jpeg", 5_000.0, 0.005),
            coded("input", "jpeg2000", 1_000.0, 0.005),
        ];
        let sheet = sheet(&[results("A", "size", &rows)]).unwrap();
        let cell = |what: &str| {
            let row = sheet.rows.iter().find(|row| row[0].starts_with(what));
            row.unwrap()[2].clone()
        };
        assert!(cell("bytes at a drop of 1 %, tensor").contains("4000 bytes (0.40 bits"));
        assert!(cell("tensor over image").starts_with("WORSE: 0.80 (4000 of 5000"));
        assert!(
            cell("JPEG 2000 over JPEG of the tensor, bytes at a drop of 1 %").starts_with("0.7")
        );
    }
}
