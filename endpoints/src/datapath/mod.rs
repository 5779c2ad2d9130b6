//! The data path: one UDP socket, the sessions on it, and the only loop that drives them.

mod driver;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tensorwire_protocol::wire::{ConnectionId, FrameNumber, NoticeReason, TensorId};
use tensorwire_protocol::{
    Config, ConfigError, Event, OutgoingResult, OutgoingTensor, ResultError, SendError, Stats,
};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};

use crate::capture::Tap;
use crate::clock::Clock;
use crate::stream::StreamDescription;

use driver::Driver;

/// Commands that may wait for the loop; senders wait beyond.
const COMMANDS: usize = 64;
/// The largest UDP payload there can be.
pub(crate) const MAX_UDP: usize = 65_535;

/// A data path at work. It ends, and its sessions with it, when this and every session handle are
/// dropped, or the runtime shuts down.
#[derive(Clone, Debug)]
pub struct DataPath {
    commands: mpsc::Sender<Command>,
    local: SocketAddr,
    clock: Clock,
    strays: Arc<AtomicU64>,
    tap: Arc<OnceLock<Tap>>,
}

/// What a session and its socket have counted.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct PathStats {
    /// The session's counters.
    pub session: Stats,
    /// Tensors answered with `Busy`, because the application was behind.
    pub busy: u64,
    /// Datagrams that the system did not send.
    pub send_failed: u64,
}

/// A session on a data path. Dropping it ends the session.
#[derive(Debug)]
pub struct SessionHandle {
    connection: ConnectionId,
    path: DataPath,
    closed: AtomicBool,
}

/// What handles ask of the driver.
#[derive(Debug)]
enum Command {
    Open {
        config: Box<Config>,
        from: Option<IpAddr>,
        events: mpsc::Sender<Event>,
        reply: oneshot::Sender<Result<ConnectionId, OpenError>>,
    },
    Attach(ConnectionId, ConnectionId, Option<SocketAddr>),
    Tensor(
        ConnectionId,
        OutgoingTensor,
        oneshot::Sender<Result<TensorId, SendError>>,
    ),
    Result(
        ConnectionId,
        OutgoingResult,
        oneshot::Sender<Result<(), ResultError>>,
    ),
    Skip(ConnectionId, NoticeReason, FrameNumber, u64),
    Stats(ConnectionId, oneshot::Sender<PathStats>),
    End(ConnectionId, oneshot::Sender<PathStats>),
    Close(ConnectionId),
}

/// The data path is gone: the runtime shuts down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the data path has ended")]
pub struct PathEnded;

/// Why a session could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The configuration is out of range: the caller is at fault.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data path is gone.
    #[error(transparent)]
    Ended(#[from] PathEnded),
    /// The system gives no random numbers.
    #[error("no random numbers from the system: {0}")]
    Random(#[from] getrandom::Error),
}

impl DataPath {
    /// Binds `address` and drives its sessions on the current runtime.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub async fn bind(address: SocketAddr, clock: Clock) -> io::Result<Self> {
        let socket = UdpSocket::bind(address).await?;
        let local = socket.local_addr()?;
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let strays = Arc::new(AtomicU64::new(0));
        let tap = Arc::default();
        let driver = Driver::new(socket, clock, Arc::clone(&strays), Arc::clone(&tap));
        tokio::spawn(driver.run(inbox));
        Ok(Self {
            commands,
            local,
            clock,
            strays,
            tap,
        })
    }

    /// Hands what the socket sends and receives from now on to a capture; only the first tap counts.
    pub fn record(&self, tap: Tap) {
        let _ = self.tap.set(tap);
    }

    /// The address of the socket.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Datagrams that named no session of this data path.
    #[must_use]
    pub fn strays(&self) -> u64 {
        self.strays.load(Ordering::Relaxed)
    }

    /// Opens a session and says which connection ID its incoming datagrams carry. What happens on it
    /// goes to `events`; a tensor that finds the channel full is answered with `Busy`.
    ///
    /// The session is silent until it knows its peer: from [`attach`](SessionHandle::attach), or from the
    /// first valid datagram that comes from the address `from` (any address, where there is none).
    ///
    /// # Errors
    /// If the configuration is out of range, or the data path has ended.
    pub async fn open(
        &self,
        config: Config,
        from: Option<IpAddr>,
        events: mpsc::Sender<Event>,
    ) -> Result<SessionHandle, OpenError> {
        let (reply, answer) = oneshot::channel();
        let config = Box::new(config);
        let command = Command::Open {
            config,
            from,
            events,
            reply,
        };
        self.commands.send(command).await.map_err(|_| PathEnded)?;
        let connection = answer.await.map_err(|_| PathEnded)??;
        Ok(SessionHandle {
            connection,
            path: self.clone(),
            closed: AtomicBool::new(false),
        })
    }
}

