//! The data path: TSP sessions on a UDP socket or in QUIC datagrams, and the only loop that drives them;
//! and the handle that applications have of a session, whatever carries it.

mod application;
mod driver;
mod load;
mod quic;
mod socket;
mod watch;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use tensorwire_protocol::wire::{ConnectionId, FrameNumber, NoticeReason, TensorId};
use tensorwire_protocol::{
    Config, ConfigError, Event, OutgoingResult, OutgoingTensor, Path, PeerLoad, ResultError,
    SendError, Stats,
};
use tokio::sync::{mpsc, oneshot};

use crate::capture::Tap;
use crate::clock::Clock;
use crate::stream::StreamDescription;

pub(crate) use application::Application;
use driver::Driver;
use socket::Socket;

pub use watch::SessionWatch;

/// Commands that may wait for the loop; senders wait beyond.
pub(crate) const COMMANDS: usize = 64;
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
    /// The session's counters. A session on QUIC streams or TCP counts no datagrams, and as `late` tensors
    /// whose bytes were thrown away.
    pub session: Stats,
    /// Tensors answered with `Busy`, because the application was behind.
    pub busy: u64,
    /// Datagrams that the system, or QUIC, did not send.
    pub send_failed: u64,
}

/// What a session knows that decides which frames are worth computing.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Outlook {
    /// The path to the peer.
    pub path: Path,
    /// The load that the peer told last; none before it told any.
    pub load: Option<PeerLoad>,
    /// REPAIR packets for each source packet that tensors get ahead of losses.
    pub parity: f64,
}

/// A session, whatever carries it. Dropping it ends the session.
#[derive(Debug)]
pub struct SessionHandle {
    connection: ConnectionId,
    commands: mpsc::Sender<Command>,
    clock: Clock,
    closed: AtomicBool,
    /// Why the session ended, where its carrier ended it.
    ended: Arc<OnceLock<String>>,
}

/// What handles ask of whoever drives their session.
#[derive(Debug)]
pub(crate) enum Command {
    Open {
        config: Box<Config>,
        from: Option<IpAddr>,
        events: mpsc::Sender<Event>,
        reply: oneshot::Sender<Result<ConnectionId, OpenError>>,
    },
    Attach(ConnectionId, ConnectionId, Option<SocketAddr>),
    /// The session's datagrams travel in this QUIC connection.
    AttachQuic(ConnectionId, ConnectionId, QuicPath),
    /// A datagram came in a session's QUIC connection.
    Datagram(ConnectionId, Bytes),
    /// A session's QUIC connection takes datagrams again.
    Room(ConnectionId, Result<(), quinn::SendDatagramError>),
    Tensor(
        ConnectionId,
        OutgoingTensor,
        oneshot::Sender<Result<TensorId, SendError>>,
    ),
    Result(
        ConnectionId,
        OutgoingResult,
        /// How long the application was occupied with the tensor; none if it was not computed.
        Option<Duration>,
        oneshot::Sender<Result<(), ResultError>>,
    ),
    Skip(ConnectionId, NoticeReason, FrameNumber, u64),
    Limit(ConnectionId, u32),
    Outlook(ConnectionId, oneshot::Sender<Outlook>),
    Stats(ConnectionId, oneshot::Sender<PathStats>),
    End(ConnectionId, oneshot::Sender<PathStats>),
    Close(ConnectionId),
}

