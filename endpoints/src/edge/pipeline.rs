//! The pipeline of a stream: capture, model, coder and network, each at work on a frame of its own.

mod hand_over;
mod unsent;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tensorwire_protocol::Time;
use tensorwire_protocol::admission::{DropReason, DropRule};
use tensorwire_protocol::wire::FrameNumber;

use super::gate::Gate;
use super::leg::{Leg, Legs};
use super::notice::{EdgeNotice, Notices};
use super::worker::{Done, Queue, Worker};
use super::{Captured, Computed, Encoded, FrameSource, Outcome, Pace};
use crate::clock::Clock;
use crate::datapath::{Outlook, PathEnded};

pub use unsent::DISCONNECTED;

/// A tensor is handed over while what waits before it takes so long at most: a timer of the runtime
/// comes up to a millisecond late, and the path must not fall idle meanwhile.
const EARLY: Duration = Duration::from_millis(3);
/// Shortest time until the session is asked again whether it takes a tensor or a frame.
const SOON: Duration = Duration::from_millis(1);
/// Longest time until the session is asked again whether it takes a tensor or a frame.
const ASK_AGAIN: Duration = Duration::from_millis(5);
/// Where frames come only as the session takes them, and it takes none for so long because the deadline
/// cannot be met or the peer is silent, one is dropped: somebody has to hear why nothing moves.
const STUCK: Duration = Duration::from_secs(1);

/// A frame on its way through the pipeline.
#[derive(Debug)]
pub(super) struct Frame {
    number: FrameNumber,
    /// Which of the edge's streams it belongs to.
    generation: u64,
    captured: Time,
    /// When it was decided that it is made; none before.
    decided: Option<Time>,
    name: String,
    label: Option<u32>,
    model: Duration,
    encode: Duration,
    /// When its tensor was ready to be sent.
    made: Time,
}

/// The pipeline, and what became of its frames.
pub(super) struct Pipeline<'a> {
    pub(super) legs: &'a mut Legs,
    gate: &'a mut Gate,
    notices: Notices,
    /// Whether nothing comes from the cloud.
    silent: bool,
    source: Arc<dyn FrameSource>,
    /// The number of its first frame.
    first: FrameNumber,
    pace: Pace,
    clock: Clock,
    pub(super) camera: Worker<Frame, Option<Captured>>,
    captured: Queue<(Frame, Captured)>,
    pub(super) model: Worker<Frame, Computed>,
    computed: Queue<(Frame, Computed)>,
    pub(super) encoder: Worker<Frame, Encoded>,
    encoded: Queue<(Frame, Encoded)>,
    /// When the next frame is captured.
    capture_at: Time,
    /// When the last frame was captured, or the stream began.
    last_capture: Time,
    /// When to ask the session again whether it takes a tensor.
    ask_again: Option<Time>,
    pub(super) ended: bool,
}

impl<'a> Pipeline<'a> {
    pub(super) fn new(
        (legs, gate): (&'a mut Legs, &'a mut Gate),
        source: Arc<dyn FrameSource>,
        pace: Pace,
        queue: usize,
        (clock, notices): (Clock, Notices),
    ) -> Self {
        let (now, threaded) = (clock.now(), !source.is_quick());
        gate.clear();
        Self {
            legs,
            first: gate.next_number(),
            gate,
            notices,
            silent: false,
            source,
            pace,
            clock,
            camera: Worker::idle(threaded),
            captured: Queue::new(queue),
            model: Worker::idle(threaded),
            computed: Queue::new(queue),
            encoder: Worker::idle(threaded),
            encoded: Queue::new(queue),
            capture_at: now,
            last_capture: now,
            ask_again: None,
            ended: false,
        }
    }

    pub(super) const fn clock(&self) -> Clock {
        self.clock
    }

    /// The stream that frames belong to that are captured now.
    pub(super) const fn generation(&self) -> u64 {
        self.gate.generation()
    }

    /// The stream goes on with this session, after a time without one.
    pub(super) fn resume(&mut self, leg: Leg) {
        self.gate.renew(leg.generation, leg.deadline);
        self.silent = false;
        self.legs.succeed(leg);
    }

