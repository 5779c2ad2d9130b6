//! The receiver of a replay: a session whose clock is the capture.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tensorwire_protocol::wire::{self, Ecn, Message, ResultStatus, Results, TensorId, extend};
use tensorwire_protocol::{
    Config, ConfigError, Event, OutgoingResult, Session, Stats, TensorInfo, Time, Timer,
};

use crate::clock::millis;

/// Released tensors that a captured result may still answer.
const REMEMBERED: usize = 1_024;
/// Packet numbers in a row that are made up for, where the capture lacks what was sent.
const MAX_MADE_UP: u64 = 4_096;
/// How often the timers are looked at while something waits for the time at which it was sent live.
const STEP: Duration = Duration::from_millis(1);
/// The longest that a tensor can be in progress.
const LONGEST: Duration = Duration::from_secs(60);

/// How a replay counts time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Timing {
    /// Timeouts are handled when they were live, and datagrams sent when they were.
    Live,
    /// Timeouts are handled when they are due, and datagrams sent when they were live.
    Due,
    /// The capture has nothing of what the receiver sent: it sends when it has something.
    Free,
}

/// What a receiver has counted beyond what its session counts.
#[derive(Default, Debug)]
pub(super) struct Tally {
    /// From capture to release, milliseconds, of each tensor that was released.
    pub(super) latencies: Vec<f64>,
    /// Missing shares of these, added up.
    pub(super) missing: f64,
    /// Datagrams that the capture says were sent.
    pub(super) sent: u64,
    /// Those of them that the replay sent byte by byte, at the same time.
    pub(super) same: u64,
    /// Packet numbers that the replay could not keep in step.
    pub(super) out_of_step: u64,
    /// Reports written.
    pub(super) feedback: u64,
}

/// The receiver of a replay.
///
/// Packet numbers are kept in step with the capture's, since the peer's reports are about those: what
/// was sent then is sent now at the same time, whether or not it is the same.
pub(super) struct Receiver<'a> {
    session: Session,
    timing: Timing,
    now: Time,
    /// The number of the next packet.
    next: u64,
    /// Released tensors, and whether they have been answered.
    released: VecDeque<(TensorInfo, bool)>,
    tally: Tally,
    buffer: Vec<u8>,
    /// Hears of every report that is sent.
    tell: &'a mut dyn FnMut(Time, &Message<'_>),
}

