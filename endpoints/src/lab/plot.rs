//! Plots of figures with their intervals, as SVG.

use std::ops::Range;

use anyhow::{Context as _, Result, anyhow};
use plotters::chart::SeriesLabelPosition;
use plotters::coord::ranged1d::Ranged;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Width and height, in pixels.
const SIZE: (u32, u32) = (900, 560);
/// Colours that people with a colour vision deficiency tell apart too (Okabe and Ito, 2008).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];
/// Marks on an axis, at most.
const MARKS: usize = 11;
const GREY: RGBColor = RGBColor(110, 110, 110);

/// An axis.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers make it")]
pub struct Axis {
    /// What it shows, with its unit.
    pub title: String,
    /// Whether it begins at 0.
    pub from_zero: bool,
}

/// Points that belong together.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers make it")]
pub struct Curve {
    /// Its name in the legend.
    pub name: String,
    /// Its points, in the order in which they are joined.
    pub points: Vec<Point>,
}

/// A measurement.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers make it")]
pub struct Point {
    /// Place on the horizontal axis.
    pub x: f64,
    /// Place on the vertical axis.
    pub y: f64,
    /// Lower end of its interval.
    pub low: f64,
    /// Upper end of its interval.
    pub high: f64,
    /// What stands beside it; may be empty.
    pub label: String,
}

/// Where the legend stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "corners that curves leave free")]
pub enum Corner {
    /// For curves that fall.
    LowerLeft,
    /// For curves that rise.
    LowerRight,
}

/// Draws curves with the intervals of their points, a legend, and where there is a `reference` a
/// horizontal line of that name.
///
/// # Errors
/// If there are no points, or one is not finite.
pub fn draw(
    title: &str,
    x: &Axis,
    y: &Axis,
    curves: &[Curve],
    reference: Option<(&str, f64)>,
    legend: Corner,
) -> Result<String> {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let xs = range(points().map(|point| point.x), x.from_zero)?;
    let heights = points().flat_map(|point| [point.low, point.y, point.high]);
    let ys = range(heights.chain(reference.map(|(_, y)| y)), y.from_zero)?;
    let mut svg = String::new();
    let drawn = draw_on(&mut svg, title, (x, xs), (y, ys), curves, reference, legend);
    drawn.map_err(|error| anyhow!("the plot could not be drawn: {error}"))?;
    Ok(svg)
}

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn draw_on(
    svg: &mut String,
    title: &str,
    (x, xs): (&Axis, Range<f64>),
    (y, ys): (&Axis, Range<f64>),
    curves: &[Curve],
    reference: Option<(&str, f64)>,
    legend: Corner,
) -> Outcome {
    let digits = (decimals(&xs), decimals(&ys));
    let ends = (xs.start, xs.end);
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 20))
        .margin(16)
        .x_label_area_size(48)
        .y_label_area_size(64)
        .build_cartesian_2d(xs, ys)?;
    chart
        .configure_mesh()
        .x_labels(MARKS)
        .y_labels(MARKS)
        .x_desc(&x.title)
        .y_desc(&y.title)
        .axis_desc_style(("sans-serif", 16))
        .label_style(("sans-serif", 14))
        .x_label_formatter(&|value| format!("{value:.*}", digits.0))
        .y_label_formatter(&|value| format!("{value:.*}", digits.1))
        .bold_line_style(RGBColor(225, 225, 225))
        .light_line_style(TRANSPARENT)
        .draw()?;
    if let Some((name, height)) = reference {
        let line = [(ends.0, height), (ends.1, height)];
        chart
            .draw_series(DashedLineSeries::new(line, 6, 4, GREY.stroke_width(1)))?
            .label(name)
            .legend(|(x, y)| PathElement::new([(x, y), (x + 20, y)], GREY));
    }
    for (curve, colour) in curves.iter().zip(COLOURS.into_iter().cycle()) {
        let at = |point: &Point| (point.x, point.y);
        let line = LineSeries::new(curve.points.iter().map(at), colour.stroke_width(2));
        chart
            .draw_series(line)?
            .label(&curve.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2)));
        let bar = |point: &Point| {
            let ends = [(point.x, point.low), (point.x, point.high)];
            PathElement::new(ends, colour.mix(0.5).stroke_width(1))
        };
        chart.draw_series(curve.points.iter().map(bar))?;
        let dot = |point: &Point| Circle::new(at(point), 4, colour.filled());
        chart.draw_series(curve.points.iter().map(dot))?;
        let style = ("sans-serif", 12).into_font().color(&colour);
        let style = style.pos(Pos::new(HPos::Left, VPos::Top));
        let labelled = curve.points.iter().filter(|point| !point.label.is_empty());
        chart.draw_series(labelled.map(|point| {
            EmptyElement::at(at(point)) + Text::new(point.label.clone(), (6, 4), style.clone())
        }))?;
    }
    chart
        .configure_series_labels()
        .position(match legend {
            Corner::LowerLeft => SeriesLabelPosition::LowerLeft,
            Corner::LowerRight => SeriesLabelPosition::LowerRight,
        })
        .label_font(("sans-serif", 14))
        .background_style(WHITE)
        .border_style(GREY)
        .margin(12)
        .draw()?;
    area.present()?;
    Ok(())
}

