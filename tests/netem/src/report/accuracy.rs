//! Rows of runs with a model for people.

use super::{carrier, dash, figure, reasons, table};
use crate::accuracy::AccuracyRow;
use crate::paired::Difference;
use crate::share::Share;

/// The table of the runs, a row each.
pub(crate) fn rows(rows: &[AccuracyRow]) -> String {
    let mut table = table(
        &[
            "scenario",
            "case",
            "carrier",
            "loss",
            "frames",
            "sent",
            "answered",
            "whole",
            "correct",
            "late",
            "accuracy_in_time",
            "of_answered",
            "bytes",
            "p50_ms",
            "p95_ms",
            "p99_ms",
            "queue_p95_ms",
            "drops",
        ],
        &[0, 1, 2, 3, 17],
    );
    for row in rows {
        table.add_row([
            row.scenario.clone(),
            dash(&row.case),
            carrier(&row.carrier, &row.congestion),
            row.loss.clone(),
            row.frames.to_string(),
            row.sent.to_string(),
            row.answered.to_string(),
            row.whole.to_string(),
            row.correct.to_string(),
            row.correct_late.to_string(),
            percent(&row.accuracy_in_time),
            row.accuracy_of_answered
                .map_or_else(|| dash(""), |share| format!("{:.1} %", 100.0 * share.value)),
            row.bytes_mean
                .map_or_else(|| dash(""), |bytes| format!("{bytes:.0}")),
            figure(row.p50_ms),
            figure(row.p95_ms),
            figure(row.p99_ms),
            figure(row.queue_p95_ms),
            reasons(&row.drops),
        ]);
    }
    table.trim_fmt()
}

/// Accuracy in time by the bottleneck's rate, a table for each scenario whose rate changes.
pub(crate) fn by_rate(rows: &[AccuracyRow]) -> Option<String> {
    let mut tables = Vec::new();
    for group in rows.chunk_by(|a, b| a.scenario == b.scenario) {
        let Some(first) = group.iter().find(|row| !row.by_rate.is_empty()) else {
            continue;
        };
        let mut headers = vec!["case".to_owned(), "carrier".to_owned(), "loss".to_owned()];
        let rates = first.by_rate.iter().map(|part| part.rate_mbps);
        let rates: Vec<f64> = rates.collect();
        headers.extend(rates.iter().map(|rate| format!("{rate} Mbit/s")));
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        let mut table = table(&headers, &[0, 1, 2]);
        for row in group {
            let mut cells = vec![
                dash(&row.case),
                carrier(&row.carrier, &row.congestion),
                row.loss.clone(),
            ];
            // A run that was cut short has not come to all of them.
            cells.extend(rates.iter().map(|rate| {
                let mut parts = row.by_rate.iter();
                let part = parts.find(|part| part.rate_mbps == *rate);
                part.map_or_else(
                    || dash(""),
                    |part| format!("{:.1} %", 100.0 * part.accuracy_in_time.value),
                )
            }));
            table.add_row(cells);
        }
        tables.push(format!(
            "{}: accuracy in time by the bottleneck's rate\n{}",
            first.scenario,
            table.trim_fmt()
        ));
    }
    (!tables.is_empty()).then(|| tables.join("\n\n"))
}

/// The table of differences; none where there are none.
pub(crate) fn differences(differences: &[Difference]) -> Option<String> {
    let mut table = table(
        &[
            "scenario", "carrier", "loss", "case", "against", "frames", "points", "interval",
        ],
        &[0, 1, 2, 3, 4],
    );
    for row in differences {
        table.add_row([
            row.scenario.clone(),
            carrier(&row.carrier, &row.congestion),
            row.loss.clone(),
            row.case.clone(),
            row.against.clone(),
            row.frames.to_string(),
            points(row.difference),
            row.interval.map_or_else(
                || dash(""),
                |[low, high]| format!("{} to {}", points(low), points(high)),
            ),
        ]);
    }
    (!differences.is_empty()).then(|| table.trim_fmt())
}

/// A share with its interval in brackets: `94.2 % [93.6 94.8]`.
fn percent(share: &Share) -> String {
    let [low, high] = share.interval.map(|end| 100.0 * end);
    format!("{:.1} % [{low:.1} {high:.1}]", 100.0 * share.value)
}

/// A difference of shares in points of a hundred: `+1.25`.
fn points(difference: f64) -> String {
    format!("{:+.2}", 100.0 * difference)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_differences_in_words() {
        assert_eq!(percent(&Share::of(9, 10).unwrap()), "90.0 % [59.6 98.2]");
        assert_eq!(
            (points(0.0125), points(-0.5)),
            ("+1.25".into(), "-50.00".into())
        );
        assert_eq!(differences(&[]), None);
    }
}
