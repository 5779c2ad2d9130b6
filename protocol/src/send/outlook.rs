//! What a sender may expect of its path.

use std::time::Duration;

use super::loss::Loss;
use crate::time::Time;

/// What the path does, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outlook {
    pub(crate) loss: Loss,
    /// From sending to arrival; none before the first sample of the round-trip time.
    pub(crate) one_way: Option<Duration>,
    /// From sending to knowing of the loss; none before the first sample of the round-trip time.
    pub(crate) detection: Option<Duration>,
}

impl Outlook {
    /// Whether what is sent at `now` arrives by `deadline`.
    pub(super) fn arrives(&self, now: Time, deadline: Time) -> bool {
        self.one_way.is_some_and(|way| now + way <= deadline)
    }

    /// Rounds of retransmission that a packet sent at `now` can have before `deadline`.
    pub(super) fn rounds(&self, now: Time, deadline: Time) -> u32 {
        let (Some(way), Some(detection)) = (self.one_way, self.detection) else {
            return 0;
        };
        let left = (deadline - now).saturating_sub(way).as_micros();
        u32::try_from(left / detection.as_micros().max(1)).unwrap_or(u32::MAX)
    }
}
