//! What a calibration found, for people and for programs.

use std::fmt;

use serde::Serialize;
use tensorwire_codec::Coder;
use tensorwire_concealment::Bundle;

use super::super::table::{Table, count, figures, interval, points, words};
use super::super::tally::Accuracy;
use super::bench::Summary;
use super::policy::Judged;
use super::statistics::sections;
use super::{Made, Measured, curve, importance, ladder};

/// Methods of a cell that the table shows.
const SHOWN: usize = 3;

/// A line of the JSON file.
#[derive(Debug, Serialize)]
#[serde(tag = "section", rename_all = "lowercase")]
pub(super) enum Row {
    /// A method in a cell.
    Policy {
        map: &'static str,
        missing: f32,
        method: &'static str,
        /// 1 for the best of the cell.
        rank: usize,
        images: usize,
        #[serde(flatten)]
        figures: Figures,
        us_per_tensor: f64,
        /// What the bundle says, points.
        drop_points: f64,
    },
    /// A point of the curve.
    Accuracy {
        map: &'static str,
        missing: f32,
        method: &'static str,
        images: usize,
        #[serde(flatten)]
        figures: Figures,
        us_per_tensor: f64,
        /// The drop with images that turn by degrees, a fraction.
        gradual_drop: f64,
        gradual_ci95: [f64; 2],
        /// The same after smoothing: what the bundle says, points.
        drop_points: f64,
    },
    /// A channel.
    Importance {
        channel: usize,
        shift: f64,
        shift_ci95: [f64; 2],
        importance: f64,
    },
    /// A step of the ladder.
    Ladder {
        coder: &'static str,
        /// Of JPEG.
        quality: Option<u8>,
        levels: u16,
        /// That bytes were measured on.
        images: usize,
        bytes_mean: f64,
        bytes_p95: f64,
        /// On images with labels, if some were held out.
        #[serde(flatten)]
        accuracy: Option<Accuracy>,
        /// After smoothing: what the bundle says, points.
        drop_points: f64,
    },
}

/// What losses of one kind did.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    #[serde(flatten)]
    accuracy: Accuracy,
    /// Of the true class.
    probability_drop: f64,
    probability_ci95: [f64; 2],
    /// How far the prediction moves.
    shift: f64,
    shift_ci95: [f64; 2],
    nmse: Option<f64>,
}

impl From<&Summary> for Figures {
    fn from(summary: &Summary) -> Self {
        Self {
            accuracy: summary.accuracy,
            probability_drop: summary.probability_drop.mean,
            probability_ci95: summary.probability_drop.ci95(),
            shift: summary.shift.mean,
            shift_ci95: summary.shift.ci95(),
            nmse: summary.nmse,
        }
    }
}

/// Everything measured.
pub(super) fn rows(measured: &Measured) -> Vec<Row> {
    let policy = measured.policy.iter().map(|judged| Row::Policy {
        map: judged.map.name(),
        missing: judged.share,
        method: judged.method.name(),
        rank: judged.rank,
        images: judged.images,
        figures: (&judged.summary).into(),
        us_per_tensor: judged.summary.micros,
        drop_points: judged.drop,
    });
    let curve = measured.curve.iter().map(|point| Row::Accuracy {
        map: curve::MAP.name(),
        missing: point.share,
        method: "auto",
        images: point.images,
        figures: (&point.summary).into(),
        us_per_tensor: point.summary.micros,
        gradual_drop: point.gradual.mean,
        gradual_ci95: point.gradual.ci95(),
        drop_points: point.drop,
    });
    let channels = measured.channels.iter().enumerate();
    let channels = channels.map(|(channel, measured)| Row::Importance {
        channel,
        shift: measured.shift.mean,
        shift_ci95: measured.shift.ci95(),
        importance: measured.importance,
    });
    let steps = measured.ladder.iter().map(|step| Row::Ladder {
        coder: coder(step),
        quality: quality(step),
        levels: step.step.levels,
        images: step.images,
        bytes_mean: step.mean_bytes,
        bytes_p95: step.p95_bytes,
        accuracy: step.accuracy,
        drop_points: step.drop,
    });
    policy.chain(curve).chain(channels).chain(steps).collect()
}

/// What is in a bundle, and what it was made from.
pub(super) struct Text<'a> {
    pub(super) made: &'a Made,
    pub(super) file: &'a [u8],
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Made {
            bundle, measured, ..
        } = self.made;
        self.statistics(f, bundle)?;
        if let Some(table) = policy(&measured.policy) {
            write!(
                f,
                "\n\nBest methods, and the points that they lose:\n\n{table}"
            )?;
        }
        if !measured.curve.is_empty() {
            let images = measured.curve.iter().map(|point| point.images).max();
            let table = accuracy(&measured.curve);
            write!(
                f,
                "\n\nWhat is left to lose with the best, by the random map, on {} images:\n\n{table}",
                count(images.unwrap_or(0))
            )?;
        }
        if let Some(range) = importance(&measured.channels) {
            write!(f, "\n\nImportance of a channel, 1 being the mean: {range}")?;
        }
        if !measured.ladder.is_empty() {
            let table = steps(&measured.ladder);
            write!(
                f,
                "\n\nWhat tensors take at each quality, without losses:\n\n{table}"
            )?;
        }
        Ok(())
    }
}

