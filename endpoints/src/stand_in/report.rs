//! What the ends of a stand-in stream write down: JSON, for the network laboratory.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::handler::{Record, Release, notice_name};
use super::path::{PathLog, PathReport};
use super::{OnWire, monotonic};
use crate::clock::millis;
use crate::datapath::PathStats;
use crate::edge::Outcome;
use crate::statistics::Percentiles;

/// What a cloud says of one session.
#[derive(Serialize, Debug)]
#[non_exhaustive]
pub struct SessionReport {
    /// The stream's name.
    pub stream: String,
    /// Longest time from capture to release, milliseconds.
    pub deadline_ms: u32,
    /// Why the session ended.
    pub closed: String,
    /// Tensors released, and how many of them whole.
    pub tensors: u64,
    /// Tensors released with every slice.
    pub whole: u64,
    /// Tensors released, by reason.
    pub released: BTreeMap<&'static str, u64>,
    /// Tensors of which nothing arrived in time.
    pub lost: u64,
    /// Tensors given up for newer ones.
    pub superseded: u64,
    /// Slices that were not what they should be.
    pub damaged: u64,
    /// Released tensors that the figures leave out.
    pub unrecorded: u64,
    /// From capture to release.
    pub latency_ms: Spread,
    /// From capture until the handler had it.
    pub handed_ms: Spread,
    /// Bytes of slices that arrived or were repaired, from the first capture to the last release.
    pub goodput_mbps: f64,
    /// Frames skipped and tensors abandoned, by the reason in the edge's notices.
    pub notices: BTreeMap<&'static str, u64>,
    /// What session and socket have counted.
    pub counters: Option<Value>,
    /// Every release: capture in microseconds of the monotonic clock, latency to the release in
    /// microseconds, bytes, 1 if whole, reason.
    pub releases: Vec<(u64, u64, u64, u8, &'static str)>,
}

impl SessionReport {
    /// What is known of a stream at its end.
    #[must_use]
    pub fn new(stream: &str, record: &Record, closed: &str, stats: Option<&PathStats>) -> Self {
        let releases = &record.releases;
        let mut released = BTreeMap::new();
        for release in releases {
            *released.entry(release.reason.name()).or_default() += 1;
        }
        let spread = |of: fn(&Release) -> Duration| {
            Spread::of(releases.iter().map(|release| millis(of(release))).collect())
        };
        Self {
            stream: stream.to_owned(),
            deadline_ms: record.deadline_ms,
            closed: closed.to_owned(),
            tensors: releases.len() as u64,
            whole: releases.iter().filter(|release| release.whole).count() as u64,
            released,
            lost: record.lost,
            superseded: record.superseded,
            damaged: record.damaged,
            unrecorded: record.unrecorded,
            latency_ms: spread(|release| release.latency),
            handed_ms: spread(|release| release.handed),
            goodput_mbps: goodput(releases),
            notices: record.notices.clone(),
            counters: stats.map(counters),
            releases: releases
                .iter()
                .map(|release| {
                    let latency = u64::try_from(release.latency.as_micros()).unwrap_or(u64::MAX);
                    let whole = u8::from(release.whole);
                    let reason = release.reason.name();
                    (
                        release.captured / 1_000,
                        latency,
                        release.bytes,
                        whole,
                        reason,
                    )
                })
                .collect(),
        }
    }
}

/// Megabits a second of slices, from the first capture to the last release; 0 without a release.
fn goodput(releases: &[Release]) -> f64 {
    let first = releases.iter().map(|release| release.captured).min();
    let end = |release: &Release| {
        let latency = u64::try_from(release.latency.as_nanos()).unwrap_or(u64::MAX);
        release.captured.saturating_add(latency)
    };
    let (Some(first), Some(last)) = (first, releases.iter().map(end).max()) else {
        return 0.0;
    };
    let bytes: u64 = releases.iter().map(|release| release.bytes).sum();
    8e3 * bytes as f64 / last.saturating_sub(first).max(1) as f64
}

/// How measurements spread: percentiles, each with its 95 % interval.
#[derive(Serialize, Clone, Debug, Default)]
#[non_exhaustive]
pub struct Spread {
    /// How many there are.
    pub count: usize,
    /// The median.
    pub p50: Option<Percentile>,
    /// What 95 of 100 do not exceed.
    pub p95: Option<Percentile>,
    /// What 99 of 100 do not exceed.
    pub p99: Option<Percentile>,
    /// The largest.
    pub max: Option<f64>,
}

/// A percentile of a sample, and between which values that of the population lies: none where the
/// sample is too small to say.
#[derive(Serialize, Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Percentile {
    /// By nearest rank.
    pub value: f64,
    /// Lower end of the 95 % interval.
    pub low: Option<f64>,
    /// Upper end of the 95 % interval.
    pub high: Option<f64>,
}

