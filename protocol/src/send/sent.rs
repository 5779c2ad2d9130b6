//! When recent packets were sent.

use std::collections::VecDeque;

use crate::time::Time;

/// Packets remembered: a second and more of any stream that is not far beyond its path.
const MOST: usize = 4_096;

/// The packet numbers of one direction and the times at which the newest were sent.
#[derive(Debug, Default)]
pub(crate) struct SentPackets {
    next: u64,
    /// Time of sending and whether FEEDBACK has told of it, for the packets before `next`.
    recent: VecDeque<(Time, bool)>,
}

impl SentPackets {
    /// The number of the next packet.
    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    pub(crate) fn push(&mut self, now: Time) {
        if self.recent.len() == MOST {
            self.recent.pop_front();
        }
        self.recent.push_back((now, false));
        self.next += 1;
    }

    /// Marks `number` acknowledged; its time of sending if that is news and still known.
    pub(crate) fn acknowledge(&mut self, number: u64) -> Option<Time> {
        let oldest = self.next - self.recent.len() as u64;
        let index = usize::try_from(number.checked_sub(oldest)?).ok()?;
        let (sent, told) = self.recent.get_mut(index)?;
        (!std::mem::replace(told, true)).then_some(*sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_is_news_once() {
        let mut sent = SentPackets::default();
        sent.push(Time::from_millis(3));
        assert_eq!(sent.acknowledge(0), Some(Time::from_millis(3)));
        assert_eq!(sent.acknowledge(0), None);
        assert_eq!(sent.acknowledge(1), None, "never sent");
    }

    #[test]
    fn old_packets_are_forgotten() {
        let mut sent = SentPackets::default();
        (0..5_000).for_each(|ms| sent.push(Time::from_millis(ms)));
        assert_eq!(sent.acknowledge(903), None);
        assert_eq!(sent.acknowledge(904), Some(Time::from_millis(904)));
    }
}
