//! When nothing more can help a tensor (wire-format.md, section 8.4).

use std::time::Duration;

use super::assembly::Passage;
use super::feedback::{FeedbackState, Reports};
use super::passing::Passing;
use crate::config::Config;
use crate::send::Rtt;
use crate::time::Time;

/// What a receiver knows of the path and of its peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prospect<'a> {
    pub(crate) passing: &'a Passing,
    /// The reordering window.
    pub(crate) window: Duration,
    /// Whether the peer sends again what was lost.
    pub(crate) retransmission: bool,
    /// The least and the longest time that a report and the answer to it take.
    pub(crate) round_trip: Option<(Duration, Duration)>,
    /// When reports were sent.
    pub(crate) reports: &'a Reports,
}

impl<'a> Prospect<'a> {
    pub(crate) fn new(
        now: Time,
        config: &Config,
        passing: &'a Passing,
        rtt: &Rtt,
        feedback: &'a FeedbackState,
    ) -> Self {
        let window = passing.window(now);
        let round_trip = rtt.least(now).zip(rtt.longest());
        Self {
            passing,
            window,
            retransmission: config.retransmission,
            round_trip: round_trip.map(|(least, longest)| (least, longest + window)),
            reports: feedback.reports(),
        }
    }

    /// When all packets of a tensor have passed that were sent without being asked for: by count, by
    /// packets of a later tensor, or by the tail timer.
    pub(crate) fn passed(&self, now: Time, packets: u32, passage: &Passage) -> Time {
        let (seen, repairs) = passage
            .repairs
            .unwrap_or_else(|| (0, self.passing.repairs()));
        let remaining = packets - 1 - passage.greatest + repairs.saturating_sub(seen);
        let overdue = passage.newest + self.passing.tail(now, remaining);
        let passed = passage
            .followed
            .map_or(overdue, |followed| followed.min(overdue));
        passed + self.window
    }

    /// When the packets of later tensors have passed too whose blocks span this one; none as long as
    /// more of them are to come.
    pub(crate) fn outspanned(&self, outspanned: Option<Time>) -> Option<Time> {
        outspanned.map(|at| at + self.window)
    }

    /// When a tensor of which only REPAIR packets have come, if any, has passed: the newest of them at
    /// `newest`, and `repairs` as in [`Passage`].
    pub(crate) fn passed_unseen(
        &self,
        now: Time,
        newest: Time,
        repairs: Option<(u32, u32)>,
    ) -> Time {
        let remaining = repairs.map_or(0, |(seen, all)| all.saturating_sub(seen));
        newest + self.passing.tail(now, remaining) + self.window
    }

    /// When a tensor whose packets have `passed`, the first of them at `first`, can no longer be
    /// helped: never before its `deadline` where a report that is sent then can still be answered in
    /// time.
    pub(crate) fn exhausted(&self, first: Time, passed: Time, deadline: Time) -> Time {
        if !self.retransmission {
            return passed.min(deadline);
        }
        let Some((least, longest)) = self.round_trip else {
            return deadline;
        };
        if passed + least <= deadline {
            return deadline;
        }
        // What an earlier report made the peer send may be on its way.
        let reported = self.reports.newest_within(first, deadline - least);
        let answered = reported.map_or(passed, |reported| reported + longest);
        passed.max(answered).min(deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    fn passage(newest: u64, greatest: u32) -> Passage {
        Passage {
            newest: at(newest),
            greatest,
            repairs: None,
            followed: None,
            outspanned: None,
            told: false,
        }
    }

    fn prospect<'a>(passing: &'a Passing, reports: &'a Reports) -> Prospect<'a> {
        Prospect {
            passing,
            window: passing.window(at(50)),
            retransmission: false,
            round_trip: None,
            reports,
        }
    }

    #[test]
    fn packets_pass_by_count_by_a_later_tensor_or_by_the_tail_timer() {
        let passing = Passing::default();
        let reports = Reports::default();
        let passed = |passage: Passage| prospect(&passing, &reports).passed(at(50), 11, &passage);
        assert_eq!(passed(passage(50, 10)), at(51), "the last has come");
        assert_eq!(passed(passage(50, 9)), at(61), "the last is overdue");
        let followed = Passage {
            followed: Some(at(53)),
            ..passage(50, 3)
        };
        assert_eq!(passed(followed), at(54));
        let repairs = Passage {
            repairs: Some((1, 3)),
            ..passage(50, 10)
        };
        assert_eq!(passed(repairs), at(61), "two REPAIR packets are to come");
    }

    #[test]
    fn a_retransmission_that_can_arrive_is_waited_for() {
        let passing = Passing::default();
        let exhausted = |round_trip, reports: &[u64], passed, deadline| {
            let mut sent = Reports::default();
            reports.iter().for_each(|millis| sent.sent(at(*millis)));
            let prospect = Prospect {
                retransmission: true,
                round_trip,
                ..prospect(&passing, &sent)
            };
            prospect.exhausted(at(10), at(passed), at(deadline))
        };
        let round_trip = |millis| {
            let time = Duration::from_millis(millis);
            Some((time, time))
        };
        let none = Reports::default();
        let waits_for_nothing = prospect(&passing, &none).exhausted(at(10), at(60), at(100));
        assert_eq!(waits_for_nothing, at(60));
        assert_eq!(exhausted(None, &[], 60, 100), at(100));
        assert_eq!(exhausted(round_trip(10), &[], 60, 100), at(100));
        let (far, further) = (round_trip(80), round_trip(95));
        assert_eq!(exhausted(far, &[], 60, 100), at(60));
        assert_eq!(exhausted(far, &[15], 60, 100), at(95), "may be answered");
        assert_eq!(exhausted(far, &[15, 30], 60, 100), at(95), "30 is too late");
        assert_eq!(exhausted(far, &[5, 30], 60, 100), at(60), "5 is before it");
        assert_eq!(exhausted(further, &[5, 15], 60, 100), at(60));
        let many: Vec<u64> = (21..90).collect();
        assert_eq!(exhausted(far, &many, 60, 100), at(100), "forgotten");
    }
}