impl<'a> Receiver<'a> {
    pub(super) fn new(
        config: Config,
        timing: Timing,
        now: Time,
        tell: &'a mut dyn FnMut(Time, &Message<'_>),
    ) -> Result<Self, ConfigError> {
        Ok(Self {
            session: Session::new(config, now)?,
            timing,
            now,
            next: 0,
            released: VecDeque::new(),
            tally: Tally::default(),
            buffer: Vec::new(),
            tell,
        })
    }

    /// A datagram arrived.
    pub(super) fn arrived(&mut self, at: Time, ecn: Ecn, datagram: &[u8]) {
        self.advance(at);
        // Refusals are counted.
        let _ = self.session.handle_marked(self.now, ecn, datagram);
        self.after();
    }

    /// A timeout was handled live.
    pub(super) fn ticked(&mut self, at: Time) {
        if self.timing == Timing::Live {
            self.now = self.now.max(at);
            self.session.handle_timeout(self.now);
            self.after();
        }
    }

    /// The live receiver sent a datagram.
    pub(super) fn sent(&mut self, at: Time, captured: &[u8]) {
        let Ok((header, body)) = wire::open(captured, None) else {
            return;
        };
        self.advance(at);
        self.tally.sent += 1;
        let number = extend(u64::from(header.packet_number), 32, self.next);
        if number < self.next || number - self.next > MAX_MADE_UP {
            self.tally.out_of_step += 1;
            return;
        }
        while self.next < number && self.make_up() {}
        match Message::decode(&header, body) {
            Ok(Message::Result(results)) => self.answer(&results),
            Ok(Message::Feedback(feedback)) => {
                if let Some(load) = feedback.load {
                    self.session.set_load(load);
                }
            }
            _ => {}
        }
        if self.next == number && self.transmit() {
            self.tally.same += u64::from(same(&self.buffer, captured));
        } else if !self.make_up() {
            self.tally.out_of_step += 1;
        }
        self.after();
    }

    /// Nothing follows: waits for the tensors in progress, unless that is as it ran.
    pub(super) fn finish(mut self) -> (Stats, Tally, usize) {
        if self.timing != Timing::Live {
            let last = self.now + LONGEST;
            while self.session.tensors_in_progress() > 0 && self.now < last {
                self.advance(self.now + STEP);
            }
        }
        let in_progress = self.session.tensors_in_progress();
        (*self.session.stats(), self.tally, in_progress)
    }

    /// Does what is due before `at`. What arrives at the same time counts before any timeout.
    fn advance(&mut self, at: Time) {
        let at = at.max(self.now);
        while self.timing != Timing::Live
            && let Some((due, timer)) = self.session.poll_timeout()
            && due < at
        {
            // A datagram that is due hides other timers for as long as it waits.
            let waits = due <= self.now && self.timing == Timing::Due && is_transmission(timer);
            let next = if waits {
                self.now + STEP
            } else {
                due.max(self.now)
            };
            if next >= at {
                break;
            }
            self.now = next;
            self.session.handle_timeout(next);
            self.after();
            if !waits && self.session.poll_timeout() == Some((due, timer)) {
                // Nothing came of it: look again later.
                self.now = (next + STEP).min(at);
            }
        }
        self.now = self.now.max(at);
    }

    /// Takes what the session says, and what it wants to send if nothing says when it did.
    fn after(&mut self) {
        while let Some(event) = self.session.poll_event() {
            if let Event::Tensor(tensor) = event {
                let info = *tensor.info();
                self.tally
                    .latencies
                    .push(millis(info.released - info.captured));
                self.tally.missing += info.missing_share();
                if self.released.len() == REMEMBERED {
                    self.released.pop_front();
                }
                self.released.push_back((info, false));
            }
        }
        if self.timing == Timing::Free {
            while self.transmit() {}
        }
    }

    /// Sends the next datagram, if there is one.
    fn transmit(&mut self) -> bool {
        let now = self.now;
        if self.session.poll_transmit(now, &mut self.buffer).is_none() {
            return false;
        }
        self.next += 1;
        if let Ok((header, body)) = wire::open(&self.buffer, None)
            && let Ok(message @ Message::Feedback(_)) = Message::decode(&header, body)
        {
            self.tally.feedback += 1;
            (self.tell)(now, &message);
        }
        true
    }

    /// Uses up a packet number for a datagram that only the live receiver sent, with a result once more.
    fn make_up(&mut self) -> bool {
        if self.transmit() {
            return true;
        }
        let Some((tensor, _)) = self.released.back() else {
            return false;
        };
        let result = OutgoingResult {
            tensor: *tensor,
            status: ResultStatus::Done,
            compute: Duration::ZERO,
            payload: Bytes::new(),
        };
        self.session.send_result(self.now, result).is_ok() && self.transmit()
    }

    /// Answers as the live application did, if it had not before.
    fn answer(&mut self, results: &Results<'_>) {
        let Some(newest) = self.released.back().map(|(info, _)| info.id) else {
            return;
        };
        // A packet has its newest result first, and they were accepted in the order of their age.
        let entries: Vec<_> = results.iter().collect();
        for entry in entries.iter().rev() {
            let id = TensorId::extend(entry.tensor_id, newest);
            let released = self.released.iter_mut().rev();
            let Some((tensor, answered)) = released.into_iter().find(|(info, _)| info.id == id)
            else {
                continue;
            };
            if std::mem::replace(answered, true) {
                continue;
            }
            let result = OutgoingResult {
                tensor: *tensor,
                status: entry.status,
                compute: Duration::from_micros(u64::from(entry.compute_micros)),
                payload: Bytes::copy_from_slice(entry.payload),
            };
            // It fitted then.
            let _ = self.session.send_result(self.now, result);
        }
    }
}

/// Whether two datagrams are the same. A PING has as much padding as makes it 64 bytes long, of which its tag
/// took more when it was sealed.
fn same(one: &[u8], other: &[u8]) -> bool {
    let ping = |datagram| match wire::open(datagram, None) {
        Ok((header, body)) => match Message::decode(&header, body) {
            Ok(Message::Ping(ping)) => Some((header, ping.report_timestamp)),
            _ => None,
        },
        Err(_) => None,
    };
    one == other || ping(one).is_some_and(|one| ping(other) == Some(one))
}

/// Whether a timer means that a datagram is to be sent.
const fn is_transmission(timer: Timer) -> bool {
    matches!(
        timer,
        Timer::Feedback | Timer::Result | Timer::Ping | Timer::Pace
    )
}