/// A range that holds all `values`, with a little room.
fn range(values: impl Iterator<Item = f64>, from_zero: bool) -> Result<Range<f64>> {
    let ends = values.fold(None, |ends, value| match ends {
        None => Some((value, value)),
        Some((low, high)) => Some((f64::min(low, value), f64::max(high, value))),
    });
    let (low, high) = ends.context("there are no points to draw")?;
    let low = if from_zero { low.min(0.0) } else { low };
    let room = if high > low {
        0.05 * (high - low)
    } else {
        high.abs().max(1.0) / 2.0
    };
    let range = (if from_zero && low >= 0.0 {
        0.0
    } else {
        low - room
    })..high + room;
    if range.start.is_finite() && range.end.is_finite() {
        Ok(range)
    } else {
        Err(anyhow!("a point to draw is not finite"))
    }
}

/// Decimal places that tell the marks of an axis apart.
fn decimals(range: &Range<f64>) -> usize {
    let marks = RangedCoordf64::from(range.clone()).key_points(MARKS);
    let step = marks
        .iter()
        .zip(marks.iter().skip(1))
        .map(|(a, b)| b - a)
        .fold(f64::MAX, f64::min);
    (0..6)
        .find(|digits| step * 10_f64.powi(*digits) >= 0.999)
        .map_or(6, |digits| digits as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(heights: &[f64]) -> Curve {
        let point = |(x, y): (usize, &f64)| Point {
            x: x as f64,
            y: *y,
            low: y - 1.0,
            high: y + 1.0,
            label: format!("point {x}"),
        };
        Curve {
            name: "a curve".into(),
            points: heights.iter().enumerate().map(point).collect(),
        }
    }

    fn drawn(heights: &[f64]) -> Result<String> {
        let x = Axis {
            title: "across".into(),
            from_zero: true,
        };
        let y = Axis {
            title: "up".into(),
            from_zero: false,
        };
        draw(
            "the title",
            &x,
            &y,
            &[curve(heights)],
            Some(("whole", 90.0)),
            Corner::LowerRight,
        )
    }

    #[test]
    fn everything_is_named() {
        let svg = drawn(&[80.0, 85.0, 89.0]).unwrap();
        for name in ["the title", "across", "up", "a curve", "whole", "point 2"] {
            assert!(svg.contains(name), "{name}");
        }
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        assert!(drawn(&[90.0]).is_ok());
    }

    #[test]
    fn what_cannot_be_drawn_is_refused() {
        assert!(drawn(&[80.0, f64::INFINITY]).is_err());
        let axis = Axis {
            title: String::new(),
            from_zero: true,
        };
        assert!(draw("", &axis, &axis, &[], None, Corner::LowerLeft).is_err());
    }

    #[test]
    fn ranges() {
        assert_eq!(range([1.0, 3.0].into_iter(), false).unwrap(), 0.9..3.1);
        assert_eq!(range([1.0, 2.0].into_iter(), true).unwrap(), 0.0..2.1);
        assert_eq!(range([4.0].into_iter(), false).unwrap(), 2.0..6.0);
        assert_eq!([decimals(&(0.0..100.0)), decimals(&(0.0..0.2))], [0, 2]);
    }
}
