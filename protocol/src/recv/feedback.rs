//! When to report arrivals and releases, and what a report holds (wire-format.md, section 5).

use std::collections::VecDeque;
use std::time::Duration;

use super::PacketArrivals;
use crate::config::Config;
use crate::stats::Stats;
use crate::time::Time;
use crate::wire::{
    FeedbackWriter, HEADER_LEN, Load, MAX_PACKET_REPORTS, MAX_RELEASE_REPORTS, MessageType,
    PacketReport, ReleaseReport, TRAILER_ROOM, put_header,
};

/// Longest wait of a packet for its report.
pub(crate) const MAX_DELAY: Duration = Duration::from_millis(10);
/// A report is made once so many packets wait for it.
const MAX_WAITING: u32 = 32;
/// Least time between reports of gaps.
const LEAST_GAP: Duration = Duration::from_millis(2);
/// Reports that name each release: it survives the loss of two.
const REPEATS: u8 = 3;

/// Reports remembered: those of an eighth of a second at least.
const REPORTS: usize = 64;

/// When the newest reports were sent.
#[derive(Debug, Default)]
pub(crate) struct Reports(VecDeque<Time>);

impl Reports {
    pub(crate) fn sent(&mut self, now: Time) {
        if self.0.len() == REPORTS {
            self.0.pop_front();
        }
        self.0.push_back(now);
    }

    pub(crate) fn newest(&self) -> Option<Time> {
        self.0.back().copied()
    }

    /// Whether there was a report from `first` to `last`; there was where those are no longer remembered.
    pub(crate) fn any_within(&self, first: Time, last: Time) -> bool {
        let forgotten =
            self.0.len() == REPORTS && self.0.front().is_some_and(|oldest| *oldest > last);
        first <= last && forgotten || self.0.iter().any(|at| (first..=last).contains(at))
    }
}

#[derive(Debug, Default)]
pub(crate) struct FeedbackState {
    due: Option<Time>,
    waiting: u32,
    /// Ends of the last two reports that told of something new: the next begins where the one before the last
    /// ended.
    ends: [u64; 2],
    reports: Reports,
    releases: VecDeque<(ReleaseReport, u8)>,
    /// The load to report, where the caller said.
    pub(crate) load: Option<Load>,
}

impl FeedbackState {
    /// A packet that elicits FEEDBACK has arrived.
    pub(crate) fn arrived(&mut self, now: Time, at_once: bool) {
        self.waiting += 1;
        let due = if at_once || self.waiting >= MAX_WAITING {
            now
        } else {
            now + MAX_DELAY
        };
        self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
    }

    /// A gap has shown, or the packets of an incomplete tensor have passed: a report is due within
    /// `wait`, though not sooner than [`LEAST_GAP`] after the one before.
    pub(crate) fn hurry(&mut self, now: Time, wait: Duration) {
        let soonest = self
            .reports
            .newest()
            .map_or(now, |before| before + LEAST_GAP);
        let due = (now + wait).max(soonest);
        self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
    }

    /// When reports were sent.
    pub(crate) const fn reports(&self) -> &Reports {
        &self.reports
    }

    /// A tensor has met its end.
    pub(crate) fn released(&mut self, now: Time, report: ReleaseReport, stats: &mut Stats) {
        if self.releases.len() == MAX_RELEASE_REPORTS {
            self.releases.pop_front();
            stats.reports_dropped += 1;
        }
        self.releases.push_back((report, REPEATS));
        let due = now + MAX_DELAY;
        self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
    }

    /// When the next report is due.
    pub(crate) const fn due(&self) -> Option<Time> {
        self.due
    }

    /// Writes a report, header and body, into `out`.
    pub(crate) fn write(
        &mut self,
        now: Time,
        arrivals: &PacketArrivals,
        out: &mut Vec<u8>,
        config: &Config,
        packet_number: u32,
    ) {
        let end = arrivals.end();
        let load = if self.load.is_some() { 10 } else { 0 };
        let room = usize::from(config.mss)
            - HEADER_LEN
            - TRAILER_ROOM
            - FeedbackWriter::FIXED
            - load
            - 4 * self.releases.len();
        let most = (room / 2).min(MAX_PACKET_REPORTS) as u64;
        let [begin, last] = self.ends;
        let begin = begin.max(end.saturating_sub(most));
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the wire carries the low bits"
        )]
        let begin_low = begin as u32;
        put_header(
            out,
            MessageType::Feedback,
            self.load.is_some().into(),
            config.remote_connection,
            packet_number,
        );
        FeedbackWriter {
            report_timestamp: now.wire(),
            begin: begin_low,
            load: self.load,
        }
        .encode(
            out,
            (begin..end).map(|number| match arrivals.marked_arrival(number) {
                Some((at, ecn)) => PacketReport::Received {
                    ecn,
                    age: Some(now - at),
                },
                None => PacketReport::Missing,
            }),
            self.releases.iter().map(|(report, _)| *report),
        );
        self.releases.retain_mut(|(_, left)| {
            *left -= 1;
            *left > 0
        });
        if end > last {
            self.ends = [last, end];
        }
        self.reports.sent(now);
        self.waiting = 0;
        // What was told once is repeated with the next report, whenever that is.
        self.due = None;
    }
}
