//! When nothing more can help a tensor (wire-format.md, section 8.4).

use std::time::Duration;

use super::assembly::Passage;
use super::feedback::{FeedbackState, Reports};
use super::passing::Passing;
use crate::config::Config;
use crate::send::Rtt;
use crate::time::Time;

/// Time after which an incomplete tensor is reported again, the first time: longer than a sender is patient
/// with what a report is silent of, unless it was wrong several times.
const AGAIN: Duration = Duration::from_millis(5);

/// What a receiver knows of the path and of its peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prospect<'a> {
    pub(crate) passing: &'a Passing,
    /// The reordering window.
    pub(crate) window: Duration,
    /// Whether the peer sends again what was lost.
    pub(crate) retransmission: bool,
    /// The least time that a report and the answer to it take.
    pub(crate) round_trip: Option<Duration>,
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
        Self {
            passing,
            window,
            retransmission: config.retransmission,
            round_trip: rtt.least(now),
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

    /// When a tensor that stays incomplete is reported again, after it was reported so many `times`, last
    /// `at`: each time after twice as long, as long as an answer can come before its `deadline`.
    pub(crate) fn reported_again(&self, times: u8, at: Time, deadline: Time) -> Option<Time> {
        let waits = 1_u32 << times.saturating_sub(1).min(16);
        let again = at + AGAIN * waits;
        (again + self.round_trip? <= deadline).then_some(again)
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

    /// When a tensor whose packets have `passed` can no longer be helped: never before its `deadline` where a
    /// report that is sent then, or was since its packets could first arrive, can be answered in time. What the
    /// peer sends again may come until the end.
    pub(crate) fn exhausted(&self, captured: Time, passed: Time, deadline: Time) -> Time {
        if !self.retransmission {
            return passed.min(deadline);
        }
        let Some(round_trip) = self.round_trip else {
            return deadline;
        };
        let helps = passed + round_trip <= deadline
            || (self.reports).any_within(captured + round_trip / 2, deadline - round_trip);
        if helps {
            deadline
        } else {
            passed.min(deadline)
        }
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
            told: None,
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
    fn reports_are_repeated_ever_less_often_while_they_can_be_answered() {
        let (passing, reports) = (Passing::default(), Reports::default());
        let known = Prospect {
            round_trip: Some(Duration::from_millis(20)),
            ..prospect(&passing, &reports)
        };
        let mut last = at(50);
        let mut again = vec![];
        for times in 1.. {
            let Some(next) = known.reported_again(times, last, at(120)) else {
                break;
            };
            again.push(next.as_micros() / 1_000);
            last = next;
        }
        assert_eq!(again, [55, 65, 85]);
        let unknown = prospect(&passing, &reports);
        assert_eq!(unknown.reported_again(1, at(50), at(120)), None);
        assert!(
            known
                .reported_again(u8::MAX, at(0), at(u64::MAX / 4_000))
                .is_some()
        );
    }

    #[test]
    fn a_retransmission_that_can_arrive_is_waited_for() {
        let passing = Passing::default();
        let exhausted = |round_trip: Option<u64>, reports: &[u64], passed, deadline| {
            let mut sent = Reports::default();
            reports.iter().for_each(|millis| sent.sent(at(*millis)));
            let prospect = Prospect {
                retransmission: true,
                round_trip: round_trip.map(Duration::from_millis),
                ..prospect(&passing, &sent)
            };
            prospect.exhausted(at(0), at(passed), at(deadline))
        };
        let none = Reports::default();
        let waits_for_nothing = prospect(&passing, &none).exhausted(at(0), at(60), at(100));
        assert_eq!(waits_for_nothing, at(60));
        assert_eq!(exhausted(None, &[], 60, 100), at(100));
        assert_eq!(exhausted(Some(10), &[], 60, 100), at(100));
        assert_eq!(exhausted(Some(60), &[], 60, 100), at(60));
        assert_eq!(
            exhausted(Some(60), &[35], 60, 100),
            at(100),
            "may be answered"
        );
        assert_eq!(
            exhausted(Some(60), &[45], 60, 100),
            at(60),
            "45 is too late"
        );
        assert_eq!(
            exhausted(Some(60), &[25, 45], 60, 100),
            at(60),
            "25 is before it"
        );
        assert_eq!(exhausted(Some(80), &[25, 35], 60, 100), at(60));
        let many: Vec<u64> = (41..110).collect();
        assert_eq!(exhausted(Some(60), &many, 60, 100), at(100), "forgotten");
    }
}
