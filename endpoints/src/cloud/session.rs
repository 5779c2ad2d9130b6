//! A session at a cloud, from its Accept to its end.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tensorwire_protocol::wire::{ConnectionId, MAX_RESULT_PAYLOAD, ResultStatus};
use tensorwire_protocol::{Event, OutgoingResult};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::CloudNotice;
use super::grant::{Granted, Permit};
use super::schedule::{Answered, Lane, Served};
use crate::carrier::Carrier;
use crate::control::{CloseCode, Refuse, RefuseCode, SessionNumber};
use crate::datapath::{PathEnded, PathStats, SessionHandle};

/// Tensors of a session that may wait for the model; further ones are answered with `Busy`.
pub(super) const WAITING_TENSORS: u32 = 8;
/// What else may wait to be told to the handler: an edge that drops frames says so of each.
pub(super) const WAITING_EVENTS: usize = 256;
/// How long an edge's last message may come after the end of its carrier.
const LAST_WORD: Duration = Duration::from_secs(1);

/// A session at work, in a task of its own.
pub(super) struct Running {
    carrier: Carrier,
    session: Arc<SessionHandle>,
    permit: Permit,
    /// Tells the task to end, and why.
    stop: Option<oneshot::Sender<String>>,
}

/// A session that has ended.
pub(super) struct Ended {
    pub(super) number: SessionNumber,
    id: ConnectionId,
    /// Everything that it counted, unless the data path went first.
    stats: Option<Box<PathStats>>,
    pub(super) code: CloseCode,
    pub(super) reason: String,
    /// Whether it was told to end, so that the edge need not hear of it.
    pub(super) by_edge: bool,
}

impl Running {
    /// Starts to answer the tensors of a session.
    pub(super) fn start(
        number: SessionNumber,
        granted: Granted,
        tasks: &mut JoinSet<Ended>,
    ) -> Self {
        let Granted {
            carrier,
            session,
            lane,
            events,
            permit,
            reservation,
            counted,
            ..
        } = granted;
        let session = Arc::new(session);
        let (stop, stopped) = oneshot::channel();
        let running = Self {
            carrier,
            session: Arc::clone(&session),
            permit: Arc::clone(&permit),
            stop: Some(stop),
        };
        tasks.spawn(async move {
            let ended = serve(number, session, (lane, events), stopped).await;
            drop((permit, reservation, counted));
            ended
        });
        running
    }

    /// Tells it to end.
    pub(super) fn stop(&mut self, reason: String) {
        if let Some(stop) = self.stop.take() {
            // It may have ended by itself.
            let _ = stop.send(reason);
        }
    }

    /// Whether it takes its connection for itself.
    pub(super) const fn takes_connection(&self) -> bool {
        self.carrier.is_quic()
    }

    /// Its right to be, for one that replaces it; but not if it shares that with another already.
    pub(super) fn share_permit(&self) -> Result<Permit, Refuse> {
        // This, and the one of its task.
        if Arc::strong_count(&self.permit) > 2 {
            let reason = "the session to be replaced is itself in the midst of a change";
            return Err(Refuse::new(RefuseCode::Busy, reason));
        }
        Ok(Arc::clone(&self.permit))
    }

    /// What it has counted so far.
    pub(super) async fn stats(&self) -> Result<PathStats, PathEnded> {
        self.session.stats().await
    }
}

impl Ended {
    /// What whoever runs the cloud hears.
    pub(super) fn notice(self) -> CloudNotice {
        CloudNotice::Closed {
            connection: self.id,
            stats: self.stats,
            reason: self.reason,
        }
    }
}

/// Answers tensors until the session is stopped, or ends by itself.
async fn serve(
    number: SessionNumber,
    session: Arc<SessionHandle>,
    (lane, events): (Lane, mpsc::Receiver<Event>),
    mut stopped: oneshot::Receiver<String>,
) -> Ended {
    let mut worker = tokio::spawn(answer_all(lane, events, Arc::clone(&session)));
    let mut worked = None;
    let told = tokio::select! {
        reason = &mut stopped => Some(reason),
        result = &mut worker => {
            let ended = matches!(result, Ok(Answering::Ended));
            worked = Some(result);
            if ended {
                // The edge may have closed all at once, and its last message be under way.
                tokio::time::timeout(LAST_WORD, stopped).await.ok()
            } else {
                None
            }
        }
    };
    let by_edge = told.is_some();
    let (code, reason) = match (told, &worked) {
        (Some(told), _) => (
            CloseCode::Done,
            told.unwrap_or_else(|_| "the edge is gone".to_owned()),
        ),
        (None, Some(Ok(Answering::Idle(limit)))) => {
            let reason = format!("nothing was heard of the edge for {} s", limit.as_secs());
            (CloseCode::Idle, reason)
        }
        (None, Some(Ok(Answering::Failed) | Err(_))) => {
            let reason = "what answers its tensors failed";
            (CloseCode::Failed, reason.to_owned())
        }
        (None, _) => (CloseCode::Failed, session.end_reason().to_owned()),
    };
    // The worker's channel ends with the session.
    let stats = session.end().await.ok().map(Box::new);
    if worked.is_none() {
        let _ = worker.await;
    }
    Ended {
        number,
        id: session.connection(),
        stats,
        code,
        reason,
        by_edge,
    }
}

/// Why a session's tensors are answered no more.
enum Answering {
    /// There are no more.
    Ended,
    /// The handler panicked.
    Failed,
    /// Nothing came for so long.
    Idle(Duration),
}

/// Hands over what happens on a session, and sends the answers, until it ends.
async fn answer_all(
    mut lane: Lane,
    mut events: mpsc::Receiver<Event>,
    session: Arc<SessionHandle>,
) -> Answering {
    let idle = lane.idle_limit();
    let mut heard = Instant::now();
    loop {
        let quiet = async {
            match idle {
                Some(limit) => tokio::time::sleep_until(heard + limit).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            served = lane.next() => match served {
                Some(Served::Answered(answered)) => send(&session, answered).await,
                Some(Served::Observed) => {}
                Some(Served::Failed) | None => return Answering::Failed,
            },
            event = events.recv(), if lane.unserved() < WAITING_EVENTS => match event {
                Some(event) => {
                    if !matches!(event, Event::CircuitOpened { .. }) {
                        heard = Instant::now();
                    }
                    lane.push(event);
                }
                None => break,
            },
            () = quiet => {
                if let Some(limit) = idle {
                    lane.finish().await;
                    return Answering::Idle(limit);
                }
            }
        }
    }
    lane.finish().await;
    Answering::Ended
}

/// Sends an answer. If the session has ended, its events will say so.
async fn send(session: &SessionHandle, answered: Answered) {
    let Answered {
        tensor,
        answer,
        compute,
        occupied,
        ..
    } = answered;
    let mut result = OutgoingResult {
        tensor,
        status: answer.status,
        compute,
        payload: answer.payload,
    };
    if result.payload.len() > MAX_RESULT_PAYLOAD {
        result.status = ResultStatus::ModelFailed;
        result.payload = Bytes::new();
    }
    let _ = session.send_answer(result, occupied).await;
}
