//! How much of a cloud one may have.

use std::time::Duration;

use crate::control::Ciphers;
use crate::control::limits::MAX_SESSIONS;

/// How much a cloud allows, beyond the number of its sessions.
#[derive(Clone, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "made by the caller, field by field"
)]
pub struct Policy {
    /// Sessions that one connection may have at a time, 1 to 16; default 4. A change in mid-stream needs
    /// two.
    pub connection_sessions: u32,
    /// Memory that one session may take, bytes, as [`session_memory`](super::session_memory) counts it;
    /// default 256 MiB.
    pub session_memory: u64,
    /// Memory that all sessions may take together, bytes, counted alike; default 8 GiB. It is what hostile
    /// edges could make the cloud keep; friendly ones come nowhere near.
    pub memory: u64,
    /// How the datagrams of sessions over UDP may be protected; default all ways. Streams that nothing
    /// protects, those over TCP among them, are taken only [with plain](Self::with_plain).
    pub ciphers: Ciphers,
    /// The largest blob that an edge may upload, bytes; default 0, none.
    pub upload_bytes: u64,
    /// Time between two statistics of a session, up to a minute; default 1 s, zero for on request only.
    pub statistics: Duration,
    /// How long edges may take to finish what is in flight when the cloud is told to end; default 5 s.
    pub grace: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            connection_sessions: 4,
            session_memory: 256 << 20,
            memory: 8 << 30,
            ciphers: Ciphers::PROTECTED,
            upload_bytes: 0,
            statistics: Duration::from_secs(1),
            grace: Duration::from_secs(5),
        }
    }
}

impl Policy {
    /// Takes unprotected streams over UDP and TCP, too: anyone on the way can read and forge their tensors
    /// and results. For laboratories.
    #[must_use]
    pub const fn with_plain(mut self) -> Self {
        self.ciphers = Ciphers::ALL;
        self
    }

    /// Sessions that one connection may have, within what the protocol allows.
    pub(super) fn sessions(&self) -> u32 {
        self.connection_sessions.clamp(1, MAX_SESSIONS)
    }
}
