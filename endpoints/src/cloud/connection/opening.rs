//! An edge's wish for a session, and how far the cloud has come with it.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Interval, interval_at};

use super::EdgeConnection;
use super::end::End;
use crate::cloud::grant::Granted;
use crate::cloud::peer::{Answered, Peer};
use crate::cloud::session::Running;
use crate::cloud::{CloudNotice, Opener};
use crate::control::limits::{SESSIONLESS_TIMEOUT, WAIT_INTERVAL};
use crate::control::{Accept, CloseCode, Open, Refuse, RefuseCode, SessionNumber, Wait};

/// An Open at which the cloud works.
pub(super) struct Opening {
    pub(super) number: SessionNumber,
    pub(super) task: JoinHandle<Result<Granted, Refuse>>,
    pub(super) answers: mpsc::Sender<Answered>,
    pub(super) wait: Interval,
}

/// How far the cloud has come with an Open.
pub(super) enum Progress {
    /// It is at it.
    Working,
    /// It knows its answer.
    Done(Result<Box<Granted>, Refuse>),
}

/// Waits for progress; for ever where there is nothing to do.
pub(super) async fn progress(opening: &mut Option<Opening>) -> Progress {
    let Some(opening) = opening else {
        return std::future::pending().await;
    };
    tokio::select! {
        done = &mut opening.task => Progress::Done(match done {
            Ok(granted) => granted.map(Box::new),
            Err(error) => Err(Refuse::new(RefuseCode::Internal, error.to_string())),
        }),
        _ = opening.wait.tick() => Progress::Working,
    }
}

impl<O: Opener> EdgeConnection<O> {
    /// Starts to work on a wish for a session.
    pub(super) fn open(&mut self, open: Open) -> Result<(), End> {
        let number = open.session;
        if self.last.is_some_and(|last| number <= last) {
            let reason = "a session with a number that is not above those before";
            return Err(End::new(CloseCode::Protocol, reason));
        }
        if self.opening.is_some() {
            let reason = "a further Open before the answer to the one before";
            return Err(End::new(CloseCode::Protocol, reason));
        }
        self.last = Some(number);
        if let Err(refuse) = self.has_room(&open) {
            return self.refuse(number, refuse);
        }
        let replaced = open.replaces.and_then(|number| self.sessions.get(&number));
        let permit = match replaced {
            Some(replaced) => replaced.share_permit(),
            None => self.shared.permit(),
        };
        let permit = match permit {
            Ok(permit) => permit,
            Err(refuse) => return self.refuse(number, refuse),
        };
        let way = (self.quic.clone(), self.writer.clone());
        let (peer, answers) = Peer::new(number, way, self.edge.uploads, self.edge.name.clone());
        let shared = Arc::clone(&self.shared);
        let task = tokio::spawn(async move { shared.grant(open, peer, permit).await });
        let wait = interval_at(Instant::now() + WAIT_INTERVAL, WAIT_INTERVAL);
        self.opening = Some(Opening {
            number,
            task,
            answers,
            wait,
        });
        Ok(())
    }

    /// Whether the connection may have this session beside those that it has.
    fn has_room(&self, open: &Open) -> Result<(), Refuse> {
        if self.draining {
            let reason = "this cloud is shutting down";
            return Err(Refuse::new(RefuseCode::Draining, reason));
        }
        let (have, most) = (self.sessions.len(), self.shared.policy.sessions());
        if have >= most as usize {
            let reason = format!("this connection has {have} sessions; it may have {most}");
            return Err(Refuse::new(RefuseCode::Busy, reason));
        }
        let whole = Granted::takes_connection(open.carrier);
        if self.sessions.values().any(Running::takes_connection) || (whole && have > 0) {
            let reason = "a session in QUIC needs a connection of its own";
            return Err(Refuse::new(RefuseCode::Busy, reason));
        }
        Ok(())
    }

    pub(super) fn refuse(&self, number: SessionNumber, refuse: Refuse) -> Result<(), End> {
        self.shared.notify(CloudNotice::Refused {
            peer: self.quic.remote_address(),
            reason: refuse.reason.clone(),
            name: self.edge.name.clone(),
        });
        self.say(refuse.of(number))
    }

    /// The cloud has come further with an Open.
    pub(super) fn progressed(&mut self, event: Progress) -> Result<(), End> {
        let number = match (&self.opening, &event) {
            (Some(opening), Progress::Working) => {
                let wait = Wait::new(opening.number, "the session is being prepared");
                return self.say(wait);
            }
            (Some(opening), Progress::Done(_)) => opening.number,
            (None, _) => return Ok(()),
        };
        self.opening = None;
        self.sessionless_until = Instant::now() + SESSIONLESS_TIMEOUT;
        let granted = match event {
            Progress::Done(Ok(granted)) => *granted,
            Progress::Done(Err(refuse)) => return self.refuse(number, refuse),
            Progress::Working => return Ok(()),
        };
        let (id, carrier) = (granted.id(), granted.carrier());
        self.say(Accept::new(number, id.value()))?;
        self.shared.notify(CloudNotice::Opened {
            connection: id,
            peer: self.quic.remote_address(),
            carrier,
            stream: Box::new(granted.stream().clone()),
            name: self.edge.name.clone(),
        });
        let running = granted.start(number, &mut self.tasks);
        self.sessions.insert(number, running);
        Ok(())
    }

    /// The edge has answered Want.
    pub(super) fn answered(&self, answer: Answered) -> Result<(), End> {
        match &self.opening {
            // Its Open may have been given up meanwhile.
            None => Ok(()),
            Some(opening) => opening.answers.try_send(answer).map_err(|_| {
                let reason = "an answer to a question that was not asked";
                End::new(CloseCode::Protocol, reason)
            }),
        }
    }
}
