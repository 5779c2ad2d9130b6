//! A session: one stream of tensors one way, results and reports the other.

mod admit;
mod end;
mod path;
mod receive;
mod timers;
mod transmit;

use std::collections::VecDeque;
use std::time::Duration;

use crate::config::{Config, ConfigError};
use crate::event::{EndReason, Event};
use crate::interleave::Orders;
use crate::paths::{PathId, Paths};
use crate::protection::{Guard, Protection};
use crate::rate::{Arrived, Change, Controller, IP_UDP_HEADER, Path, PeerLoad, Sending};
use crate::recv::clock::ClockMap;
use crate::recv::{
    FeedbackState, PacketArrivals, Passing, Prospect, Recovered, Scope, Seen, TensorWindow,
};
use crate::send::results::{OutgoingResult, ResultError};
use crate::send::{
    Cargo, Flight, Loss, LossEstimator, OutgoingTensor, ResultQueue, Rtt, SendError, SentPackets,
    Silence, TensorQueue,
};
use crate::stats::Stats;
use crate::time::Time;
use crate::timer::{Timer, TimerTable};
use crate::wire::{ConnectionId, Ecn, FrameNumber, Load, MessageType, NoticeReason, TensorId};

use end::Ending;

/// Time between PINGs until the first sample of the round-trip time.
const PING_FIRST: Duration = Duration::from_millis(100);
/// Time without a sample, or without telling our clock, after which a PING is sent.
const PING_IDLE: Duration = Duration::from_secs(1);
/// Notices remembered, so that each is told once: four times what a sender keeps waiting.
const NOTICES: usize = 128;

/// A datagram that [`Session::poll_transmit`] wrote into the caller's buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Transmit {
    /// What it is.
    pub kind: MessageType,
    /// Bytes of UDP payload, at most the MSS.
    pub size: usize,
    /// The ECN codepoint to send it with.
    pub ecn: Ecn,
    /// Where to: in plain mode always the same.
    pub path: PathId,
}

/// One endpoint's half of a session, without sockets, clock or threads.
///
/// The methods are of four kinds. *Getters* change nothing. *Inputs* (`handle_datagram`,
/// `handle_timeout`) say what happened outside. *Mutators* (`send_tensor`, `send_result`,
/// `skip_frames`, `set_load`) say what the application wants. *Outputs* (`poll_transmit`,
/// `poll_event`, `poll_timeout`) say what to do next.
///
/// **After every input or mutator, poll `poll_transmit` and `poll_event` until they return none, then
/// ask `poll_timeout` when to call `handle_timeout`.**
///
/// `now` must not step back from call to call; where it does, times saturate and nothing breaks.
#[derive(Debug)]
pub struct Session {
    config: Config,
    guard: Guard,
    paths: Paths,
    /// The first packet that was sent when the path in use was: those before tell nothing of it.
    path_since: u64,
    ending: Option<Ending>,
    /// Datagrams that may not be decrypted where they stand.
    scratch: Vec<u8>,
    orders: Orders,
    stats: Stats,
    timers: TimerTable,
    events: VecDeque<Event>,

    queue: TensorQueue,
    flight: Flight,
    results: ResultQueue,
    sent: SentPackets,
    losses: LossEstimator,
    silence: Silence,
    rtt: Rtt,
    rate: Controller,
    peer_load: Option<PeerLoad>,
    /// When the peer told it, by its own clock, microseconds.
    load_told: Option<i64>,
    /// What the report that is being read tells of for the first time.
    arrived: Vec<Arrived>,
    /// Smoothed time from sending a packet to knowing that it was lost.
    detection: Option<Duration>,
    last_ping: Option<Time>,
    /// Packets to send yet to measure the path, the last of them a PING.
    probes: usize,
    /// Whether to ask for a report once nothing else is left to send.
    ask: bool,
    /// When a message of ours last told our clock.
    last_timestamp: Option<Time>,

    arrivals: PacketArrivals,
    passing: Passing,
    feedback: FeedbackState,
    clock: ClockMap,
    tensors: TensorWindow,
    /// Recovered packets, and which they are.
    symbols: Vec<u8>,
    found: Vec<Recovered>,
    results_seen: Seen,
    deliveries_seen: Seen,
    notices_seen: VecDeque<(NoticeReason, u64, u8)>,
}