impl Spread {
    /// Percentiles of these measurements.
    #[must_use]
    pub fn of(measurements: Vec<f64>) -> Self {
        let sorted = Percentiles::of(measurements);
        let at = |percent| {
            let (low, high) = sorted.bounds(percent)?;
            Some(Percentile {
                value: sorted.at(percent)?,
                low,
                high,
            })
        };
        Self {
            count: sorted.len(),
            p50: at(50.0),
            p95: at(95.0),
            p99: at(99.0),
            max: sorted.at(100.0),
        }
    }
}

/// What an edge counts of the frames that it streams.
#[derive(Serialize, Debug)]
#[non_exhaustive]
pub struct EdgeReport {
    /// The stream's name, by which the cloud's report knows it.
    pub stream: String,
    /// When it began, microseconds of the monotonic clock.
    pub started_us: u64,
    /// When it ended.
    pub ended_us: u64,
    /// Frames captured.
    pub frames: u64,
    /// Tensors sent, and their bytes before packets are made of them.
    pub sent: u64,
    /// Bytes of those tensors.
    pub bytes: u64,
    /// Tensors answered, whole or not.
    pub answered: u64,
    /// Tensors of which the cloud told that they ended without an answer, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Tensors of which nothing was heard.
    pub unanswered: u64,
    /// Frames not sent, by reason.
    pub skipped: BTreeMap<&'static str, u64>,
    /// One tensor on the wire, parity aside.
    pub on_wire: OnWire,
    /// REPAIR packets for each DATA packet of a tensor sent once.
    pub parity_ratio: f64,
    /// DATA packets sent again, for each sent once.
    pub retransmitted_ratio: f64,
    /// From capture to the arrival of the answer.
    pub round_trip_ms: Spread,
    /// What the session knew of its path.
    pub path: PathReport,
    /// What session and socket have counted.
    pub counters: Option<Value>,
    #[serde(skip)]
    round_trips: Vec<f64>,
}

impl EdgeReport {
    /// A report of a stream that begins now.
    #[must_use]
    pub fn new(stream: &str, on_wire: OnWire) -> Self {
        let started_us = monotonic() / 1_000;
        Self {
            stream: stream.to_owned(),
            started_us,
            ended_us: started_us,
            frames: 0,
            sent: 0,
            bytes: 0,
            answered: 0,
            dropped: BTreeMap::new(),
            unanswered: 0,
            skipped: BTreeMap::new(),
            on_wire,
            parity_ratio: 0.0,
            retransmitted_ratio: 0.0,
            round_trip_ms: Spread::default(),
            path: PathReport::default(),
            counters: None,
            round_trips: Vec::new(),
        }
    }

    /// Counts what became of a frame.
    pub fn tell(&mut self, outcome: &Outcome) {
        self.frames += 1;
        let sent = match outcome {
            Outcome::Answered { sent, latency, .. } => {
                self.answered += 1;
                self.round_trips.push(millis(*latency));
                sent
            }
            Outcome::Dropped { sent, reason } => {
                *self.dropped.entry(reason.name()).or_default() += 1;
                sent
            }
            Outcome::Unanswered { sent } => {
                self.unanswered += 1;
                sent
            }
            Outcome::Skipped { notice, .. } => {
                *self.skipped.entry(notice_name(*notice)).or_default() += 1;
                return;
            }
        };
        self.sent += 1;
        self.bytes += sent.bytes as u64;
    }

