//! The tables of each experiment, with intervals and numbers of samples.

mod streams;

use serde_json::Value;

use super::figures::{COMPENSATIONS, size_name, ways};
use super::records::{Record, Results, interval, once_each};
use crate::lab::experiment::latency::regions;
use crate::lab::rising::rising;
use crate::lab::table::{count, percent, points};

/// A table of a report.
#[derive(Clone, Debug)]
pub(super) struct Sheet {
    pub(super) caption: String,
    /// Names of the columns; the first is of words, the others of figures.
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

/// The tables of a results file, those that sum it up first.
pub(super) fn sheets(results: &Results) -> Vec<Sheet> {
    match results.kind() {
        "size" => vec![at_drops(results), size(results)],
        "quantisation" => vec![quantisation(results)],
        "distribution" => vec![distribution(results)],
        "loss" => vec![loss(results)],
        "motion" => vec![motion(results)],
        "latency" => latency(results),
        "recovery" => vec![recovery(results)],
        "streams" => streams::sheets(results),
        _ => vec![],
    }
}

/// Names of columns.
fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn drop_of(record: &Record) -> [String; 2] {
    let interval = record.interval("ci95");
    let interval = interval.map_or_else(dash, |[low, high]| {
        format!("{} to {}", points(low), points(high))
    });
    [points(record.number("drop")), interval]
}

fn dash() -> String {
    "–".to_owned()
}

fn samples(record: &Record) -> String {
    counted(record, "samples")
}

/// A count, or a figure without its fraction.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "numbers of samples, tensors and bytes"
)]
fn counted(record: &Record, key: &str) -> String {
    let number = record.number(key);
    if number.is_finite() {
        count(number.round() as usize)
    } else {
        dash()
    }
}

/// A size at which so much accuracy is lost, bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct SizeAt {
    pub(super) bytes: f64,
    /// Where the ends of the interval of the drop cross; none where they do not within what was measured.
    pub(super) low: Option<f64>,
    pub(super) high: Option<f64>,
}

/// The smallest size at which no more than `drop` is lost, interpolated between settings in the logarithm
/// of the size; none where even the largest loses more. Where all lose less it is the smallest measured.
pub(super) fn size_at(records: &[&Record], drop: f64) -> Option<SizeAt> {
    let mut records = records.to_vec();
    records.sort_by(|a, b| b.number("bytes_mean").total_cmp(&a.number("bytes_mean")));
    let crossing = |of: &dyn Fn(&Record) -> f64| {
        // Coding coarser never helps: where it seems to, the measurement was too small to tell.
        let drops: Vec<(f64, f64)> = records.iter().map(|one| (of(one), 1.0)).collect();
        let sizes = records.iter().map(|one| one.number("bytes_mean").ln());
        let curve: Vec<(f64, f64)> = sizes.zip(rising(&drops)).collect();
        let first = curve.first().filter(|(_, lost)| *lost <= drop)?;
        let mut last = *first;
        for (size, lost) in curve {
            if lost > drop {
                let share = (drop - last.1) / (lost - last.1);
                return Some((last.0 + share * (size - last.0)).exp());
            }
            last = (size, lost);
        }
        Some(last.0.exp())
    };
    let end = |end: usize| move |one: &Record| one.interval("ci95").map_or(f64::NAN, |ci| ci[end]);
    Some(SizeAt {
        bytes: crossing(&|one| one.number("drop"))?,
        low: crossing(&end(0)),
        high: crossing(&end(1)),
    })
}

/// The records of a results file of sizes, by what was sent and how it was coded.
pub(super) fn by_coder(results: &Results) -> Vec<(String, Vec<&Record>)> {
    let names = once_each(results.records.iter().map(size_name));
    let of = |name: String| {
        let records = results.records.iter().filter(|one| size_name(one) == name);
        let records = records.collect();
        (name, records)
    };
    names.into_iter().map(of).collect()
}

fn at_drops(results: &Results) -> Sheet {
    let bytes = |found: Option<f64>| found.map_or_else(dash, |bytes| format!("{bytes:.0}"));
    let rows = by_coder(results).into_iter().map(|(name, records)| {
        let mut row = vec![name];
        for drop in [0.01, 0.1] {
            let found = size_at(&records, drop);
            row.push(bytes(found.map(|found| found.bytes)));
            row.push(format!(
                "{} to {}",
                bytes(found.and_then(|found| found.low)),
                bytes(found.and_then(|found| found.high))
            ));
        }
        row.push(records.first().map_or_else(dash, |one| samples(one)));
        row
    });
    Sheet {
        caption: "Bytes at a drop of 1 and 10 points, interpolated between settings; the intervals are those \
                  at which the ends of the interval of the drop cross (–: not within what was measured). \
                  Headers and tables, which a stream says once, are left out"
            .to_owned(),
        columns: names(&["sent", "bytes at 1", "interval", "bytes at 10", "interval", "images"]),
        rows: rows.collect(),
    }
}

