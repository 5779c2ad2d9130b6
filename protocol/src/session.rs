//! A session: one stream of tensors one way, results and reports the other.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use crate::config::{Config, ConfigError};
use crate::event::{Event, ReceivedResult, ReleaseReason, WHOLE_ON_WIRE};
use crate::interleave::Orders;
use crate::recv::clock::ClockMap;
use crate::recv::{FeedbackState, PacketArrivals, Seen, TensorWindow};
use crate::send::results::{OutgoingResult, ResultError};
use crate::send::{OutgoingTensor, ResultQueue, Rtt, SendError, SentPackets, TensorQueue};
use crate::stats::Stats;
use crate::time::Time;
use crate::timer::{Timer, TimerTable};
use crate::wire::{
    self, ConnectionId, Data, Feedback, FrameNumber, HEADER_LEN, Load, Message, MessageType,
    Notice, NoticeReason, PacketReport, Ping, Refusal, Results, TensorId, extend,
};

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
    orders: Orders,
    stats: Stats,
    timers: TimerTable,
    events: VecDeque<Event>,

    queue: TensorQueue,
    results: ResultQueue,
    sent: SentPackets,
    rtt: Rtt,
    last_ping: Option<Time>,
    /// When a message of ours last told our clock.
    last_timestamp: Option<Time>,

    arrivals: PacketArrivals,
    feedback: FeedbackState,
    clock: ClockMap,
    tensors: TensorWindow,
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
        let mut session = Self {
            orders: Orders::new(config.interleaving, config.slices),
            stats: Stats::default(),
            timers: TimerTable::default(),
            events: VecDeque::new(),
            queue: TensorQueue::new(&config),
            results: ResultQueue::new(&config),
            sent: SentPackets::default(),
            rtt: Rtt::default(),
            last_ping: None,
            last_timestamp: None,
            arrivals: PacketArrivals::default(),
            feedback: FeedbackState::default(),
            clock: ClockMap::default(),
            tensors: TensorWindow::new(),
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

    /// Bytes kept of tensors in progress on behalf of the peer: at most
    /// [`Limits::bytes_in_progress`](crate::Limits::bytes_in_progress).
    pub const fn buffered_bytes(&self) -> usize {
        self.tensors.memory()
    }

    /// Tensors in progress, of which some packets have arrived: at most
    /// [`Limits::tensors_in_progress`](crate::Limits::tensors_in_progress).
    pub fn tensors_in_progress(&self) -> usize {
        self.tensors.live()
    }

    /// Takes a datagram that arrived at `now`. Never fails: a bad one is counted and leaves no other
    /// trace.
    ///
    /// # Errors
    /// Why the datagram was refused, for logs: the refusal has been counted.
    pub fn handle_datagram(&mut self, now: Time, datagram: &[u8]) -> Result<(), Refusal> {
        self.stats.datagrams_received += 1;
        self.stats.bytes_received += datagram.len() as u64;
        let handled = self.take_datagram(now, datagram);
        if let Err(refusal) = handled {
            self.stats.refused.count(refusal);
        }
        self.after_change(now);
        handled
    }

    /// Does what is due at `now`: call it when the time of [`poll_timeout`](Self::poll_timeout) has
    /// come. Early or repeated calls do no harm.
    pub fn handle_timeout(&mut self, now: Time) {
        self.tensors
            .expire(now, &self.config, &mut self.orders, &mut self.stats);
        self.results.expire(now, &mut self.stats);
        self.after_change(now);
    }

    /// Accepts a tensor for sending and gives it the next number.
    ///
    /// # Errors
    /// If the queue is full, or the tensor does not fit the stream. It then has no number, and the
    /// caller should tell the cloud with [`skip_frames`](Self::skip_frames).
    pub fn send_tensor(
        &mut self,
        now: Time,
        tensor: OutgoingTensor,
    ) -> Result<TensorId, SendError> {
        self.queue.abandon_late(now, &mut self.stats);
        let id = self.queue.push(tensor, &mut self.orders)?;
        self.stats.tensors_sent += 1;
        Ok(id)
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
    /// If the payload is too long.
    pub fn send_result(&mut self, now: Time, result: OutgoingResult) -> Result<(), ResultError> {
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
        self.queue.abandon_late(now, &mut self.stats);
        let kind = self.write(now, buffer)?;
        self.sent.push(now);
        self.stats.datagrams_sent += 1;
        self.stats.bytes_sent += buffer.len() as u64;
        self.set_timers(now);
        Some(Transmit {
            kind,
            size: buffer.len(),
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

    fn take_datagram(&mut self, now: Time, datagram: &[u8]) -> Result<(), Refusal> {
        let (header, body) = wire::open(datagram, Some(self.config.local_connection))?;
        let number = self.arrivals.check(header.packet_number)?;
        let message = Message::decode(&header, body)?;
        self.arrivals.record(number, now);
        if message.kind().elicits_feedback() {
            self.feedback
                .arrived(now, message.kind() == MessageType::Ping);
        }
        match message {
            Message::Data(data) => self.take_data(now, &data),
            Message::Feedback(feedback) => self.take_feedback(now, &feedback),
            Message::Result(results) => self.take_results(&results),
            Message::Ping(ping) => self.clock.observe(now, ping.report_timestamp),
            Message::Padding(_) => {}
            Message::Repair(_)
            | Message::PathChallenge(_)
            | Message::PathResponse(_)
            | Message::Close(_) => self.stats.ignored += 1,
        }
        Ok(())
    }

    fn take_data(&mut self, now: Time, data: &Data<'_>) {
        if data.is_delta() {
            self.stats.ignored += 1;
            return;
        }
        if data.positions().end > u32::from(self.config.slices) {
            self.stats.conflicts += 1;
            return;
        }
        let timestamp = data.capture_timestamp();
        let captured = self.clock.map(timestamp, now, self.rtt.least(now));
        let Self {
            tensors,
            config,
            orders,
            stats,
            ..
        } = self;
        // The caller may come late to a deadline, and a packet must not profit from that.
        tensors.expire(now, config, orders, stats);
        let (id, frame) = tensors.numbers(data);
        if tensors.add(now, data, captured, config, orders, stats) {
            self.clock.observe_capture(now, timestamp);
            if let Some(notice) = data.notice() {
                self.take_notice(notice, id, frame);
            }
        }
    }

    fn take_notice(&mut self, notice: Notice, id: TensorId, frame: FrameNumber) {
        let Notice {
            reason,
            first,
            count,
        } = notice;
        let reference = if reason.is_tensor() { id.0 } else { frame.0 };
        let told = (reason, extend(u64::from(first), 16, reference), count);
        if self.notices_seen.contains(&told) {
            return;
        }
        if self.notices_seen.len() == NOTICES {
            self.notices_seen.pop_front();
        }
        self.notices_seen.push_back(told);
        self.push_event(if reason.is_tensor() {
            Event::TensorsAbandoned {
                reason,
                first: TensorId(told.1),
                count,
            }
        } else {
            Event::FramesSkipped {
                reason,
                first: FrameNumber(told.1),
                count,
            }
        });
    }

    fn take_feedback(&mut self, now: Time, feedback: &Feedback<'_>) {
        self.clock.observe(now, feedback.report_timestamp);
        let begin = extend(u64::from(feedback.begin), 32, self.sent.next());
        let mut newest = None;
        for (number, report) in (begin..).zip(feedback.arrivals.iter()) {
            let PacketReport::Received { age, .. } = report else {
                continue;
            };
            if number >= self.sent.next() {
                self.stats.conflicts += 1;
                break;
            }
            if let Some(sent) = self.sent.acknowledge(number) {
                self.results.acknowledge(number);
                newest = age.map(|age| (sent, age)).or(newest);
            }
        }
        if let Some((sent, age)) = newest {
            self.rtt.sample(now, (now - sent).saturating_sub(age));
        }
        for report in feedback.releases.iter() {
            let Some(tensor) = self.sent_tensor(report.tensor_id) else {
                continue;
            };
            if self.deliveries_seen.insert(tensor.0) {
                let reason = ReleaseReason::from_code(report.reason);
                let missing_share = share(report.missing);
                self.push_event(Event::Delivery {
                    tensor,
                    reason,
                    missing_share,
                });
            }
        }
    }

    fn take_results(&mut self, results: &Results<'_>) {
        for result in results.iter() {
            let Some(tensor) = self.sent_tensor(result.tensor_id) else {
                continue;
            };
            if !self.results_seen.insert(tensor.0) {
                self.stats.results_repeated += 1;
                continue;
            }
            let newest = self.queue.last_frame().unwrap_or_default();
            self.stats.results_received += 1;
            self.push_event(Event::Result(ReceivedResult {
                tensor,
                frame: FrameNumber::extend(result.frame_number, newest),
                reason: ReleaseReason::from_code(result.reason),
                missing_share: share(result.missing),
                status: result.status,
                compute: Duration::from_micros(u64::from(result.compute_micros)),
                payload: Bytes::copy_from_slice(result.payload),
            }));
        }
    }

    /// The tensor of ours that the peer means; none, counted, if we have not sent it.
    fn sent_tensor(&mut self, low: u16) -> Option<TensorId> {
        let next = self.queue.next_id();
        let newest = TensorId(next.0.saturating_sub(1));
        let tensor = TensorId::extend(low, newest);
        if tensor >= next {
            self.stats.conflicts += 1;
            return None;
        }
        Some(tensor)
    }

    /// Writes one datagram: reports first, since they are small and others wait for them.
    fn write(&mut self, now: Time, out: &mut Vec<u8>) -> Option<MessageType> {
        let number = self.sent.next();
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the wire carries the low bits"
        )]
        let low = number as u32;
        if self.feedback.due().is_some_and(|due| due <= now) {
            self.feedback
                .write(now, &self.arrivals, out, &self.config, low);
            self.last_timestamp = Some(now);
            return Some(MessageType::Feedback);
        }
        if self
            .results
            .write(now, self.rtt.timeout(), out, &self.config, number)
        {
            return Some(MessageType::Result);
        }
        if self.ping_due(now) <= now {
            let padding = Ping::DATAGRAM - HEADER_LEN - 4 - 4;
            let ping = Message::Ping(Ping {
                report_timestamp: now.wire(),
                padding,
            });
            ping.encode(out, self.config.remote_connection, low);
            self.last_ping = Some(now);
            self.last_timestamp = Some(now);
            return Some(MessageType::Ping);
        }
        self.queue
            .write(out, &self.config, low)
            .then_some(MessageType::Data)
    }

    fn ping_due(&self, now: Time) -> Time {
        let Some(last) = self.last_ping else {
            return now;
        };
        match (self.rtt.sampled(), self.last_timestamp) {
            (Some(sampled), Some(told)) => (sampled.min(told) + PING_IDLE).max(last + PING_IDLE),
            _ => last + PING_FIRST,
        }
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

    fn set_timers(&mut self, now: Time) {
        self.timers
            .set(Timer::Release, self.tensors.next_deadline(&self.config));
        self.timers.set(Timer::Feedback, self.feedback.due());
        self.timers.set(Timer::Result, self.results.due());
        self.timers.set(Timer::Ping, Some(self.ping_due(now)));
    }

    fn push_event(&mut self, event: Event) {
        if self.events.len() >= self.config.limits.events {
            self.events.pop_front();
            self.stats.events_dropped += 1;
        }
        self.events.push_back(event);
    }
}

/// A share of the wire as a fraction.
fn share(missing: u16) -> f32 {
    f32::from(missing) / f32::from(WHOLE_ON_WIRE)
}
