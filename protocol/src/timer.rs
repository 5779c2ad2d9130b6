//! The timers of a session.

use crate::time::Time;

/// What a session waits for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Timer {
    /// When to release a tensor that nothing can help any more, or give it up as lost: at its deadline
    /// at the latest.
    Release,
    /// When the last packets of an incomplete tensor are overdue, and its sender should be told.
    Tail,
    /// When to report what has arrived.
    Feedback,
    /// When to take packets for lost of which no report tells.
    Loss,
    /// When the pacer lets the next DATA or REPAIR packet leave.
    Pace,
    /// When to stop sending because nothing has been heard.
    Circuit,
    /// When to send a result again.
    Result,
    /// When to ask for FEEDBACK, for a sample of the round-trip time.
    Ping,
    /// When to challenge a new path again, or to give it up.
    Path,
    /// When to repeat that the session has ended.
    Close,
}

impl Timer {
    const COUNT: usize = 10;
}

/// When each timer expires.
#[derive(Debug, Default)]
pub(crate) struct TimerTable {
    expires: [Option<Time>; Timer::COUNT],
}

impl TimerTable {
    pub(crate) const fn set(&mut self, timer: Timer, at: Option<Time>) {
        self.expires[timer as usize] = at;
    }

    /// The earliest timer.
    pub(crate) fn next(&self) -> Option<(Time, Timer)> {
        const ALL: [Timer; Timer::COUNT] = [
            Timer::Release,
            Timer::Tail,
            Timer::Feedback,
            Timer::Loss,
            Timer::Pace,
            Timer::Circuit,
            Timer::Result,
            Timer::Ping,
            Timer::Path,
            Timer::Close,
        ];
        let set = ALL.into_iter().zip(self.expires);
        set.filter_map(|(timer, at)| Some((at?, timer)))
            .min_by_key(|(at, _)| *at)
    }
}
