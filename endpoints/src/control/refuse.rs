//! Refusing a session, or an edge altogether.

use minicbor::{Decode, Encode};

use super::limits::MAX_WORDS;
use super::open::SessionNumber;
use super::words::{cut, shown};

/// Cloud to edge: there will be no session.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub struct Refuse {
    /// The session that was asked for; none where the edge itself is refused, in answer to Hello.
    #[n(0)]
    pub session: Option<SessionNumber>,
    /// Why, for programs: the number of a [`RefuseCode`].
    #[n(1)]
    pub code: u32,
    /// Why, for people; at most 512 bytes.
    #[n(2)]
    pub reason: String,
}

/// Why a session was refused (spec/control.md, section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefuseCode {
    /// The cloud speaks other versions.
    Version = 1,
    /// The cloud does not have that model, or the model has no such split.
    Model = 2,
    /// The cloud's method of concealment needs the bundle that the edge uses, and has another or none, or
    /// one without what the method needs.
    Bundle = 3,
    /// The description is out of range or contradicts the model.
    Description = 4,
    /// The cloud, or the connection, has as many sessions as it may.
    Busy = 5,
    /// The cloud failed.
    Internal = 6,
    /// The cloud does not offer that carrier.
    Carrier = 7,
    /// The cloud takes no stream that others can read and forge.
    Plain = 8,
    /// The cloud does not offer that cipher.
    Cipher = 9,
    /// The cloud runs only models that it has been told of, and this is none of them.
    NotAllowed = 10,
    /// The blob is larger than the cloud takes, or has room for.
    TooLarge = 11,
    /// The model failed when the cloud tried it, or needs more memory or time than it may.
    Vetting = 12,
    /// The cloud does not know who the edge is.
    Unauthenticated = 13,
    /// The cloud could not compute the tensors as fast as they would come.
    Overloaded = 14,
    /// The session would need more memory than a session may, or than is left.
    Memory = 15,
    /// The cloud is shutting down.
    Draining = 16,
    /// The edge does not send what the cloud lacks.
    Upload = 17,
}

impl RefuseCode {
    /// All there are.
    pub const ALL: [Self; 17] = [
        Self::Version,
        Self::Model,
        Self::Bundle,
        Self::Description,
        Self::Busy,
        Self::Internal,
        Self::Carrier,
        Self::Plain,
        Self::Cipher,
        Self::NotAllowed,
        Self::TooLarge,
        Self::Vetting,
        Self::Unauthenticated,
        Self::Overloaded,
        Self::Memory,
        Self::Draining,
        Self::Upload,
    ];

    /// The reason with this number; an unknown one counts as [`Internal`](Self::Internal).
    #[must_use]
    pub fn from_code(code: u32) -> Self {
        let known = Self::ALL.into_iter().find(|known| *known as u32 == code);
        known.unwrap_or(Self::Internal)
    }

    /// Whether the same request may be granted later, or elsewhere, though nothing changes at the edge.
    #[must_use]
    pub const fn may_pass(self) -> bool {
        matches!(
            self,
            Self::Busy | Self::Internal | Self::Overloaded | Self::Memory | Self::Draining
        )
    }
}

impl Refuse {
    /// Refuses. A reason that is too long is cut.
    #[must_use]
    pub fn new(code: RefuseCode, reason: impl Into<String>) -> Self {
        Self {
            session: None,
            code: code as u32,
            reason: cut(reason.into()),
        }
    }

    /// Says which session is refused.
    #[must_use]
    pub const fn of(mut self, session: SessionNumber) -> Self {
        self.session = Some(session);
        self
    }

    /// Why, for programs.
    #[must_use]
    pub fn code(&self) -> RefuseCode {
        RefuseCode::from_code(self.code)
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
    fn every_code_is_its_own_and_unknown_ones_are_internal() {
        for (number, code) in (1..).zip(RefuseCode::ALL) {
            assert_eq!(code as u32, number);
            assert_eq!(RefuseCode::from_code(number), code);
        }
        for unknown in [0, 18, u32::MAX] {
            assert_eq!(RefuseCode::from_code(unknown), RefuseCode::Internal);
        }
        assert!(RefuseCode::Busy.may_pass() && !RefuseCode::Model.may_pass());
    }
}
