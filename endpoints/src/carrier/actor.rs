//! What drives a session on reliable streams, whatever the streams are.

use std::sync::{Arc, OnceLock};

use tensorwire_protocol::wire::ConnectionId;
use tensorwire_protocol::{Config, Event};
use tokio::sync::mpsc;

use super::session::{Role, StreamSession};
use crate::clock::Clock;
use crate::datapath::{Application, COMMANDS, Command, Outlook, PathStats, SessionHandle};

/// A session, and the application that it serves.
pub(super) struct Actor {
    pub(super) session: StreamSession,
    pub(super) clock: Clock,
    pub(super) commands: mpsc::Receiver<Command>,
    application: Application,
    ended: Arc<OnceLock<String>>,
}

impl Actor {
    /// An actor that is not running yet, and the application's handle of its session.
    pub(super) fn new(
        role: Role,
        config: Config,
        clock: Clock,
        events: mpsc::Sender<Event>,
    ) -> (Self, SessionHandle) {
        let (sender, commands) = mpsc::channel(COMMANDS);
        let ended = Arc::new(OnceLock::new());
        let id = config.local_connection;
        let handle = SessionHandle::of_actor(id, sender, clock, Arc::clone(&ended));
        let session = StreamSession::new(role, config, clock.now());
        let actor = Self {
            session,
            clock,
            commands,
            application: Application::new(events),
            ended,
        };
        (actor, handle)
    }

    /// Does what the application asks for; whether the session goes on.
    pub(super) fn obey(&mut self, command: Option<Command>) -> bool {
        let now = self.clock.now();
        match command {
            // The caller may have gone, here and below.
            Some(Command::Tensor(tensor, reply)) => {
                let _ = reply.send(self.session.send_tensor(now, tensor));
            }
            Some(Command::Result(result, occupied, reply)) => {
                self.application.answered(occupied);
                let _ = reply.send(self.session.send_result(result));
            }
            Some(Command::Skip(reason, first, count)) => {
                self.session.skip_frames(reason, first, count);
            }
            Some(Command::Limit(tensors)) => self.application.limit(tensors),
            Some(Command::Outlook(reply)) => {
                let outlook = Outlook {
                    path: self.session.path(),
                    load: self.session.peer_load(),
                    parity: 0.0,
                };
                let _ = reply.send(outlook);
            }
            Some(Command::Stats(reply)) => {
                let _ = reply.send(self.stats());
            }
            Some(Command::End(reply)) => {
                let _ = reply.send(self.stats());
                return false;
            }
            Some(Command::Close) | None => return false,
        }
        true
    }

    fn stats(&self) -> PathStats {
        self.application.stats(self.session.stats(), 0)
    }

    /// Tells the application what happened.
    pub(super) fn tell(&mut self) {
        while let Some(event) = self.session.poll_event() {
            if let Some(busy) = self.application.tell(event) {
                // An empty payload is never too long.
                let _ = self.session.send_result(busy);
            }
        }
        if let Some(load) = self.application.load() {
            self.session.set_load(load);
        }
    }

    /// The streams have ended for this reason: the application gets no more events, but what was counted,
    /// until it closes the session.
    pub(super) async fn end(mut self, reason: String) {
        // It ends once.
        let _ = self.ended.set(reason);
        self.application.end();
        loop {
            let command = self.commands.recv().await;
            if !self.obey(command) {
                return;
            }
        }
    }
}

/// A connection ID that cannot be guessed.
pub(super) fn connection_id() -> Result<ConnectionId, getrandom::Error> {
    getrandom::u32().map(ConnectionId::new)
}