impl Session {
    /// A session that starts at `now`.
    ///
    /// # Errors
    /// If a field of the configuration is out of range.
    pub fn new(config: Config, now: Time) -> Result<Self, ConfigError> {
        config.validate()?;
        let secrets = match &config.protection {
            Protection::Plain => None,
            Protection::Protected(secrets) => Some(secrets),
        };
        let mut session = Self {
            guard: Guard::new(&config),
            paths: Paths::new(secrets),
            path_since: 0,
            ending: None,
            scratch: Vec::new(),
            orders: Orders::new(config.interleaving, config.slices, config.priority.clone()),
            stats: Stats::default(),
            timers: TimerTable::default(),
            events: VecDeque::new(),
            queue: TensorQueue::new(&config),
            flight: Flight::new(&config),
            results: ResultQueue::new(&config),
            sent: SentPackets::default(),
            losses: LossEstimator::default(),
            silence: Silence::default(),
            rtt: Rtt::default(),
            rate: Controller::new(&config),
            peer_load: None,
            load_told: None,
            arrived: Vec::new(),
            detection: None,
            last_ping: None,
            probes: 0,
            ask: false,
            last_timestamp: None,
            arrivals: PacketArrivals::default(),
            passing: Passing::default(),
            feedback: FeedbackState::default(),
            clock: ClockMap::default(),
            tensors: TensorWindow::new(config.span),
            symbols: Vec::new(),
            found: Vec::new(),
            results_seen: Seen::default(),
            deliveries_seen: Seen::default(),
            notices_seen: VecDeque::new(),
            config,
        };
        session.set_timers(now);
        Ok(session)
    }

    /// The configuration.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Everything counted since the session began.
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The smoothed round-trip time (RFC 9002, section 5.3); none before the first sample.
    pub const fn rtt(&self) -> Option<Duration> {
        self.rtt.smoothed()
    }

    /// The least round-trip time of the ten seconds before `now`, or the newest sample where there was none
    /// in them.
    pub fn least_rtt(&self, now: Time) -> Option<Duration> {
        self.rtt.least(now)
    }

    /// The loss of the path to the peer, by what its FEEDBACK told: over the last thousand packets or so,
    /// fewer after a change. 1 % of independent loss before anything is known.
    pub fn loss(&self) -> Loss {
        self.losses.loss()
    }

    /// What is known of the path to the peer at `now`, and what that lets this session send.
    pub fn path(&self, now: Time) -> Path {
        let waiting = self.queue.waiting(self.flight.parity_share()) + self.flight.waiting();
        self.rate
            .path(&self.sending(now), waiting, self.rtt.least(now))
    }

    fn sending(&self, now: Time) -> Sending {
        Sending {
            now,
            in_flight: self.sent.in_flight(),
            spread: self.queue.spread(self.flight.parity_share()),
        }
    }

    /// The newest load that the peer's FEEDBACK told; none before it told any.
    pub const fn peer_load(&self) -> Option<PeerLoad> {
        self.peer_load
    }

    /// REPAIR packets for each source packet that the newest tensor was given ahead of losses; 0 before
    /// the first.
    pub fn parity(&self) -> f64 {
        self.flight.parity_share()
    }

    /// Bytes kept of tensors in progress on behalf of the peer: at most
    /// [`Limits::bytes_in_progress`](crate::Limits::bytes_in_progress).
    pub fn buffered_bytes(&self) -> usize {
        self.tensors.memory()
    }

    /// Tensors in progress, of which some packets have arrived: at most
    /// [`Limits::tensors_in_progress`](crate::Limits::tensors_in_progress).
    pub fn tensors_in_progress(&self) -> usize {
        self.tensors.live()
    }

    /// Does what is due at `now`: call it when the time of [`poll_timeout`](Self::poll_timeout) has
    /// come. Early or repeated calls do no harm.
    pub fn handle_timeout(&mut self, now: Time) {
        let (tensors, mut scope) = self.tensors(now);
        tensors.expire(&mut scope);
        if tensors.take_passed(now, scope.config, &scope.prospect) {
            self.feedback.hurry(now, Duration::ZERO);
        }
        if self.ending.is_none() {
            self.flight.expire(now);
            self.give_up_unreported(now);
            self.flight.repair_again(now);
            let change = self.rate.expire(now, self.rtt.timeout());
            self.circuit_changed(change);
            self.results.expire(now, &mut self.stats);
            if self.paths.expire(now) {
                self.stats.paths_abandoned += 1;
            }
        }
        self.after_change(now);
    }

    /// Accepts a tensor for sending and gives it the next number.
    ///
    /// # Errors
    /// If the queue is full, the tensor does not fit the stream, or the session has ended. It then has no number, and the
    /// caller should tell the cloud with [`skip_frames`](Self::skip_frames).
    pub fn send_tensor(
        &mut self,
        now: Time,
        tensor: OutgoingTensor,
    ) -> Result<TensorId, SendError> {
        if self.ending.is_some() {
            return Err(SendError::Ended);
        }
        self.queue.abandon_late(now, &mut self.stats);
        let id = self.queue.push(tensor, &mut self.orders)?;
        self.stats.tensors_sent += 1;
        Ok(id)
    }

