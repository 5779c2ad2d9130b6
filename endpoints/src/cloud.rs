//! The cloud: accepts sessions over QUIC, receives their tensors over UDP, answers each.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use tensorwire_protocol::wire::{ConnectionId, ResultStatus};
use tensorwire_protocol::{Event, OutgoingResult, ReceivedTensor};
use tokio::sync::{Semaphore, mpsc};

use crate::clock::Clock;
use crate::control::{self, Accept, ControlError, Message, Open, Refuse, RefuseCode};
use crate::datapath::{DataPath, PathStats, SessionHandle};
use crate::digest::Digest;
use crate::quic;
use crate::stream::StreamDescription;

/// Tensors of a session that may wait for the model; further ones are answered with `Busy`.
const WAITING_TENSORS: usize = 8;
/// Notices that may wait for whoever runs the cloud; further ones are not told.
const NOTICES: usize = 1_024;
/// Connections beyond the sessions that may be on their way to one, or to a refusal.
const NEGOTIATING: usize = 16;
/// An edge that has not asked for a session after so long is sent away.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// What becomes of a session's tensors. Called in a thread of its own, one tensor at a time.
pub trait TensorHandler: Send {
    /// Answers a released tensor.
    fn handle(&mut self, tensor: &ReceivedTensor) -> Answer;

    /// Hears what else happens on the session.
    fn observe(&mut self, _event: &Event) {}
}

/// Decides whether a stream can be served. Shared by all sessions; may block.
pub trait Opener: Send + Sync + 'static {
    /// A handler for the tensors of a new session.
    ///
    /// # Errors
    /// Why there can be no session of this stream.
    fn open(&self, stream: &StreamDescription) -> Result<Box<dyn TensorHandler>, Refuse>;
}

/// A handler's answer to a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "made by handlers, field by field"
)]
pub struct Answer {
    /// How it went.
    pub status: ResultStatus,
    /// What the edge's application gets, at most 1,024 bytes.
    pub payload: Bytes,
}

/// What a cloud tells whoever runs it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CloudNotice {
    /// A session began.
    Opened {
        /// Its name here.
        connection: ConnectionId,
        /// The edge's control address.
        peer: SocketAddr,
        /// What it streams.
        stream: Box<StreamDescription>,
    },
    /// An edge did not get a session.
    Refused {
        /// The edge's control address.
        peer: SocketAddr,
        /// Why.
        reason: String,
    },
    /// A session ended.
    Closed {
        /// Its name here.
        connection: ConnectionId,
        /// Everything it counted, unless the data path went first.
        stats: Option<PathStats>,
        /// Why, in words.
        reason: String,
    },
}

/// Where and how a cloud listens.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "made by the caller, field by field"
)]
pub struct CloudConfig {
    /// Address of the control connections.
    pub listen: SocketAddr,
    /// Address of the data path.
    pub data: SocketAddr,
    /// Sessions at a time.
    pub sessions: usize,
    /// Whether a session's datagrams may come from another host than its control connection, as they do
    /// through a link emulator on a third one.
    pub any_source: bool,
}

/// A cloud that is bound and ready to serve.
#[derive(Debug)]
pub struct Cloud {
    endpoint: quinn::Endpoint,
    fingerprint: Digest,
    path: DataPath,
    config: CloudConfig,
}

/// What every session of a cloud shares.
struct Shared<O> {
    opener: Arc<O>,
    path: DataPath,
    sessions: Arc<Semaphore>,
    any_source: bool,
    notices: mpsc::Sender<CloudNotice>,
}

impl Cloud {
    /// Binds both sockets.
    ///
    /// # Errors
    /// If an address cannot be bound.
    pub async fn bind(config: CloudConfig, clock: Clock) -> Result<Self> {
        let (endpoint, fingerprint) = quic::server(config.listen)?;
        let data = config.data;
        let path = DataPath::bind(data, clock).await;
        let path = path.with_context(|| format!("cannot bind the data path to {data} (UDP)"))?;
        Ok(Self {
            endpoint,
            fingerprint,
            path,
            config,
        })
    }

    /// The address of the control connections.
    ///
    /// # Errors
    /// If the socket has no address any more.
    pub fn local_addr(&self) -> Result<SocketAddr> {
        Ok(self.endpoint.local_addr()?)
    }

    /// The address of the data path.
    #[must_use]
    pub const fn data_addr(&self) -> SocketAddr {
        self.path.local_addr()
    }

    /// The data path, whose counters outlive the sessions.
    #[must_use]
    pub const fn path(&self) -> &DataPath {
        &self.path
    }

