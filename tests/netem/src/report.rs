//! Rows for people.

pub(crate) mod accuracy;

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, LineStyle, Table, TableStyle, presets};

use crate::row::Row;
use crate::window::WindowRow;

/// A rule below the header, and nothing else.
const STYLE: TableStyle = presets::NOTHING.header_separator(LineStyle::none().fill('─'));

/// The table of the runs, a row each.
pub(crate) fn rows(rows: &[Row]) -> String {
    let mut table = table(
        &[
            "scenario",
            "carrier",
            "congestion",
            "loss",
            "deadline_ms",
            "parity_ratio",
            "tensors",
            "released",
            "whole",
            "p50_ms",
            "p95_ms",
            "p99_ms",
            "limit_ms",
            "goodput_mbps",
            "queue_p95_ms",
            "drops",
        ],
        &[0, 1, 2, 3, 15],
    );
    for row in rows {
        table.add_row([
            row.scenario.clone(),
            row.carrier.clone(),
            dash(&row.congestion),
            row.loss.clone(),
            row.deadline_ms.to_string(),
            format!("{:.3}", row.parity_ratio),
            row.tensors.to_string(),
            row.released.to_string(),
            row.whole.to_string(),
            with_interval(row.p50_ms, row.p50_interval),
            figure(row.p95_ms),
            with_interval(row.p99_ms, row.p99_interval),
            format!("{:.1}", row.limit_ms),
            format!("{:.2}", row.goodput_mbps),
            figure(row.queue_p95_ms),
            reasons(&row.drops),
        ]);
    }
    table.trim_fmt()
}

/// Parts of a run, and which run it is: scenario, carrier and loss or case.
pub(crate) type Parts<'a> = ([&'a str; 3], &'a [WindowRow]);

/// The table of the parts of runs; none where no run has any.
pub(crate) fn windows(runs: &[Parts<'_>]) -> Option<String> {
    let mut table = table(
        &[
            "scenario",
            "carrier",
            "loss",
            "part",
            "from_s",
            "to_s",
            "queue_p50_ms",
            "queue_p95_ms",
            "queue_max_ms",
            "utilisation",
            "p50_ms",
            "p99_ms",
            "max_ms",
            "goodput_mbps",
            "jain",
        ],
        &[0, 1, 2, 3],
    );
    for (names, windows) in runs {
        for window in *windows {
            let rates: Vec<String> = window
                .goodput_mbps
                .iter()
                .map(|rate| format!("{rate:.2}"))
                .collect();
            let several = window.goodput_mbps.len() > 1;
            let [scenario, carrier, loss] = names.map(str::to_owned);
            table.add_row([
                scenario,
                carrier,
                loss,
                window.name.clone(),
                format!("{:.1}", window.from_s),
                format!("{:.1}", window.to_s),
                figure(window.queue_p50_ms),
                figure(window.queue_p95_ms),
                figure(window.queue_max_ms),
                format!("{:.1} %", 100.0 * window.utilisation),
                figure(window.p50_ms),
                figure(window.p99_ms),
                figure(window.max_ms),
                rates.join(" "),
                if several {
                    format!("{:.3}", window.jain)
                } else {
                    dash("")
                },
            ]);
        }
    }
    runs.iter()
        .any(|(_, windows)| !windows.is_empty())
        .then(|| table.trim_fmt())
}

/// A carrier with its congestion control, as scenarios write it.
pub(crate) fn carrier(name: &str, congestion: &str) -> String {
    if congestion.is_empty() {
        name.to_owned()
    } else {
        format!("{name}/{congestion}")
    }
}

/// A table with these columns, those of words being aligned left.
fn table(headers: &[&str], words: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_style(STYLE).set_header(headers);
    for index in 0..headers.len() {
        if let Some(column) = table.column_mut(index) {
            let gap = if index + 1 < headers.len() { 2 } else { 0 };
            let alignment = if words.contains(&index) {
                CellAlignment::Left
            } else {
                CellAlignment::Right
            };
            column.set_padding((0, gap)).set_cell_alignment(alignment);
        }
    }
    table
}

/// Counts by reason: `lost 3, rate 12`.
fn reasons(counts: &BTreeMap<String, u64>) -> String {
    let counts: Vec<String> = counts
        .iter()
        .map(|(reason, count)| format!("{reason} {count}"))
        .collect();
    dash(&counts.join(", "))
}

fn dash(text: &str) -> String {
    if text.is_empty() { "–" } else { text }.to_owned()
}

fn figure(value: Option<f64>) -> String {
    value.map_or_else(|| dash(""), |value| format!("{value:.1}"))
}

/// A figure with its interval in brackets, an open end as a dash: `25.2 [25.1 25.3]`.
fn with_interval(value: Option<f64>, [low, high]: [Option<f64>; 2]) -> String {
    match value {
        Some(value) => format!("{value:.1} [{} {}]", figure(low), figure(high)),
        None => dash(""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_with_their_intervals() {
        assert_eq!(
            with_interval(Some(25.23), [Some(25.11), None]),
            "25.2 [25.1 –]"
        );
        assert_eq!(with_interval(None, [None, None]), "–");
    }
}