    /// Frames that are captured from now on are of another stream, which this session carries, and come
    /// from `source`, if it is another; the first of them.
    pub(super) fn change(&mut self, leg: Leg, source: Option<Arc<dyn FrameSource>>) -> FrameNumber {
        if let Some(source) = source {
            self.source = source;
        }
        self.resume(leg);
        self.gate.next_number()
    }

    /// Closes the sessions that have nothing more to wait for.
    pub(super) async fn retire(&mut self, tell: &mut impl FnMut(Outcome)) {
        if self.legs.retiring.is_empty() {
            return;
        }
        let captured = self.captured.iter().map(|(frame, _)| frame);
        let computed = self.computed.iter().map(|(frame, _)| frame);
        let encoded = self.encoded.iter().map(|(frame, _)| frame);
        let at_work = [self.camera.kept(), self.model.kept(), self.encoder.kept()];
        let waiting = captured.chain(computed).chain(encoded);
        let held: Vec<u64> = waiting
            .chain(at_work.into_iter().flatten())
            .map(|frame| frame.generation)
            .collect();
        let holds = |generation| held.contains(&generation);
        self.legs.retire(self.clock.now(), holds, tell).await;
    }

    /// Whether every frame has met its end.
    pub(super) fn is_done(&self) -> bool {
        self.ended && self.in_it() == 0 && self.legs.unanswered() == 0
    }

    /// Frames that have been captured, or are being, and are neither sent nor dropped.
    fn in_it(&self) -> usize {
        let busy = [
            self.camera.is_idle(),
            self.model.is_idle(),
            self.encoder.is_idle(),
        ];
        busy.iter().filter(|idle| !**idle).count()
            + self.captured.len()
            + self.computed.len()
            + self.encoded.len()
    }

    /// Whether frames come only as the session takes them.
    const fn on_demand(&self) -> bool {
        self.pace.interval.is_zero()
    }

    /// Whether a stage waits until the next has room. Otherwise the newest frame wins.
    fn keeps_all(&self) -> bool {
        self.on_demand() || self.gate.rule() == DropRule::Off
    }

    /// When the next frame may be captured; none until something else has happened.
    pub(super) fn capture_at(&self) -> Option<Time> {
        let room = !(self.keeps_all() && self.captured.is_full());
        let may = !self.ended
            && self.camera.is_idle()
            && room
            && (self.legs.current.is_some() || !self.on_demand())
            && self.legs.unanswered() + self.in_it() < self.pace.in_flight;
        may.then_some(self.capture_at)
    }

    /// When to look again whether a tensor can be handed over.
    pub(super) fn ask_again(&self) -> Option<Time> {
        (!self.encoded.is_empty())
            .then_some(self.ask_again)
            .flatten()
    }

    /// Captures the next frame, if the session takes one where frames come as it does.
    pub(super) async fn capture(&mut self) -> Result<(), PathEnded> {
        let now = self.clock.now();
        let mut decided = None;
        if self.on_demand()
            && let Some(leg) = &self.legs.current
        {
            let outlook = leg.session.outlook().await?;
            let ready = self.gate.ready_at(now, &outlook);
            // What is under way makes room in time; whatever else is the matter may last.
            let silent = outlook.path.silent;
            let decision = if ready > now + EARLY && !silent {
                Err(DropReason::Rate)
            } else {
                let least = self.source.least_bytes();
                self.gate.admit(now, now, least, &outlook)
            };
            let lasts = silent || decision == Err(DropReason::Deadline);
            if decision.is_err() && !(lasts && self.last_capture + STUCK <= now) {
                self.capture_at = now + (ready - now).clamp(SOON, ASK_AGAIN);
                return Ok(());
            }
            let taken = decision.is_ok();
            decided = taken.then_some(now);
        }
        self.last_capture = now;
        self.capture_at = (self.capture_at + self.pace.interval).max(now);
        let number = self.gate.number();
        let frame = Frame {
            number,
            generation: self.gate.generation(),
            captured: now,
            decided,
            name: String::new(),
            label: None,
            model: Duration::ZERO,
            encode: Duration::ZERO,
            made: now,
        };
        let (source, index) = (Arc::clone(&self.source), number.0 - self.first.0);
        self.camera
            .start(self.clock, frame, move || source.capture(index));
        Ok(())
    }

