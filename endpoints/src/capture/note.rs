//! What a capture says about itself (spec/captures.md, section 3).

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use tensorwire_protocol::Secrets;
use tensorwire_protocol::wire::ConnectionId;

use crate::hex;
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
    /// What its datagrams are sealed with, where the capture was asked to have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<SecretsNote>,
}

/// The secrets of a session: with them, anybody can read and forge it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SecretsNote {
    /// Code of the cipher (spec/wire-format.md, section 10).
    pub cipher: u8,
    /// The secret of what this endpoint sends.
    #[serde(with = "hex")]
    pub sent: [u8; 32],
    /// The secret of what it receives.
    #[serde(with = "hex")]
    pub received: [u8; 32],
}

impl SecretsNote {
    pub(super) const fn new(secrets: &Secrets) -> Self {
        let [sent, received] = secrets.reveal();
        Self {
            cipher: secrets.cipher().code(),
            sent,
            received,
        }
    }
}

impl fmt::Debug for SecretsNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretsNote")
            .field("cipher", &self.cipher)
            .finish_non_exhaustive()
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    const NOTE: &str = r#"{"tensorwire":1,"role":"cloud","origin_ns":5,"local":"[::1]:4434",
        "a key of a later version":[],"session":{"local":1,"remote":2,"opened_us":3,"stream":{
        "channels":1,"height":8,"width":8,"split":"x","bundle":null,
        "model":"0707070707070707070707070707070707070707070707070707070707070707",
        "low":-0.5,"high":1.5,"levels":4,"map":{"channel-rows":{"rows":1}},"coder":"raw",
        "interleaver":0,"stride":1,"seed":1,"mss":1200,"deadline_ms":50,"latest_only":false,
        "retransmission":true,"span":1}}}"#;

    #[test]
    fn a_note_is_what_the_specification_says() {
        let note = Note::parse(NOTE).unwrap();
        assert_eq!((note.role, note.origin_ns), (Role::Cloud, 5));
        let session = note.session.unwrap();
        let [to_cloud, to_edge] = session.connections(note.role);
        assert_eq!((to_cloud.value(), to_edge.value()), (1, 2));
        assert_eq!(session.connections(Role::Edge), [to_edge, to_cloud]);
        assert_eq!(session.stream.model, [7; 32]);
        assert_eq!(session.stream.config().unwrap().slices, 8);
    }

    #[test]
    fn other_comments_are_none() {
        for (from, to) in [
            ("\"tensorwire\":1", "\"tensorwire\":2"),
            ("\"cloud\"", "\"moon\""),
            ("0707\"", "07\""),
            ("0707\"", "07xy\""),
            ("[::1]:4434", "localhost"),
        ] {
            assert_ne!(NOTE.replace(from, to), NOTE);
            assert_eq!(Note::parse(&NOTE.replace(from, to)), None, "{to}");
        }
        assert_eq!(Note::parse("captured on a Tuesday"), None);
    }
}
