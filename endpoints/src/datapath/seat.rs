//! A session of a data path, and what its socket adds to it.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tensorwire_protocol::wire::{ConnectionId, Ecn};
use tensorwire_protocol::{Event, Session, Time};

use super::addresses::Addresses;
use super::application::Application;
use super::hub::Hub;
use super::quic::{BLOCKED_PAUSE, QuicWay};
use super::socket::{Batch, Socket};
use super::{MAX_UDP, Outlook, PathStats};
use crate::clock::Clock;

/// How a session's datagrams reach its peer.
pub(super) enum Way {
    /// To an address, from the socket of the data path. Protected sessions move with their peers.
    Udp(SocketAddr),
    /// In a QUIC connection.
    Quic(QuicWay),
}

/// A place for a session, which the loop and the session's handles enter one at a time.
pub(super) struct Seat {
    /// The ID that its incoming datagrams carry.
    pub(super) connection: ConnectionId,
    /// None once the session has ended.
    entry: Mutex<Option<Entry>>,
}

/// A session, its way to the peer, and its application.
pub(super) struct Entry {
    pub(super) session: Session,
    /// Where the first datagram has to come from; anywhere if none.
    pub(super) from: Option<IpAddr>,
    /// Where the handshake found the peer, so that it need not be validated there again.
    pub(super) known: Option<SocketAddr>,
    /// None while the peer is not known.
    pub(super) way: Option<Way>,
    pub(super) addresses: Addresses,
    pub(super) application: Application,
    pub(super) send_failed: u64,
    /// The latest time that the session was told.
    told: Time,
    /// When the loop looks at it next.
    pub(super) scheduled: Option<Time>,
    /// What found the socket full, and leaves before anything else: two batches at most.
    pending: Vec<(SocketAddr, Batch)>,
    /// Whether the loop is going to settle it.
    pub(super) touched: bool,
}

/// What a datagram is written into, and those that leave with it.
pub(super) struct Output {
    datagram: Vec<u8>,
    batch: Batch,
}

impl Output {
    pub(super) fn new() -> Self {
        Self {
            datagram: Vec::with_capacity(MAX_UDP),
            batch: Batch::default(),
        }
    }
}

impl std::fmt::Debug for Seat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Seat").field(&self.connection).finish()
    }
}

impl Seat {
    pub(super) const fn new(connection: ConnectionId, entry: Entry) -> Self {
        Self {
            connection,
            entry: Mutex::new(Some(entry)),
        }
    }

    /// Waits for the others that are at it.
    pub(super) fn lock(&self) -> MutexGuard<'_, Option<Entry>> {
        // What a panic elsewhere left is a session like any other: its methods hold for every state.
        self.entry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    pub(super) fn new(
        session: Session,
        from: Option<IpAddr>,
        application: Application,
        now: Time,
    ) -> Self {
        Self {
            session,
            from,
            known: None,
            way: None,
            addresses: Addresses::default(),
            application,
            send_failed: 0,
            told: now,
            scheduled: None,
            pending: Vec::new(),
            touched: false,
        }
    }

    /// The time to tell the session of what happened at `now`: others may have told it a later one
    /// meanwhile.
    pub(super) fn tell_time(&mut self, now: Time) -> Time {
        self.told = self.told.max(now);
        self.told
    }

    /// Takes a datagram that came from `from`, whose bytes are of no use afterwards.
    pub(super) fn take(&mut self, now: Time, from: SocketAddr, ecn: Ecn, datagram: &mut [u8]) {
        // Until the peer is known only the host that asked for the session may say where it is. In plain
        // mode, where nothing proves who sent a datagram, no later one can turn the stream away.
        let expected = self.from.is_none_or(|ip| ip == from.ip().to_canonical());
        let path = if self.way.is_some() || expected {
            self.addresses.path(from)
        } else {
            self.session.current_path()
        };
        let accepted = self.session.handle_from(now, path, ecn, datagram);
        if accepted.is_err() || (self.way.is_none() && !expected) {
            return;
        }
        if self.way.is_none() {
            self.way = Some(Way::Udp(from));
            if self.known == Some(from) {
                self.session.set_path(path);
            }
        }
        self.addresses.remember(from, self.session.current_path());
    }

    /// When the session has something to do next; none while it does not know its peer.
    pub(super) fn due(&self) -> Option<Time> {
        self.way.as_ref()?;
        self.session.poll_timeout().map(|(at, _)| at)
    }