fn size(results: &Results) -> Sheet {
    let rows = results.records.iter().map(|record| {
        let [drop, interval] = drop_of(record);
        vec![
            size_name(record),
            record.number("parameter").to_string(),
            format!("{:.0}", record.number("bytes_mean")),
            format!(
                "{:.0} to {:.0}",
                record.number("bytes_p10"),
                record.number("bytes_p90")
            ),
            percent(record.number("top1")),
            drop,
            interval,
            samples(record),
        ]
    });
    Sheet {
        caption: "Every setting: mean bytes, the middle 80 % of images, and top-1 accuracy"
            .to_owned(),
        columns: names(&[
            "sent",
            "quality, ratio or levels",
            "bytes",
            "80 % of images",
            "top-1",
            "drop, points",
            "95 % interval",
            "samples",
        ]),
        rows: rows.collect(),
    }
}

fn quantisation(results: &Results) -> Sheet {
    let rows = results.records.iter().map(|record| {
        let [drop, interval] = drop_of(record);
        vec![
            record.text("split").to_owned(),
            record.text("width").to_owned(),
            record.number("levels").to_string(),
            drop,
            interval,
            format!("{:.4}", record.number("mse")),
            format!("{:.4}", record.number("variance_share")),
            format!("{:.2} %", 100.0 * record.number("clipped_share")),
            format!("{:.2}", record.number("bits_per_entry")),
            samples(record),
        ]
    });
    Sheet {
        caption: "Every quantiser: width in standard deviations to either side, mean squared error, the same \
                  as a share of the variance, entries clipped, and the entropy of the levels"
            .to_owned(),
        columns: names(&[
            "split", "width", "levels", "drop, points", "95 % interval", "MSE", "of variance", "clipped",
            "bits an entry", "samples",
        ]),
        rows: rows.collect(),
    }
}

fn distribution(results: &Results) -> Sheet {
    let rows = results.records.iter().map(|record| {
        let ends = record.interval("normal_share_ci95").unwrap_or([0.0, 1.0]);
        let w = record.row.get("w_percentiles");
        let w = |place: usize| w.and_then(|w| w.get(place)?.as_f64()).unwrap_or(f64::NAN);
        vec![
            record.text("split").to_owned(),
            format!("{:.3}", record.number("mean")),
            format!("{:.3}", record.number("std")),
            format!("{:.2}", record.number("skewness")),
            format!("{:.2}", record.number("excess_kurtosis")),
            format!("{:.1} %", 100.0 * record.number("zero_share")),
            format!("{:.1} %", 100.0 * record.number("normal_share")),
            format!("{:.1} to {:.1}", 100.0 * ends[0], 100.0 * ends[1]),
            format!("{:.3} ({:.3} to {:.3})", w(2), w(0), w(4)),
            record.number("neurons_tested").to_string(),
            record.number("sample").to_string(),
        ]
    });
    Sheet {
        caption: "Moments of all values, and the test of Shapiro and Wilk for each neuron over images: how \
                  many it does not refuse to be normal at 5 %, with the 95 % interval, and the median of W \
                  with the middle 90 %"
            .to_owned(),
        columns: names(&[
            "split", "mean", "deviation", "skewness", "excess kurtosis", "zeros", "normal", "interval", "W",
            "neurons", "images",
        ]),
        rows: rows.collect(),
    }
}

fn loss(results: &Results) -> Sheet {
    let rows = results.records.iter().map(|record| {
        let [drop, interval] = drop_of(record);
        let burst = record.row.get("burst").and_then(Value::as_f64);
        vec![
            format!("{}, {}", record.text("split"), record.text("map")),
            format!("{} %", (1e4 * record.number("missing")).round() / 1e2),
            burst.map_or_else(|| "independent".to_owned(), |mean| mean.to_string()),
            record.text("method").to_owned(),
            format!("{:.1} %", 100.0 * record.number("missing_share")),
            percent(record.number("top1")),
            drop,
            interval,
            format!("{:.3}", record.number("variance_share")),
            samples(record),
        ]
    });
    Sheet {
        caption: "Every cell: loss of units, mean lost in a row, entries missing, and squared error on them as \
                  a share of their variance about the dataset mean"
            .to_owned(),
        columns: names(&[
            "map", "lost", "in a row", "method", "missing", "top-1", "drop, points", "95 % interval",
            "of variance", "samples",
        ]),
        rows: rows.collect(),
    }
}

