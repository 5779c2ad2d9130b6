//! Which images of a set are used.

use std::fmt;
use std::num::ParseIntError;
use std::ops::Range;
use std::str::FromStr;

/// A choice of rows, counted from 0 in the order of the set: for a folder, the records of
/// `labels.csv` below its header.
///
/// Written as `all`, `even`, `odd` or `start..end`, end excluded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "callers decide between calibration and test rows"
)]
pub enum Rows {
    /// Every row.
    #[default]
    All,
    /// Rows 0, 2, 4, …
    Even,
    /// Rows 1, 3, 5, …
    Odd,
    /// Rows from `start` to before `end`, as far as there are any.
    Range(Range<usize>),
}

impl Rows {
    /// Whether the row of this number is chosen.
    pub fn contains(&self, row: usize) -> bool {
        match self {
            Self::All => true,
            Self::Even => row.is_multiple_of(2),
            Self::Odd => !row.is_multiple_of(2),
            Self::Range(range) => range.contains(&row),
        }
    }
}

impl fmt::Display for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Even => f.write_str("even"),
            Self::Odd => f.write_str("odd"),
            Self::Range(Range { start, end }) => write!(f, "{start}..{end}"),
        }
    }
}

impl FromStr for Rows {
    type Err = ParseRowsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "all" => Ok(Self::All),
            "even" => Ok(Self::Even),
            "odd" => Ok(Self::Odd),
            _ => {
                let (start, end) = text.split_once("..").ok_or(ParseRowsError)?;
                let number = |text: &str| text.parse().map_err(|_: ParseIntError| ParseRowsError);
                let (start, end) = (number(start)?, number(end)?);
                if start < end {
                    Ok(Self::Range(start..end))
                } else {
                    Err(ParseRowsError)
                }
            }
        }
    }
}

/// The text is no choice of rows. The text is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rows are `all`, `even`, `odd` or `start..end` with start below end")]
#[non_exhaustive]
pub struct ParseRowsError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trip() {
        for text in ["all", "even", "odd", "3..17"] {
            assert_eq!(text.parse::<Rows>().unwrap().to_string(), text);
        }
        for text in [
            "", "Even", "3", "3..", "..3", "3..3", "4..3", "-1..2", "1..2..3",
        ] {
            assert_eq!(text.parse::<Rows>(), Err(ParseRowsError), "{text}");
        }
    }

    #[test]
    fn even_and_odd_share_nothing_and_miss_nothing() {
        let chosen = |rows: Rows| (0..7).filter(|row| rows.contains(*row)).collect::<Vec<_>>();
        assert_eq!(chosen(Rows::Even), [0, 2, 4, 6]);
        assert_eq!(chosen(Rows::Odd), [1, 3, 5]);
        assert_eq!(chosen(Rows::Range(2..4)), [2, 3]);
        assert_eq!(chosen(Rows::All).len(), 7);
    }
}
