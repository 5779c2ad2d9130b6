//! What a replay came to.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;
use tensorwire_protocol::{Config, ReleaseReason, Stats};

use super::receiver::{Tally, Timing};
use crate::capture::Role;
use crate::capture::flow::Flow;
use crate::lab::table::{Table, count, figures, percent, words};
use crate::statistics::Percentiles;
use crate::stream::StreamDescription;

/// What a replay came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The connection ID of datagrams to the receiver, six hexadecimal digits.
    pub session: String,
    /// Where the capture was made.
    pub captured_at: Option<Role>,
    /// What is streamed, in words.
    pub stream: String,
    /// The deadline, milliseconds.
    pub deadline_ms: u64,
    /// Whether the receiver waited for retransmissions.
    pub retransmission: bool,
    /// Whether timeouts were handled when the live receiver did; else when they were due.
    pub as_it_ran: bool,
    /// From the beginning of the session to its last packet, seconds.
    pub seconds: f64,
    /// Tensors that ended.
    pub tensors: u64,
    /// Those of them that ended so.
    pub complete: u64,
    /// As above.
    pub recovered: u64,
    /// As above.
    pub exhausted: u64,
    /// As above.
    pub deadline: u64,
    /// As above.
    pub evicted: u64,
    /// As above.
    pub superseded: u64,
    /// As above.
    pub lost: u64,
    /// Tensors that were still in progress.
    pub in_progress: usize,
    /// Share of tensors with every slice.
    pub whole_share: Option<f64>,
    /// Mean share of slices that were missing, tensors of which nothing was released counting whole.
    pub missing_share: Option<f64>,
    /// From capture, mapped to the receiver's clock, to release, milliseconds.
    pub latency_ms: Option<Latency>,
    /// Source packets computed from REPAIR packets.
    pub packets_recovered: u64,
    /// Datagrams that arrived.
    pub datagrams: u64,
    /// Those of them that were refused.
    pub refused: u64,
    /// Those that arrived twice under different packet numbers.
    pub duplicates: u64,
    /// DATA and REPAIR packets of tensors that had ended.
    pub late: u64,
    /// FEEDBACK sent.
    pub feedback: u64,
    /// Datagrams that the live receiver sent, by the capture.
    pub sent_live: u64,
    /// Those of them that the replay sent byte by byte.
    pub sent_same: u64,
    /// Packet numbers that the replay could not keep in step with the live receiver's.
    pub out_of_step: u64,
    /// Packets that the capture missed.
    pub missed: u64,
}

/// Percentiles, milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Latency {
    /// The median.
    pub p50: f64,
    /// 95 of 100 take no longer.
    pub p95: f64,
    /// 99 of 100 take no longer.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

