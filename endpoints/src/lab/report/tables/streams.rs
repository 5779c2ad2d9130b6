//! Streams of the network laboratory.

use super::{Sheet, counted, dash, names};
use crate::lab::report::figures::{is_classified, way};
use crate::lab::report::records::{Record, Results};
use crate::lab::table::percent;

/// Streams with a model at their end, and those without; what there is of both.
pub(super) fn sheets(results: &Results) -> Vec<Sheet> {
    let (classified, streamed): (Vec<&Record>, Vec<&Record>) =
        results.records.iter().partition(|one| is_classified(one));
    let sheets = [answers(&classified), latencies(&streamed)];
    let kept = sheets.into_iter().filter(|sheet| !sheet.rows.is_empty());
    kept.collect()
}

fn answers(records: &[&Record]) -> Sheet {
    let rows = records.iter().map(|record| {
        let share = |key: &str| {
            record
                .share(key)
                .map_or_else(dash, |(share, _)| percent(share))
        };
        let ends = record.share("accuracy_in_time").and_then(|(_, ends)| ends);
        vec![
            record.text("scenario").to_owned(),
            way(record),
            record.text("loss").to_owned(),
            counted(record, "deadline_ms"),
            counted(record, "answered"),
            counted(record, "whole"),
            share("accuracy_in_time"),
            ends.map_or_else(dash, |[low, high]| {
                format!("{} to {}", percent(low), percent(high))
            }),
            share("accuracy_of_answered"),
            counted(record, "bytes_mean"),
            tenths(record, "p50_ms"),
            tenths(record, "p99_ms"),
            counted(record, "frames"),
        ]
    });
    Sheet {
        caption: "Frames answered rightly in time, of all that were captured, with the 95 % interval; and times \
                  from capture to answer"
            .to_owned(),
        columns: names(&[
            "scenario", "case", "loss", "deadline, ms", "answered", "whole", "right in time", "interval",
            "right of answered", "bytes", "p50, ms", "p99, ms", "frames",
        ]),
        rows: rows.collect(),
    }
}

fn latencies(records: &[&Record]) -> Sheet {
    let rows = records.iter().map(|record| {
        let whole = record.number("whole") / record.number("tensors");
        let ends = record.interval("p99_interval");
        vec![
            record.text("scenario").to_owned(),
            way(record),
            record.text("loss").to_owned(),
            counted(record, "deadline_ms"),
            counted(record, "released"),
            if whole.is_finite() {
                percent(whole)
            } else {
                dash()
            },
            percent(record.number("parity_ratio")),
            tenths(record, "limit_ms"),
            tenths(record, "p50_ms"),
            tenths(record, "p99_ms"),
            ends.map_or_else(dash, |[low, high]| format!("{low:.1} to {high:.1}")),
            tenths(record, "queue_p95_ms"),
            percent(record.number("utilisation")),
            counted(record, "tensors"),
        ]
    });
    Sheet {
        caption: "Streams without a model: times from capture to release, and the least that a sender could take"
            .to_owned(),
        columns: names(&[
            "scenario", "carrier", "loss", "deadline, ms", "released", "whole", "parity", "least, ms", "p50, ms",
            "p99, ms", "interval", "queue p95, ms", "used", "tensors",
        ]),
        rows: rows.collect(),
    }
}

fn tenths(record: &Record, key: &str) -> String {
    let time = record.number(key);
    if time.is_finite() {
        format!("{time:.1}")
    } else {
        dash()
    }
}
