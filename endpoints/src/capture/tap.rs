//! Where a data path hands over what it sends and receives.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;

use tensorwire_protocol::wire::{ConnectionId, Ecn};
use tensorwire_protocol::{Secrets, Time};

use super::{Direction, NOTE_VERSION, Note, Role, SecretsNote, SessionNote};
use crate::stream::StreamDescription;

/// Bytes that may wait to be written; what comes while there are more is counted, and missing.
const MAX_WAITING: usize = 32 << 20;
/// What a waiting entry takes beyond its datagram.
const ENTRY: usize = 128;

/// What the writing thread gets.
#[derive(Debug)]
pub(super) enum Entry {
    /// A socket, or a session on one: an interface of the capture.
    Interface { tap: u32, note: Box<Note> },
    /// A datagram.
    Packet {
        tap: u32,
        /// The session that sent it; a received one names its session itself.
        session: Option<ConnectionId>,
        at: Time,
        direction: Direction,
        peer: SocketAddr,
        ecn: Ecn,
        /// Entries of this tap that were missed since the packet before.
        missed: u64,
        datagram: Vec<u8>,
    },
    /// A timeout was handled.
    Tick {
        tap: u32,
        session: ConnectionId,
        at: Time,
    },
    /// A session ended: what still comes for it is a stranger's.
    Ended { tap: u32, session: ConnectionId },
    /// Nothing follows.
    End,
}

/// The way to the writing thread, which every tap of a capture shares.
#[derive(Debug)]
pub(super) struct Queue {
    sender: mpsc::Sender<Entry>,
    /// Bytes on the way, `ENTRY` for each entry included.
    waiting: AtomicUsize,
    taps: AtomicUsize,
    missed: AtomicU64,
}

/// The end of a capture at one socket. Copies are the same tap. Nothing here waits for the file: what
/// does not fit is counted, and the capture says where it is missing.
#[derive(Clone, Debug)]
pub struct Tap {
    queue: Arc<Queue>,
    number: u32,
    note: Arc<Note>,
    /// Whether the secrets of sessions go into the capture.
    secrets: bool,
    /// Entries missed since the last packet that was taken.
    missed: Arc<AtomicU64>,
}

impl Queue {
    pub(super) fn new() -> (Arc<Self>, mpsc::Receiver<Entry>) {
        let (sender, receiver) = mpsc::channel();
        let queue = Self {
            sender,
            waiting: AtomicUsize::new(0),
            taps: AtomicUsize::new(0),
            missed: AtomicU64::new(0),
        };
        (Arc::new(queue), receiver)
    }

    /// A tap at the socket `local`, whose sessions count from `origin_ns` on.
    pub(super) fn tap(
        self: &Arc<Self>,
        role: Role,
        local: SocketAddr,
        origin_ns: u64,
        secrets: bool,
    ) -> Tap {
        let number = self.taps.fetch_add(1, Ordering::Relaxed);
        let tap = Tap {
            queue: Arc::clone(self),
            number: u32::try_from(number).unwrap_or(u32::MAX),
            note: Arc::new(Note {
                tensorwire: NOTE_VERSION,
                role,
                origin_ns,
                local,
                session: None,
            }),
            secrets,
            missed: Arc::default(),
        };
        tap.interface(Note::clone(&tap.note));
        tap
    }

    /// Says that nothing follows.
    pub(super) fn end(&self) {
        // The thread may have gone over an error, which it tells at its end.
        let _ = self.sender.send(Entry::End);
    }

    /// Takes note that an entry with a datagram of so many bytes has been written.
    pub(super) fn written(&self, bytes: usize) {
        self.waiting.fetch_sub(ENTRY + bytes, Ordering::Relaxed);
    }

    /// Entries that did not fit.
    pub(super) fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    /// Whether an entry with a datagram of so many bytes may wait; it then does.
    fn admit(&self, bytes: usize) -> bool {
        let bytes = ENTRY + bytes;
        let before = self.waiting.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes <= MAX_WAITING {
            return true;
        }
        self.waiting.fetch_sub(bytes, Ordering::Relaxed);
        false
    }
}