impl Report {
    #[expect(
        clippy::too_many_arguments,
        reason = "everything that there is to tell"
    )]
    pub(super) fn new(
        flow: &Flow,
        stream: &StreamDescription,
        config: &Config,
        timing: Timing,
        lasted: Duration,
        stats: &Stats,
        tally: Tally,
        in_progress: usize,
    ) -> Self {
        let unreleased = stats.tensors_superseded + stats.tensors_lost;
        let whole = stats.tensors_complete + stats.tensors_recovered;
        let incomplete = stats.tensors_exhausted + stats.tensors_deadline + stats.tensors_evicted;
        let tensors = whole + incomplete + unreleased;
        let share = |part: f64| (tensors > 0).then(|| part / tensors as f64);
        let latencies = Percentiles::of(tally.latencies);
        Self {
            session: format!("{:06x}", flow.to_cloud.value()),
            captured_at: flow.role,
            stream: format!(
                "`{}` {}×{}×{} in {} slices",
                stream.split, stream.channels, stream.height, stream.width, config.slices
            ),
            deadline_ms: u64::try_from(config.deadline.as_millis()).unwrap_or(u64::MAX),
            retransmission: config.retransmission,
            as_it_ran: timing == Timing::Live,
            seconds: lasted.as_secs_f64(),
            tensors,
            complete: stats.tensors_complete,
            recovered: stats.tensors_recovered,
            exhausted: stats.tensors_exhausted,
            deadline: stats.tensors_deadline,
            evicted: stats.tensors_evicted,
            superseded: stats.tensors_superseded,
            lost: stats.tensors_lost,
            in_progress,
            whole_share: share(whole as f64),
            missing_share: share(tally.missing + unreleased as f64),
            latency_ms: Latency::of(&latencies),
            packets_recovered: stats.packets_recovered,
            datagrams: stats.datagrams_received,
            refused: stats.refused.total(),
            duplicates: stats.duplicates,
            late: stats.late + stats.repairs_late,
            feedback: tally.feedback,
            sent_live: tally.sent,
            sent_same: tally.same,
            out_of_step: tally.out_of_step,
            missed: flow.missed,
        }
    }

    /// The report for people.
    #[must_use]
    pub fn text(&self) -> String {
        let retransmission = if self.retransmission {
            ""
        } else {
            ", no retransmission"
        };
        let mut text = format!(
            "session {}: {}, deadline {} ms{retransmission}, {:.1} s\n{}\n\n{}\n\n",
            self.session,
            self.stream,
            self.deadline_ms,
            self.seconds,
            self.how(),
            self.reasons()
        );
        let shown = |share: Option<f64>| share.map_or_else(|| "—".to_owned(), percent);
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "whole {}, missing {}, {} packets recovered",
            shown(self.whole_share),
            shown(self.missing_share),
            self.packets_recovered
        );
        if let Some(Latency { p50, p95, p99, max }) = self.latency_ms {
            let _ = writeln!(
                text,
                "capture to release  p50 {p50:.2} ms   p95 {p95:.2} ms   p99 {p99:.2} ms   longest {max:.2} ms"
            );
        }
        let _ = write!(
            text,
            "{} datagrams received, {} refused, {} duplicate, {} late; {} FEEDBACK sent",
            self.datagrams, self.refused, self.duplicates, self.late, self.feedback
        );
        if self.missed > 0 {
            let _ = write!(
                text,
                "\nthe capture missed {} packets: live there were more",
                self.missed
            );
        }
        // At the beginning some are, until there is something to make up for them with.
        if self.out_of_step * 20 > self.sent_live {
            let _ = write!(
                text,
                "\n{} packet numbers are not those of the live receiver: the capture begins within the \
                 session, or lacks too much; take latencies with care",
                self.out_of_step
            );
        }
        text
    }

    /// In what way time was counted.
    fn how(&self) -> String {
        let place = match self.captured_at {
            Some(Role::Cloud) => "captured at the cloud",
            Some(Role::Edge) => {
                "captured at the edge, as if nothing were lost or delayed on the way"
            }
            Some(Role::LinkEdge | Role::LinkCloud) => "captured behind a link emulator",
            None => "a foreign capture",
        };
        if self.as_it_ran {
            let (same, all) = (self.sent_same, self.sent_live);
            format!("{place}, replayed as it ran: {same} of {all} datagrams sent are the same")
        } else {
            format!("{place}, replayed with timeouts handled when they are due")
        }
    }

    fn reasons(&self) -> Table {
        let mut table = Table::new(&[words("reason"), figures("tensors"), figures("share")]);
        for (reason, tensors) in [
            (ReleaseReason::Complete, self.complete),
            (ReleaseReason::Recovered, self.recovered),
            (ReleaseReason::Exhausted, self.exhausted),
            (ReleaseReason::Deadline, self.deadline),
            (ReleaseReason::Evicted, self.evicted),
            (ReleaseReason::Superseded, self.superseded),
            (ReleaseReason::Lost, self.lost),
        ] {
            let share = tensors as f64 / (self.tensors.max(1)) as f64;
            let tensors = count(usize::try_from(tensors).unwrap_or(usize::MAX));
            table.row([reason.name().to_owned(), tensors, percent(share)]);
        }
        table
    }
}

impl Latency {
    fn of(latencies: &Percentiles) -> Option<Self> {
        let at = |percent| latencies.at(percent);
        Some(Self {
            p50: at(50.0)?,
            p95: at(95.0)?,
            p99: at(99.0)?,
            max: at(100.0)?,
        })
    }
}
