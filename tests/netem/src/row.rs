//! What a run comes to: one row.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde_json::Value;

use crate::cell::Cell;
use crate::network::HEADERS;
use crate::record::{Percentile, Record};
use crate::window::{Flows, WindowRow, queue_delays, window, windows};

/// One run in figures. Times in milliseconds, rates in megabits a second.
#[derive(Serialize, Debug)]
pub(crate) struct Row {
    pub(crate) scenario: String,
    pub(crate) carrier: String,
    pub(crate) congestion: String,
    /// Of what goes to the cloud.
    pub(crate) loss: String,
    pub(crate) deadline_ms: u32,
    /// REPAIR packets for each DATA packet sent once.
    pub(crate) parity_ratio: f64,
    /// Tensors that the edge sent.
    pub(crate) tensors: u64,
    /// Tensors released at the cloud with at least one slice.
    pub(crate) released: u64,
    /// Tensors released with every slice.
    pub(crate) whole: u64,
    /// Latency from capture to release, of released tensors.
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p95_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) max_ms: Option<f64>,
    /// 95 % intervals of the percentiles; an end is missing where there were too few tensors.
    pub(crate) p50_interval: [Option<f64>; 2],
    pub(crate) p95_interval: [Option<f64>; 2],
    pub(crate) p99_interval: [Option<f64>; 2],
    /// From capture until the application had it, which waits for a busy model.
    pub(crate) handed_p50_ms: Option<f64>,
    pub(crate) handed_p99_ms: Option<f64>,
    /// A tensor's time at the bottleneck, headers and all but without parity, and one way.
    pub(crate) limit_ms: f64,
    /// Slices that were usable, from the first capture to the last release.
    pub(crate) goodput_mbps: f64,
    /// What waited at the bottleneck, in time at its rate, over the stream's time.
    pub(crate) queue_p50_ms: Option<f64>,
    pub(crate) queue_p95_ms: Option<f64>,
    pub(crate) queue_max_ms: Option<f64>,
    /// Of what the bottleneck could have sent, over the stream's time.
    pub(crate) utilisation: f64,
    /// Frames that the edge did not send and tensors that came to nothing, by reason.
    pub(crate) drops: BTreeMap<String, u64>,
    /// Frames that the edge captured.
    pub(crate) frames: u64,
    /// Tensors released, by reason.
    pub(crate) released_by: BTreeMap<String, u64>,
    /// Frames skipped and tensors abandoned, as the edge's notices said.
    pub(crate) notices: BTreeMap<String, u64>,
    /// DATA packets sent again, for each sent once.
    pub(crate) retransmitted_ratio: f64,
    /// Packets dropped at the bottleneck.
    pub(crate) queue_drops: u64,
    /// Packets marked at the bottleneck.
    pub(crate) queue_marks: u64,
    /// Of the packets that came to the line, the share lost there.
    pub(crate) line_loss: f64,
    /// Slices that were not what they should be.
    pub(crate) damaged: u64,
    /// Seconds that the stream took.
    pub(crate) seconds: f64,
    pub(crate) windows: Vec<WindowRow>,
    pub(crate) kernel: String,
    /// What the edge knew of its path.
    pub(crate) edge_path: Value,
    /// What the sessions counted at both ends.
    pub(crate) edge_counters: Option<Value>,
    pub(crate) cloud_counters: Option<Value>,
}

impl Row {
    /// Makes a row of a record.
    pub(crate) fn new(cell: &Cell, record: &Record) -> Result<Self> {
        let edge = record.edges.iter().find(|(flow, _)| flow.is_none());
        let (_, edge) = edge.context("the record has no edge")?;
        let session = record
            .session_of(edge)
            .context("the cloud has no record of the stream")?;
        let bits = 8 * (edge.on_wire.bytes + HEADERS * edge.on_wire.packets);
        let (from, to) = (record.started_us, record.ended_us.max(record.started_us));
        let queue = queue_delays(cell, record, from, to);
        let flows = Flows::new(cell, record);
        let whole_run = window(cell, record, &flows, "all", from, to);
        let mut drops = edge.skipped.clone();
        for (reason, count) in [
            ("lost", session.lost),
            ("superseded at the cloud", session.superseded),
        ] {
            if count > 0 {
                *drops.entry(reason.to_owned()).or_default() += count;
            }
        }
        let value = |percentile: Option<Percentile>| percentile.map(|p| p.value);
        let interval = |p: Option<Percentile>| [p.and_then(|p| p.low), p.and_then(|p| p.high)];
        let (latency, handed) = (&session.latency_ms, &session.handed_ms);
        let (passed, lost) = record.line;
        let ends = |of: fn(&crate::record::Sample) -> u64| record.queue.last().map_or(0, of);
        Ok(Self {
            scenario: cell.scenario.clone(),
            carrier: cell.carrier.name.clone(),
            congestion: cell.carrier.congestion.clone().unwrap_or_default(),
            loss: cell.path.loss.text().to_owned(),
            deadline_ms: cell.stream.deadline_ms,
            parity_ratio: edge.parity_ratio,
            tensors: edge.sent,
            released: session.tensors,
            whole: session.whole,
            p50_ms: value(latency.p50),
            p95_ms: value(latency.p95),
            p99_ms: value(latency.p99),
            max_ms: latency.max,
            p50_interval: interval(latency.p50),
            p95_interval: interval(latency.p95),
            p99_interval: interval(latency.p99),
            handed_p50_ms: value(handed.p50),
            handed_p99_ms: value(handed.p99),
            limit_ms: cell.limit_ms(bits as f64),
            goodput_mbps: session.goodput_mbps,
            queue_p50_ms: queue.at(50.0),
            queue_p95_ms: queue.at(95.0),
            queue_max_ms: queue.at(100.0),
            utilisation: whole_run.utilisation,
            drops,
            frames: edge.frames,
            released_by: session.released.clone(),
            notices: session.notices.clone(),
            retransmitted_ratio: edge.retransmitted_ratio,
            queue_drops: ends(|sample| sample.dropped),
            queue_marks: ends(|sample| sample.marked),
            line_loss: lost as f64 / ((passed + lost).max(1)) as f64,
            damaged: session.damaged,
            seconds: (to - from) as f64 / 1e6,
            windows: windows(cell, record, &flows),
            kernel: record.kernel.clone(),
            edge_path: edge.path.clone(),
            edge_counters: edge.counters.clone(),
            cloud_counters: session.counters.clone(),
        })
    }
}
