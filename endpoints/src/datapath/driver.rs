//! The loop that drives sessions on a socket.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tensorwire_protocol::wire::{ConnectionId, Ecn, ResultStatus};
use tensorwire_protocol::{Config, Event, OutgoingResult, Session, Time};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::{Command, MAX_UDP, OpenError, PathStats};
use crate::capture::Tap;
use crate::clock::Clock;

/// Datagrams taken from the socket before other work gets its turn.
const BATCH: usize = 64;

/// A session, and what its socket adds to it.
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
    /// Whether anything has happened on the session since it was drained.
    touched: bool,
}

/// The loop of a data path, and the sessions that it drives.
pub(super) struct Driver {
    socket: Arc<UdpSocket>,
    clock: Clock,
    sessions: HashMap<ConnectionId, Entry>,
    strays: Arc<AtomicU64>,
    tap: Arc<OnceLock<Tap>>,
}

impl Driver {
    pub(super) fn new(
        socket: UdpSocket,
        clock: Clock,
        strays: Arc<AtomicU64>,
        tap: Arc<OnceLock<Tap>>,
    ) -> Self {
        Self {
            socket: Arc::new(socket),
            clock,
            sessions: HashMap::new(),
            strays,
            tap,
        }
    }

    /// Drives the sessions until every handle is gone.
    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
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
                    }
                }
                command = inbox.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
                () = self.clock.sleep_until(wake) => {}
            }
            // What has arrived counts before any timeout: a machine that was slow must not take for lost
            // what lies in its own socket.
            for _ in 1..BATCH {
                let Ok((len, from)) = socket.try_recv_from(&mut datagram) else {
                    break;
                };
                self.receive(datagram.get(..len).unwrap_or_default(), from);
            }
            let now = self.clock.now();
            let tap = self.tap.get();
            for (connection, entry) in &mut self.sessions {
                if entry.wake().is_some_and(|at| at <= now) {
                    entry.session.handle_timeout(now);
                    entry.touched = true;
                    if let Some(tap) = tap {
                        tap.ticked(now, *connection);
                    }
                }
                if std::mem::take(&mut entry.touched) {
                    entry.drain(&socket, self.clock, &mut buffer, tap).await;
                }
            }
        }
    }

    fn receive(&mut self, datagram: &[u8], from: SocketAddr) {
        let now = self.clock.now();
        if let Some(tap) = self.tap.get() {
            tap.received(now, from, Ecn::NotEct, datagram);
        }
        let connection = tensorwire_protocol::wire::connection_of(datagram);
        let Some(entry) = connection.and_then(|id| self.touch(id)) else {
            self.strays.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let accepted = entry.session.handle_datagram(now, datagram);
        // In plain mode nothing proves who sent a datagram, so the first valid one from the host that
        // asked for the session decides, and no later one can turn the stream away.
        let expected = entry.from.is_none_or(|ip| ip == from.ip().to_canonical());
        if accepted.is_ok() && entry.peer.is_none() && expected {
            entry.peer = Some(from);
        }
    }

    /// A session on which something happens now.
    fn touch(&mut self, connection: ConnectionId) -> Option<&mut Entry> {
        let entry = self.sessions.get_mut(&connection)?;
        entry.touched = true;
        Some(entry)
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
                if let Some(entry) = self.touch(connection) {
                    entry.session.set_remote_connection(remote);
                    entry.peer = peer.or(entry.peer);
                }
            }
            Command::Tensor(connection, tensor, reply) => {
                if let Some(entry) = self.touch(connection) {
                    let _ = reply.send(entry.session.send_tensor(now, tensor));
                }
            }
            Command::Result(connection, result, reply) => {
                if let Some(entry) = self.touch(connection) {
                    let _ = reply.send(entry.session.send_result(now, result));
                }
            }
            Command::Skip(connection, reason, first, count) => {
                if let Some(entry) = self.touch(connection) {
                    entry.session.skip_frames(reason, first, count);
                }
            }
            Command::Stats(connection, reply) => {
                if let Some(entry) = self.sessions.get(&connection) {
                    // The caller may have gone.
                    let _ = reply.send(entry.stats());
                }
            }
            Command::End(connection, reply) => {
                if let Some(entry) = self.remove(connection) {
                    let _ = reply.send(entry.stats());
                }
            }
            Command::Close(connection) => {
                self.remove(connection);
            }
        }
    }

    fn remove(&mut self, connection: ConnectionId) -> Option<Entry> {
        let entry = self.sessions.remove(&connection)?;
        if let Some(tap) = self.tap.get() {
            tap.ended(connection);
        }
        Some(entry)
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
                touched: true,
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

    /// What the session and its socket have counted.
    fn stats(&self) -> PathStats {
        let mut session = *self.session.stats();
        session.events_dropped += self.events_dropped;
        PathStats {
            session,
            busy: self.busy,
            send_failed: self.send_failed,
        }
    }

    /// Sends and tells everything that the session has.
    async fn drain(
        &mut self,
        socket: &UdpSocket,
        clock: Clock,
        buffer: &mut Vec<u8>,
        tap: Option<&Tap>,
    ) {
        let connection = self.session.config().local_connection;
        loop {
            if let Some(peer) = self.peer {
                // What is sent in one go left at once.
                let now = clock.now();
                while self.session.poll_transmit(now, buffer).is_some() {
                    if let Some(tap) = tap {
                        tap.sent(now, Some(connection), peer, Ecn::NotEct, buffer);
                    }
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
