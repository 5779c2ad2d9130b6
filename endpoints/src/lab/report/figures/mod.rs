//! The figures of each experiment.

mod size;
mod streams;

use serde_json::Value;

use super::records::{Record, Results, interval, once_each};
use crate::lab::experiment::latency::{Circumstances, Terms};
use crate::lab::figure::{Axis, Curve, Figure, Point, Style};

pub(super) use self::size::size_name;
pub(super) use self::streams::{is_classified, way};

/// Points of a curve against bandwidth.
const BANDWIDTHS: usize = 60;

/// The figures of a results file, in the order of a report.
pub(super) fn figures(results: &Results) -> Vec<Figure> {
    match results.kind() {
        "size" => size::figures(results),
        "quantisation" => quantisation(results),
        "distribution" => distribution(results),
        "loss" => loss(results),
        "motion" => motion(results),
        "latency" => latency(results),
        "recovery" => recovery(results),
        "streams" => streams::figures(results),
        _ => vec![],
    }
}

fn axis(title: &str) -> Axis {
    Axis {
        title: title.to_owned(),
        ..Axis::default()
    }
}

fn from_zero(title: &str) -> Axis {
    Axis {
        holds: Some(0.0),
        ..axis(title)
    }
}

fn logarithmic(title: &str) -> Axis {
    Axis {
        logarithmic: true,
        ..axis(title)
    }
}

fn percent([low, high]: [f64; 2]) -> [f64; 2] {
    [100.0 * low, 100.0 * high]
}

/// A curve of the records that give a point, in the order of x.
fn curve<'r>(
    name: impl Into<String>,
    records: impl Iterator<Item = &'r Record>,
    point: impl Fn(&Record) -> Option<Point>,
) -> Curve {
    let mut points: Vec<Point> = records.filter_map(point).collect();
    points.sort_by(|a, b| a.x.total_cmp(&b.x));
    Curve {
        name: name.into(),
        points,
        labels: vec![],
        style: Style::Joined,
    }
}

/// The figure, unless it would be empty.
fn figure(title: String, x: Axis, y: Axis, curves: Vec<Curve>) -> Option<Figure> {
    let curves: Vec<Curve> = curves
        .into_iter()
        .filter(|one| !one.points.is_empty())
        .collect();
    (!curves.is_empty()).then(|| Figure {
        title,
        x,
        y,
        curves,
        levels: vec![],
    })
}

fn quantisation(results: &Results) -> Vec<Figure> {
    let mut widths = results.texts("width");
    widths.sort_by(|a, b| {
        let number = |text: &str| text.parse().unwrap_or(f64::INFINITY);
        number(a).total_cmp(&number(b))
    });
    let mut all = vec![];
    for split in results.texts("split") {
        let curves = |point: fn(&Record) -> Option<Point>| {
            let of = widths.iter().map(|width| {
                let name = match width.as_str() {
                    "min-max" => "all values seen".to_owned(),
                    sigma => format!("±{sigma} σ"),
                };
                curve(
                    name,
                    results
                        .with("split", &split)
                        .filter(|one| one.text("width") == width),
                    point,
                )
            });
            of.collect::<Vec<_>>()
        };
        let (model, levels) = (results.said("model"), logarithmic("levels"));
        all.extend(figure(
            format!("{model} at {split}: accuracy against levels, by clip range"),
            levels.clone(),
            axis("drop of top-1 accuracy, points"),
            curves(|one| {
                Some(Point {
                    x: one.number("levels"),
                    y: 100.0 * one.number("drop"),
                    interval: one.interval("ci95").map(percent),
                })
            }),
        ));
        all.extend(figure(
            format!("{model} at {split}: error against levels, by clip range"),
            levels,
            logarithmic("squared error, share of the variance"),
            curves(|one| {
                Some(Point {
                    x: one.number("levels"),
                    y: one.number("variance_share"),
                    interval: one.interval("variance_share_ci95"),
                })
            }),
        ));
    }
    all
}