    /// Measures the path. Before there is a tensor to send, as many full packets of padding as an unknown path
    /// is sent at once (10, RFC 6928) leave back to back, and a PING that asks what became of them. A round
    /// trip later [`path`](Self::path) tells the bottleneck, and the first tensor need not wait for it. Where
    /// tensors are so small that they have told nothing of a known bottleneck for a second, four packets do:
    /// for applications that would send more if it had become faster. They give way to tensors. False, and
    /// nothing is sent, where the rate is not adaptive or the bottleneck is known.
    pub fn probe(&mut self, now: Time) -> bool {
        if self.ending.is_some() {
            return false;
        }
        let packets = self.rate.measure(now);
        if packets > 0 {
            self.probes = packets + 1;
        }
        packets > 0
    }

    /// Says that `count` frames from `first` on will not be sent, and why. The packets of the next tensor
    /// that is accepted tell the peer; if there is none, nothing does.
    pub fn skip_frames(&mut self, reason: NoticeReason, first: FrameNumber, count: u64) {
        self.stats.frames_skipped = self.stats.frames_skipped.saturating_add(count);
        self.queue.skip(reason, first, count, &mut self.stats);
    }

    /// Accepts a result for sending. It is repeated until the peer acknowledges it, five times at
    /// most.
    ///
    /// # Errors
    /// If the payload is too long, or the session has ended.
    pub fn send_result(&mut self, now: Time, result: OutgoingResult) -> Result<(), ResultError> {
        if self.ending.is_some() {
            return Err(ResultError::Ended);
        }
        self.results.push(now, result, &mut self.stats)?;
        self.set_timers(now);
        Ok(())
    }

    /// Sets the connection ID that outgoing datagrams carry, once the peer has told it.
    pub const fn set_remote_connection(&mut self, remote: ConnectionId) {
        self.config.remote_connection = remote;
    }

    /// Sets the load that the following reports tell the peer.
    pub const fn set_load(&mut self, load: Load) {
        self.feedback.load = Some(load);
    }

    /// Writes the next datagram that is due at `now` into `buffer`, replacing what it held; none if
    /// nothing is due. A buffer that is used again is not allocated again.
    #[must_use]
    pub fn poll_transmit(&mut self, now: Time, buffer: &mut Vec<u8>) -> Option<Transmit> {
        buffer.clear();
        if self.ending.is_none() && self.guard.cannot_seal() {
            self.end(now, EndReason::KeyUsedUp);
            self.set_timers(now);
        }
        self.queue.abandon_late(now, &mut self.stats);
        let (kind, cargo, path) = self.write_anywhere(now, buffer)?;
        if !self.guard.seal(self.sent.next(), buffer) {
            return None;
        }
        self.paths.sent(path, buffer.len());
        self.sent.push(now, cargo, buffer.len() + IP_UDP_HEADER);
        let sending = self.sending(now);
        self.rate
            .sent(&sending, buffer.len(), cargo != Cargo::Other);
        self.stats.datagrams_sent += 1;
        self.stats.bytes_sent += buffer.len() as u64;
        self.count_updates();
        self.set_timers(now);
        Some(Transmit {
            kind,
            size: buffer.len(),
            ecn: if self.config.ecn && cargo != Cargo::Other {
                Ecn::Ect0
            } else {
                Ecn::NotEct
            },
            path,
        })
    }

    /// What happened next; none if there is no more.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next and to poll again, and what for.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Time, Timer)> {
        self.timers.next()
    }

    fn after_change(&mut self, now: Time) {
        while let Some(end) = self.tensors.poll_end() {
            for report in end.reports() {
                self.feedback.released(now, report, &mut self.stats);
            }
            self.push_event(end.event());
        }
        self.set_timers(now);
    }

    /// The tensors in progress, and what they work with.
    fn tensors(&mut self, now: Time) -> (&mut TensorWindow, Scope<'_>) {
        let prospect = Prospect::new(now, &self.config, &self.passing, &self.rtt, &self.feedback);
        let scope = Scope {
            now,
            config: &self.config,
            orders: &mut self.orders,
            stats: &mut self.stats,
            prospect,
        };
        (&mut self.tensors, scope)
    }

    fn circuit_changed(&mut self, change: Option<Change>) {
        match change {
            None => {}
            Some(Change::Opened(silence)) => {
                self.stats.circuit_breaks += 1;
                self.push_event(Event::CircuitOpened { silence });
            }
            Some(Change::Closed) => self.push_event(Event::CircuitClosed),
        }
    }

    fn push_event(&mut self, event: Event) {
        if self.events.len() >= self.config.limits.events {
            self.events.pop_front();
            self.stats.events_dropped += 1;
        }
        self.events.push_back(event);
    }
}
