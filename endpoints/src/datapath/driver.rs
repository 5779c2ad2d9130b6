//! The loop that drives sessions on a socket.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tensorwire_protocol::wire::{ConnectionId, Ecn};
use tensorwire_protocol::{Config, Event, Session, Time};
use tokio::sync::mpsc;

use super::application::Application;
use super::quic::{BLOCKED_PAUSE, QuicWay};
use super::socket::{Batch, Room, Socket};
use super::{Command, MAX_UDP, OpenError, Outlook, PathStats};
use crate::capture::Tap;
use crate::clock::Clock;

/// Calls that take datagrams from the socket before other work gets its turn.
const CALLS: usize = 8;
/// Commands obeyed before other work gets its turn; datagrams from QUIC are such, too.
const BATCH: usize = 64;

/// How a session's datagrams reach its peer.
enum Way {
    Udp(SocketAddr),
    Quic(QuicWay),
}

/// A session, and what its socket adds to it.
struct Entry {
    session: Session,
    /// Where the first datagram has to come from; anywhere if none.
    from: Option<IpAddr>,
    /// None while the peer is not known.
    way: Option<Way>,
    application: Application,
    send_failed: u64,
    /// Whether anything has happened on the session since it was drained.
    touched: bool,
}

/// The loop of a data path, and the sessions that it drives.
pub(super) struct Driver {
    socket: Option<Arc<Socket>>,
    clock: Clock,
    sessions: HashMap<ConnectionId, Entry>,
    strays: Arc<AtomicU64>,
    tap: Arc<OnceLock<Tap>>,
}

/// What a datagram is written into, and those that leave with it.
struct Output {
    datagram: Vec<u8>,
    batch: Batch,
}

/// Waits for datagrams; for ever where there is no socket.
async fn receive(socket: Option<&Socket>, room: &mut Room) -> io::Result<usize> {
    match socket {
        Some(socket) => socket.receive(room).await,
        None => std::future::pending().await,
    }
}

impl Driver {
    pub(super) fn new(
        socket: Option<Socket>,
        clock: Clock,
        strays: Arc<AtomicU64>,
        tap: Arc<OnceLock<Tap>>,
    ) -> Self {
        Self {
            socket: socket.map(Arc::new),
            clock,
            sessions: HashMap::new(),
            strays,
            tap,
        }
    }