fn distribution(results: &Results) -> Vec<Figure> {
    let figures = results.records.iter().filter_map(|record| {
        let bars = record.row.get("histogram")?.as_array()?;
        let inner = bars.get(1..bars.len().checked_sub(1)?)?;
        let (from, step) = (
            record.number("histogram_from"),
            record.number("histogram_step"),
        );
        let middle = |bar: usize| from + (bar as f64 + 0.5) * step;
        let bars = inner.iter().enumerate().map(|(bar, share)| Point {
            x: middle(bar),
            y: 100.0 * share.as_f64().unwrap_or_default(),
            interval: None,
        });
        let normal = (0..inner.len()).map(|bar| {
            let x = middle(bar);
            let density = (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
            Point {
                x,
                y: 100.0 * density * step,
                interval: None,
            }
        });
        let curves = vec![
            Curve {
                name: "values".to_owned(),
                points: bars.collect(),
                labels: vec![],
                style: Style::Bars,
            },
            Curve {
                name: "normal distribution of that mean and deviation".to_owned(),
                points: normal.collect(),
                labels: vec![],
                style: Style::Line,
            },
        ];
        let title = format!("{} at {}", record.text("model"), record.text("split"));
        let x = axis("standard deviations from the mean");
        figure(title, x, from_zero("share of the values, %"), curves)
    });
    figures.collect()
}

fn loss(results: &Results) -> Vec<Figure> {
    let bursts = once_each(results.records.iter().map(burst));
    let mut all = vec![];
    for split in results.texts("split") {
        for map in results.texts("map") {
            let of: Vec<&Record> = results
                .with("split", &split)
                .filter(|one| one.text("map") == map)
                .collect();
            if bursts.len() > 3 {
                let mut shares = once_each(of.iter().map(|one| one.number("missing")));
                shares.sort_by(f64::total_cmp);
                for share in shares {
                    let at = of.iter().filter(|one| one.number("missing") == share);
                    let title = format!("{split}, {map}: {} % lost in bursts", 100.0 * share);
                    let x = axis("mean lost in a row, packets");
                    all.extend(drops(title, x, at.copied().collect(), |one| {
                        burst(one).unwrap_or(1.0)
                    }));
                }
                continue;
            }
            for mean in &bursts {
                // Where nothing is lost, losses are neither.
                let of = of
                    .iter()
                    .filter(|one| burst(one) == *mean || one.number("missing") == 0.0);
                let how = match mean {
                    None => "independent losses".to_owned(),
                    Some(mean) => format!("{mean} lost in a row on average"),
                };
                let title = format!("{split}, {map}: {how}");
                let x = axis("lost, %");
                all.extend(drops(title, x, of.copied().collect(), |one| {
                    100.0 * one.number("missing")
                }));
            }
        }
    }
    all
}

fn burst(record: &Record) -> Option<f64> {
    record.row.get("burst").and_then(Value::as_f64)
}

/// The drop by each method.
fn drops(title: String, x: Axis, records: Vec<&Record>, at: fn(&Record) -> f64) -> Option<Figure> {
    let methods = once_each(records.iter().map(|one| one.text("method")));
    let curves = methods.iter().map(|method| {
        let of = records
            .iter()
            .filter(|one| one.text("method") == *method)
            .copied();
        curve(*method, of, |one| {
            Some(Point {
                x: at(one),
                y: 100.0 * one.number("drop"),
                interval: one.interval("ci95").map(percent),
            })
        })
    });
    figure(
        title,
        x,
        from_zero("drop of top-1 accuracy, points"),
        curves.collect(),
    )
}

/// The ways to compensate a movement, with their names.
pub(super) const COMPENSATIONS: [(&str, &str); 4] = [
    ("still", "no compensation"),
    ("known", "movement known"),
    ("known_inner", "movement known, without edges"),
    ("estimated", "shift estimated from the tensors"),
];

fn motion(results: &Results) -> Vec<Figure> {
    let splits = results.texts("split").into_iter();
    let figures = splits.filter_map(|split| {
        let records: Vec<&Record> = results.with("split", &split).collect();
        let curves = COMPENSATIONS.iter().map(|(key, name)| Curve {
            name: (*name).to_owned(),
            points: records
                .iter()
                .enumerate()
                .filter_map(|(at, record)| {
                    let of = record.row.get(key)?;
                    Some(Point {
                        x: at as f64,
                        y: of.get("db")?.as_f64()?,
                        interval: of.get("ci95").and_then(interval),
                    })
                })
                .collect(),
            labels: vec![],
            style: Style::Dots,
        });
        let names = records.iter().map(|one| short(one.text("transform")));
        let x = Axis {
            names: names.collect(),
            ..axis("movement: shift down,right in pixels; turn in degrees; zoom")
        };
        let title = format!(
            "{} at {split}: prediction from the tensor before",
            results.said("model")
        );
        figure(title, x, from_zero("PSNR, dB"), curves.collect())
    });
    figures.collect()
}

/// The name of a movement for a mark.
fn short(transform: &str) -> String {
    match transform.split_once(' ') {
        Some(("shift", by)) => by.to_owned(),
        Some(("rotate", by)) => format!("{by}°"),
        Some(("scale", by)) => format!("×{by}"),
        _ => transform.to_owned(),
    }
}

/// The ways to answer of a results file, with what its plan assumes of the path.
pub(super) fn ways(results: &Results) -> Option<(Vec<Terms>, Circumstances)> {
    let terms = results.records.iter().filter_map(|record| {
        serde_json::from_value::<Terms>(record.timing.get("terms")?.clone()).ok()
    });
    let first = results.records.first()?;
    let at = Circumstances {
        rtt_ms: first.number("rtt_ms"),
        edge_slowdown: first.number("edge_slowdown"),
        server_speedup: first.number("server_speedup"),
    };
    let terms: Vec<Terms> = terms.collect();
    (!terms.is_empty()).then_some((terms, at))
}

fn latency(results: &Results) -> Vec<Figure> {
    let Some((terms, at)) = ways(results) else {
        return vec![];
    };
    // The coders of a split are one curve: all of them would be too many.
    let place = |way: &Terms| way.name.split(' ').next().unwrap_or_default().to_owned();
    let curves = once_each(terms.iter().map(place)).into_iter().map(|split| {
        let ways: Vec<&Terms> = terms.iter().filter(|way| place(way) == split).collect();
        let points = (0..=BANDWIDTHS).map(|step| {
            // 0.1 to 1,000 Mbit/s.
            let rate = 1e5 * 10_f64.powf(4.0 * step as f64 / BANDWIDTHS as f64);
            let times = ways.iter().map(|way| way.total_ms(rate, at));
            Point {
                x: rate / 1e6,
                y: times.fold(f64::INFINITY, f64::min),
                interval: None,
            }
        });
        Curve {
            name: match ways[..] {
                [way] => way.name.clone(),
                _ => format!("{split}, the fastest coder"),
            },
            points: points.collect(),
            labels: vec![],
            style: Style::Line,
        }
    });
    let title = format!(
        "{}: from picture to answer, round trip {} ms, edge {} times slower",
        results.said("model"),
        at.rtt_ms,
        at.edge_slowdown * at.server_speedup
    );
    let (x, y) = (logarithmic("bandwidth, Mbit/s"), logarithmic("time, ms"));
    figure(title, x, y, curves.collect()).into_iter().collect()
}

/// What a record of a stream says of its path, but for the loss.
fn path_of(record: &Record) -> String {
    let burst = match record.number("burst") {
        // Independent losses have runs of 1 / (1 − p).
        burst if (burst * (1.0 - record.number("loss")) - 1.0).abs() < 1e-9 => {
            "independent losses".to_owned()
        }
        burst => format!("{burst} lost in a row on average"),
    };
    format!(
        "{} packets a tensor, {burst}, round trip {} ms",
        record.number("k"),
        record.number("rtt_ms")
    )
}

fn recovery(results: &Results) -> Vec<Figure> {
    let mut all = vec![];
    for path in once_each(results.records.iter().map(path_of)) {
        let of: Vec<&Record> = results
            .records
            .iter()
            .filter(|one| path_of(one) == path)
            .collect();
        let ways = once_each(of.iter().map(|one| one.text("fec")));
        let curves = |point: fn(&Record) -> Point| {
            let curves = ways.iter().map(|way| {
                let of = of.iter().filter(|one| one.text("fec") == *way).copied();
                curve(*way, of, |one| Some(point(one)))
            });
            curves.collect::<Vec<_>>()
        };
        all.extend(figure(
            format!("Whole at the deadline: {path}"),
            axis("datagrams lost each way, %"),
            axis("tensors whole, % (99.9 % intervals)"),
            curves(|one| Point {
                x: 100.0 * one.number("loss"),
                y: 100.0 * one.number("whole_share"),
                interval: one.interval("whole_interval").map(percent),
            }),
        ));
        all.extend(figure(
            format!("Accuracy: {path}"),
            axis("datagrams lost each way, %"),
            from_zero("drop of top-1 accuracy, points"),
            curves(|one| Point {
                x: 100.0 * one.number("loss"),
                y: 100.0 * (one.number("top1_clean") - one.number("top1")),
                interval: one.interval("drop_interval").map(percent),
            }),
        ));
    }
    all
}
