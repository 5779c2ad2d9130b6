//! What the demonstration shows: rows, tables, CSV and a plot.

use std::fmt::Write as _;

use anyhow::Result;
use serde::Serialize;

use crate::lab::figure::{Axis, Curve, Figure, Point, Style};
use crate::lab::table::{Table, count, figures, percent, words};
use crate::statistics::{Percentiles, wilson_interval};

/// The figures of one share of loss. Shares and accuracies are fractions.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    pub(super) loss: f64,
    pub(super) tensors: usize,
    pub(super) complete: usize,
    pub(super) concealed: usize,
    pub(super) dropped: usize,
    pub(super) missing_share: f64,
    pub(super) bytes_per_tensor: f64,
    pub(super) top1: Top1,
    pub(super) latency_ms: LatencyMs,
    pub(super) stages_ms: StagesMs,
}

/// Share of frames classified rightly; a dropped frame is not.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Top1 {
    pub(super) clean: f64,
    pub(super) zero: f64,
    pub(super) channel_mean: f64,
    pub(super) dataset_mean: f64,
    pub(super) hybrid: f64,
    pub(super) auto: f64,
}

/// Percentiles of a time over the answered tensors, milliseconds; absent if there was none.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct LatencyMs {
    pub(super) p50: Option<f64>,
    pub(super) p99: Option<f64>,
}

/// The same, stage by stage.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct StagesMs {
    /// Reading and preparing the image.
    pub(super) read: LatencyMs,
    pub(super) edge_model: LatencyMs,
    pub(super) encode: LatencyMs,
    /// From the edge's hands to the release; the wait for the deadline is in it.
    pub(super) network: LatencyMs,
    /// Waiting for the cloud's model.
    pub(super) queue: LatencyMs,
    /// Decoding and concealing.
    pub(super) conceal: LatencyMs,
    pub(super) cloud_model: LatencyMs,
    pub(super) way_back: LatencyMs,
}

impl LatencyMs {
    pub(super) fn of(milliseconds: Vec<f64>) -> Self {
        let percentiles = Percentiles::of(milliseconds);
        Self {
            p50: percentiles.at(50.0),
            p99: percentiles.at(99.0),
        }
    }

    fn text(self) -> String {
        match (self.p50, self.p99) {
            (Some(p50), Some(p99)) => format!("{p50:.1} / {p99:.1}"),
            _ => "–".to_owned(),
        }
    }
}

impl Top1 {
    /// Each with its name, the model in one piece first.
    const fn named(&self) -> [(&'static str, f64); 6] {
        [
            ("clean", self.clean),
            ("zero", self.zero),
            ("channel-mean", self.channel_mean),
            ("dataset-mean", self.dataset_mean),
            ("hybrid", self.hybrid),
            ("auto", self.auto),
        ]
    }
}

/// What arrived, and what it was good for.
pub(super) fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(&[
        figures("loss"),
        figures("tensors"),
        figures("complete"),
        figures("concealed"),
        figures("dropped"),
        figures("missing"),
        figures("bytes a\ntensor"),
        figures("clean"),
        figures("zero"),
        figures("channel\nmean"),
        figures("dataset\nmean"),
        figures("hybrid"),
        figures("auto"),
        figures("latency, ms\np50 / p99"),
    ]);
    for row in rows {
        let [clean, zero, channel, dataset, hybrid, auto] =
            row.top1.named().map(|(_, top1)| percent(top1));
        table.row([
            percent(row.loss),
            count(row.tensors),
            count(row.complete),
            count(row.concealed),
            count(row.dropped),
            percent(row.missing_share),
            format!("{:.0}", row.bytes_per_tensor),
            clean,
            zero,
            channel,
            dataset,
            hybrid,
            auto,
            row.latency_ms.text(),
        ]);
    }
    table
}

/// Where the time went.
pub(super) fn stages(rows: &[Row]) -> Table {
    let mut table = Table::new(&[
        words("ms, p50 / p99"),
        figures("read"),
        figures("edge\nmodel"),
        figures("encode"),
        figures("network"),
        figures("queue"),
        figures("conceal"),
        figures("cloud\nmodel"),
        figures("way\nback"),
        figures("capture to\nanswer"),
    ]);
    for row in rows {
        let stages = &row.stages_ms;
        table.row([
            format!("loss {}", percent(row.loss)),
            stages.read.text(),
            stages.edge_model.text(),
            stages.encode.text(),
            stages.network.text(),
            stages.queue.text(),
            stages.conceal.text(),
            stages.cloud_model.text(),
            stages.way_back.text(),
            row.latency_ms.text(),
        ]);
    }
    table
}

/// The figures as CSV.
pub(super) fn csv(rows: &[Row]) -> Result<String> {
    let mut text = String::from(
        "loss,tensors,complete,concealed,dropped,missing_share,bytes_per_tensor,top1_clean,top1_zero,\
         top1_channel_mean,top1_dataset_mean,top1_hybrid,top1_auto,latency_p50_ms,latency_p99_ms\n",
    );
    for row in rows {
        let Row {
            loss,
            tensors,
            complete,
            concealed,
            dropped,
            ..
        } = row;
        write!(text, "{loss},{tensors},{complete},{concealed},{dropped}")?;
        write!(text, ",{},{}", row.missing_share, row.bytes_per_tensor)?;
        for (_, top1) in row.top1.named() {
            write!(text, ",{top1}")?;
        }
        for time in [row.latency_ms.p50, row.latency_ms.p99] {
            text.push(',');
            if let Some(time) = time {
                write!(text, "{time}")?;
            }
        }
        text.push('\n');
    }
    Ok(text)
}

/// Accuracy against loss, a curve for each method, with the 95 % intervals of each accuracy alone.
pub(super) fn plot(rows: &[Row]) -> Result<String> {
    let clean = rows.first().map_or(0.0, |row| 100.0 * row.top1.clean);
    let methods = rows.first().map_or(0, |row| row.top1.named().len());
    let curves = (1..methods).map(|method| {
        let points = rows.iter().filter_map(|row| {
            let (_, top1) = *row.top1.named().get(method)?;
            #[expect(clippy::cast_possible_truncation, reason = "a share of a count")]
            let right = (top1 * row.tensors as f64).round() as usize;
            let interval = wilson_interval(right, row.tensors)?;
            Some(Point {
                x: 100.0 * row.loss,
                y: 100.0 * top1,
                interval: Some([100.0 * interval.low, 100.0 * interval.high]),
            })
        });
        let name = rows
            .first()
            .and_then(|row| Some(row.top1.named().get(method)?.0));
        Curve {
            name: name.unwrap_or_default().to_owned(),
            points: points.collect(),
            labels: vec![],
            style: Style::Joined,
        }
    });
    let tensors = rows.first().map_or(0, |row| row.tensors);
    let figure = Figure {
        title: format!("Accuracy against loss, {tensors} tensors a point, 95 % intervals"),
        x: Axis {
            title: "datagrams lost, %".to_owned(),
            holds: Some(0.0),
            ..Axis::default()
        },
        y: Axis {
            title: "top-1, %".to_owned(),
            ..Axis::default()
        },
        curves: curves.collect(),
        levels: vec![("clean, unsplit".to_owned(), clean)],
    };
    figure.svg()
}
