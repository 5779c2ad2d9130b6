//! What a run with a model comes to: one row.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::cell::Cell;
use crate::frame::{Fate, Frame};
use crate::quantity::rounded;
use crate::record::Record;
use crate::share::Share;
use crate::window::{Flows, Sorted, WindowRow, queue_delays, window, windows};

/// What the model and the threads around it may take after the release before an answer counts as late,
/// milliseconds.
const ALLOWED: f64 = 5.0;

/// One run of a model in figures. Times in milliseconds.
#[derive(Serialize, Debug)]
pub(crate) struct AccuracyRow {
    pub(crate) scenario: String,
    /// Empty where the scenario has no cases, or they no names.
    pub(crate) case: String,
    pub(crate) carrier: String,
    pub(crate) congestion: String,
    /// Of what goes to the cloud.
    pub(crate) loss: String,
    pub(crate) deadline_ms: u32,
    /// Options that the scenario gave to the edge.
    pub(crate) options: Vec<String>,
    /// Frames that the edge captured.
    pub(crate) frames: u64,
    /// Tensors that the edge sent.
    pub(crate) sent: u64,
    /// Tensors that the cloud released by the deadline, and answered.
    pub(crate) answered: u64,
    /// Of those, how many had every slice.
    pub(crate) whole: u64,
    /// Of those, how many were right.
    pub(crate) correct: u64,
    /// Right answers that came more than the way back and 5 ms after the deadline. They are counted, being
    /// made of what was there by the deadline as the cloud reckoned it.
    pub(crate) correct_late: u64,
    /// Right answers of the frames captured: what was dropped, lost or late is not right.
    pub(crate) accuracy_in_time: Share,
    /// Right answers of those that came.
    pub(crate) accuracy_of_answered: Option<Share>,
    /// Of a sent tensor, headers aside.
    pub(crate) bytes_mean: Option<f64>,
    /// Tensors sent by each step of the ladder, where there is one.
    pub(crate) steps: BTreeMap<u8, u64>,
    /// From capture to answer, of the answered.
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p95_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) max_ms: Option<f64>,
    /// What waited at the bottleneck, in time at its rate.
    pub(crate) queue_p50_ms: Option<f64>,
    pub(crate) queue_p95_ms: Option<f64>,
    pub(crate) queue_max_ms: Option<f64>,
    /// Of what the bottleneck could have sent.
    pub(crate) utilisation: f64,
    /// Frames that were not sent and tensors that came to nothing, by reason.
    pub(crate) drops: BTreeMap<String, u64>,
    /// Packets dropped at the bottleneck.
    pub(crate) queue_drops: u64,
    /// Of the packets that came to the line, the share lost there.
    pub(crate) line_loss: f64,
    /// By the bottleneck's rate when the frames were captured, lowest first.
    pub(crate) by_rate: Vec<RateRow>,
    pub(crate) windows: Vec<WindowRow>,
    /// Seconds that the stream took.
    pub(crate) seconds: f64,
    pub(crate) kernel: String,
    /// Whether the answer to each frame was right and in time, in the order of capture.
    #[serde(skip)]
    pub(crate) right: Vec<bool>,
    /// Frames captured in a second.
    #[serde(skip)]
    pub(crate) fps: f64,
}

/// The frames captured while the bottleneck had one rate.
#[derive(Serialize, Debug)]
pub(crate) struct RateRow {
    pub(crate) rate_mbps: f64,
    pub(crate) frames: u64,
    pub(crate) sent: u64,
    pub(crate) answered: u64,
    pub(crate) correct: u64,
    pub(crate) accuracy_in_time: Share,
    /// Of a sent tensor.
    pub(crate) bytes_mean: Option<f64>,
}

