//! The edge that has asked for a session, as whoever prepares the session sees it.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};

use crate::control::{BlobKind, ControlError, ControlWriter, Missing, Offer, SessionNumber, Want};
use crate::digest::Digest;

/// An edge's answer to Want.
#[derive(Debug)]
pub(super) enum Answered {
    Offer(Offer),
    Missing(Missing),
}

/// The edge that has asked for a session.
#[derive(Clone, Debug)]
pub struct Peer {
    session: SessionNumber,
    connection: quinn::Connection,
    writer: ControlWriter,
    /// Whether it answers Want.
    uploads: bool,
    name: Option<String>,
    /// Held from Want to the last byte: one transfer at a time.
    answers: Arc<Mutex<mpsc::Receiver<Answered>>>,
}

/// Why an edge does not send what the cloud lacks.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WantError {
    /// The edge cannot send anything.
    #[error("the edge cannot upload")]
    Unable,
    /// The edge does not have it, or does not give it.
    #[error("the edge does not send it: {0}")]
    Missing(String),
    /// The edge answered for something else.
    #[error("the edge offers another blob than it was asked for")]
    Another,
    /// What the edge offers is longer than it may be.
    #[error("the edge offers {length} bytes; at most {limit} are taken")]
    TooLong {
        /// Its length.
        length: u64,
        /// What was allowed.
        limit: u64,
    },
    /// The connection ended.
    #[error(transparent)]
    Ended(#[from] ControlError),
}

impl Peer {
    /// The edge at the other end of `connection`, and where its answers to Want go.
    pub(super) fn new(
        session: SessionNumber,
        (connection, writer): (quinn::Connection, ControlWriter),
        uploads: bool,
        name: Option<String>,
    ) -> (Self, mpsc::Sender<Answered>) {
        let (sender, answers) = mpsc::channel(1);
        let peer = Self {
            session,
            connection,
            writer,
            uploads,
            name,
            answers: Arc::new(Mutex::new(answers)),
        };
        (peer, sender)
    }

    /// What the edge is called, if it is known.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The connection, on which uploads come as unidirectional streams. While a session is prepared,
    /// nothing else uses those.
    #[must_use]
    pub const fn connection(&self) -> &quinn::Connection {
        &self.connection
    }

    /// Asks for a blob of at most `limit` bytes, of which the first `offset` are here. When this returns,
    /// the rest comes on the next unidirectional stream, which whoever asks has to allow. One at a time.
    ///
    /// # Errors
    /// If it does not come.
    pub async fn want(
        &self,
        digest: Digest,
        kind: BlobKind,
        offset: u64,
        limit: u64,
    ) -> Result<Offer, WantError> {
        if !self.uploads {
            return Err(WantError::Unable);
        }
        let mut answers = self.answers.lock().await;
        let want = Want::new(self.session, digest, kind, offset, limit);
        self.writer.send(want).await?;
        let answer = answers.recv().await;
        match answer.ok_or_else(|| ControlError::ended(&"the edge is gone"))? {
            Answered::Missing(missing) if missing.digest() == digest => {
                Err(WantError::Missing(missing.shown()))
            }
            Answered::Offer(offer) if offer.digest() == digest => {
                if offer.length > limit {
                    let length = offer.length;
                    return Err(WantError::TooLong { length, limit });
                }
                Ok(offer)
            }
            _ => Err(WantError::Another),
        }
    }
}
