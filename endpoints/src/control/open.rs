//! Asking for a session, and getting it.

use minicbor::{Decode, Encode};

use super::limits::{MAX_SPLIT, MAX_WORDS};
use super::sets::Cipher;
use super::words::{cut, shown};
use crate::stream::StreamDescription;

/// Connection IDs are below this.
const CONNECTION_IDS: u32 = 1 << 24;

/// The number of a session on its connection: the edge's choice, each used once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
#[expect(clippy::exhaustive_structs, reason = "a number")]
pub struct SessionNumber(#[n(0)] pub u32);

impl std::fmt::Display for SessionNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Edge to cloud: asks for a session.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub struct Open {
    /// Its number on this connection, above that of every session before.
    #[n(0)]
    pub session: SessionNumber,
    /// What will be streamed, and how.
    #[n(1)]
    pub stream: StreamDescription,
    /// Connection ID that datagrams to the edge must carry, below 2^24; 0 with carriers that have none.
    #[n(2)]
    pub connection: u32,
    /// The number of the carrier.
    #[n(3)]
    pub carrier: u32,
    /// The number of the cipher: one of those that both sides named. 0 with carriers other than `udp`.
    #[n(4)]
    pub cipher: u32,
    /// Microseconds between two frames that the edge means to stream; none if it does not know.
    #[n(5)]
    pub interval_us: Option<u32>,
    /// The session on this connection that this one takes the place of, if it does: it needs no room
    /// beside it but for the time of the change.
    #[n(6)]
    pub replaces: Option<SessionNumber>,
}

/// Cloud to edge: the session exists.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub struct Accept {
    /// The session.
    #[n(0)]
    pub session: SessionNumber,
    /// Connection ID that datagrams to the cloud must carry, below 2^24; the name of the session here with
    /// carriers that have no datagrams.
    #[n(1)]
    pub connection: u32,
}

/// Cloud to edge: the answer to Open takes longer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub struct Wait {
    /// The session that was asked for.
    #[n(0)]
    pub session: SessionNumber,
    /// What the cloud is at, for people.
    #[n(1)]
    pub words: String,
}

impl Open {
    /// Asks for a session of `stream` over UDP, neither encrypted nor authenticated.
    #[must_use]
    pub const fn new(session: SessionNumber, stream: StreamDescription, connection: u32) -> Self {
        Self {
            session,
            stream,
            connection,
            carrier: 0,
            cipher: Cipher::Plain as u32,
            interval_us: None,
            replaces: None,
        }
    }

    /// Asks for it to be carried so.
    #[must_use]
    pub const fn over(mut self, carrier: u32) -> Self {
        self.carrier = carrier;
        self
    }

    /// Asks for it to be protected so.
    #[must_use]
    pub const fn protected(mut self, cipher: Cipher) -> Self {
        self.cipher = cipher as u32;
        self
    }

    /// Says how often frames come.
    #[must_use]
    pub const fn every(mut self, interval_us: Option<u32>) -> Self {
        self.interval_us = interval_us;
        self
    }

    /// Says that it takes the place of `session`.
    #[must_use]
    pub const fn replacing(mut self, session: Option<SessionNumber>) -> Self {
        self.replaces = session;
        self
    }

    pub(super) const fn check(&self) -> Result<(), &'static str> {
        if self.connection >= CONNECTION_IDS {
            return Err("a connection ID beyond 24 bits");
        }
        if self.stream.split.len() > MAX_SPLIT {
            return Err("a split with a name of more than 1,024 bytes");
        }
        Ok(())
    }
}

impl Accept {
    /// Grants a session.
    #[must_use]
    pub const fn new(session: SessionNumber, connection: u32) -> Self {
        Self {
            session,
            connection,
        }
    }

    pub(super) const fn check(&self) -> Result<(), &'static str> {
        if self.connection >= CONNECTION_IDS {
            return Err("a connection ID beyond 24 bits");
        }
        Ok(())
    }
}

impl Wait {
    /// Says what the cloud is at. Words that are too long are cut.
    #[must_use]
    pub fn new(session: SessionNumber, words: impl Into<String>) -> Self {
        let words = cut(words.into());
        Self { session, words }
    }

    /// The words, fit to be shown.
    #[must_use]
    pub fn shown(&self) -> String {
        shown(&self.words)
    }

    pub(super) const fn check(&self) -> Result<(), &'static str> {
        if self.words.len() > MAX_WORDS {
            return Err("words of more than 512 bytes");
        }
        Ok(())
    }
}
