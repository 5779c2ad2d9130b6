//! What the loop of a data path and the handles of its sessions share.
//!
//! Whoever has something for a session enters it: the loop with what arrives and what is due, a handle
//! with what its application wants. Whatever comes of it leaves before the session is left, from the task
//! that entered, so that nothing waits for another task to be woken. The loop is woken only where a
//! session is to be looked at sooner than it meant to.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use tensorwire_protocol::wire::{ConnectionId, Ecn};
use tensorwire_protocol::{Config, Event, Session, Time};
use tokio::sync::{Notify, mpsc};

use super::application::Application;
use super::seat::{Entry, Output, Seat, Way};
use super::socket::Socket;
use super::timers::Timers;
use super::{OpenError, PathEnded};
use crate::capture::Tap;
use crate::clock::Clock;

/// Outputs that are kept for the next to enter a session.
const OUTPUTS: usize = 8;

/// What the loop of a data path and the handles of its sessions share.
pub(super) struct Hub {
    pub(super) socket: Option<Arc<Socket>>,
    pub(super) clock: Clock,
    sessions: RwLock<HashMap<ConnectionId, Arc<Seat>>>,
    timers: Mutex<Timers>,
    /// Sessions that found the socket full.
    blocked: Mutex<Vec<Arc<Seat>>>,
    outputs: Mutex<Vec<Output>>,
    /// A datagram that is being opened.
    copies: Mutex<Vec<u8>>,
    /// Wakes the loop.
    pub(super) wake: Notify,
    ended: AtomicBool,
    pub(super) strays: AtomicU64,
    tap: OnceLock<Tap>,
}

