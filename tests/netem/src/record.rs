//! What a run leaves behind, before anything is made of it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::frame::{Fate, Frame, ModelRun};
use crate::quantity::rounded;

/// Everything that was measured in one run. Times are microseconds of the monotonic clock, which all
/// programs of the run share.
#[derive(Serialize, Deserialize, Debug)]
pub(crate) struct Record {
    /// When the edge began to stream.
    pub(crate) started_us: u64,
    /// When it was done.
    pub(crate) ended_us: u64,
    /// Of stand-ins; empty where a model is streamed.
    pub(crate) cloud: CloudFile,
    /// The stand-ins' edges: the stream's, then those of `tsp` flows, each with the number of its flow.
    pub(crate) edges: Vec<(Option<usize>, EdgeFile)>,
    /// Of a model.
    pub(crate) model: Option<ModelRun>,
    /// What TCP flows have delivered: the number of the flow, then bytes by moments.
    pub(crate) sinks: Vec<(usize, Vec<(u64, u64)>)>,
    /// The bottleneck, many times a second.
    pub(crate) queue: Vec<Sample>,
    /// What the line behind the bottleneck has carried and lost, packets.
    pub(crate) line: (u64, u64),
    /// Kernel of the run.
    pub(crate) kernel: String,
}

/// The bottleneck's queue at a moment.
#[derive(Serialize, Deserialize, Clone, Copy, Default, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) at_us: u64,
    /// Bytes that wait.
    pub(crate) backlog: u64,
    /// Bytes sent since the start.
    pub(crate) sent: u64,
    /// Packets sent since the start.
    pub(crate) packets: u64,
    /// Packets dropped since the start.
    pub(crate) dropped: u64,
    /// Packets marked since the start.
    pub(crate) marked: u64,
}

/// What `tw-cloud --json` writes, as far as it matters here.
#[derive(Serialize, Deserialize, Default, Debug)]
pub(crate) struct CloudFile {
    pub(crate) sessions: Vec<Session>,
}

/// A session as the cloud saw it.
#[derive(Serialize, Deserialize, Debug)]
pub(crate) struct Session {
    pub(crate) stream: String,
    pub(crate) tensors: u64,
    pub(crate) whole: u64,
    pub(crate) released: BTreeMap<String, u64>,
    pub(crate) lost: u64,
    pub(crate) superseded: u64,
    pub(crate) damaged: u64,
    pub(crate) latency_ms: Spread,
    pub(crate) handed_ms: Spread,
    pub(crate) goodput_mbps: f64,
    pub(crate) notices: BTreeMap<String, u64>,
    pub(crate) counters: Option<Value>,
    pub(crate) releases: Vec<Release>,
}

/// Capture, latency, bytes, 1 if whole, reason.
pub(crate) type Release = (u64, u64, u64, u8, String);

impl Record {
    /// The tensors of the stream that came to something: those that the cloud released, or of a model
    /// those that were answered, whose latency then is that of the answer. An edge with a model does not
    /// tell when it captured a frame; `fps` frames a second were.
    pub(crate) fn releases(&self, fps: f64) -> Cow<'_, [Release]> {
        let Some(model) = &self.model else {
            let edge = self.edges.iter().find(|(flow, _)| flow.is_none());
            let session = edge.and_then(|(_, edge)| self.session_of(edge));
            return session.map_or(&[][..], |session| &session.releases).into();
        };
        let answered = model
            .frames
            .iter()
            .filter(|frame| frame.fate == Fate::Answered);
        let release = |frame: &Frame| {
            let captured = self.started_us + rounded(1e6 * frame.number as f64 / fps);
            let whole = u8::from(frame.whole);
            let (latency, bytes) = (frame.latency_us, frame.bytes);
            (captured, latency, bytes, whole, String::new())
        };
        answered.map(release).collect()
    }

    /// The cloud's session with an edge.
    pub(crate) fn session_of(&self, edge: &EdgeFile) -> Option<&Session> {
        let mut sessions = self.cloud.sessions.iter();
        sessions.find(|session| session.stream == edge.stream)
    }
}

/// Percentiles with their intervals.
#[derive(Serialize, Deserialize, Clone, Copy, Default, Debug)]
pub(crate) struct Spread {
    pub(crate) p50: Option<Percentile>,
    pub(crate) p95: Option<Percentile>,
    pub(crate) p99: Option<Percentile>,
    pub(crate) max: Option<f64>,
}

/// A percentile with its 95 % interval.
#[derive(Serialize, Deserialize, Clone, Copy, Debug)]
pub(crate) struct Percentile {
    pub(crate) value: f64,
    pub(crate) low: Option<f64>,
    pub(crate) high: Option<f64>,
}

/// What `tw-edge --json` writes, as far as it matters here.
#[derive(Serialize, Deserialize, Debug)]
pub(crate) struct EdgeFile {
    pub(crate) stream: String,
    pub(crate) frames: u64,
    pub(crate) sent: u64,
    pub(crate) answered: u64,
    pub(crate) unanswered: u64,
    pub(crate) skipped: BTreeMap<String, u64>,
    pub(crate) on_wire: OnWire,
    pub(crate) parity_ratio: f64,
    pub(crate) retransmitted_ratio: f64,
    /// What the edge knew of its path.
    #[serde(default)]
    pub(crate) path: Value,
    pub(crate) counters: Option<Value>,
}

/// A tensor on the wire, parity aside.
#[derive(Serialize, Deserialize, Clone, Copy, Debug)]
pub(crate) struct OnWire {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}
