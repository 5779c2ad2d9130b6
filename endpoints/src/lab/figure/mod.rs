//! Figures as SVG: curves with intervals, axes with units, and a legend below that never covers a point.

mod scale;

use std::fmt::Write as _;

use anyhow::{Result, ensure};

use self::scale::Scale;

/// Width of a figure, and height of its axes, in pixels.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 380.0;
/// Room around the axes: left, right, top, and below for marks and title.
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 40.0;
const BELOW: f64 = 52.0;
/// Height of a line of the legend.
const LINE: f64 = 20.0;
/// Mean width of a character of the legend; its widest names are far from this, but never alone in a column.
const CHARACTER: f64 = 7.4;
/// Pixels between the points of two curves at the same place.
const BESIDE: f64 = 2.0;
/// Colours that people with a colour vision deficiency tell apart too (Okabe and Ito, 2008).
const COLOURS: [&str; 7] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000",
];
/// Curves beyond the colours are told apart by these too.
const DASHES: [&str; 3] = ["", "6 3", "2 3"];

/// A figure.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers make it")]
pub struct Figure {
    /// Stands above it.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// Curves, in the order of the legend.
    pub curves: Vec<Curve>,
    /// Horizontal dashed lines, with their names in the legend.
    pub levels: Vec<(String, f64)>,
}

/// An axis.
#[derive(Clone, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "callers make it")]
pub struct Axis {
    /// What it shows, with its unit.
    pub title: String,
    /// Whether equal steps are equal factors; values are above 0 then.
    pub logarithmic: bool,
    /// A value that it has to show, such as 0.
    pub holds: Option<f64>,
    /// The marks by name, where values are no figures.
    pub names: Vec<String>,
}

/// Points that belong together.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers make it")]
pub struct Curve {
    /// Its name in the legend.
    pub name: String,
    /// Its points, in the order in which they are joined.
    pub points: Vec<Point>,
    /// What stands beside each of its points; may be empty.
    pub labels: Vec<String>,
    /// How it is drawn.
    pub style: Style,
}

/// How a curve is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there are no others")]
pub enum Style {
    /// A dot for each point, joined by a line.
    Joined,
    /// A line alone.
    Line,
    /// A dot for each point.
    Dots,
    /// Steps down to the axis.
    Bars,
}

/// A measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "callers make it")]
pub struct Point {
    /// Place on the horizontal axis.
    pub x: f64,
    /// Place on the vertical axis.
    pub y: f64,
    /// Its interval on the vertical axis.
    pub interval: Option<[f64; 2]>,
}

impl Figure {
    /// The SVG element. Give it to a page, or to a file as it is.
    ///
    /// # Errors
    /// If there are no points, or a value cannot be drawn.
    pub fn svg(&self) -> Result<String> {
        let (element, height) = self.element()?;
        Ok(wrapped(&element, height))
    }

    /// What is in the SVG element, and its height.
    fn element(&self) -> Result<(String, f64)> {
        let points = || self.curves.iter().flat_map(|curve| &curve.points);
        let x = Scale::new(
            &self.x,
            points().map(|point| point.x),
            (LEFT, WIDTH - RIGHT),
        )?;
        let heights = points().flat_map(|point| {
            let [low, high] = point.interval.unwrap_or([point.y; 2]);
            [low, point.y, high]
        });
        let bars = self.curves.iter().any(|curve| curve.style == Style::Bars);
        let zero = (bars && !self.y.logarithmic).then_some(0.0);
        let levels = self.levels.iter().map(|(_, y)| *y);
        let heights = heights.chain(levels).chain(zero);
        let heights = heights.filter(|y| !self.y.logarithmic || *y > 0.0);
        let y = Scale::new(&self.y, heights, (TOP + HEIGHT, TOP))?;
        let mut svg = String::new();
        let middle = f64::midpoint(LEFT, WIDTH - RIGHT);
        text(
            &mut svg,
            (middle, 22.0),
            "middle",
            "font-weight='bold'",
            &self.title,
        )?;
        self.axes(&mut svg, &x, &y)?;
        for (number, (name, level)) in self.levels.iter().enumerate() {
            let (at, dash) = (y.place(*level), 3 + 4 * number);
            writeln!(
                svg,
                "<path d='M{LEFT:.1} {at:.1}H{:.1}' stroke='#666' stroke-dasharray='{dash} 4'><title>{}</title></path>",
                WIDTH - RIGHT,
                escaped(name)
            )?;
        }
        for (number, curve) in self.curves.iter().enumerate() {
            draw(&mut svg, (number, self.curves.len()), curve, &x, &y)?;
        }
        let below = self.legend(&mut svg)?;
        Ok((svg, below))
    }

