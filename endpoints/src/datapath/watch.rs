//! Looking at a session from elsewhere.

use tensorwire_protocol::wire::ConnectionId;
use tokio::sync::{mpsc, oneshot};

use super::{Command, Outlook, PathEnded, SessionHandle};

/// A view of a session that does not keep it.
#[derive(Clone, Debug)]
pub struct SessionWatch {
    connection: ConnectionId,
    commands: mpsc::WeakSender<Command>,
}

impl SessionHandle {
    /// A view of this session for others, which does not keep it.
    #[must_use]
    pub fn watch(&self) -> SessionWatch {
        SessionWatch {
            connection: self.connection,
            commands: self.commands.downgrade(),
        }
    }
}

impl SessionWatch {
    /// What the session knows of path and peer at the moment.
    ///
    /// # Errors
    /// If the session or its data path has ended.
    pub async fn outlook(&self) -> Result<Outlook, PathEnded> {
        let commands = self.commands.upgrade().ok_or(PathEnded)?;
        let (reply, answer) = oneshot::channel();
        let command = Command::Outlook(self.connection, reply);
        commands.send(command).await.map_err(|_| PathEnded)?;
        answer.await.map_err(|_| PathEnded)
    }
}
