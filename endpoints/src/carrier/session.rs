//! One end of a session on reliable streams, without sockets or clock: the counterpart of the protocol's
//! `Session` (spec/carriers.md, sections 4 to 6).

use std::collections::VecDeque;
use std::time::Duration;

use tensorwire_protocol::recv::clock::ClockMap;
use tensorwire_protocol::wire::{FrameNumber, Load, MAX_RESULT_PAYLOAD, NoticeReason, TensorId};
use tensorwire_protocol::{
    Config, Event, OutgoingResult, OutgoingTensor, Path, PeerLoad, ReceivedResult, ResultError,
    SendError, Stats, TensorInfo, Time,
};

use super::frame::{self, Decoder, FrameError, Item, Message};
use super::intake::Intake;
use super::outbox::Outbox;

/// Time between PINGs until the first is answered.
const PING_FIRST: Duration = Duration::from_millis(100);
/// Time between PINGs from then on.
const PING_IDLE: Duration = Duration::from_millis(500);
/// Round-trip times of which the least counts: of eight seconds.
const ROUND_TRIPS: usize = 16;
/// Notices and reports of releases that may wait to be sent, each.
const WAITING: usize = 64;

/// A round trip that takes longer was not one.
const LONGEST_ROUND_TRIP: Duration = Duration::from_secs(60);
/// A frame that this end is not sent.
const DIRECTION: FrameError = FrameError::OutOfRange("direction of a frame");

/// Which end it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    /// Sends tensors.
    Edge,
    /// Receives tensors, and asks for the edge's clock.
    Cloud,
}

/// What a stream is about to carry.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) id: TensorId,
    /// When it is of no more use.
    pub(super) until: Time,
}

/// One end of a session on reliable streams.
#[derive(Debug)]
pub(super) struct StreamSession {
    role: Role,
    config: Config,
    outbox: Outbox,
    intake: Intake,
    clock: ClockMap,
    round_trips: VecDeque<Duration>,
    next_ping: Time,
    /// The newest PING that is to be answered.
    pong: Option<u32>,
    results: VecDeque<Message>,
    reports: VecDeque<Message>,
    notices: VecDeque<Message>,
    /// The load that is to be told, and the one that the peer told last.
    load: Option<Load>,
    peer_load: Option<PeerLoad>,
    events: VecDeque<Event>,
    stats: Stats,
}

impl StreamSession {
    pub(super) fn new(role: Role, config: Config, now: Time) -> Self {
        Self {
            role,
            outbox: Outbox::new(&config),
            intake: Intake::new(&config),
            clock: ClockMap::default(),
            round_trips: VecDeque::new(),
            next_ping: now,
            pong: None,
            results: VecDeque::new(),
            reports: VecDeque::new(),
            notices: VecDeque::new(),
            load: None,
            peer_load: None,
            events: VecDeque::new(),
            stats: Stats::default(),
            config,
        }
    }

    /// A decoder for one stream of this session.
    pub(super) const fn decoder(&self) -> Decoder {
        // An edge is sent no tensors.
        let most = match self.role {
            Role::Edge => 0,
            Role::Cloud => self.config.limits.tensor_bytes,
        };
        Decoder::new(self.config.slices, self.config.steps, most)
    }

    pub(super) const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Bytes kept on behalf of the peer.
    #[cfg(test)]
    pub(super) const fn buffered_bytes(&self) -> usize {
        self.intake.memory()
    }

    /// What is known of the path; its rate is that of the stream's own congestion controller, which does
    /// not tell.
    pub(super) fn path(&self) -> Path {
        let mut path = Path::default();
        path.one_way = self.least_rtt().map(|rtt| rtt / 2);
        path.waiting = self.outbox.bytes();
        path.ready = self.outbox.is_empty();
        path
    }

    /// The load that the peer told last; none before it told any.
    pub(super) const fn peer_load(&self) -> Option<PeerLoad> {
        self.peer_load
    }

    /// Tells the peer a load.
    pub(super) const fn set_load(&mut self, load: Load) {
        self.load = Some(load);
    }

    fn least_rtt(&self) -> Option<Duration> {
        self.round_trips.iter().min().copied()
    }

    /// Takes bytes of one stream, `decoder` being that stream's and `current` the tensor that its bytes
    /// belong to.
    ///
    /// # Errors
    /// If they are no frames, or frames that this end is not sent: the session has to end.
    pub(super) fn take(
        &mut self,
        now: Time,
        bytes: &[u8],
        decoder: &mut Decoder,
        current: &mut Option<TensorId>,
    ) -> Result<(), FrameError> {
        self.stats.bytes_received += bytes.len() as u64;
        let mut rest = bytes;
        while let Some(item) = decoder.next(&mut rest)? {
            match item {
                Item::Tensor(_) if self.role == Role::Edge => return Err(DIRECTION),
                Item::Tensor(head) => {
                    let id = head.id;
                    let captured = self.clock.map(head.captured, now, self.least_rtt());
                    self.clock.observe_capture(now, head.captured);
                    let wanted = self.intake.begin(now, head, captured, &mut self.stats);
                    *current = wanted.then_some(id);
                }
                Item::Bytes(bytes) => {
                    if let Some(id) = *current
                        && !self.intake.extend(now, id, bytes, &mut self.stats)
                    {
                        *current = None;
                    }
                }
                Item::Message(message) => self.take_message(now, message)?,
            }
        }
        self.gather();
        Ok(())
    }