/// A QUIC connection that carries a session's datagrams.
#[derive(Debug)]
pub(crate) struct QuicPath {
    connection: quinn::Connection,
    /// How those that wait for the connection reach the driver, which they do not keep alive.
    driver: mpsc::WeakSender<Command>,
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
    /// Binds `address` and drives its sessions on the current runtime. Each datagram leaves in a system
    /// call of its own.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub async fn bind(address: SocketAddr, clock: Clock) -> io::Result<Self> {
        Self::bind_with(address, clock, false).await
    }

    /// The same; with `gso`, datagrams that are due at once leave in one call (generic segmentation
    /// offload). Cheaper, but the network sees them as a burst, and netem as one packet.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub async fn bind_with(address: SocketAddr, clock: Clock, gso: bool) -> io::Result<Self> {
        let socket = Socket::bind(address, gso).await?;
        let local = socket.local_addr()?;
        Ok(Self::start(Some(socket), local, clock))
    }

    /// A data path without a socket, for sessions whose datagrams travel in QUIC connections.
    #[must_use]
    pub fn without_socket(clock: Clock) -> Self {
        Self::start(None, ([0, 0, 0, 0], 0).into(), clock)
    }

    fn start(socket: Option<Socket>, local: SocketAddr, clock: Clock) -> Self {
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let strays = Arc::new(AtomicU64::new(0));
        let tap = Arc::default();
        let driver = Driver::new(socket, clock, Arc::clone(&strays), Arc::clone(&tap));
        tokio::spawn(driver.run(inbox));
        Self {
            commands,
            local,
            clock,
            strays,
            tap,
        }
    }

    /// Hands what the sessions send and receive from now on to a capture; only the first tap counts.
    pub fn record(&self, tap: Tap) {
        let _ = self.tap.set(tap);
    }

    /// Tells the capture, if there is one, what a session on this path streams, so that it can be
    /// replayed. To be called before the peer knows of the session; `remote` is the ID that the peer chose.
    pub fn describe(
        &self,
        session: &SessionHandle,
        remote: ConnectionId,
        stream: &StreamDescription,
    ) {
        if let Some(tap) = self.tap.get() {
            tap.session(self.clock.now(), session.connection, remote, stream);
        }
    }

    /// The clock that its sessions count by.
    #[must_use]
    pub const fn clock(&self) -> Clock {
        self.clock
    }

    /// The address of the socket; unspecified, with port 0, where there is none.
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
    /// goes to `events`; a tensor that finds the channel full is answered with `Busy`, as are those beyond
    /// [`limit_waiting`](SessionHandle::limit_waiting).
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
        Ok(SessionHandle::new(
            connection,
            self.commands.clone(),
            self.clock,
            Arc::default(),
        ))
    }
}

impl SessionHandle {
    pub(crate) const fn new(
        connection: ConnectionId,
        commands: mpsc::Sender<Command>,
        clock: Clock,
        ended: Arc<OnceLock<String>>,
    ) -> Self {
        Self {
            connection,
            commands,
            clock,
            closed: AtomicBool::new(false),
            ended,
        }
    }

    /// Why the session ended, once its events have.
    #[must_use]
    pub fn end_reason(&self) -> &str {
        self.ended
            .get()
            .map_or("the data path has ended", String::as_str)
    }

    /// The ID that datagrams to this session carry.
    #[must_use]
    pub const fn connection(&self) -> ConnectionId {
        self.connection
    }

    /// The clock that the session counts by.
    #[must_use]
    pub const fn clock(&self) -> Clock {
        self.clock
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

    /// Tells the session which ID the peer chose, and that its datagrams travel in `connection`, both ways:
    /// it takes none from elsewhere any more.
    ///
    /// # Errors
    /// If the data path has ended.
    pub async fn attach_quic(
        &self,
        remote: ConnectionId,
        connection: quinn::Connection,
    ) -> Result<(), PathEnded> {
        let driver = self.commands.downgrade();
        let path = QuicPath { connection, driver };
        self.send(Command::AttachQuic(self.connection, remote, path))
            .await
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

    /// Sends a result. Its time to compute is the service time in the load that the peer is told.
    ///
    /// # Errors
    /// If the data path has ended; inside, if the session did not take the result.
    pub async fn send_result(
        &self,
        result: OutgoingResult,
    ) -> Result<Result<(), ResultError>, PathEnded> {
        let occupied = Some(result.compute);
        self.send_answer(result, occupied).await
    }

    /// Sends a result of an application that serves other sessions, too: it was `occupied` with this tensor
    /// from when it had answered the session's tensor before (or had got this one, if that was later),
    /// which is the service time in the load that the peer is told. None if the tensor was not computed.
    ///
    /// # Errors
    /// If the data path has ended; inside, if the session did not take the result.
    pub async fn send_answer(
        &self,
        result: OutgoingResult,
        occupied: Option<Duration>,
    ) -> Result<Result<(), ResultError>, PathEnded> {
        self.ask(|reply| Command::Result(self.connection, result, occupied, reply))
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

    /// Lets only so many tensors wait for the application, which answers every one, beside the one that it
    /// is at; further ones are answered with `Busy`. Without this only the channel of events bounds them.
    ///
    /// # Errors
    /// If the data path has ended.
    pub async fn limit_waiting(&self, tensors: u32) -> Result<(), PathEnded> {
        self.send(Command::Limit(self.connection, tensors)).await
    }

    /// What the session knows of path and peer at the moment.
    ///
    /// # Errors
    /// If the data path has ended.
    pub async fn outlook(&self) -> Result<Outlook, PathEnded> {
        self.ask(|reply| Command::Outlook(self.connection, reply))
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
        self.commands.send(command).await.map_err(|_| PathEnded)
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
        if let Err(mpsc::error::TrySendError::Full(close)) = self.commands.try_send(close)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let commands = self.commands.clone();
            runtime.spawn(async move { commands.send(close).await });
        }
    }
}
