//! What a cloud tells of itself while sessions run.

use std::time::Duration;

use minicbor::{Decode, Encode};

use super::open::SessionNumber;

/// Edge to cloud: asks for Statistics of every session on this connection, now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub struct Ask {}

/// Cloud to edge: how it fares with a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub struct Statistics {
    /// The session.
    #[n(0)]
    pub session: SessionNumber,
    /// Tensors of the session that wait for the model.
    #[n(1)]
    pub queue: u32,
    /// Microseconds that the model takes for a tensor of the session; none before the first.
    #[n(2)]
    pub service_us: Option<u32>,
    /// Sessions that the cloud has.
    #[n(3)]
    pub sessions: u32,
    /// Thousandths of tensors a second that the cloud computes for this session, as it is loaded now;
    /// none if nothing limits them that is known.
    #[n(4)]
    pub rate_mhz: Option<u32>,
    /// Tensors of the session that the cloud has answered.
    #[n(5)]
    pub answered: u64,
    /// Tensors of the session that the cloud did not compute, because the model was behind.
    #[n(6)]
    pub busy: u64,
}

impl Ask {
    /// Asks.
    #[must_use]
    pub const fn new() -> Self {
        Self {}
    }
}

impl Statistics {
    /// Statistics of `session` before anything has happened on it.
    #[must_use]
    pub const fn new(session: SessionNumber, sessions: u32) -> Self {
        Self {
            session,
            queue: 0,
            service_us: None,
            sessions,
            rate_mhz: None,
            answered: 0,
            busy: 0,
        }
    }

    /// Time that the model takes for a tensor of the session; none before the first.
    #[must_use]
    pub fn service(&self) -> Option<Duration> {
        let micros = self.service_us.map(u64::from);
        micros.map(Duration::from_micros)
    }
}
