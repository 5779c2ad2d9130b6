//! When each session has to be looked at next.

use std::collections::BTreeSet;

use tensorwire_protocol::Time;
use tensorwire_protocol::wire::ConnectionId;

/// The sessions of a data path by the time at which each is to be looked at: one time a session.
#[derive(Debug, Default)]
pub(super) struct Timers {
    set: BTreeSet<(Time, ConnectionId)>,
    /// Until when the loop sleeps, unless it is woken; none while it is at work.
    asleep: Option<Time>,
}

impl Timers {
    /// Has `connection` looked at by `at` and not `before`; whether the loop has to be woken for that.
    pub(super) fn set(
        &mut self,
        connection: ConnectionId,
        before: Option<Time>,
        at: Option<Time>,
    ) -> bool {
        if let Some(before) = before {
            self.set.remove(&(before, connection));
        }
        let Some(at) = at else { return false };
        self.set.insert((at, connection));
        let wake = self.asleep.is_some_and(|until| at < until);
        if wake {
            // Once is enough.
            self.asleep = None;
        }
        wake
    }

    /// Takes out the sessions whose time has come, in the order of their times.
    pub(super) fn take(&mut self, now: Time, due: &mut Vec<(Time, ConnectionId)>) {
        while let Some(first) = self.set.first().filter(|(at, _)| *at <= now) {
            let first = *first;
            self.set.remove(&first);
            due.push(first);
        }
    }

    /// The loop goes to sleep; until when it may.
    pub(super) fn sleep(&mut self) -> Option<Time> {
        let first = self.set.first().map(|(at, _)| *at);
        self.asleep = Some(first.unwrap_or(FOR_EVER));
        first
    }

    /// The loop is at work: it looks at the times before it sleeps again.
    pub(super) const fn awake(&mut self) {
        self.asleep = None;
    }
}

/// Later than any time that a session asks for.
const FOR_EVER: Time = Time::from_micros(u64::MAX);

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(micros: u64) -> Time {
        Time::from_micros(micros)
    }

    #[test]
    fn sessions_come_in_the_order_of_their_times_and_each_once() {
        let [a, b, c] = [1, 2, 3].map(ConnectionId::new);
        let mut timers = Timers::default();
        timers.set(a, None, Some(at(30)));
        timers.set(b, None, Some(at(20)));
        timers.set(c, None, Some(at(20)));
        timers.set(a, Some(at(30)), Some(at(10)));
        timers.set(c, Some(at(20)), None);
        assert_eq!(timers.sleep(), Some(at(10)));
        let mut due = Vec::new();
        timers.take(at(9), &mut due);
        assert_eq!(due, []);
        timers.take(at(50), &mut due);
        assert_eq!(due, [(at(10), a), (at(20), b)]);
        assert_eq!(timers.sleep(), None);
    }

    #[test]
    fn the_loop_is_woken_only_from_a_sleep_that_would_last_too_long_and_once() {
        let [a, b] = [1, 2].map(ConnectionId::new);
        let mut timers = Timers::default();
        assert!(!timers.set(a, None, Some(at(30))), "it is at work");
        timers.sleep();
        assert!(!timers.set(b, None, Some(at(30))), "it wakes by then");
        assert!(timers.set(b, Some(at(30)), Some(at(20))));
        assert!(!timers.set(a, Some(at(30)), Some(at(10))), "woken already");
        timers.sleep();
        timers.awake();
        assert!(!timers.set(a, Some(at(10)), Some(at(5))));
        timers.set(a, Some(at(5)), None);
        timers.set(b, Some(at(20)), None);
        assert_eq!(timers.sleep(), None);
        assert!(timers.set(a, None, Some(at(5))), "it would sleep for ever");
    }
}
