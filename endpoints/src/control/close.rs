//! Ending a session, or the connection and all its sessions.

use minicbor::{Decode, Encode};

use super::limits::MAX_WORDS;
use super::open::SessionNumber;
use super::words::{cut, shown};

/// Either way: a session ends, or all of them.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub struct Close {
    /// The session; none for the connection and all its sessions.
    #[n(0)]
    pub session: Option<SessionNumber>,
    /// Why, for programs: the number of a [`CloseCode`].
    #[n(1)]
    pub code: u32,
    /// Why, for people; at most 512 bytes.
    #[n(2)]
    pub reason: String,
}

/// Why a session or connection ends (spec/control.md, section 6). With the same numbers QUIC connections
/// are closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseCode {
    /// It has done its work.
    Done = 0,
    /// Whoever closes it failed.
    Failed = 1,
    /// The peer does not keep to the protocol.
    Protocol = 2,
    /// Whoever closes it is shutting down.
    ShuttingDown = 3,
    /// Nothing has come for too long.
    Idle = 4,
    /// The edge was refused.
    Refused = 5,
    /// The peer was over a limit.
    Limit = 6,
}

impl CloseCode {
    /// All there are.
    pub const ALL: [Self; 7] = [
        Self::Done,
        Self::Failed,
        Self::Protocol,
        Self::ShuttingDown,
        Self::Idle,
        Self::Refused,
        Self::Limit,
    ];

    /// The reason with this number; an unknown one counts as [`Failed`](Self::Failed).
    #[must_use]
    pub fn from_code(code: u32) -> Self {
        let known = Self::ALL.into_iter().find(|known| *known as u32 == code);
        known.unwrap_or(Self::Failed)
    }
}

impl Close {
    /// Ends everything. A reason that is too long is cut.
    #[must_use]
    pub fn new(code: CloseCode, reason: impl Into<String>) -> Self {
        Self {
            session: None,
            code: code as u32,
            reason: cut(reason.into()),
        }
    }

    /// Ends everything, its work being done.
    #[must_use]
    pub fn done() -> Self {
        Self::new(CloseCode::Done, "")
    }

    /// Ends one session only.
    #[must_use]
    pub const fn of(mut self, session: SessionNumber) -> Self {
        self.session = Some(session);
        self
    }

    /// Why, for programs.
    #[must_use]
    pub fn code(&self) -> CloseCode {
        CloseCode::from_code(self.code)
    }

    /// The reason, fit to be shown.
    #[must_use]
    pub fn shown(&self) -> String {
        shown(&self.reason)
    }

    pub(super) const fn check(&self) -> Result<(), &'static str> {
        if self.reason.len() > MAX_WORDS {
            return Err("a reason of more than 512 bytes");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_its_own_and_unknown_ones_are_failures() {
        for (number, code) in (0..).zip(CloseCode::ALL) {
            assert_eq!(code as u32, number);
            assert_eq!(CloseCode::from_code(number), code);
        }
        assert_eq!(CloseCode::from_code(7), CloseCode::Failed);
    }
}
