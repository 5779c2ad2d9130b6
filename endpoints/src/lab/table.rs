//! Text tables, and how figures are written in them.

use std::fmt;

use comfy_table::{CellAlignment, LineStyle, TableStyle, presets};

use crate::statistics::Interval;

/// A rule below the header, and nothing else.
const STYLE: TableStyle = presets::NOTHING.header_separator(LineStyle::none().fill('─'));

/// A column: its header, and the side at which its cells are aligned.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    header: &'static str,
    alignment: CellAlignment,
}

/// A column of words.
#[must_use]
pub const fn words(header: &'static str) -> Column {
    Column {
        header,
        alignment: CellAlignment::Left,
    }
}

/// A column of figures.
#[must_use]
pub const fn figures(header: &'static str) -> Column {
    Column {
        header,
        alignment: CellAlignment::Right,
    }
}

/// A table of aligned text.
#[derive(Debug)]
pub struct Table(comfy_table::Table);

impl Table {
    /// A table without rows.
    #[must_use]
    pub fn new(columns: &[Column]) -> Self {
        let mut table = comfy_table::Table::new();
        table
            .load_style(STYLE)
            .set_header(columns.iter().map(|column| column.header));
        for (index, column) in columns.iter().enumerate() {
            if let Some(made) = table.column_mut(index) {
                let gap = if index + 1 < columns.len() { 2 } else { 0 };
                made.set_padding((0, gap))
                    .set_cell_alignment(column.alignment);
            }
        }
        Self(table)
    }

    /// Adds a row, a cell for each column.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.0.add_row(cells);
    }
}

impl fmt::Display for Table {
    /// Lines without trailing blanks, the last without a line break.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.trim_fmt())
    }
}

/// A share of 0..=1 in per cent, two places: `94.33 %`.
#[must_use]
pub fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

/// A difference of shares in points, with its sign: `+0.40`.
#[must_use]
pub fn points(difference: f64) -> String {
    // Adding zero turns −0 into 0, which is what a small loss may round to.
    let rounded = (1e4 * difference).round() / 1e2 + 0.0;
    format!("{rounded:+.2}").replace('-', "−")
}

/// The ends of an interval of differences in points: `−0.20 to +1.00`.
#[must_use]
pub fn interval(interval: Interval) -> String {
    format!("{} to {}", points(interval.low), points(interval.high))
}

/// A count with its thousands apart: `62,720`.
#[must_use]
pub fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_left_and_figures_right() {
        let mut table = Table::new(&[words("fill"), figures("top-1")]);
        table.row(["zero".into(), percent(0.9433)]);
        table.row(["channel-mean".into(), percent(1.0)]);
        let expected = "\
fill             top-1
──────────────────────
zero           94.33 %
channel-mean  100.00 %";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn figures_as_text() {
        assert_eq!(
            [points(0.004), points(-0.0123), points(-0.00004)],
            ["+0.40", "−1.23", "+0.00"]
        );
        assert_eq!(
            interval(Interval {
                low: -0.002,
                high: 0.01
            }),
            "−0.20 to +1.00"
        );
        assert_eq!(
            [count(0), count(999), count(62_720)],
            ["0", "999", "62,720"]
        );
        assert_eq!(count(1_234_567), "1,234,567");
    }
}