    /// When to look at the session next.
    pub(super) fn wake(&self) -> Option<Time> {
        let due = self.due()?;
        let blocked = match &self.way {
            Some(Way::Quic(way)) => way.is_blocked(),
            _ => !self.pending.is_empty(),
        };
        // What is due and cannot be sent must not keep the loop busy.
        Some(if blocked {
            due.max(self.told + BLOCKED_PAUSE)
        } else {
            due
        })
    }

    /// What the session knows of path and peer.
    pub(super) fn outlook(&self, now: Time) -> Outlook {
        Outlook {
            path: self.session.path(now),
            load: self.session.peer_load(),
            parity: self.session.parity(),
        }
    }

    /// What the session and its socket have counted.
    pub(super) fn stats(&self) -> PathStats {
        self.application
            .stats(self.session.stats(), self.send_failed)
    }

    /// Sends and tells everything that the session has; whether the socket took it all.
    pub(super) fn drain(&mut self, hub: &Hub, clock: Clock, output: &mut Output) -> bool {
        loop {
            let now = self.tell_time(clock.now());
            // What is sent in one go left at once.
            let sent = self.transmit(hub, now, output);
            let mut answered = false;
            while let Some(event) = self.session.poll_event() {
                let ended = matches!(event, Event::Ended(_));
                if let Event::PathChanged { path, .. } = event {
                    self.way = self.addresses.address(path).map(Way::Udp);
                }
                if let Some(busy) = self.application.tell(event) {
                    answered |= self.session.send_result(now, busy).is_ok();
                }
                if ended {
                    self.application.end();
                }
            }
            if let Some(load) = self.application.load() {
                self.session.set_load(load);
            }
            if !answered || !sent {
                return sent;
            }
        }
    }

    /// Sends what is due at `now`; false if the socket was full.
    fn transmit(&mut self, hub: &Hub, now: Time, output: &mut Output) -> bool {
        let Output { datagram, batch } = output;
        let tap = hub.tap();
        let connection = Some(self.session.config().local_connection);
        match (&mut self.way, &hub.socket) {
            (Some(Way::Udp(peer)), Some(socket)) => {
                let (main, mut peer) = (*peer, *peer);
                if !self.send_pending(socket) {
                    return false;
                }
                let current = self.session.current_path();
                while let Some(transmit) = self.session.poll_transmit(now, datagram) {
                    // What validates a path leaves on it.
                    let to = if transmit.path == current {
                        Some(main)
                    } else {
                        self.addresses.address(transmit.path)
                    };
                    let Some(to) = to else {
                        self.send_failed += 1;
                        continue;
                    };
                    let full = to != peer && !self.flush(socket, peer, batch);
                    peer = to;
                    if let Some(tap) = tap {
                        tap.sent(now, connection, peer, transmit.ecn, datagram);
                    }
                    if full {
                        batch.add(datagram, transmit.ecn, socket.segments());
                        break;
                    }
                    if !batch.add(datagram, transmit.ecn, socket.segments()) {
                        let sent = self.flush(socket, peer, batch);
                        batch.add(datagram, transmit.ecn, socket.segments());
                        if !sent {
                            break;
                        }
                    }
                }
                self.flush(socket, peer, batch)
            }
            (Some(Way::Quic(way)), _) => {
                while !way.is_blocked() && self.session.poll_transmit(now, datagram).is_some() {
                    if let Some(tap) = tap {
                        tap.sent(now, connection, way.peer(), Ecn::NotEct, datagram);
                    }
                    self.send_failed += u64::from(!way.send(datagram));
                }
                true
            }
            (Some(Way::Udp(_)) | None, _) => true,
        }
    }

    /// Sends a batch, or has it wait where the socket is full; whether it does not wait.
    fn flush(&mut self, socket: &Socket, peer: SocketAddr, batch: &mut Batch) -> bool {
        if self.pending.is_empty()
            && let Some(failed) = batch.try_flush(socket, peer)
        {
            // A datagram that cannot be sent is a loss like any other.
            self.send_failed += failed;
            return true;
        }
        self.pending.push((peer, std::mem::take(batch)));
        false
    }

    /// Sends what has waited for room in the socket; whether all of it left.
    fn send_pending(&mut self, socket: &Socket) -> bool {
        while let Some((peer, first)) = self.pending.first_mut() {
            let Some(failed) = first.try_flush(socket, *peer) else {
                return false;
            };
            self.send_failed += failed;
            self.pending.remove(0);
        }
        true
    }
}
