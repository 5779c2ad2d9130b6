//! One edge at a cloud: its wish, and the session that comes of it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use tensorwire_protocol::wire::{ConnectionId, MAX_RESULT_PAYLOAD, ResultStatus};
use tensorwire_protocol::{Config, Event, OutgoingResult};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use super::schedule::{Answered, Lane, Schedule, Served};
use super::{CloudNotice, Opener};
use crate::carrier::{Carrier, Carriers, quic_stream, tcp};
use crate::control::{self, Accept, Close, ControlError, Message, Open, Refuse, RefuseCode};
use crate::datapath::{DataPath, SessionHandle};
use crate::stream::StreamDescription;

/// Tensors of a session that may wait for the model; further ones are answered with `Busy`.
const WAITING_TENSORS: u32 = 8;
/// What else may wait to be told to the handler: an edge that drops frames says so of each.
const WAITING_EVENTS: usize = 256;
/// An edge that has not asked for a session after so long is sent away.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an edge's last message may come after the end of its carrier.
const LAST_WORD: Duration = Duration::from_secs(1);

/// What every session of a cloud shares.
pub(super) struct Shared<O> {
    pub(super) opener: Arc<O>,
    pub(super) path: DataPath,
    pub(super) tcp: Option<tcp::Listener>,
    pub(super) schedule: Schedule,
    pub(super) carriers: Carriers,
    pub(super) sessions: Arc<Semaphore>,
    pub(super) any_source: bool,
    pub(super) notices: mpsc::Sender<CloudNotice>,
}

/// The control stream of an edge that has asked for something.
struct Asked {
    send: quinn::SendStream,
    receive: quinn::RecvStream,
    /// What it asked for, or why that cannot be granted.
    open: Result<Open, Refuse>,
}

/// Waits for the first message of an edge.
async fn asked(connection: &quinn::Connection) -> Result<Asked, ControlError> {
    let (send, mut receive) = connection
        .accept_bi()
        .await
        .map_err(|error| ControlError::ended(&error))?;
    let open = match control::receive(&mut receive).await {
        Ok(Message::Open(open)) => Ok(open),
        Ok(_) => return Err(ControlError::Unexpected { expected: "Open" }),
        Err(error @ ControlError::Version(_)) => {
            Err(Refuse::new(RefuseCode::Version, error.to_string()))
        }
        Err(error) => return Err(error),
    };
    Ok(Asked {
        send,
        receive,
        open,
    })
}

impl<O: Opener> Shared<O> {
    /// Serves one edge, from its first message to its last.
    pub(super) async fn serve_edge(&self, connection: &quinn::Connection) {
        let peer = connection.remote_address();
        let refused = match tokio::time::timeout(OPEN_TIMEOUT, asked(connection)).await {
            Ok(Ok(asked)) => match self.negotiate(connection, asked).await {
                Ok(running) => return running.run(connection, &self.notices).await,
                Err(reason) => reason,
            },
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it asked for no session in time".to_owned(),
        };
        connection.close(1_u32.into(), b"no session");
        self.notify(CloudNotice::Refused {
            peer,
            reason: refused,
        });
    }

    /// Grants an edge's wish or refuses it, with the reason.
    async fn negotiate(
        &self,
        connection: &quinn::Connection,
        asked: Asked,
    ) -> Result<Running, String> {
        let Asked {
            mut send,
            receive,
            open,
        } = asked;
        let peer = connection.remote_address();
        let granted = match open {
            Ok(open) => self.grant(open, connection).await,
            Err(refuse) => Err(refuse),
        };
        match granted {
            Ok(granted) => {
                let id = granted.session.connection();
                let carrier = granted.carrier;
                let port = self.data_port(carrier);
                let accept = Accept::new(id.value(), port);
                let accepted = control::send(&mut send, &Message::Accept(accept)).await;
                accepted.map_err(|error| error.to_string())?;
                let stream = Box::new(granted.stream.clone());
                self.notify(CloudNotice::Opened {
                    connection: id,
                    peer,
                    carrier,
                    stream,
                });
                Ok(Running {
                    granted,
                    receive,
                    send,
                    idle: self.schedule.config().idle,
                })
            }
            Err(refuse) => {
                let reason = refuse.reason.clone();
                let told = control::send(&mut send, &Message::Refuse(refuse)).await;
                if told.is_ok() && send.finish().is_ok() {
                    // So that the end of the connection does not overtake the message.
                    let _ = tokio::time::timeout(OPEN_TIMEOUT, send.stopped()).await;
                }
                Err(reason)
            }
        }
    }

