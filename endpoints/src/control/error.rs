//! What can go wrong between two sides of the control protocol.

use std::time::Duration;

use super::close::CloseCode;
use super::limits::{MAX_MESSAGE, MESSAGE_TIMEOUT};
use super::version::{VERSIONS, Versions};
use super::words::shown;

/// Why a message could not be exchanged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The stream or connection ended first: the peer's doing, or the network's.
    #[error("the control connection ended: {0}")]
    Ended(String),
    /// Our own message does not encode: a fault of this program.
    #[error("a control message does not encode: {0}")]
    Unencodable(String),
    /// The message is longer than any: the fault of whoever made it.
    #[error("a control message of {0} bytes; at most {MAX_MESSAGE} are allowed")]
    TooLong(usize),
    /// The peer's bytes are no message.
    #[error("a control message does not decode: {0}")]
    Malformed(minicbor::decode::Error),
    /// The peer's message has something in it that cannot be.
    #[error("a control message with {0}")]
    OutOfRange(&'static str),
    /// The peer speaks other versions.
    #[error("the peer speaks version {0} of the control protocol, and this side {VERSIONS}")]
    Version(Versions),
    /// The peer sent a message that is not expected now.
    #[error("expected {expected}, but the peer sent {found}")]
    Unexpected {
        /// What should have come.
        expected: &'static str,
        /// What came.
        found: &'static str,
    },
    /// The peer began a message and did not end it.
    #[error("the rest of a control message did not come within {MESSAGE_TIMEOUT:?}")]
    Slow,
    /// The peer sends more messages than it may.
    #[error("more control messages than a peer may send")]
    TooMany,
    /// The peer was silent when something should have come.
    #[error("no {expected} within {within:?}")]
    Silent {
        /// What should have come.
        expected: &'static str,
        /// In which time.
        within: Duration,
    },
}

impl ControlError {
    /// The connection ended for this reason, in words that may be the peer's.
    pub fn ended(reason: &dyn std::fmt::Display) -> Self {
        Self::Ended(shown(&reason.to_string()))
    }

    /// The code by which a connection is closed for this reason.
    #[must_use]
    pub const fn close_code(&self) -> CloseCode {
        match self {
            Self::Ended(_) => CloseCode::Done,
            Self::Version(_) => CloseCode::Refused,
            Self::TooMany | Self::Slow => CloseCode::Limit,
            Self::Silent { .. } => CloseCode::Idle,
            Self::Unencodable(_) => CloseCode::Failed,
            Self::TooLong(_)
            | Self::Malformed(_)
            | Self::OutOfRange(_)
            | Self::Unexpected { .. } => CloseCode::Protocol,
        }
    }
}