    /// Whether the bytes of a tensor are still of use.
    pub(super) fn wants(&self, id: TensorId) -> bool {
        self.intake.is_live(id)
    }

    fn take_message(&mut self, now: Time, message: Message) -> Result<(), FrameError> {
        match (self.role, message) {
            (Role::Edge, Message::Ping(clock)) => self.pong = Some(clock),
            (Role::Edge, Message::Load(load)) => {
                self.peer_load = Some(PeerLoad { load, at: now });
            }
            (Role::Cloud, Message::Pong(echoed, clock)) => self.take_pong(now, echoed, clock),
            (
                Role::Edge,
                Message::Result {
                    id,
                    frame,
                    reason,
                    received,
                    status,
                    compute_micros,
                    payload,
                },
            ) => {
                if !self.outbox.knows(id) {
                    self.stats.conflicts += 1;
                    return Ok(());
                }
                self.stats.results_received += 1;
                let mut result = ReceivedResult::new(id, frame, status);
                result.reason = reason;
                result.missing_share = self.missing_share(received);
                result.compute = Duration::from_micros(u64::from(compute_micros));
                result.payload = payload;
                self.push_event(Event::Result(result));
            }
            (
                Role::Edge,
                Message::Release {
                    id,
                    reason,
                    received,
                },
            ) => {
                if !self.outbox.knows(id) {
                    self.stats.conflicts += 1;
                    return Ok(());
                }
                let missing_share = self.missing_share(received);
                self.push_event(Event::Delivery {
                    tensor: id,
                    reason,
                    missing_share,
                });
            }
            (
                Role::Cloud,
                Message::Notice {
                    reason,
                    first,
                    count,
                },
            ) => {
                self.push_event(if reason.is_tensor() {
                    let first = TensorId(first);
                    Event::TensorsAbandoned {
                        reason,
                        first,
                        count,
                    }
                } else {
                    let first = FrameNumber(first);
                    Event::FramesSkipped {
                        reason,
                        first,
                        count,
                    }
                });
            }
            (_, _) => return Err(DIRECTION),
        }
        Ok(())
    }

    fn take_pong(&mut self, now: Time, echoed: u32, clock: u32) {
        self.clock.observe(now, clock);
        let round_trip = Duration::from_micros(u64::from(now.wire().wrapping_sub(echoed)));
        if round_trip > LONGEST_ROUND_TRIP {
            self.stats.conflicts += 1;
            return;
        }
        if self.round_trips.len() == ROUND_TRIPS {
            self.round_trips.pop_front();
        }
        self.round_trips.push_back(round_trip);
    }

    fn missing_share(&self, received: u16) -> f32 {
        let slices = self.config.slices;
        f32::from(slices.saturating_sub(received)) / f32::from(slices)
    }

    /// Does what is due at `now`.
    pub(super) fn handle_timeout(&mut self, now: Time) {
        self.intake.expire(now, &mut self.stats);
        self.gather();
    }

    /// Accepts a tensor for sending and gives it the next number.
    pub(super) fn send_tensor(
        &mut self,
        now: Time,
        tensor: OutgoingTensor,
    ) -> Result<TensorId, SendError> {
        self.abandon_late(now);
        let id = self.outbox.push(tensor)?;
        self.stats.tensors_sent += 1;
        Ok(id)
    }

    /// Accepts a result for sending.
    pub(super) fn send_result(&mut self, result: OutgoingResult) -> Result<(), ResultError> {
        let (found, most) = (result.payload.len(), MAX_RESULT_PAYLOAD);
        if found > most {
            return Err(ResultError::TooLong { found, most });
        }
        if self.results.len() >= self.config.limits.results {
            self.results.pop_front();
            self.stats.results_expired += 1;
        }
        let tensor = result.tensor;
        self.results.push_back(Message::Result {
            id: tensor.id,
            frame: tensor.frame,
            reason: tensor.reason,
            received: tensor.slices_received,
            status: result.status,
            compute_micros: u32::try_from(result.compute.as_micros()).unwrap_or(u32::MAX),
            payload: result.payload,
        });
        Ok(())
    }

    /// Says that frames were not sent, and why.
    pub(super) fn skip_frames(&mut self, reason: NoticeReason, first: FrameNumber, count: u64) {
        self.stats.frames_skipped = self.stats.frames_skipped.saturating_add(count);
        self.notice(reason, first.0, count);
    }

