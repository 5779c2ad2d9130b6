//! The table that people read.

use super::measure::Row;
use crate::lab::table::{Table, count, figures, percent, words};

pub(super) fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(&[
        words("loss"),
        figures("burst"),
        words("repair"),
        figures("RTT, ms"),
        figures("k"),
        figures("tensors"),
        figures("whole"),
        figures("expected"),
        words("in"),
        figures("parity"),
        figures("again"),
        figures("missing"),
        figures("top-1"),
        figures("drop, points"),
    ]);
    for row in rows {
        let within = |expected: f64| {
            let [low, high] = row.whole_interval;
            if (low..=high).contains(&expected) {
                "yes"
            } else {
                "NO"
            }
        };
        let [low, high] = row.drop_interval;
        table.row([
            losses(&row.losses),
            format!("{:.1}", row.burst),
            row.fec.clone(),
            row.rtt_ms.to_string(),
            row.k.to_string(),
            count(row.tensors),
            format!("{:.2} %", 100.0 * row.whole_share),
            row.whole_expected.map_or_else(
                || "–".into(),
                |expected| format!("{:.2} %", 100.0 * expected),
            ),
            row.whole_expected.map_or("", within).into(),
            format!("{:.1} %", 100.0 * row.parity_ratio),
            format!("{:.1} %", 100.0 * row.retransmitted_ratio),
            format!("{:.2} %", 100.0 * row.missing_share),
            percent(row.top1),
            format!(
                "{:.2} ({:.2} to {:.2})",
                100.0 * (row.top1_clean - row.top1),
                100.0 * low,
                100.0 * high
            ),
        ]);
    }
    table
}

/// The shares lost, phase after phase.
pub(super) fn losses(shares: &[f64]) -> String {
    let losses = shares
        .iter()
        .map(|loss| format!("{}", rounded(100.0 * loss)));
    format!("{} %", losses.collect::<Vec<_>>().join(">"))
}

/// Without the digits that binary fractions add.
fn rounded(percent: f64) -> f64 {
    (percent * 1e6).round() / 1e6
}