/// A lock that a panic elsewhere does not take away: what these hold is whole after every change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    pub(super) fn new(socket: Option<Arc<Socket>>, clock: Clock) -> Self {
        Self {
            socket,
            clock,
            sessions: RwLock::default(),
            timers: Mutex::default(),
            blocked: Mutex::default(),
            outputs: Mutex::default(),
            copies: Mutex::default(),
            wake: Notify::new(),
            ended: AtomicBool::new(false),
            strays: AtomicU64::new(0),
            tap: OnceLock::new(),
        }
    }

    pub(super) fn tap(&self) -> Option<&Tap> {
        self.tap.get()
    }

    /// Only the first counts.
    pub(super) fn set_tap(&self, tap: Tap) {
        let _ = self.tap.set(tap);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Ends every session, and lets none begin.
    pub(super) fn end(&self) {
        let seats: Vec<_> = {
            let mut sessions = self
                .sessions
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            self.ended.store(true, Ordering::Release);
            sessions.drain().collect()
        };
        for (_, seat) in seats {
            seat.lock().take();
        }
        self.wake.notify_one();
    }

    /// A session that is silent until it knows its peer.
    pub(super) fn open(
        &self,
        mut config: Config,
        from: Option<IpAddr>,
        events: mpsc::Sender<Event>,
    ) -> Result<Arc<Seat>, OpenError> {
        config.validate()?;
        let mut sessions = self
            .sessions
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if self.has_ended() {
            return Err(PathEnded.into());
        }
        // An ID that no session has, which cannot be guessed from others.
        let connection = loop {
            let connection = ConnectionId::new(getrandom::u32()?);
            if !sessions.contains_key(&connection) {
                break connection;
            }
        };
        config.local_connection = connection;
        let now = self.clock.now();
        let session = Session::new(config, now)?;
        let entry = Entry::new(session, from, Application::new(events), now);
        let seat = Arc::new(Seat::new(connection, entry));
        sessions.insert(connection, Arc::clone(&seat));
        Ok(seat)
    }

    /// The session of that ID.
    pub(super) fn seat(&self, connection: ConnectionId) -> Option<Arc<Seat>> {
        let sessions = self.sessions.read().unwrap_or_else(PoisonError::into_inner);
        sessions.get(&connection).map(Arc::clone)
    }

    /// Does something to a session now, and sends and tells whatever comes of it.
    ///
    /// # Errors
    /// If the session has ended.
    pub(super) fn enter<T>(
        &self,
        seat: &Arc<Seat>,
        work: impl FnOnce(&mut Entry, Time) -> T,
    ) -> Result<T, PathEnded> {
        let mut guard = seat.lock();
        let entry = guard.as_mut().ok_or(PathEnded)?;
        let now = entry.tell_time(self.clock.now());
        let done = work(entry, now);
        self.settle(seat, entry);
        Ok(done)
    }

    /// Looks at a session without changing it.
    ///
    /// # Errors
    /// If the session has ended.
    pub(super) fn look<T>(
        &self,
        seat: &Seat,
        look: impl FnOnce(&Entry, Time) -> T,
    ) -> Result<T, PathEnded> {
        let mut guard = seat.lock();
        let entry = guard.as_mut().ok_or(PathEnded)?;
        let now = entry.tell_time(self.clock.now());
        Ok(look(entry, now))
    }

    /// Sends and tells what a session has, and sees to it that it is looked at in time.
    pub(super) fn settle(&self, seat: &Arc<Seat>, entry: &mut Entry) {
        let kept = lock(&self.outputs).pop();
        let mut output = kept.unwrap_or_else(Output::new);
        let sent = entry.drain(self, self.clock, &mut output);
        {
            let mut outputs = lock(&self.outputs);
            if outputs.len() < OUTPUTS {
                outputs.push(output);
            }
        }
        if !sent {
            lock(&self.blocked).push(Arc::clone(seat));
            self.wake.notify_one();
        }
        let at = entry.wake();
        // A time that has moved on is seen when the earlier one comes.
        let soon_enough = match (entry.scheduled, at) {
            (Some(scheduled), Some(at)) => scheduled <= at,
            (None, None) => true,
            _ => false,
        };
        if !soon_enough {
            let before = std::mem::replace(&mut entry.scheduled, at);
            if lock(&self.timers).set(seat.connection, before, at) {
                self.wake.notify_one();
            }
        }
    }

    /// Takes datagrams that arrived at `now`; the sessions that they belong to are `touched`, and to be
    /// settled.
    pub(super) fn receive<'a>(
        &self,
        now: Time,
        datagrams: impl Iterator<Item = (&'a [u8], SocketAddr, Ecn)>,
        touched: &mut Vec<Arc<Seat>>,
    ) {
        // Datagrams are decrypted where they stand, and the buffers of the socket are not ours to change.
        let mut copies = lock(&self.copies);
        let sessions = self.sessions.read().unwrap_or_else(PoisonError::into_inner);
        // Datagrams of one session come in rows.
        let mut last: Option<(&Arc<Seat>, MutexGuard<'_, Option<Entry>>)> = None;
        for (datagram, from, ecn) in datagrams {
            let connection = tensorwire_protocol::wire::connection_of(datagram);
            if last.as_ref().map(|(seat, _)| seat.connection) != connection {
                // The one before is left first.
                drop(last.take());
                let seat = connection.and_then(|id| sessions.get(&id));
                last = seat.map(|seat| (seat, seat.lock()));
            }
            let known = last.as_mut().and_then(|(seat, guard)| {
                let entry = guard.as_mut()?;
                Some((*seat, entry))
            });
            // What a session expects in its QUIC connection, nobody else can send it.
            let known = known.filter(|(_, entry)| !matches!(entry.way, Some(Way::Quic(_))));
            let Some((seat, entry)) = known else {
                if let Some(tap) = self.tap() {
                    tap.received(now, from, ecn, datagram);
                }
                self.strays.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            let now = entry.tell_time(now);
            if let Some(tap) = self.tap() {
                // While nobody else is at the session: a replay depends on the order.
                tap.received(now, from, ecn, datagram);
            }
            copies.clear();
            copies.extend_from_slice(datagram);
            entry.take(now, from, ecn, &mut copies);
            if !std::mem::replace(&mut entry.touched, true) {
                touched.push(Arc::clone(seat));
            }
        }
    }

    /// Settles the sessions on which something arrived.
    pub(super) fn settle_all(&self, touched: &mut Vec<Arc<Seat>>) {
        for seat in touched.drain(..) {
            if let Some(entry) = seat.lock().as_mut() {
                entry.touched = false;
                self.settle(&seat, entry);
            }
        }
    }

    /// Sends what found the socket full.
    pub(super) fn unblock(&self) {
        let blocked = std::mem::take(&mut *lock(&self.blocked));
        for seat in blocked {
            // It may have ended.
            let _ = self.enter(&seat, |_, _| ());
        }
    }

    /// Whether anything waits for room in the socket.
    pub(super) fn is_blocked(&self) -> bool {
        !lock(&self.blocked).is_empty()
    }

    /// Does what is due at `now`, for each session once; `due` is room to work in.
    pub(super) fn expire(&self, now: Time, due: &mut Vec<(Time, ConnectionId)>) {
        due.clear();
        lock(&self.timers).take(now, due);
        for (at, connection) in due.drain(..) {
            let Some(seat) = self.seat(connection) else {
                continue;
            };
            let mut guard = seat.lock();
            let Some(entry) = guard.as_mut() else {
                continue;
            };
            if entry.scheduled == Some(at) {
                entry.scheduled = None;
            }
            if entry.due().is_some_and(|due| due <= now) {
                let told = entry.tell_time(now);
                entry.session.handle_timeout(told);
                if let Some(tap) = self.tap() {
                    tap.ticked(told, connection);
                }
            }
            self.settle(&seat, entry);
        }
    }

    /// The loop goes to sleep; until when it may.
    pub(super) fn sleep(&self) -> Option<Time> {
        lock(&self.timers).sleep()
    }

    /// The loop is at work again.
    pub(super) fn awake(&self) {
        lock(&self.timers).awake();
    }

    /// Ends a session; none if it has ended.
    pub(super) fn remove(&self, seat: &Seat) -> Option<Entry> {
        let mut sessions = self
            .sessions
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        sessions.remove(&seat.connection);
        // Held to the end: a capture tells the end before whatever comes then.
        let mut guard = seat.lock();
        let entry = guard.take()?;
        if entry.scheduled.is_some() {
            lock(&self.timers).set(seat.connection, entry.scheduled, None);
        }
        if let Some(tap) = self.tap() {
            tap.ended(seat.connection);
        }
        Some(entry)
    }
}