    /// The port at which edges reach the data path.
    fn data_port(&self, carrier: Carrier) -> u16 {
        let tcp = self.tcp.as_ref().filter(|_| carrier == Carrier::Tcp);
        tcp.map_or_else(|| self.path.local_addr(), tcp::Listener::local_addr)
            .port()
    }

    /// The carrier that an edge asks for, if it is offered.
    fn carrier(&self, open: &Open) -> Result<Carrier, Refuse> {
        let code = open.carrier.unwrap_or(Carrier::Udp.code());
        let carrier = Carrier::from_code(code);
        match carrier.filter(|carrier| self.carriers.contains(*carrier)) {
            Some(carrier) => Ok(carrier),
            None => {
                let (asked, offered) = (
                    carrier.map_or("an unknown one", Carrier::name),
                    self.carriers,
                );
                let reason = format!("this cloud offers the carriers {offered}, not {asked}");
                Err(Refuse::new(RefuseCode::Carrier, reason))
            }
        }
    }

    async fn grant(&self, open: Open, control: &quinn::Connection) -> Result<Granted, Refuse> {
        let describe =
            |error: &dyn std::fmt::Display| Refuse::new(RefuseCode::Description, error.to_string());
        let internal =
            |error: &dyn std::fmt::Display| Refuse::new(RefuseCode::Internal, error.to_string());
        let permit = Arc::clone(&self.sessions)
            .try_acquire_owned()
            .map_err(|_| {
                Refuse::new(
                    RefuseCode::Busy,
                    "this cloud holds as many sessions as it can",
                )
            })?;
        let carrier = self.carrier(&open)?;
        let Open {
            stream, connection, ..
        } = open;
        let mut config = stream.config().map_err(|error| describe(&error))?;
        config.remote_connection = ConnectionId::new(connection);
        if config.remote_connection.value() != connection {
            return Err(describe(&format!(
                "connection ID {connection}; it must be below 2^24"
            )));
        }
        // Splitting a model takes long enough to stall the other sessions.
        let (opener, description) = (Arc::clone(&self.opener), stream.clone());
        let handler = tokio::task::spawn_blocking(move || opener.open(&description));
        let mut handler = handler.await.map_err(|error| internal(&error))??;
        let admitted = self.schedule.admit(&mut *handler, None);
        admitted.map_err(|error| Refuse::new(RefuseCode::Busy, error.to_string()))?;
        let lane = self.schedule.open(handler, config.deadline, None);
        let (events, inbox) = mpsc::channel(WAITING_EVENTS + WAITING_TENSORS as usize);
        let session = self
            .start(carrier, (config, &stream), control, events)
            .await;
        let session = session.map_err(|error| internal(&error))?;
        let limited = session.limit_waiting(WAITING_TENSORS).await;
        limited.map_err(|error| internal(&error))?;
        Ok(Granted {
            carrier,
            stream,
            session,
            lane,
            events: inbox,
            permit,
        })
    }

    /// Starts the session of an edge on its carrier.
    async fn start(
        &self,
        carrier: Carrier,
        (config, stream): (Config, &StreamDescription),
        control: &quinn::Connection,
        events: mpsc::Sender<Event>,
    ) -> anyhow::Result<SessionHandle> {
        let (clock, remote) = (self.path.clock(), config.remote_connection);
        match carrier {
            Carrier::Udp => {
                let peer = control.remote_address().ip().to_canonical();
                let from = (!self.any_source).then_some(peer);
                let session = self.path.open(config, from, events).await?;
                self.path.describe(&session, remote, stream);
                Ok(session)
            }
            Carrier::QuicDatagram => {
                let most = control.max_datagram_size().unwrap_or(0);
                if usize::from(config.mss) > most {
                    bail!("an MSS of {} bytes; QUIC datagrams take {most}", config.mss);
                }
                let session = self.path.open(config, None, events).await?;
                // Before its first datagram, which leaves as soon as there is a way.
                self.path.describe(&session, remote, stream);
                session.attach_quic(remote, control.clone()).await?;
                Ok(session)
            }
            Carrier::QuicStream => quic_stream::serve(control.clone(), config, clock, events),
            Carrier::Tcp => {
                let listener = self.tcp.as_ref().context("no TCP port")?;
                listener.serve(control, config, clock, events)
            }
        }
    }

