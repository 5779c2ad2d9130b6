//! The path in use, and the one that may follow it.

use std::time::Duration;

use super::PathId;
use super::probe::Probe;
use crate::protection::{Entropy, Secrets};
use crate::time::Time;
use crate::wire::{HEADER_LEN, PathData, TRAILER_ROOM};

/// Bytes of a PATH_CHALLENGE or PATH_RESPONSE of protected mode.
const SIZE: usize = HEADER_LEN + 8 + TRAILER_ROOM;

/// What is known of the path in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// The caller knows where the peer is, or nobody does yet.
    Unknown,
    /// A datagram came from it, and no more: bytes to it are bounded by those from it.
    Unvalidated,
    /// The peer is there.
    Validated,
}

/// An accepted datagram, as far as paths are concerned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) now: Time,
    pub(crate) from: PathId,
    pub(crate) size: usize,
    /// Its packet number is the greatest so far, and it is no challenge nor the response to one: the peer
    /// sends from there.
    pub(crate) leads: bool,
    /// How long an answer may take.
    pub(crate) timeout: Duration,
}

/// A path has been validated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Validated {
    /// That in use.
    Same,
    /// Another: it is in use from now on.
    New {
        /// Whether only the port differs.
        same_host: bool,
    },
}

/// Where datagrams go to.
#[derive(Debug)]
pub(crate) struct Paths {
    current: PathId,
    state: State,
    probe: Option<Probe>,
    /// The newest challenge of the peer's, and where it came from.
    answer: Option<(PathId, PathData)>,
    /// What challenges are made of; none: the first path stays.
    entropy: Option<Entropy>,
    challenges: u64,
}

impl Paths {
    pub(crate) fn new(secrets: Option<&Secrets>) -> Self {
        Self {
            current: PathId::default(),
            state: State::Unknown,
            probe: None,
            answer: None,
            entropy: secrets.and_then(Secrets::entropy),
            challenges: 0,
        }
    }

    /// The session is protected from now on.
    pub(crate) fn protect(&mut self, secrets: &Secrets) {
        self.entropy = secrets.entropy();
    }

    /// The path in use.
    pub(crate) const fn current(&self) -> PathId {
        self.current
    }

    /// The caller knows that the peer is there.
    pub(crate) fn set(&mut self, path: PathId) {
        (self.current, self.state) = (path, State::Validated);
        self.probe = None;
    }

    /// The paths of a session that goes on where `old` is.
    pub(crate) fn follow(&mut self, old: &Self) {
        (self.current, self.state) = (old.current, old.state);
        if self.state == State::Unvalidated {
            // What came from it on behalf of the old session was spent there.
            self.state = State::Unknown;
            self.current = PathId::default();
        }
    }

    /// An accepted datagram of plain mode, where nothing proves who sent it: the first decides.
    pub(crate) fn first(&mut self, from: PathId) {
        if self.state == State::Unknown && from != PathId::default() {
            self.set(from);
        }
    }

    /// An accepted datagram of protected mode.
    pub(crate) fn seen(&mut self, seen: &Seen) {
        let from = seen.from;
        if self.state == State::Unknown {
            if from == PathId::default() {
                return;
            }
            if self.entropy.is_none() {
                self.set(from);
                return;
            }
            (self.current, self.state) = (from, State::Unvalidated);
        }
        let mut probed = None;
        if let Some(probe) = &mut self.probe {
            if probe.path == from {
                probe.received(seen.size);
            }
            probed = Some(probe.path);
        }
        if self.entropy.is_none() || !seen.leads || probed == Some(from) {
            return;
        }
        if from != self.current || self.state == State::Unvalidated {
            self.probe = Some(Probe::new(seen.now, from, seen.size, seen.timeout));
        } else {
            // The peer is still where it was, whoever sent a datagram of its from elsewhere.
            self.probe = None;
        }
    }

    /// A challenge came.
    pub(crate) const fn challenged(&mut self, from: PathId, data: PathData) {
        self.answer = Some((from, data));
    }

    /// A response came; what it validates.
    pub(crate) fn answered(&mut self, data: PathData) -> Option<Validated> {
        let probe = self.probe.take_if(|probe| probe.is_answer(data))?;
        let before = std::mem::replace(&mut self.current, probe.path);
        self.state = State::Validated;
        Some(if before == probe.path {
            Validated::Same
        } else {
            Validated::New {
                same_host: before.host() == probe.path.host(),
            }
        })
    }

    /// The response that is owed, and where to.
    pub(crate) fn take_answer(&mut self) -> Option<(PathId, PathData)> {
        let answer = self.answer.take()?;
        let probed = self.probe.as_ref().filter(|probe| probe.path == answer.0);
        probed
            .is_none_or(|probe| probe.allows(SIZE))
            .then_some(answer)
    }

    /// The challenge that is due at `now`, and where to.
    pub(crate) fn take_challenge(&mut self, now: Time) -> Option<(PathId, PathData)> {
        let probe = self.probe.as_mut()?;
        let entropy = self.entropy.as_ref()?;
        if probe.due(SIZE).is_none_or(|due| due > now) {
            return None;
        }
        self.challenges += 1;
        Some((probe.path, probe.challenge(now, entropy, self.challenges)))
    }

    /// So many bytes leave on a path.
    pub(crate) fn sent(&mut self, path: PathId, bytes: usize) {
        if let Some(probe) = self.probe.as_mut().filter(|probe| probe.path == path) {
            probe.sent(bytes);
        }
    }

    /// Whether a datagram of so many bytes may leave on the path in use.
    pub(crate) fn allows(&self, bytes: usize) -> bool {
        let probe = || {
            self.probe
                .as_ref()
                .filter(|probe| probe.path == self.current)
        };
        self.state != State::Unvalidated || probe().is_some_and(|probe| probe.allows(bytes))
    }

    /// When a challenge is due, or one was answered too late.
    pub(crate) fn due(&self) -> Option<Time> {
        let probe = self.probe.as_ref()?;
        let until = probe.until();
        Some(probe.due(SIZE).map_or(until, |due| due.min(until)))
    }

    /// Gives up the path that has not answered by `now`; whether there is one.
    pub(crate) fn expire(&mut self, now: Time) -> bool {
        self.probe.take_if(|probe| probe.until() <= now).is_some()
    }
}