    fn notice(&mut self, reason: NoticeReason, first: u64, count: u64) {
        // More than can wait would push itself out.
        let most = u64::from(u8::MAX) * WAITING as u64;
        let end = first.saturating_add(count);
        let mut first = first.max(end.saturating_sub(most));
        while first < end {
            let part = u8::try_from(end - first).unwrap_or(u8::MAX);
            if let Some(Message::Notice {
                reason: last,
                first: start,
                count,
            }) = self.notices.back_mut()
                && *last == reason
                && *start + u64::from(*count) == first
                && let Some(joined) = count.checked_add(part)
            {
                *count = joined;
            } else {
                if self.notices.len() == WAITING {
                    self.notices.pop_front();
                    self.stats.notices_dropped += 1;
                }
                let count = part;
                self.notices.push_back(Message::Notice {
                    reason,
                    first,
                    count,
                });
            }
            first += u64::from(part);
        }
    }

    /// Says that a tensor which began to be sent was abandoned.
    pub(super) fn abandoned(&mut self, id: TensorId) {
        self.stats.tensors_abandoned += 1;
        self.notice(NoticeReason::TensorDeadline, id.0, 1);
    }

    fn abandon_late(&mut self, now: Time) {
        let late: Vec<TensorId> = self.outbox.abandon_late(now, &mut self.stats).collect();
        for id in late {
            self.notice(NoticeReason::TensorDeadline, id.0, 1);
        }
    }

    /// Appends every message that is due at `now` to `out`; a few hundred bytes each, and their number is
    /// bounded.
    pub(super) fn poll_messages(&mut self, now: Time, out: &mut Vec<u8>) {
        let before = out.len();
        if self.role == Role::Cloud && self.next_ping <= now {
            let idle = if self.round_trips.is_empty() {
                PING_FIRST
            } else {
                PING_IDLE
            };
            self.next_ping = now + idle;
            Message::Ping(now.wire()).encode(out);
        }
        if let Some(echoed) = self.pong.take() {
            Message::Pong(echoed, now.wire()).encode(out);
        }
        if let Some(load) = self.load.take() {
            Message::Load(load).encode(out);
        }
        let results = self.results.drain(..);
        let rest = self.reports.drain(..).chain(self.notices.drain(..));
        results.chain(rest).for_each(|message| message.encode(out));
        self.stats.bytes_sent += (out.len() - before) as u64;
    }

    /// Whether a message is due at `now`.
    pub(super) fn has_messages(&self, now: Time) -> bool {
        let waiting =
            !(self.results.is_empty() && self.reports.is_empty() && self.notices.is_empty());
        waiting
            || self.load.is_some()
            || self.pong.is_some()
            || (self.role == Role::Cloud && self.next_ping <= now)
    }

    /// Appends the frame of the next tensor to `out`; none if none waits.
    pub(super) fn poll_tensor(&mut self, now: Time, out: &mut Vec<u8>) -> Option<Begun> {
        self.abandon_late(now);
        let (id, tensor) = self.outbox.pop()?;
        let before = out.len();
        frame::put_tensor(out, id, &tensor);
        self.stats.bytes_sent += (out.len() - before) as u64;
        let until = tensor.captured + self.config.deadline;
        Some(Begun { id, until })
    }

    /// What happened next.
    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether a tensor waits to be sent.
    pub(super) fn has_tensors(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) and, where messages can be sent, to poll for
    /// them.
    pub(super) fn poll_timeout(&self, writable: bool) -> Option<Time> {
        let ping = (self.role == Role::Cloud && writable).then_some(self.next_ping);
        [self.intake.next_deadline(), ping]
            .into_iter()
            .flatten()
            .min()
    }

    /// Moves the ends of tensors to the application and into reports for the peer.
    fn gather(&mut self) {
        while let Some(event) = self.intake.poll_event() {
            match &event {
                Event::Tensor(tensor) => self.report(tensor.info()),
                Event::Superseded(info) => self.report(info),
                Event::Lost { first, count } => {
                    let end = first.0 + count;
                    for id in end.saturating_sub(WAITING as u64).max(first.0)..end {
                        let frame = FrameNumber(0);
                        self.report(&TensorInfo::new(TensorId(id), frame, self.config.slices));
                    }
                }
                _ => {}
            }
            self.push_event(event);
        }
    }

    fn report(&mut self, info: &TensorInfo) {
        if self.reports.len() == WAITING {
            self.reports.pop_front();
            self.stats.reports_dropped += 1;
        }
        let (id, reason, received) = (info.id, info.reason, info.slices_received);
        self.reports.push_back(Message::Release {
            id,
            reason,
            received,
        });
    }

    fn push_event(&mut self, event: Event) {
        if self.events.len() >= self.config.limits.events {
            self.events.pop_front();
            self.stats.events_dropped += 1;
        }
        self.events.push_back(event);
    }
}

#[cfg(test)]
mod tests;
