//! One edge at a cloud: its wish, and the session that comes of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tensorwire_protocol::wire::{ConnectionId, ResultStatus};
use tensorwire_protocol::{Event, OutgoingResult};
use tokio::sync::{Semaphore, mpsc};

use super::{Answer, CloudNotice, Opener, TensorHandler};
use crate::control::{self, Accept, ControlError, Message, Open, Refuse, RefuseCode};
use crate::datapath::{DataPath, SessionHandle};
use crate::stream::StreamDescription;

/// Tensors of a session that may wait for the model; further ones are answered with `Busy`.
const WAITING_TENSORS: usize = 8;
/// An edge that has not asked for a session after so long is sent away.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// What every session of a cloud shares.
pub(super) struct Shared<O> {
    pub(super) opener: Arc<O>,
    pub(super) path: DataPath,
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
        session.describe(ConnectionId::new(connection), &stream);
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
        // The worker's channel ends with the session.
        let stats = session.end().await.ok().map(Box::new);
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