impl Text<'_> {
    fn statistics(&self, f: &mut fmt::Formatter<'_>, bundle: &Bundle) -> fmt::Result {
        let (channels, height, width) = bundle.shape();
        let (summary, clip) = (bundle.summary(), bundle.clip());
        writeln!(
            f,
            "split      {} {channels}×{height}×{width}",
            bundle.split()
        )?;
        write!(f, "images     {}", count(bundle.images().len()))?;
        if self.made.duplicates > 0 {
            write!(f, "; {} duplicates left out", count(self.made.duplicates))?;
        }
        match self.made.unmeasured {
            None => writeln!(f, "; measured on {} held out", count(self.made.held_out))?,
            Some(reason) => writeln!(f, "; statistics only: {reason}")?,
        }
        writeln!(
            f,
            "values     {:.4} to {:.4}, mean {:.4}, standard deviation {:.4}",
            summary.min, summary.max, summary.mean, summary.std
        )?;
        writeln!(f, "clip range {:.4} to {:.4}", clip.low, clip.high)?;
        let sections = sections(self.file).into_iter();
        let sections = sections.map(|(section, length)| format!("{section} {}", count(length)));
        let sections: Vec<String> = sections.collect();
        write!(f, "bytes      {}", sections.join(", "))
    }
}

fn policy(judged: &[Judged]) -> Option<Table> {
    if judged.is_empty() {
        return None;
    }
    let mut table = Table::new(&[
        words("map"),
        figures("missing"),
        words("best"),
        words("next"),
        words("then"),
        words("zero"),
    ]);
    let measured = |judged: &Judged| {
        let drop = points(judged.summary.accuracy.drop);
        format!("{} {drop}", judged.method)
    };
    let mut rest = judged;
    while let Some(first) = rest.first() {
        let next = rest.iter().skip(1).position(|judged| judged.rank == 1);
        let (cell, after) = rest.split_at(next.map_or(rest.len(), |next| next + 1));
        rest = after;
        let mut shown = cell.iter().take(SHOWN).map(measured);
        let zero = cell
            .iter()
            .find(|judged| judged.method == tensorwire_concealment::Method::Zero);
        table.row([
            first.map.name().into(),
            share(first.share),
            shown.next().unwrap_or_default(),
            shown.next().unwrap_or_default(),
            shown.next().unwrap_or_default(),
            zero.map(|zero| points(zero.summary.accuracy.drop))
                .unwrap_or_default(),
        ]);
    }
    Some(table)
}

/// A missing share in per cent, without the error of f32.
fn share(share: f32) -> String {
    format!("{} %", (1e3 * share).round() / 10.0)
}

fn accuracy(curve: &[curve::Measured]) -> Table {
    let mut table = Table::new(&[
        figures("missing"),
        figures("samples"),
        figures("drop, points"),
        figures("95 % interval"),
        figures("by degrees"),
        figures("95 % interval"),
        figures("in the bundle"),
        figures("NMSE"),
    ]);
    for point in curve {
        let Summary { accuracy, nmse, .. } = point.summary;
        table.row([
            share(point.share),
            count(accuracy.samples),
            points(accuracy.drop),
            interval(accuracy.interval()),
            points(point.gradual.mean),
            interval(point.gradual.interval()),
            format!("{:.2}", point.drop),
            nmse.map_or_else(|| "–".into(), |nmse| format!("{nmse:.3}")),
        ]);
    }
    table
}

const fn coder(step: &ladder::Measured) -> &'static str {
    match step.step.coder {
        Coder::Jpeg { .. } => "jpeg",
        _ => "raw",
    }
}

const fn quality(step: &ladder::Measured) -> Option<u8> {
    match step.step.coder {
        Coder::Jpeg { quality } => Some(quality),
        _ => None,
    }
}

fn steps(ladder: &[ladder::Measured]) -> Table {
    let mut table = Table::new(&[
        words("coder"),
        figures("quality"),
        figures("levels"),
        figures("bytes"),
        figures("95 % up to"),
        figures("judged"),
        figures("drop, points"),
        figures("95 % interval"),
        figures("in the bundle"),
    ]);
    let unknown = || "–".to_owned();
    for step in ladder {
        let accuracy = step.accuracy;
        table.row([
            coder(step).into(),
            quality(step).map_or_else(unknown, |quality| quality.to_string()),
            step.step.levels.to_string(),
            format!("{:.0}", step.mean_bytes),
            format!("{:.0}", step.p95_bytes),
            accuracy.map_or_else(unknown, |accuracy| count(accuracy.samples)),
            accuracy.map_or_else(unknown, |accuracy| points(accuracy.drop)),
            accuracy.map_or_else(unknown, |accuracy| interval(accuracy.interval())),
            accuracy.map_or_else(unknown, |_| format!("{:.2}", step.drop)),
        ]);
    }
    table
}

fn importance(channels: &[importance::Measured]) -> Option<String> {
    let numbered = || channels.iter().enumerate();
    let by = |a: &(usize, &importance::Measured), b: &(usize, &importance::Measured)| {
        a.1.importance.total_cmp(&b.1.importance)
    };
    let (least, low) = numbered().min_by(by)?;
    let (most, high) = numbered().max_by(by)?;
    Some(format!(
        "{:.2} (channel {least}) to {:.2} (channel {most})",
        low.importance.max(0.0),
        high.importance
    ))
}