    /// Ends the report.
    pub fn finish(&mut self, stats: Option<&PathStats>, path: &PathLog) {
        self.path = path.report();
        self.ended_us = monotonic() / 1_000;
        self.round_trip_ms = Spread::of(std::mem::take(&mut self.round_trips));
        if let Some(stats) = stats {
            let session = &stats.session;
            let once = (session.tensors_sent * self.on_wire.packets).max(1) as f64;
            self.parity_ratio = session.repairs_sent as f64 / once;
            self.retransmitted_ratio = session.packets_retransmitted as f64 / once;
            self.counters = Some(counters(stats));
        }
    }
}

/// Every counter of a session and its socket, by name.
fn counters(stats: &PathStats) -> Value {
    let session = &stats.session;
    let mut counters = serde_json::Map::new();
    let mut count = |name: &str, value: u64| counters.insert(name.to_owned(), value.into());
    macro_rules! count_all {
        ($($name:ident),* $(,)?) => { $(count(stringify!($name), session.$name);)* };
    }
    count_all!(
        datagrams_sent,
        bytes_sent,
        tensors_sent,
        tensors_abandoned,
        repairs_sent,
        packets_retransmitted,
        packets_lost,
        packets_marked,
        circuit_breaks,
        frames_skipped,
        notices_dropped,
        reports_dropped,
        results_expired,
        datagrams_received,
        bytes_received,
        ignored,
        conflicts,
        over_limit,
        duplicates,
        late,
        repairs_received,
        repairs_unneeded,
        repairs_late,
        packets_recovered,
        tensors_complete,
        tensors_recovered,
        tensors_exhausted,
        tensors_deadline,
        tensors_evicted,
        tensors_superseded,
        tensors_lost,
        results_received,
        results_repeated,
        events_dropped,
    );
    count("refused", session.refused.total());
    count("busy", stats.busy);
    count("send_failed", stats.send_failed);
    counters.into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tensorwire_protocol::ReleaseReason;

    use super::*;

    fn release(captured_ms: u64, latency_ms: u64, whole: bool) -> Release {
        Release {
            captured: captured_ms * 1_000_000,
            latency: Duration::from_millis(latency_ms),
            handed: Duration::from_millis(latency_ms + 1),
            reason: if whole {
                ReleaseReason::Complete
            } else {
                ReleaseReason::Deadline
            },
            whole,
            bytes: if whole { 10_000 } else { 5_000 },
        }
    }

    #[test]
    fn a_session_in_figures() {
        let record = Record {
            deadline_ms: 35,
            releases: vec![
                release(0, 20, true),
                release(30, 35, false),
                release(60, 40, true),
            ],
            lost: 2,
            ..Record::default()
        };
        let report = SessionReport::new("stand-in/1", &record, "done", None);
        assert_eq!((report.tensors, report.whole, report.lost), (3, 2, 2));
        assert_eq!(
            report.released,
            BTreeMap::from([("complete", 2), ("deadline", 1)])
        );
        // 25,000 bytes in the 100 ms from the first capture to the last release.
        assert!((report.goodput_mbps - 2.0).abs() < 1e-9);
        let p50 = report.latency_ms.p50.unwrap();
        assert_eq!((p50.value, p50.low, p50.high), (35.0, None, None));
        assert_eq!(report.handed_ms.max, Some(41.0));
        assert_eq!(report.releases[1], (30_000, 35_000, 5_000, 0, "deadline"));
    }

    #[test]
    fn counters_have_their_names() {
        let mut stats = PathStats::default();
        stats.session.repairs_sent = 7;
        stats.busy = 2;
        let counters = counters(&stats);
        assert_eq!(
            (&counters["repairs_sent"], &counters["busy"]),
            (&json!(7), &json!(2))
        );
    }
}