    fn notify(&self, notice: CloudNotice) {
        // Whoever runs the cloud may be slow or gone; the sessions do not wait for that.
        let _ = self.notices.try_send(notice);
    }
}

/// A session that has been granted.
struct Granted {
    carrier: Carrier,
    stream: StreamDescription,
    session: SessionHandle,
    lane: Lane,
    events: mpsc::Receiver<Event>,
    permit: tokio::sync::OwnedSemaphorePermit,
}

/// A session at work.
struct Running {
    granted: Granted,
    receive: quinn::RecvStream,
    /// Dropping it would finish the stream, which the edge takes for the end.
    send: quinn::SendStream,
    idle: Option<Duration>,
}

impl Running {
    /// Answers tensors until the control connection ends.
    async fn run(mut self, connection: &quinn::Connection, notices: &mpsc::Sender<CloudNotice>) {
        let Granted {
            session,
            lane,
            events,
            permit,
            ..
        } = self.granted;
        let id = session.connection();
        let session = Arc::new(session);
        let mut worker = {
            let answering = answer_all(lane, events, Arc::clone(&session), self.idle);
            tokio::spawn(answering)
        };
        let mut worked = None;
        let mut last = std::pin::pin!(control::receive(&mut self.receive));
        let message = tokio::select! {
            message = &mut last => Some(message),
            result = &mut worker => {
                let ended = matches!(result, Ok(Ended::Session));
                worked = Some(result);
                if ended {
                    // The edge may have closed all at once, and its last message be under way.
                    tokio::time::timeout(LAST_WORD, last).await.ok()
                } else {
                    None
                }
            }
        };
        let (failed, reason) = match (message, &worked) {
            (Some(Ok(Message::Close(close))), _) if close.code == 0 => {
                (false, "the edge is done".to_owned())
            }
            (Some(Ok(Message::Close(close))), _) => {
                (false, format!("the edge says: {}", close.shown()))
            }
            (_, Some(Ok(Ended::Session))) => (true, session.end_reason().to_owned()),
            (_, Some(Ok(Ended::Idle(limit)))) => {
                let reason = format!("nothing was heard of the edge for {limit:?}");
                // The edge may be gone, or not know the message.
                let close = Message::Close(Close::error(reason.clone()));
                let _ =
                    tokio::time::timeout(LAST_WORD, control::send(&mut self.send, &close)).await;
                (false, reason)
            }
            (_, Some(Ok(Ended::Failed) | Err(_))) => {
                (true, "what answers its tensors failed".to_owned())
            }
            (Some(Ok(_)), None) => (
                false,
                ControlError::Unexpected { expected: "Close" }.to_string(),
            ),
            (Some(Err(error)), None) => (false, error.to_string()),
            (None, None) => (false, "the edge is gone".to_owned()),
        };
        // The worker's channel ends with the session.
        let stats = session.end().await.ok().map(Box::new);
        if worked.is_none() {
            let _ = worker.await;
        }
        connection.close(
            u32::from(failed).into(),
            if failed { b"the cloud failed" } else { b"done" },
        );
        // Whoever runs the cloud may be slow or gone.
        let _ = notices.try_send(CloudNotice::Closed {
            connection: id,
            stats,
            reason,
        });
        drop(permit);
    }
}

/// Why a session's tensors are answered no more.
enum Ended {
    /// There are no more.
    Session,
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
    idle: Option<Duration>,
) -> Ended {
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
                Some(Served::Failed) | None => return Ended::Failed,
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
                    return Ended::Idle(limit);
                }
            }
        }
    }
    lane.finish().await;
    Ended::Session
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
