//! When to report arrivals and releases, and what a report holds (wire-format.md, section 5).

use std::collections::VecDeque;
use std::time::Duration;

use super::PacketArrivals;
use crate::config::Config;
use crate::stats::Stats;
use crate::time::Time;
use crate::wire::{
    Ecn, FeedbackWriter, HEADER_LEN, Load, MAX_PACKET_REPORTS, MAX_RELEASE_REPORTS, MessageType,
    PacketReport, ReleaseReport, TRAILER_ROOM, put_header, seal,
};

/// Longest wait of a packet for its report.
pub(crate) const MAX_DELAY: Duration = Duration::from_millis(10);
/// A report is made once so many packets wait for it.
const MAX_WAITING: u32 = 32;
/// Reports that name each release: it survives the loss of two.
const REPEATS: u8 = 3;

#[derive(Debug, Default)]
pub(crate) struct FeedbackState {
    due: Option<Time>,
    waiting: u32,
    /// Ends of the last two reports: the next begins where the one before the last ended.
    ends: [u64; 2],
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

    /// Writes a report, header to trailer, into `out`.
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
            (begin..end).map(|number| match arrivals.arrival(number) {
                Some(at) => PacketReport::Received {
                    ecn: Ecn::NotEct,
                    age: Some(now - at),
                },
                None => PacketReport::Missing,
            }),
            self.releases.iter().map(|(report, _)| *report),
        );
        seal(out);
        self.releases.retain_mut(|(_, left)| {
            *left -= 1;
            *left > 0
        });
        self.ends = [last, end];
        self.waiting = 0;
        // What was told once is repeated with the next report, whenever that is.
        self.due = None;
    }
}
