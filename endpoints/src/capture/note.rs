//! What a capture says about itself (spec/captures.md, section 3).

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use tensorwire_protocol::wire::ConnectionId;

use crate::stream::StreamDescription;

/// The version of the notes that this version writes and reads.
pub const NOTE_VERSION: u32 = 1;

/// The comment of an interface in a capture of ours, as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Note {
    /// Version of the notes: [`NOTE_VERSION`].
    pub tensorwire: u32,
    /// Where the datagrams were seen.
    pub role: Role,
    /// When the clock of the sessions showed zero, nanoseconds since 1970 in UTC. Time stamps less this
    /// are the times that the sessions were told.
    pub origin_ns: u64,
    /// The socket.
    pub local: SocketAddr,
    /// The session, if the interface is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionNote>,
}

/// Where datagrams were seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(
    clippy::exhaustive_enums,
    reason = "a new place is a new version of the notes"
)]
pub enum Role {
    /// At the edge's socket.
    Edge,
    /// At the cloud's socket.
    Cloud,
    /// At the link emulator's socket towards the edge: before the losses of the way to the cloud.
    LinkEdge,
    /// At the link emulator's socket towards the cloud: behind these losses.
    LinkCloud,
}

/// A session: with this, a capture can be replayed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SessionNote {
    /// Connection ID of datagrams to this endpoint.
    pub local: u32,
    /// Connection ID of datagrams to the peer.
    pub remote: u32,
    /// When the session began, microseconds of its clock.
    pub opened_us: u64,
    /// What is streamed.
    pub stream: StreamDescription,
}

impl Note {
    /// The note in an interface's comment, if it is one of this version.
    #[must_use]
    pub fn parse(comment: &str) -> Option<Self> {
        let note: Self = serde_json::from_str(comment).ok()?;
        (note.tensorwire == NOTE_VERSION).then_some(note)
    }
}

impl Role {
    /// The name of an interface where datagrams are seen so.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Cloud => "cloud",
            Self::LinkEdge => "link-edge",
            Self::LinkCloud => "link-cloud",
        }
    }
}

impl SessionNote {
    /// The connection IDs of datagrams to the cloud and to the edge, the note being of this role.
    #[must_use]
    pub fn connections(&self, role: Role) -> [ConnectionId; 2] {
        let [local, remote] = [self.local, self.remote].map(ConnectionId::new);
        match role {
            Role::Cloud | Role::LinkCloud => [local, remote],
            Role::Edge | Role::LinkEdge => [remote, local],
        }
    }
}