    /// A frame was captured.
    pub(super) async fn captured(
        &mut self,
        done: Done<Frame, Option<Captured>>,
        tell: &mut impl FnMut(Outcome),
    ) -> Result<(), PathEnded> {
        let Done {
            kept: mut frame,
            made,
            ..
        } = done;
        match made {
            Ok(None) => {
                if frame.decided.is_some() {
                    self.gate.give_up();
                }
                self.gate.return_number(frame.number);
                self.ended = true;
                Ok(())
            }
            Ok(Some(captured)) => {
                (frame.name, frame.label) = (captured.name.clone(), captured.label);
                let superseded = self.captured.push((frame, captured));
                self.supersede(superseded, tell).await
            }
            Err(error) => self.fail(frame, &error, tell).await,
        }
    }

    /// The tensor of a frame was computed.
    pub(super) async fn computed(
        &mut self,
        done: Done<Frame, Computed>,
        tell: &mut impl FnMut(Outcome),
    ) -> Result<(), PathEnded> {
        let Done {
            kept: mut frame,
            took,
            made,
        } = done;
        frame.model = took;
        match made {
            Ok(computed) => {
                let superseded = self.computed.push((frame, computed));
                self.supersede(superseded, tell).await
            }
            Err(error) => self.fail(frame, &error, tell).await,
        }
    }

    /// The tensor of a frame was encoded.
    pub(super) async fn encoded(
        &mut self,
        done: Done<Frame, Encoded>,
        tell: &mut impl FnMut(Outcome),
    ) -> Result<(), PathEnded> {
        let Done {
            kept: mut frame,
            took,
            made,
        } = done;
        (frame.encode, frame.made) = (took, self.clock.now());
        match made {
            Ok(encoded) => {
                let superseded = self.encoded.push((frame, encoded));
                self.supersede(superseded, tell).await
            }
            Err(error) => self.fail(frame, &error, tell).await,
        }
    }

    /// Starts every stage that has something to do, the last one first, which makes room for the others.
    pub(super) async fn advance(
        &mut self,
        tell: &mut impl FnMut(Outcome),
    ) -> Result<(), PathEnded> {
        self.hand_over(tell).await?;
        while self.encoder.is_idle()
            && !(self.keeps_all() && self.encoded.is_full())
            && let Some((frame, computed)) = self.computed.pop()
        {
            let Some(leg) = self.legs.taking(frame.generation) else {
                self.lose(frame, tell);
                continue;
            };
            let outlook = leg.session.outlook().await?;
            let (now, interval) = (self.clock.now(), self.pace.interval);
            let budget = self.gate.budget(now, frame.captured, interval, &outlook);
            let encode = move || computed.encode(budget);
            self.encoder.start(self.clock, frame, encode);
        }
        while self.model.is_idle()
            && !(self.keeps_all() && self.computed.is_full())
            && let Some((mut frame, captured)) = self.captured.pop()
        {
            let Some(leg) = self.legs.taking(frame.generation) else {
                self.lose(frame, tell);
                continue;
            };
            if frame.decided.is_none() {
                let outlook = leg.session.outlook().await?;
                self.heed(&outlook);
                let now = self.clock.now();
                let least = self.source.least_bytes();
                let decision = self.gate.admit(now, frame.captured, least, &outlook);
                if let Err(reason) = decision {
                    self.drop_frame(frame, reason, tell).await?;
                    continue;
                }
                frame.decided = Some(now);
            }
            self.model
                .start(self.clock, frame, move || captured.compute());
        }
        Ok(())
    }

    /// Says when the cloud falls silent, and when it is heard again.
    fn heed(&mut self, outlook: &Outlook) {
        let silent = outlook.path.silent;
        if silent != self.silent {
            self.silent = silent;
            self.notices.tell(if silent {
                EdgeNotice::Silent
            } else {
                EdgeNotice::Heard
            });
        }
    }

    /// Takes what a stage made at once; whether one did. Waiting for everything else that may happen costs
    /// more than a quick stage.
    pub(super) async fn pass_on(
        &mut self,
        tell: &mut impl FnMut(Outcome),
    ) -> Result<bool, PathEnded> {
        if let Some(done) = self.encoder.done_here() {
            self.encoded(done, tell).await?;
        } else if let Some(done) = self.model.done_here() {
            self.computed(done, tell).await?;
        } else if let Some(done) = self.camera.done_here() {
            self.captured(done, tell).await?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }
}