fn motion(results: &Results) -> Sheet {
    let rows = results.records.iter().map(|record| {
        let mut row = vec![
            record.text("split").to_owned(),
            record.text("transform").to_owned(),
            record.number("stride").to_string(),
        ];
        for (key, _) in COMPENSATIONS {
            let of = record.row.get(key);
            let db = of.and_then(|of| Some((of.get("db")?.as_f64()?, interval(of.get("ci95")?)?)));
            row.push(db.map_or_else(dash, |(db, [low, high])| {
                format!("{db:.1} ({low:.1} to {high:.1})").replace('-', "−")
            }));
        }
        let error = record.number("estimate_error");
        row.push(if error.is_finite() {
            format!("{error:.2}")
        } else {
            dash()
        });
        row.push(record.number("images").to_string());
        row
    });
    Sheet {
        caption: "PSNR in dB, mean over images with its 95 % interval; the last but one column is the median \
                  distance of the estimated shift from the true one, in entries"
            .to_owned(),
        columns: names(&[
            "split", "movement", "stride", "not compensated", "known", "known, no edges", "estimated",
            "estimate off by", "images",
        ]),
        rows: rows.collect(),
    }
}

fn latency(results: &Results) -> Vec<Sheet> {
    let Some((terms, at)) = ways(results) else {
        return vec![];
    };
    let images = results
        .records
        .first()
        .map_or_else(dash, |one| one.number("images").to_string());
    let rows = terms.iter().map(|way| {
        let ms = |value: f64| format!("{value:.3}");
        vec![
            way.name.clone(),
            way.bytes.map_or_else(dash, |bytes| format!("{bytes:.0}")),
            ms(way.client_ms),
            ms(way.encode_ms),
            ms(way.decode_ms),
            ms(way.server_ms),
            format!("{:.2}", way.total_ms(1e6, at)),
            format!("{:.2}", way.total_ms(10e6, at)),
            format!("{:.2}", way.total_ms(100e6, at)),
            images.clone(),
        ]
    });
    let terms_sheet = Sheet {
        caption: format!(
            "The terms as measured here, medians in ms, and the whole time with a round trip of {} ms, the \
             edge {} times slower and the server {} times faster",
            at.rtt_ms, at.edge_slowdown, at.server_speedup
        ),
        columns: names(&[
            "way",
            "bytes",
            "I_c",
            "E_c",
            "E_s",
            "I_s",
            "at 1 Mbit/s",
            "at 10",
            "at 100",
            "images",
        ]),
        rows: rows.collect(),
    };
    let rows = regions(&terms, at).into_iter().filter_map(|(from, way)| {
        let name = terms.get(way)?.name.clone();
        Some(vec![name, format!("{:.3} Mbit/s", from / 1e6)])
    });
    let fastest = Sheet {
        caption: "The fastest way from each bandwidth on".to_owned(),
        columns: names(&["way", "from"]),
        rows: rows.collect(),
    };
    vec![fastest, terms_sheet]
}

fn recovery(results: &Results) -> Sheet {
    let share = |value: f64| format!("{:.1} %", 100.0 * value);
    let rows = results.records.iter().map(|record| {
        let between = |key: &str, text: &dyn Fn(f64) -> String| {
            record.interval(key).map_or_else(dash, |[low, high]| {
                format!("{} to {}", text(low), text(high))
            })
        };
        let expected = record.number("whole_expected");
        vec![
            record.text("fec").to_owned(),
            share(record.number("loss")),
            format!("{:.2}", record.number("burst")),
            record.number("rtt_ms").to_string(),
            share(record.number("whole_share")),
            between("whole_interval", &share),
            if expected.is_finite() {
                share(expected)
            } else {
                dash()
            },
            share(record.number("parity_ratio")),
            share(record.number("retransmitted_ratio")),
            points(record.number("top1_clean") - record.number("top1")),
            between("drop_interval", &points),
            record.number("tensors").to_string(),
        ]
    });
    Sheet {
        caption: "Every stream: tensors whole at their deadline (99.9 % interval, and in closed form where there \
                  is one), packets of parity and packets sent again for each source packet, and the drop in \
                  accuracy (95 %)"
            .to_owned(),
        columns: names(&[
            "repair", "lost", "in a row", "rtt, ms", "whole", "interval", "expected", "parity", "again",
            "drop, points", "interval", "tensors",
        ]),
        rows: rows.collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sizes_are_interpolated_in_their_logarithm() {
        let record = |bytes: f64, drop: f64| Record {
            row: json!({"bytes_mean": bytes, "drop": drop, "ci95": [drop - 0.01, drop + 0.01]}),
            timing: Value::Null,
        };
        let records = [
            record(100.0, 0.2),
            record(10_000.0, 0.0),
            record(1_000.0, 0.04),
        ];
        let records: Vec<&Record> = records.iter().collect();
        let found = size_at(&records, 0.02).unwrap();
        assert!((found.bytes - 10_f64.powf(3.5)).abs() < 1e-6, "{found:?}");
        assert!(found.low.unwrap() < found.bytes && found.bytes < found.high.unwrap());
        assert!((size_at(&records, 0.12).unwrap().bytes - 10_f64.powf(2.5)).abs() < 1e-6);
        assert!((size_at(&records, 0.5).unwrap().bytes - 100.0).abs() < 1e-9);
        assert_eq!(size_at(&records[..1], 0.1), None);
        // The upper end is not low enough anywhere.
        assert_eq!(size_at(&records, 0.005).unwrap().high, None);
    }
}
