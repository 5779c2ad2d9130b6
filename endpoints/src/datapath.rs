//! The data path: one UDP socket, the sessions on it, and the only loop that drives them.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tensorwire_protocol::wire::{ConnectionId, FrameNumber, NoticeReason, ResultStatus, TensorId};
use tensorwire_protocol::{
    Config, ConfigError, Event, OutgoingResult, OutgoingTensor, ResultError, SendError, Session,
    Stats, Time,
};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};

use crate::clock::Clock;

/// Commands that may wait for the loop; senders wait beyond.
const COMMANDS: usize = 64;
/// Datagrams taken from the socket before other work gets its turn.
const BATCH: usize = 64;
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
        let driver = Driver {
            socket: Arc::new(socket),
            clock,
            sessions: HashMap::new(),
            strays: Arc::clone(&strays),
        };
        tokio::spawn(driver.run(inbox));
        Ok(Self {
            commands,
            local,
            clock,
            strays,
        })
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

struct Entry {
    session: Session,
    /// Where the first datagram has to come from; anywhere if none.
    from: Option<IpAddr>,
    peer: Option<SocketAddr>,
    events: mpsc::Sender<Event>,
    /// Events that found the channel full, answered tensors aside.
    events_dropped: u64,
    busy: u64,
    send_failed: u64,
}

struct Driver {
    socket: Arc<UdpSocket>,
    clock: Clock,
    sessions: HashMap<ConnectionId, Entry>,
    strays: Arc<AtomicU64>,
}

impl Driver {
    async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        let mut datagram = vec![0; MAX_UDP];
        let mut buffer = Vec::with_capacity(MAX_UDP);
        loop {
            let wake = self
                .sessions
                .values()
                .filter_map(|entry| entry.wake())
                .min();
            let socket = Arc::clone(&self.socket);
            tokio::select! {
                received = socket.recv_from(&mut datagram) => {
                    // An error here is the echo of an ICMP message about a datagram of ours: the
                    // network's doing, and no more than a loss.
                    if let Ok((len, from)) = received {
                        self.receive(datagram.get(..len).unwrap_or_default(), from);
                        for _ in 1..BATCH {
                            let Ok((len, from)) = socket.try_recv_from(&mut datagram) else { break };
                            self.receive(datagram.get(..len).unwrap_or_default(), from);
                        }
                    }
                }
                command = inbox.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
                () = self.clock.sleep_until(wake) => {}
            }
            let now = self.clock.now();
            for entry in self.sessions.values_mut() {
                if entry.wake().is_some_and(|at| at <= now) {
                    entry.session.handle_timeout(now);
                }
                entry.drain(&socket, self.clock, &mut buffer).await;
            }
        }
    }

    fn receive(&mut self, datagram: &[u8], from: SocketAddr) {
        let connection = tensorwire_protocol::wire::connection_of(datagram);
        let Some(entry) = connection.and_then(|id| self.sessions.get_mut(&id)) else {
            self.strays.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let accepted = entry.session.handle_datagram(self.clock.now(), datagram);
        // In plain mode nothing proves who sent a datagram, so the first valid one from the host that
        // asked for the session decides, and no later one can turn the stream away.
        let expected = entry.from.is_none_or(|ip| ip == from.ip().to_canonical());
        if accepted.is_ok() && entry.peer.is_none() && expected {
            entry.peer = Some(from);
        }
    }

    fn obey(&mut self, command: Command) {
        let now = self.clock.now();
        match command {
            Command::Open {
                config,
                from,
                events,
                reply,
            } => {
                let opened = self.open(*config, from, events);
                // The caller may have gone; then nobody would ever close the session.
                if let Err(Ok(connection)) = reply.send(opened) {
                    self.sessions.remove(&connection);
                }
            }
            Command::Attach(connection, remote, peer) => {
                if let Some(entry) = self.sessions.get_mut(&connection) {
                    entry.session.set_remote_connection(remote);
                    entry.peer = peer.or(entry.peer);
                }
            }
            Command::Tensor(connection, tensor, reply) => {
                if let Some(entry) = self.sessions.get_mut(&connection) {
                    let _ = reply.send(entry.session.send_tensor(now, tensor));
                }
            }
            Command::Result(connection, result, reply) => {
                if let Some(entry) = self.sessions.get_mut(&connection) {
                    let _ = reply.send(entry.session.send_result(now, result));
                }
            }
            Command::Skip(connection, reason, first, count) => {
                if let Some(entry) = self.sessions.get_mut(&connection) {
                    entry.session.skip_frames(reason, first, count);
                }
            }
            Command::Stats(connection, reply) => {
                if let Some(entry) = self.sessions.get(&connection) {
                    let mut session = *entry.session.stats();
                    session.events_dropped += entry.events_dropped;
                    let (busy, send_failed) = (entry.busy, entry.send_failed);
                    // The caller may have gone.
                    let _ = reply.send(PathStats {
                        session,
                        busy,
                        send_failed,
                    });
                }
            }
            Command::Close(connection) => {
                self.sessions.remove(&connection);
            }
        }
    }

    fn open(
        &mut self,
        mut config: Config,
        from: Option<IpAddr>,
        events: mpsc::Sender<Event>,
    ) -> Result<ConnectionId, OpenError> {
        let connection = self.free_connection()?;
        config.local_connection = connection;
        let session = Session::new(config, self.clock.now())?;
        self.sessions.insert(
            connection,
            Entry {
                session,
                from,
                peer: None,
                events,
                events_dropped: 0,
                busy: 0,
                send_failed: 0,
            },
        );
        Ok(connection)
    }

    /// A connection ID that no session has, which cannot be guessed from others.
    fn free_connection(&self) -> Result<ConnectionId, getrandom::Error> {
        loop {
            let connection = ConnectionId::new(getrandom::u32()?);
            if !self.sessions.contains_key(&connection) {
                return Ok(connection);
            }
        }
    }
}

impl Entry {
    /// When the session has to be driven next; none while it does not know its peer.
    fn wake(&self) -> Option<Time> {
        self.peer?;
        self.session.poll_timeout().map(|(at, _)| at)
    }

    /// Sends and tells everything that the session has.
    async fn drain(&mut self, socket: &UdpSocket, clock: Clock, buffer: &mut Vec<u8>) {
        loop {
            if let Some(peer) = self.peer {
                while self.session.poll_transmit(clock.now(), buffer).is_some() {
                    // A datagram that cannot be sent is a loss like any other.
                    let sent = socket.send_to(buffer, peer).await;
                    self.send_failed += u64::from(sent.is_err());
                }
            }
            let mut answered = false;
            while let Some(event) = self.session.poll_event() {
                match self.events.try_send(event) {
                    Err(mpsc::error::TrySendError::Full(Event::Tensor(tensor))) => {
                        let busy = OutgoingResult {
                            tensor: *tensor.info(),
                            status: ResultStatus::Busy,
                            compute: Duration::ZERO,
                            payload: bytes::Bytes::new(),
                        };
                        self.busy += 1;
                        answered |= self.session.send_result(clock.now(), busy).is_ok();
                    }
                    Err(_) => self.events_dropped += 1,
                    Ok(()) => {}
                }
            }
            if !answered {
                return;
            }
        }
    }
}