    /// Drives the sessions until every handle is gone.
    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        let mut room = Room::new();
        let mut output = Output {
            datagram: Vec::with_capacity(MAX_UDP),
            batch: Batch::default(),
        };
        loop {
            let now = self.clock.now();
            let wake = self
                .sessions
                .values()
                .filter_map(|entry| entry.wake(now))
                .min();
            let socket = self.socket.clone();
            tokio::select! {
                received = receive(socket.as_deref(), &mut room) => {
                    // An error here is the echo of an ICMP message about a datagram of ours: the
                    // network's doing, and no more than a loss.
                    self.receive(&room, received.unwrap_or(0));
                }
                command = inbox.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
                () = self.clock.sleep_until(wake) => {}
            }
            // What has arrived counts before any timeout: a machine that was slow must not take for lost
            // what lies in its own socket.
            if let Some(socket) = &socket {
                for _ in 1..CALLS {
                    let Ok(buffers) = socket.try_receive(&mut room) else {
                        break;
                    };
                    self.receive(&room, buffers);
                }
            }
            for _ in 1..BATCH {
                let Ok(command) = inbox.try_recv() else { break };
                self.obey(command);
            }
            let now = self.clock.now();
            let tap = self.tap.get();
            for (connection, entry) in &mut self.sessions {
                if entry.due().is_some_and(|at| at <= now) {
                    entry.session.handle_timeout(now);
                    entry.touched = true;
                    if let Some(tap) = tap {
                        tap.ticked(now, *connection);
                    }
                }
                if std::mem::take(&mut entry.touched) {
                    entry
                        .drain(socket.as_deref(), self.clock, &mut output, tap)
                        .await;
                }
            }
        }
    }

    fn receive(&mut self, room: &Room, buffers: usize) {
        let now = self.clock.now();
        for (datagram, from, ecn) in room.datagrams(buffers) {
            self.take(now, datagram, from, ecn);
        }
    }

    fn take(&mut self, now: Time, datagram: &[u8], from: SocketAddr, ecn: Ecn) {
        if let Some(tap) = self.tap.get() {
            tap.received(now, from, ecn, datagram);
        }
        let connection = tensorwire_protocol::wire::connection_of(datagram);
        let entry = connection.and_then(|id| self.touch(id));
        // What a session expects in its QUIC connection, nobody else can send it.
        let Some(entry) = entry.filter(|entry| !matches!(entry.way, Some(Way::Quic(_)))) else {
            self.strays.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let accepted = entry.session.handle_marked(now, ecn, datagram);
        // In plain mode nothing proves who sent a datagram, so the first valid one from the host that
        // asked for the session decides, and no later one can turn the stream away.
        let expected = entry.from.is_none_or(|ip| ip == from.ip().to_canonical());
        if accepted.is_ok() && entry.way.is_none() && expected {
            entry.way = Some(Way::Udp(from));
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
                    if let Some(peer) = peer {
                        entry.way = Some(Way::Udp(peer));
                    }
                }
            }
            Command::AttachQuic(connection, remote, path) => {
                if let Some(entry) = self.touch(connection) {
                    entry.session.set_remote_connection(remote);
                    entry.way = Some(Way::Quic(QuicWay::start(connection, path)));
                }
            }
            Command::Datagram(connection, datagram) => {
                let tap = self.tap.clone();
                if let Some(entry) = self.touch(connection) {
                    if let (Some(tap), Some(Way::Quic(way))) = (tap.get(), &entry.way) {
                        tap.received(now, way.peer(), Ecn::NotEct, &datagram);
                    }
                    // Whatever is wrong with it has been counted.
                    let _ = entry.session.handle_datagram(now, &datagram);
                }
            }
            Command::Room(connection, sent) => {
                if let Some(entry) = self.touch(connection) {
                    entry.send_failed += u64::from(sent.is_err());
                    if let Some(Way::Quic(way)) = &mut entry.way {
                        way.unblock();
                    }
                }
            }
            Command::Tensor(connection, tensor, reply) => {
                if let Some(entry) = self.touch(connection) {
                    let _ = reply.send(entry.session.send_tensor(now, tensor));
                }
            }
            Command::Result(connection, result, occupied, reply) => {
                if let Some(entry) = self.touch(connection) {
                    entry.application.answered(occupied);
                    let _ = reply.send(entry.session.send_result(now, result));
                }
            }
            Command::Skip(connection, reason, first, count) => {
                if let Some(entry) = self.touch(connection) {
                    entry.session.skip_frames(reason, first, count);
                }
            }
            Command::Limit(connection, tensors) => {
                if let Some(entry) = self.touch(connection) {
                    entry.application.limit(tensors);
                }
            }
            Command::Outlook(connection, reply) => {
                if let Some(Entry { session, .. }) = self.sessions.get(&connection) {
                    let outlook = Outlook {
                        path: session.path(now),
                        load: session.peer_load(),
                        parity: session.parity(),
                    };
                    // The caller may have gone.
                    let _ = reply.send(outlook);
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
                way: None,
                application: Application::new(events),
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
    /// When the session has something to do next; none while it does not know its peer.
    fn due(&self) -> Option<Time> {
        self.way.as_ref()?;
        self.session.poll_timeout().map(|(at, _)| at)
    }

    /// What the session and its socket have counted.
    fn stats(&self) -> PathStats {
        self.application
            .stats(self.session.stats(), self.send_failed)
    }

    /// When to look at the session next.
    fn wake(&self, now: Time) -> Option<Time> {
        let due = self.due()?;
        match &self.way {
            // What is due and cannot be sent must not keep the loop busy.
            Some(Way::Quic(way)) if way.is_blocked() => Some(due.max(now + BLOCKED_PAUSE)),
            _ => Some(due),
        }
    }

    /// Sends what is due at `now`.
    async fn transmit(
        &mut self,
        socket: Option<&Socket>,
        now: Time,
        output: &mut Output,
        tap: Option<&Tap>,
    ) {
        let Output { datagram, batch } = output;
        let connection = Some(self.session.config().local_connection);
        match (&mut self.way, socket) {
            (Some(Way::Udp(peer)), Some(socket)) => {
                while let Some(transmit) = self.session.poll_transmit(now, datagram) {
                    if let Some(tap) = tap {
                        tap.sent(now, connection, *peer, transmit.ecn, datagram);
                    }
                    // A datagram that cannot be sent is a loss like any other.
                    if !batch.add(datagram, transmit.ecn, socket.segments()) {
                        self.send_failed += batch.flush(socket, *peer).await;
                        batch.add(datagram, transmit.ecn, socket.segments());
                    }
                }
                self.send_failed += batch.flush(socket, *peer).await;
            }
            (Some(Way::Quic(way)), _) => {
                while !way.is_blocked() && self.session.poll_transmit(now, datagram).is_some() {
                    if let Some(tap) = tap {
                        tap.sent(now, connection, way.peer(), Ecn::NotEct, datagram);
                    }
                    self.send_failed += u64::from(!way.send(datagram));
                }
            }
            (Some(Way::Udp(_)) | None, _) => {}
        }
    }

    /// Sends and tells everything that the session has.
    async fn drain(
        &mut self,
        socket: Option<&Socket>,
        clock: Clock,
        output: &mut Output,
        tap: Option<&Tap>,
    ) {
        loop {
            // What is sent in one go left at once.
            self.transmit(socket, clock.now(), output, tap).await;
            let mut answered = false;
            while let Some(event) = self.session.poll_event() {
                if let Some(busy) = self.application.tell(event) {
                    answered |= self.session.send_result(clock.now(), busy).is_ok();
                }
            }
            if let Some(load) = self.application.load() {
                self.session.set_load(load);
            }
            if !answered {
                return;
            }
        }
    }
}
