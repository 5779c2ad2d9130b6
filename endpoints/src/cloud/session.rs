//! One edge at a cloud: its wish, and the session that comes of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use tensorwire_protocol::wire::{ConnectionId, ResultStatus};
use tensorwire_protocol::{Config, Event, OutgoingResult};
use tokio::sync::{Semaphore, mpsc};

use super::{Answer, CloudNotice, Opener, TensorHandler};
use crate::carrier::{Carrier, Carriers, quic_stream, tcp};
use crate::control::channel::write;
use crate::control::limits::{HELLO_TIMEOUT, MAX_SESSIONS};
use crate::control::{
    Accept, Capabilities, Ciphers, CloseCode, ControlError, ControlReader, Features, Message, Open,
    Refuse, RefuseCode, SessionLimits, SessionNumber, VERSIONS, Welcome,
};
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
    pub(super) carriers: Carriers,
    pub(super) sessions: Arc<Semaphore>,
    pub(super) any_source: bool,
    pub(super) notices: mpsc::Sender<CloudNotice>,
}

/// The control stream of an edge that has asked for something.
struct Asked {
    send: quinn::SendStream,
    receive: ControlReader,
    /// What it asked for, or why that cannot be granted.
    open: Result<Open, Refuse>,
}

/// Waits for the first messages of an edge.
async fn asked(connection: &quinn::Connection, carriers: Carriers) -> Result<Asked, ControlError> {
    let (mut send, receive) = connection
        .accept_bi()
        .await
        .map_err(|error| ControlError::ended(&error))?;
    let mut receive = ControlReader::new(receive);
    let version = match receive.next_within(HELLO_TIMEOUT, "Hello").await {
        Ok(Message::Hello(hello)) => hello.versions().common(VERSIONS),
        Ok(other) => {
            return Err(ControlError::Unexpected {
                expected: "Hello",
                found: other.name(),
            });
        }
        Err(error @ ControlError::Version(_)) => {
            let open = Err(Refuse::new(RefuseCode::Version, error.to_string()));
            return Ok(Asked {
                send,
                receive,
                open,
            });
        }
        Err(error) => return Err(error),
    };
    let capabilities = Capabilities::new(carriers.bits(), Ciphers::ALL, Features::default());
    let limits = SessionLimits::new(u64::MAX, MAX_SESSIONS);
    let welcome = Welcome::new(version.unwrap_or(VERSIONS.highest), capabilities, limits);
    write(&mut send, &welcome.into()).await?;
    let open = match receive.next_within(HELLO_TIMEOUT, "Open").await? {
        Message::Open(open) => Ok(*open),
        other => {
            return Err(ControlError::Unexpected {
                expected: "Open",
                found: other.name(),
            });
        }
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
        let refused =
            match tokio::time::timeout(OPEN_TIMEOUT, asked(connection, self.carriers)).await {
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
        let session = open.as_ref().ok().map(|open| open.session);
        let granted = match open {
            Ok(open) => self.grant(open, connection).await,
            Err(refuse) => Err(refuse),
        };
        match granted {
            Ok(granted) => {
                let id = granted.session.connection();
                let carrier = granted.carrier;
                let port = self.data_port(carrier);
                let accept = Accept::new(session.unwrap_or(SessionNumber(0)), id.value(), port);
                let accepted = write(&mut send, &accept.into()).await;
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
                    _send: send,
                })
            }
            Err(refuse) => {
                let reason = refuse.reason.clone();
                let refuse = Refuse { session, ..refuse };
                let told = write(&mut send, &refuse.into()).await;
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
        let code = open.carrier;
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
        let handler = handler.await.map_err(|error| internal(&error))??;
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
            handler,
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
    handler: Box<dyn TensorHandler>,
    events: mpsc::Receiver<Event>,
    permit: tokio::sync::OwnedSemaphorePermit,
}

/// A session at work.
struct Running {
    granted: Granted,
    receive: ControlReader,
    /// Dropping it would finish the stream, which the edge takes for the end.
    _send: quinn::SendStream,
}

impl Running {
    /// Answers tensors until the control connection ends.
    async fn run(mut self, connection: &quinn::Connection, notices: &mpsc::Sender<CloudNotice>) {
        let Granted {
            session,
            handler,
            events,
            permit,
            ..
        } = self.granted;
        let id = session.connection();
        let session = Arc::new(session);
        let mut worker = {
            let (session, runtime) = (Arc::clone(&session), tokio::runtime::Handle::current());
            tokio::task::spawn_blocking(move || answer_all(handler, events, &session, &runtime))
        };
        let mut worked = None;
        let mut last = std::pin::pin!(self.receive.next());
        let message = tokio::select! {
            message = &mut last => Some(message),
            result = &mut worker => {
                let ended = result.is_ok();
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
            (Some(Ok(Message::Close(close))), _) if close.code() == CloseCode::Done => {
                (false, "the edge is done".to_owned())
            }
            (Some(Ok(Message::Close(close))), _) => {
                (false, format!("the edge says: {}", close.shown()))
            }
            (_, Some(Ok(()))) => (true, session.end_reason().to_owned()),
            (_, Some(Err(_))) => (true, "the model's thread failed".to_owned()),
            (Some(Ok(other)), None) => {
                let (expected, found) = ("Close", other.name());
                let error = ControlError::Unexpected { expected, found };
                (false, error.to_string())
            }
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

/// Answers the tensors of a session, one after another, until the session ends.
fn answer_all(
    mut handler: Box<dyn TensorHandler>,
    mut events: mpsc::Receiver<Event>,
    session: &SessionHandle,
    runtime: &tokio::runtime::Handle,
) {
    while let Some(event) = events.blocking_recv() {
        let Event::Tensor(tensor) = event else {
            handler.observe(&event);
            continue;
        };
        let start = Instant::now();
        let Answer { status, payload } = handler.handle(&tensor);
        let compute = start.elapsed();
        let result = OutgoingResult {
            tensor: *tensor.info(),
            status,
            compute,
            payload,
        };
        match runtime.block_on(session.send_result(result.clone())) {
            Ok(Ok(())) => {}
            Ok(Err(_too_long)) => {
                let failed = OutgoingResult {
                    status: ResultStatus::ModelFailed,
                    payload: Bytes::new(),
                    ..result
                };
                // An empty payload always fits.
                let _ = runtime.block_on(session.send_result(failed));
            }
            Err(_ended) => return,
        }
    }
}