impl SessionHandle {
    /// The ID that datagrams to this session carry.
    #[must_use]
    pub const fn connection(&self) -> ConnectionId {
        self.connection
    }

    /// The clock that the session counts by.
    #[must_use]
    pub const fn clock(&self) -> Clock {
        self.path.clock
    }

    /// Tells the session which ID the peer chose, and where the peer is, if that is known.
    ///
    /// # Errors
    /// If the data path has ended.
    pub async fn attach(
        &self,
        remote: ConnectionId,
        peer: Option<SocketAddr>,
    ) -> Result<(), PathEnded> {
        self.send(Command::Attach(self.connection, remote, peer))
            .await
    }

    /// Tells the capture, if there is one, what this session streams, so that it can be replayed. To be
    /// called before the peer knows of the session; `remote` is the ID that the peer chose.
    pub fn describe(&self, remote: ConnectionId, stream: &StreamDescription) {
        if let Some(tap) = self.path.tap.get() {
            tap.session(self.clock().now(), self.connection, remote, stream);
        }
    }

    /// Sends a tensor.
    ///
    /// # Errors
    /// If the data path has ended; inside, if the session did not take the tensor.
    pub async fn send_tensor(
        &self,
        tensor: OutgoingTensor,
    ) -> Result<Result<TensorId, SendError>, PathEnded> {
        self.ask(|reply| Command::Tensor(self.connection, tensor, reply))
            .await
    }

    /// Sends a result.
    ///
    /// # Errors
    /// If the data path has ended; inside, if the session did not take the result.
    pub async fn send_result(
        &self,
        result: OutgoingResult,
    ) -> Result<Result<(), ResultError>, PathEnded> {
        self.ask(|reply| Command::Result(self.connection, result, reply))
            .await
    }

    /// Tells the peer that frames were skipped.
    ///
    /// # Errors
    /// If the data path has ended.
    pub async fn skip_frames(
        &self,
        reason: NoticeReason,
        first: FrameNumber,
        count: u64,
    ) -> Result<(), PathEnded> {
        self.send(Command::Skip(self.connection, reason, first, count))
            .await
    }

    /// Everything the session has counted.
    ///
    /// # Errors
    /// If the data path has ended.
    pub async fn stats(&self) -> Result<PathStats, PathEnded> {
        self.ask(|reply| Command::Stats(self.connection, reply))
            .await
    }

    /// Ends the session. What waits to be sent is not sent any more.
    pub async fn close(&self) {
        if !self.closed.swap(true, Ordering::Relaxed) {
            // If the data path has ended, so has the session.
            let _ = self.send(Command::Close(self.connection)).await;
        }
    }

    /// Ends the session as [`close`](Self::close) does, and says what it had counted by then: nothing
    /// comes between.
    ///
    /// # Errors
    /// If the data path or the session has ended.
    pub async fn end(&self) -> Result<PathStats, PathEnded> {
        let stats = self.ask(|reply| Command::End(self.connection, reply)).await;
        self.closed.store(true, Ordering::Relaxed);
        stats
    }

    async fn send(&self, command: Command) -> Result<(), PathEnded> {
        self.path
            .commands
            .send(command)
            .await
            .map_err(|_| PathEnded)
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, PathEnded> {
        let (reply, answer) = oneshot::channel();
        self.send(command(reply)).await?;
        answer.await.map_err(|_| PathEnded)
    }
}

impl Drop for SessionHandle {
    fn drop(&mut self) {
        if *self.closed.get_mut() {
            return;
        }
        let close = Command::Close(self.connection);
        if let Err(mpsc::error::TrySendError::Full(close)) = self.path.commands.try_send(close)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let commands = self.path.commands.clone();
            runtime.spawn(async move { commands.send(close).await });
        }
    }
}