    fn axes(&self, svg: &mut String, x: &Scale<'_>, y: &Scale<'_>) -> Result<()> {
        let bottom = TOP + HEIGHT;
        for (value, name) in x.marks() {
            let at = x.place(value);
            writeln!(svg, "<path d='M{at:.1} {TOP}V{bottom}' stroke='#e4e4e4'/>")?;
            text(svg, (at, bottom + 18.0), "middle", "", &name)?;
        }
        for (value, name) in y.marks() {
            let at = y.place(value);
            writeln!(
                svg,
                "<path d='M{LEFT} {at:.1}H{}' stroke='#e4e4e4'/>",
                WIDTH - RIGHT
            )?;
            text(svg, (LEFT - 6.0, at + 4.5), "end", "", &name)?;
        }
        writeln!(
            svg,
            "<path d='M{LEFT} {TOP}V{bottom}H{}' fill='none' stroke='#222'/>",
            WIDTH - RIGHT
        )?;
        let middle = f64::midpoint(LEFT, WIDTH - RIGHT);
        text(svg, (middle, bottom + 40.0), "middle", "", &self.x.title)?;
        let centre = TOP + HEIGHT / 2.0;
        let turned = format!("transform='rotate(-90 14 {centre})'");
        text(svg, (14.0, centre), "middle", &turned, &self.y.title)
    }

    /// Draws the legend in columns, and gives the height of the figure.
    fn legend(&self, svg: &mut String) -> Result<f64> {
        let curves = self.curves.iter().enumerate();
        let mut entries: Vec<(String, &str)> = curves
            .map(|(number, curve)| (sample(number, curve.style), curve.name.as_str()))
            .collect();
        for (number, (name, _)) in self.levels.iter().enumerate() {
            let dash = 3 + 4 * number;
            let line = format!("<path d='M0 0H24' stroke='#666' stroke-dasharray='{dash} 4'/>");
            entries.push((line, name));
        }
        let widest = entries.iter().map(|(_, name)| name.chars().count()).max();
        let widest = widest.unwrap_or(0) as f64 * CHARACTER + 46.0;
        let room = WIDTH - LEFT - RIGHT;
        let columns = (room / widest)
            .floor()
            .clamp(1.0, entries.len().max(1) as f64);
        let top = TOP + HEIGHT + BELOW + 8.0;
        let mut lines = 0.0_f64;
        for (number, (sample, name)) in entries.iter().enumerate() {
            let (line, column) = ((number as f64 / columns).floor(), number as f64 % columns);
            let (at_x, at_y) = (LEFT + column * room / columns, top + line * LINE);
            writeln!(
                svg,
                "<g transform='translate({at_x:.1} {at_y:.1})'>{sample}</g>"
            )?;
            text(svg, (at_x + 32.0, at_y + 4.5), "start", "", name)?;
            lines = lines.max(line + 1.0);
        }
        Ok(top + lines * LINE)
    }
}

/// Several figures below each other in one SVG.
///
/// # Errors
/// As [`Figure::svg`].
pub fn stacked(figures: &[Figure]) -> Result<String> {
    ensure!(!figures.is_empty(), "there is nothing to draw");
    let (mut all, mut height) = (String::new(), 0.0);
    for figure in figures {
        let (element, own) = figure.element()?;
        writeln!(
            all,
            "<g transform='translate(0 {height:.1})'>\n{element}</g>"
        )?;
        height += own + 12.0;
    }
    Ok(wrapped(&all, height))
}

fn wrapped(element: &str, height: f64) -> String {
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height:.0}' width='{WIDTH}' \
         height='{height:.0}' font-family='sans-serif' font-size='13'>\n\
         <rect width='100%' height='100%' fill='white'/>\n{element}</svg>\n"
    )
}

fn colour(number: usize) -> &'static str {
    COLOURS
        .get(number % COLOURS.len())
        .copied()
        .unwrap_or("#000")
}

fn dash(number: usize) -> &'static str {
    let dash = DASHES.get(number / COLOURS.len() % DASHES.len());
    dash.copied().unwrap_or_default()
}

/// What stands before a curve's name in the legend.
fn sample(number: usize, style: Style) -> String {
    let (colour, dash) = (colour(number), dash(number));
    let line =
        format!("<path d='M0 0H24' stroke='{colour}' stroke-width='2' stroke-dasharray='{dash}'/>");
    let dot = marker((12.0, 0.0), number);
    match style {
        Style::Joined => line + &dot,
        Style::Line => line,
        Style::Dots => dot,
        Style::Bars => format!(
            "<rect x='2' y='-6' width='20' height='12' fill='{colour}' fill-opacity='.45'/>"
        ),
    }
}

/// A dot; curves of the same colour have other shapes.
fn marker((x, y): (f64, f64), number: usize) -> String {
    let colour = colour(number);
    match number / COLOURS.len() % 3 {
        0 => format!("<circle cx='{x:.1}' cy='{y:.1}' r='3.4' fill='{colour}'/>"),
        1 => format!(
            "<rect x='{:.1}' y='{:.1}' width='6.4' height='6.4' fill='{colour}'/>",
            x - 3.2,
            y - 3.2
        ),
        _ => format!("<path d='M{x:.1} {:.1}l4 7h-8z' fill='{colour}'/>", y - 4.4),
    }
}

