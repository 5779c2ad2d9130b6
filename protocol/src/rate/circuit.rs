//! The circuit breaker: a sender that hears nothing stops (RFC 8083 in spirit).

use std::time::Duration;

use crate::time::Time;

/// Silence after which a sender stops …
const LEAST: Duration = Duration::from_millis(500);
/// … or so many times what a report takes at most, where that is longer.
const TIMEOUTS: u32 = 4;
/// … but never longer, whatever round trip the peer has made us believe in.
const MOST: Duration = Duration::from_secs(10);

/// Watches for reports of what was sent.
#[derive(Debug, Default)]
pub(super) struct Circuit {
    /// When the first packet was sent that nothing has been heard since.
    waiting: Option<Time>,
    open: bool,
}

/// A change of the circuit breaker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    /// Nothing was heard for so long: DATA stops.
    Opened(Duration),
    /// The peer is heard of again.
    Closed,
}

impl Circuit {
    pub(super) const fn is_open(&self) -> bool {
        self.open
    }

    /// A DATA or REPAIR packet was sent.
    pub(super) fn sent(&mut self, now: Time) {
        self.waiting.get_or_insert(now);
    }

    /// A report has come.
    pub(super) fn heard(&mut self) -> Option<Change> {
        self.waiting = None;
        std::mem::take(&mut self.open).then_some(Change::Closed)
    }

    /// When the silence has been too long; none while nothing is waited for.
    pub(super) fn due(&self, timeout: Duration) -> Option<Time> {
        let waiting = self.waiting.filter(|_| !self.open)?;
        Some(waiting + timeout.saturating_mul(TIMEOUTS).clamp(LEAST, MOST))
    }

    /// Opens the circuit if that is due.
    pub(super) fn expire(&mut self, now: Time, timeout: Duration) -> Option<Change> {
        let due = self.due(timeout)?;
        if due > now {
            return None;
        }
        self.open = true;
        Some(Change::Opened(now - self.waiting?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn it_opens_after_silence_and_closes_with_a_report() {
        let mut circuit = Circuit::default();
        assert_eq!(circuit.due(50 * MS), None, "nothing sent, nothing missed");
        circuit.sent(Time::from_millis(100));
        circuit.sent(Time::from_millis(400));
        assert_eq!(circuit.due(50 * MS), Some(Time::from_millis(600)));
        assert_eq!(circuit.due(300 * MS), Some(Time::from_millis(1_300)));
        assert_eq!(circuit.expire(Time::from_millis(599), 50 * MS), None);
        let opened = circuit.expire(Time::from_millis(620), 50 * MS);
        assert_eq!(opened, Some(Change::Opened(520 * MS)));
        assert!(circuit.is_open() && circuit.due(50 * MS).is_none());
        assert_eq!(circuit.heard(), Some(Change::Closed));
        assert!(!circuit.is_open());
        assert_eq!(circuit.heard(), None);
    }
}