    /// SHA-256 of the certificate.
    #[must_use]
    pub const fn fingerprint(&self) -> Digest {
        self.fingerprint
    }

    /// A channel for [`serve`](Self::serve) to tell what happens, bounded, since edges make it happen.
    #[must_use]
    pub fn notices() -> (mpsc::Sender<CloudNotice>, mpsc::Receiver<CloudNotice>) {
        mpsc::channel(NOTICES)
    }

    /// Serves edges until `stop` is ready, then closes every session. A caller that drops the future
    /// instead leaves the threads of running sessions to end by themselves.
    pub async fn serve<O: Opener>(
        self,
        opener: Arc<O>,
        notices: mpsc::Sender<CloudNotice>,
        stop: impl Future<Output = ()>,
    ) {
        let CloudConfig {
            sessions,
            any_source,
            ..
        } = self.config;
        let most = sessions + NEGOTIATING;
        let sessions = Arc::new(Semaphore::new(sessions));
        let shared = Arc::new(Shared {
            opener,
            path: self.path,
            sessions,
            any_source,
            notices,
        });
        let mut stop = std::pin::pin!(stop);
        let mut tasks = tokio::task::JoinSet::new();
        loop {
            let incoming = tokio::select! {
                incoming = self.endpoint.accept() => incoming,
                Some(_) = tasks.join_next() => continue,
                () = &mut stop => None,
            };
            let Some(incoming) = incoming else { break };
            if tasks.len() >= most {
                incoming.refuse();
                continue;
            }
            let shared = Arc::clone(&shared);
            tasks.spawn(async move {
                // A handshake that fails has told the edge why.
                if let Ok(connection) = incoming.await {
                    shared.serve_edge(&connection).await;
                }
            });
        }
        self.endpoint
            .close(0_u32.into(), b"the cloud is shutting down");
        while tasks.join_next().await.is_some() {}
        self.endpoint.wait_idle().await;
    }
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
    async fn serve_edge(&self, connection: &quinn::Connection) {
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
            Ok(open) => self.grant(open, peer).await,
            Err(refuse) => Err(refuse),
        };
        match granted {
            Ok(granted) => {
                let id = granted.session.connection();
                let accept = Accept::new(id.value(), self.path.local_addr().port());
                let accepted = control::send(&mut send, &Message::Accept(accept)).await;
                accepted.map_err(|error| error.to_string())?;
                let stream = Box::new(granted.stream.clone());
                self.notify(CloudNotice::Opened {
                    connection: id,
                    peer,
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
                let told = control::send(&mut send, &Message::Refuse(refuse)).await;
                if told.is_ok() && send.finish().is_ok() {
                    // So that the end of the connection does not overtake the message.
                    let _ = tokio::time::timeout(OPEN_TIMEOUT, send.stopped()).await;
                }
                Err(reason)
            }
        }
    }

    async fn grant(&self, open: Open, peer: SocketAddr) -> Result<Granted, Refuse> {
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
        let (events, inbox) = mpsc::channel(WAITING_TENSORS);
        let from = (!self.any_source).then(|| peer.ip().to_canonical());
        let session = self.path.open(config, from, events).await;
        let session = session.map_err(|error| internal(&error))?;
        Ok(Granted {
            stream,
            session,
            handler,
            events: inbox,
            permit,
        })
    }

    fn notify(&self, notice: CloudNotice) {
        // Whoever runs the cloud may be slow or gone; the sessions do not wait for that.
        let _ = self.notices.try_send(notice);
    }
}

/// A session that has been granted.
struct Granted {
    stream: StreamDescription,
    session: SessionHandle,
    handler: Box<dyn TensorHandler>,
    events: mpsc::Receiver<Event>,
    permit: tokio::sync::OwnedSemaphorePermit,
}

/// A session at work.
struct Running {
    granted: Granted,
    receive: quinn::RecvStream,
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
        let mut failed = false;
        let reason = tokio::select! {
            message = control::receive(&mut self.receive) => match message {
                Ok(Message::Close(close)) if close.code == 0 => "the edge is done".to_owned(),
                Ok(Message::Close(close)) => format!("the edge says: {}", close.shown()),
                Ok(_) => ControlError::Unexpected { expected: "Close" }.to_string(),
                Err(error) => error.to_string(),
            },
            _ = &mut worker => {
                failed = true;
                "the model's thread failed".to_owned()
            }
        };
        let stats = session.stats().await.ok();
        // The worker's channel ends with the session.
        session.close().await;
        if !failed {
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
