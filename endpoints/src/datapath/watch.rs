//! Looking at a session from elsewhere.

use std::sync::{Arc, Weak};

use tokio::sync::mpsc;

use super::handle::{Command, ask};
use super::hub::Hub;
use super::seat::{Entry, Seat};
use super::{Outlook, PathEnded};

/// A view of a session that does not keep it.
#[derive(Clone, Debug)]
pub struct SessionWatch(View);

/// How a view gets at its session.
#[derive(Clone, Debug)]
pub(super) enum View {
    /// It is on a data path, and anybody may look at it.
    Seat(Weak<Hub>, Weak<Seat>),
    /// A task has it, and takes commands.
    Actor(mpsc::WeakSender<Command>),
}

impl SessionWatch {
    pub(super) const fn new(view: View) -> Self {
        Self(view)
    }

    /// The place of the session, if it is on the data path of `hub`.
    pub(super) fn seat_on(&self, hub: &Arc<Hub>) -> Option<Arc<Seat>> {
        match &self.0 {
            View::Seat(of, seat) if std::ptr::eq(of.as_ptr(), Arc::as_ptr(hub)) => seat.upgrade(),
            View::Seat(..) | View::Actor(_) => None,
        }
    }

    /// What the session knows of path and peer at the moment.
    ///
    /// # Errors
    /// If the session or its data path has ended.
    pub async fn outlook(&self) -> Result<Outlook, PathEnded> {
        match &self.0 {
            View::Seat(hub, seat) => {
                let (hub, seat) = (hub.upgrade(), seat.upgrade());
                let (hub, seat) = hub.zip(seat).ok_or(PathEnded)?;
                hub.look(&seat, Entry::outlook)
            }
            View::Actor(commands) => {
                let commands = commands.upgrade().ok_or(PathEnded)?;
                ask(&commands, Command::Outlook).await
            }
        }
    }
}
