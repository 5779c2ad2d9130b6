//! Streams of the network laboratory: what was whole, late or right.

use super::{axis, figure, logarithmic, percent};
use crate::lab::figure::{Axis, Curve, Figure, Point, Style};
use crate::lab::report::records::{Record, Results, once_each};
use crate::statistics::wilson_interval;

/// The value of a figure at a stream, and its interval.
type Measured = (f64, Option<[f64; 2]>);

/// What streams are told apart by.
type Key = fn(&Record) -> String;

/// The figures of each scenario of which several streams are there: under several losses, or by several ways.
pub(super) fn figures(results: &Results) -> Vec<Figure> {
    let mut all = vec![];
    for scenario in results.texts("scenario") {
        let (classified, streamed): (Vec<_>, Vec<_>) = results
            .with("scenario", &scenario)
            .partition(|one| is_classified(one));
        let titled = |what: &str| format!("{scenario}: {what}");
        let drawn = [
            across(
                titled("right answers in time"),
                &classified,
                axis("frames answered rightly in time, %"),
                right,
            ),
            across(
                titled("whole tensors"),
                &streamed,
                axis("tensors whole at their deadline, %"),
                whole,
            ),
            across(
                titled("latency"),
                &streamed,
                logarithmic("capture to release, 99th percentile, ms"),
                late,
            ),
        ];
        all.extend(drawn.into_iter().flatten());
    }
    all
}

/// Whether a stream had a model at its end.
pub(in crate::lab::report) fn is_classified(record: &Record) -> bool {
    record.row.get("accuracy_in_time").is_some()
}

/// What sets a stream apart from others of its scenario under the same loss.
pub(in crate::lab::report) fn way(record: &Record) -> String {
    let (case, carrier) = (record.text("case"), record.text("carrier"));
    if case.is_empty() {
        format!("{carrier}, {}", record.text("congestion"))
    } else {
        case.to_owned()
    }
}

fn loss(record: &Record) -> String {
    record.text("loss").to_owned()
}

fn right(record: &Record) -> Option<Measured> {
    let (share, ends) = record.share("accuracy_in_time")?;
    Some((100.0 * share, ends.map(percent)))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "numbers of tensors"
)]
fn whole(record: &Record) -> Option<Measured> {
    let (whole, tensors) = (record.number("whole"), record.number("tensors"));
    let ends = wilson_interval(whole as usize, tensors as usize)?;
    Some((
        100.0 * whole / tensors,
        Some(percent([ends.low, ends.high])),
    ))
}

fn late(record: &Record) -> Option<Measured> {
    let late = record.row.get("p99_ms")?.as_f64()?;
    Some((late, record.interval("p99_interval")))
}

/// A curve for each way across the losses; where there is but one loss, one for it across the ways.
fn across(
    title: String,
    records: &[&Record],
    y: Axis,
    measured: fn(&Record) -> Option<Measured>,
) -> Option<Figure> {
    let all = |of: Key| once_each(records.iter().map(|one| of(one)));
    let (losses, ways) = (all(loss), all(way));
    let several = losses.len() > 1;
    let (names, at, curves, of, x): (_, Key, _, Key, _) = if several {
        (losses, loss, ways, way, "loss on the way to the cloud")
    } else if ways.len() > 1 {
        (
            ways,
            way,
            losses,
            loss,
            "case, or carrier and congestion control",
        )
    } else {
        return None;
    };
    let curves = curves.into_iter().map(|name| {
        let points = records.iter().filter(|one| of(one) == name);
        let points = points.filter_map(|one| {
            let (y, interval) = measured(one)?;
            let x = names.iter().position(|other| *other == at(one))? as f64;
            Some(Point { x, y, interval })
        });
        Curve {
            points: points.collect(),
            name: if several {
                name
            } else {
                format!("loss: {name}")
            },
            labels: vec![],
            style: Style::Dots,
        }
    });
    let curves = curves.collect();
    let x = Axis { names, ..axis(x) };
    figure(title, x, y, curves)
}
