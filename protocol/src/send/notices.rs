//! What the sender still has to say of frames it skipped and tensors it abandoned.

use std::collections::VecDeque;

use crate::stats::Stats;
use crate::wire::{Notice, NoticeReason};

/// Packets that carry each notice: it survives the loss of two.
const REPEATS: u8 = 3;
/// Notices kept. Beyond, the oldest is given up: notices inform, nothing depends on them.
const MOST: usize = 32;

#[derive(Debug, Default)]
pub(crate) struct Notices {
    waiting: VecDeque<(Notice, u8)>,
}

impl Notices {
    /// Adds `count` consecutive frames or tensors from `first` on, joined to the last notice where
    /// it goes on from there for the same reason.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the wire carries the low bits"
    )]
    pub(crate) fn add(&mut self, reason: NoticeReason, first: u64, count: u64, stats: &mut Stats) {
        let mut first = first;
        let end = first.saturating_add(count);
        while first < end {
            if let Some((last, repeats)) = self.waiting.back_mut()
                && last.reason == reason
                && *repeats == REPEATS
                && last.first.wrapping_add(u16::from(last.count)) == first as u16
                && last.count < u8::MAX
            {
                last.count += 1;
                first += 1;
                continue;
            }
            // More than the window of a 16-bit number cannot be told apart anyway.
            if end - first > u64::from(u8::MAX) * MOST as u64 {
                first = end - u64::from(u8::MAX) * MOST as u64;
            }
            if self.waiting.len() == MOST {
                self.waiting.pop_front();
                stats.notices_dropped += 1;
            }
            self.waiting.push_back((
                Notice {
                    reason,
                    first: first as u16,
                    count: 1,
                },
                REPEATS,
            ));
            first += 1;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The notice that the next packet carries. Notices take turns.
    pub(crate) fn take(&mut self) -> Option<Notice> {
        let (notice, left) = self.waiting.pop_front()?;
        if left > 1 {
            self.waiting.push_back((notice, left - 1));
        }
        Some(notice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_frames_join_and_are_said_three_times() {
        let mut notices = Notices::default();
        notices.add(NoticeReason::FrameRate, 5, 1, &mut Stats::default());
        notices.add(NoticeReason::FrameRate, 6, 2, &mut Stats::default());
        notices.add(NoticeReason::FrameDeadline, 8, 1, &mut Stats::default());
        let said: Vec<_> = std::iter::from_fn(|| notices.take()).collect();
        let rate = Notice {
            reason: NoticeReason::FrameRate,
            first: 5,
            count: 3,
        };
        let deadline = Notice {
            reason: NoticeReason::FrameDeadline,
            first: 8,
            count: 1,
        };
        assert_eq!(said, [rate, deadline, rate, deadline, rate, deadline]);
        assert!(notices.is_empty());
    }

    #[test]
    fn a_long_gap_is_cut_into_notices_of_255_and_bounded() {
        let mut notices = Notices::default();
        notices.add(NoticeReason::FrameRate, 0, 300, &mut Stats::default());
        assert_eq!(
            notices
                .waiting
                .iter()
                .map(|(n, _)| n.count)
                .collect::<Vec<_>>(),
            [255, 45]
        );
        notices.add(
            NoticeReason::FrameBusy,
            1_000,
            u64::MAX - 1_000,
            &mut Stats::default(),
        );
        assert!(notices.waiting.len() <= MOST);
    }
}
