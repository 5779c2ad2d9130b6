//! An axis as it is drawn: pixels of values, and round marks.

use anyhow::{Context as _, Result, ensure};

use super::Axis;

/// Marks on an axis, about.
const MARKS: f64 = 7.0;

/// An axis with its ends.
#[derive(Debug)]
pub(super) struct Scale<'a> {
    axis: &'a Axis,
    low: f64,
    high: f64,
    /// Pixels of the ends.
    pub(super) from: f64,
    to: f64,
}

impl<'a> Scale<'a> {
    pub(super) fn new(
        axis: &'a Axis,
        values: impl Iterator<Item = f64>,
        (from, to): (f64, f64),
    ) -> Result<Self> {
        if !axis.names.is_empty() {
            let high = axis.names.len() as f64 - 0.5;
            return Ok(Self {
                axis,
                low: -0.5,
                high,
                from,
                to,
            });
        }
        let ends = values
            .chain(axis.holds)
            .fold(None, |ends, value| match ends {
                None => Some((value, value)),
                Some((low, high)) => Some((f64::min(low, value), f64::max(high, value))),
            });
        let (low, high) = ends.context("there are no points to draw")?;
        let fits = low.is_finite() && high.is_finite() && (!axis.logarithmic || low > 0.0);
        ensure!(fits, "a value of {low} to {high} cannot be drawn");
        let (low, high) = if axis.logarithmic {
            let room = (high / low).powf(0.04).max(1.05);
            (low / room, high * room)
        } else {
            let room = if high > low {
                0.04 * (high - low)
            } else {
                high.abs().max(1.0) / 2.0
            };
            // An end that has to be shown is the end, where there is another.
            let kept = axis.holds.filter(|_| high > low);
            let keep = |end: f64, moved: f64| if kept == Some(end) { end } else { moved };
            (keep(low, low - room), keep(high, high + room))
        };
        Ok(Self {
            axis,
            low,
            high,
            from,
            to,
        })
    }

    /// The pixel of a value; beyond the axis, that of its end.
    pub(super) fn place(&self, value: f64) -> f64 {
        let share = if self.axis.logarithmic {
            (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// Round values with their names.
    pub(super) fn marks(&self) -> Vec<(f64, String)> {
        if !self.axis.names.is_empty() {
            let names = self.axis.names.iter().enumerate();
            return names.map(|(at, name)| (at as f64, name.clone())).collect();
        }
        let within =
            |value: &f64| *value >= self.low * 0.999_999 && *value <= self.high * 1.000_001;
        if self.axis.logarithmic {
            let decades = (self.high / self.low).log10();
            let steps: &[f64] = if decades > 4.0 {
                &[1.0]
            } else {
                &[1.0, 2.0, 5.0]
            };
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a decade of a finite value"
            )]
            let (first, last) = (
                self.low.log10().floor() as i32,
                self.high.log10().ceil() as i32,
            );
            let all = (first..=last).flat_map(|decade| steps.iter().map(move |s| (decade, s)));
            let all = all
                .map(|(decade, step)| (step * 10_f64.powi(decade), decade))
                .filter(|(value, _)| within(value));
            let marks: Vec<_> = all
                .map(|(value, decade)| {
                    (value, figure(value, usize::try_from(-decade).unwrap_or(0)))
                })
                .collect();
            // Within a decade too few of them may be round: then equal steps are.
            if marks.len() > 2 {
                return marks;
            }
        }
        let rough = (self.high - self.low) / MARKS;
        let decade = rough.log10().floor();
        let factor = rough / 10_f64.powf(decade);
        let round = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .find(|step| *step >= factor);
        let step = round.unwrap_or(10.0) * 10_f64.powf(decade);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "decimals of a finite step"
        )]
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        #[expect(clippy::cast_possible_truncation, reason = "some marks on an axis")]
        let (first, last) = (
            (self.low / step).ceil() as i64,
            (self.high / step).floor() as i64,
        );
        (first..=last)
            .map(|number| number as f64 * step)
            .map(|value| (value, figure(value + 0.0, decimals)))
            .collect()
    }
}

/// A figure with so many decimals, a real minus, and thousands apart.
fn figure(value: f64, decimals: usize) -> String {
    let text = format!("{:.decimals$}", value.abs());
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let number = whole.parse().unwrap_or(0);
    let sign = if value < 0.0 && text.chars().any(|c| ('1'..='9').contains(&c)) {
        "−"
    } else {
        ""
    };
    format!("{sign}{}{rest}", crate::lab::table::count(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round() {
        let names = |low: f64, high: f64, logarithmic: bool| {
            let axis = Axis {
                logarithmic,
                holds: Some(low),
                ..Axis::default()
            };
            let scale = Scale::new(&axis, [high].into_iter(), (0.0, 100.0)).unwrap();
            let marks = scale.marks().into_iter().map(|(_, name)| name);
            marks.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(0.0, 30.0, false), "0 5 10 15 20 25 30");
        assert_eq!(names(-0.2, 0.3, false), "−0.2 −0.1 0.0 0.1 0.2 0.3");
        assert_eq!(names(0.0, 0.0, false), "−0.4 −0.2 0.0 0.2 0.4");
        assert_eq!(names(0.5, 20.0, true), "0.5 1 2 5 10 20");
        assert_eq!(names(26.0, 29.0, true), "25 26 27 28 29 30");
        assert_eq!(
            names(1.0, 2e6, true),
            "1 10 100 1,000 10,000 100,000 1,000,000"
        );
    }
}