impl Tap {
    /// A session on this socket: its datagrams from here on are its own interface of the capture.
    /// `local` is the connection ID of datagrams to this endpoint, `remote` that of datagrams to the peer;
    /// `secrets` are what seals them, if anything does.
    pub fn session(
        &self,
        at: Time,
        local: ConnectionId,
        remote: ConnectionId,
        stream: &StreamDescription,
        secrets: Option<&Secrets>,
    ) {
        let mut note = Note::clone(&self.note);
        note.session = Some(SessionNote {
            local: local.value(),
            remote: remote.value(),
            opened_us: at.as_micros(),
            stream: stream.clone(),
            secrets: secrets.filter(|_| self.secrets).map(SecretsNote::new),
        });
        self.interface(note);
    }

    /// A session has ended: what still comes for it is not its own.
    pub fn ended(&self, session: ConnectionId) {
        let tap = self.number;
        self.send(Entry::Ended { tap, session });
    }

    /// A datagram that came from `peer` at `at`.
    pub fn received(&self, at: Time, peer: SocketAddr, ecn: Ecn, datagram: &[u8]) {
        self.packet(None, at, Direction::Received, peer, ecn, datagram);
    }

    /// A datagram that goes to `peer`, as made at `at`; by a session, if there is one.
    pub fn sent(
        &self,
        at: Time,
        session: Option<ConnectionId>,
        peer: SocketAddr,
        ecn: Ecn,
        datagram: &[u8],
    ) {
        self.packet(session, at, Direction::Sent, peer, ecn, datagram);
    }

    /// A session has handled a timeout, at this time of its clock: without that, a replay could not know
    /// how late the timeout came.
    pub fn ticked(&self, at: Time, session: ConnectionId) {
        if self.admitted(0) {
            let tap = self.number;
            self.send(Entry::Tick { tap, session, at });
        }
    }

    fn packet(
        &self,
        session: Option<ConnectionId>,
        at: Time,
        direction: Direction,
        peer: SocketAddr,
        ecn: Ecn,
        datagram: &[u8],
    ) {
        if self.admitted(datagram.len()) {
            self.send(Entry::Packet {
                tap: self.number,
                session,
                at,
                direction,
                peer,
                ecn,
                missed: self.missed.swap(0, Ordering::Relaxed),
                datagram: datagram.to_vec(),
            });
        }
    }

    fn admitted(&self, bytes: usize) -> bool {
        let admitted = self.queue.admit(bytes);
        if !admitted {
            self.missed.fetch_add(1, Ordering::Relaxed);
            self.queue.missed.fetch_add(1, Ordering::Relaxed);
        }
        admitted
    }

    /// Notes are few, and nothing can be made of their datagrams without them: they always fit.
    fn interface(&self, note: Note) {
        let (tap, note) = (self.number, Box::new(note));
        self.send(Entry::Interface { tap, note });
    }

    fn send(&self, entry: Entry) {
        // The thread may have gone over an error, which it tells at its end.
        let _ = self.queue.sender.send(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted_and_told_with_the_next_packet() {
        let (queue, inbox) = Queue::new();
        let address = ([127, 0, 0, 1], 1).into();
        let tap = queue.tap(Role::Cloud, address, 0, false);
        let datagram = vec![0; 60_000];
        let fit = MAX_WAITING / (60_000 + ENTRY);
        for _ in 0..fit + 7 {
            tap.received(Time::ZERO, address, Ecn::NotEct, &datagram);
        }
        tap.ticked(Time::ZERO, ConnectionId::new(1));
        assert_eq!(queue.missed(), 7, "a tick is small enough");
        let taken: Vec<Entry> = inbox.try_iter().collect();
        assert_eq!(taken.len(), 1 + fit + 1);
        taken.iter().skip(1).for_each(|entry| match entry {
            Entry::Packet { datagram, .. } => queue.written(datagram.len()),
            _ => queue.written(0),
        });
        tap.received(Time::ZERO, address, Ecn::NotEct, &datagram);
        tap.received(Time::ZERO, address, Ecn::NotEct, &datagram);
        let missed = inbox.try_iter().map(|entry| match entry {
            Entry::Packet { missed, .. } => missed,
            _ => u64::MAX,
        });
        assert_eq!(missed.collect::<Vec<_>>(), [7, 0]);
    }
}