impl AccuracyRow {
    /// Makes a row of a record.
    pub(crate) fn new(cell: &Cell, record: &Record) -> Result<Self> {
        let run = record.model.as_ref().context("the record has no model")?;
        let all = Counts::of(run.frames.iter());
        let (from, to) = (record.started_us, record.ended_us.max(record.started_us));
        let queue = queue_delays(cell, record, from, to);
        let flows = Flows::new(cell, record);
        let answered = |frame: &&Frame| frame.fate == Fate::Answered;
        let latencies = run.frames.iter().filter(answered);
        let latencies = Sorted::of(
            latencies
                .map(|frame| frame.latency_us as f64 / 1e3)
                .collect(),
        );
        let mut steps = BTreeMap::new();
        for step in run.frames.iter().filter_map(|frame| frame.step) {
            *steps.entry(step).or_default() += 1;
        }
        let mut drops = run.file.skipped.clone();
        for (reason, count) in &run.lost {
            *drops.entry(reason.clone()).or_default() += count;
        }
        let (passed, lost) = record.line;
        let latest = f64::from(cell.stream.deadline_ms) + cell.path.delay_ms.0 + ALLOWED;
        let late = |frame: &&Frame| frame.correct && frame.latency_us as f64 / 1e3 > latest;
        Ok(Self {
            scenario: cell.scenario.clone(),
            case: cell.case.clone().unwrap_or_default(),
            carrier: cell.carrier.name.clone(),
            congestion: cell.carrier.congestion.clone().unwrap_or_default(),
            loss: cell.path.loss.text().to_owned(),
            deadline_ms: cell.stream.deadline_ms,
            options: cell.stream.options.clone(),
            frames: all.frames,
            sent: all.sent,
            answered: all.answered,
            whole: run.frames.iter().filter(|frame| frame.whole).count() as u64,
            correct: all.correct,
            correct_late: run.frames.iter().filter(late).count() as u64,
            accuracy_in_time: all.in_time().context("the edge captured no frame")?,
            accuracy_of_answered: Share::of(all.correct, all.answered),
            bytes_mean: all.bytes_mean(),
            steps,
            p50_ms: latencies.at(50.0),
            p95_ms: latencies.at(95.0),
            p99_ms: latencies.at(99.0),
            max_ms: latencies.at(100.0),
            queue_p50_ms: queue.at(50.0),
            queue_p95_ms: queue.at(95.0),
            queue_max_ms: queue.at(100.0),
            utilisation: window(cell, record, &flows, "all", from, to).utilisation,
            drops,
            queue_drops: record.queue.last().map_or(0, |sample| sample.dropped),
            line_loss: lost as f64 / ((passed + lost).max(1)) as f64,
            by_rate: by_rate(cell, &run.frames),
            windows: windows(cell, record, &flows),
            seconds: (to - from) as f64 / 1e6,
            kernel: record.kernel.clone(),
            right: run.frames.iter().map(|frame| frame.correct).collect(),
            fps: cell.fps(),
        })
    }
}

/// The frames by the rate under which they were captured; nothing where it never changes.
fn by_rate(cell: &Cell, frames: &[Frame]) -> Vec<RateRow> {
    let rate = |frame: &Frame| cell.rate_at(frame.number as f64 / cell.fps()).0;
    let mut counts: BTreeMap<u64, (f64, Counts)> = BTreeMap::new();
    for frame in frames {
        let rate = rate(frame);
        // Its bits a second order rates as their numbers do.
        let (_, counts) = counts
            .entry(rounded(1e6 * rate))
            .or_insert_with(|| (rate, Counts::default()));
        counts.add(frame);
    }
    if counts.len() < 2 {
        return Vec::new();
    }
    let row = |(rate_mbps, counts): (f64, Counts)| {
        Some(RateRow {
            rate_mbps,
            frames: counts.frames,
            sent: counts.sent,
            answered: counts.answered,
            correct: counts.correct,
            accuracy_in_time: counts.in_time()?,
            bytes_mean: counts.bytes_mean(),
        })
    };
    counts.into_values().filter_map(row).collect()
}

/// Sums over some frames.
#[derive(Clone, Copy, Default)]
struct Counts {
    frames: u64,
    sent: u64,
    answered: u64,
    correct: u64,
    bytes: u64,
}

impl Counts {
    fn of<'a>(frames: impl Iterator<Item = &'a Frame>) -> Self {
        let mut counts = Self::default();
        frames.for_each(|frame| counts.add(frame));
        counts
    }

    fn add(&mut self, frame: &Frame) {
        self.frames += 1;
        self.sent += u64::from(frame.is_sent());
        self.answered += u64::from(frame.fate == Fate::Answered);
        self.correct += u64::from(frame.correct);
        self.bytes += frame.bytes;
    }

    fn in_time(&self) -> Option<Share> {
        Share::of(self.correct, self.frames)
    }

    fn bytes_mean(&self) -> Option<f64> {
        (self.sent > 0).then(|| self.bytes as f64 / self.sent as f64)
    }
}

#[cfg(test)]
mod tests;