fn draw(
    svg: &mut String,
    (number, curves): (usize, usize),
    curve: &Curve,
    x: &Scale<'_>,
    y: &Scale<'_>,
) -> Result<()> {
    let (colour, dash) = (colour(number), dash(number));
    writeln!(svg, "<g><title>{}</title>", escaped(&curve.name))?;
    // Side by side, so that no interval hides another's.
    let beside = match curve.style {
        Style::Joined | Style::Dots => BESIDE * (number as f64 - (curves as f64 - 1.0) / 2.0),
        Style::Line | Style::Bars => 0.0,
    };
    let place = |point: &Point| (x.place(point.x) + beside, y.place(point.y));
    match curve.style {
        Style::Bars => {
            let bottom = y.from;
            let step = curve.points.windows(2).next().map_or(8.0, |pair| {
                let [first, second] = pair else { return 8.0 };
                x.place(second.x) - x.place(first.x)
            });
            for (at_x, at_y) in curve.points.iter().map(place) {
                writeln!(
                    svg,
                    "<rect x='{:.1}' y='{at_y:.1}' width='{:.1}' height='{:.1}' fill='{colour}' \
                     fill-opacity='.45'/>",
                    at_x - step / 2.0,
                    step * 0.95,
                    (bottom - at_y).max(0.0)
                )?;
            }
        }
        Style::Joined | Style::Line | Style::Dots => {
            if curve.style != Style::Dots {
                let mut path = String::new();
                for (at_x, at_y) in curve.points.iter().map(place) {
                    let letter = if path.is_empty() { 'M' } else { 'L' };
                    write!(path, "{letter}{at_x:.1} {at_y:.1}")?;
                }
                writeln!(
                    svg,
                    "<path d='{path}' fill='none' stroke='{colour}' stroke-width='2' \
                     stroke-dasharray='{dash}'/>"
                )?;
            }
            for point in curve.points.iter().filter(|_| curve.style != Style::Line) {
                if let Some([low, high]) = point.interval {
                    let ((at, _), low, high) = (place(point), y.place(low), y.place(high));
                    writeln!(
                        svg,
                        "<path d='M{at:.1} {low:.1}V{high:.1}' stroke='{colour}' stroke-opacity='.5'/>"
                    )?;
                }
                writeln!(svg, "{}", marker(place(point), number))?;
            }
            for (point, label) in curve.points.iter().zip(&curve.labels) {
                let (at_x, at_y) = place(point);
                // Those of two curves on different sides, where they meet.
                let aside = if number % 2 == 0 { -7.0 } else { 14.0 };
                let small = format!("font-size='11' fill='{colour}'");
                text(svg, (at_x + 4.0, at_y + aside), "start", &small, label)?;
            }
        }
    }
    writeln!(svg, "</g>")?;
    Ok(())
}

fn text(
    svg: &mut String,
    (x, y): (f64, f64),
    anchor: &str,
    attributes: &str,
    words: &str,
) -> Result<()> {
    writeln!(
        svg,
        "<text x='{x:.1}' y='{y:.1}' text-anchor='{anchor}' {attributes}>{}</text>",
        escaped(words)
    )?;
    Ok(())
}

/// Text for HTML and SVG.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\'' => escaped.push_str("&#39;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(title: &str) -> Axis {
        Axis {
            title: title.into(),
            ..Axis::default()
        }
    }

    fn shown(heights: &[f64], y: Axis) -> Result<String> {
        let point = |(x, y): (usize, &f64)| Point {
            x: x as f64,
            y: *y,
            interval: Some([y - 1.0, y + 1.0]),
        };
        let figure = Figure {
            title: "a < b".into(),
            x: axis("across, m"),
            y,
            curves: vec![Curve {
                name: "a curve".into(),
                points: heights.iter().enumerate().map(point).collect(),
                labels: vec!["first".into()],
                style: Style::Joined,
            }],
            levels: vec![("whole".into(), 90.0)],
        };
        figure.svg()
    }

    #[test]
    fn everything_is_named() {
        let svg = shown(&[80.0, 85.0, 89.0], axis("up, s")).unwrap();
        for name in [
            "a &lt; b",
            "across, m",
            "up, s",
            "a curve",
            "whole",
            ">90<",
            ">first<",
        ] {
            assert!(svg.contains(name), "{name}");
        }
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        assert_eq!(svg.matches("<circle").count(), 4);
        assert!(shown(&[90.0], axis("one point")).is_ok());
    }

    #[test]
    fn what_cannot_be_drawn_is_refused() {
        assert!(shown(&[80.0, f64::INFINITY], axis("")).is_err());
        let mut none: Figure = Figure {
            title: String::new(),
            x: axis(""),
            y: axis(""),
            curves: vec![],
            levels: vec![],
        };
        assert!(none.svg().is_err() && stacked(&[]).is_err());
        none.x.names = vec!["a".into()];
        assert!(none.svg().is_err());
    }
}
