//! What comes before and after the making of a frame: the decision whether to, and the handing over.

use std::time::Duration;

use tensorwire_protocol::admission::{Admission, DropReason, DropRule, byte_budget};
use tensorwire_protocol::wire::{FrameNumber, TensorId};
use tensorwire_protocol::{OutgoingTensor, SendError, Time};

use super::Encoded;
use crate::datapath::{Outlook, PathEnded, SessionHandle};

/// The gate through which frames go to the model, and tensors to the session.
#[derive(Debug)]
pub(super) struct Gate {
    admission: Admission,
    deadline: Duration,
    /// The stream that it decides for.
    generation: u64,
    /// Frames that are in the making: admitted, neither sent nor given up.
    making: usize,
    next_frame: u64,
}

/// Why a tensor was not sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unsent {
    /// It was dropped.
    Dropped(DropReason),
    /// It does not fit the stream.
    Refused(SendError),
}

/// A frame in the making.
#[derive(Clone, Copy, Debug)]
pub(super) struct Making {
    pub(super) frame: FrameNumber,
    pub(super) captured: Time,
    /// When it was decided that it is made.
    pub(super) decided: Time,
    /// Which of the edge's streams it belongs to.
    pub(super) generation: u64,
}

impl Gate {
    pub(super) fn new(rule: DropRule, deadline: Duration) -> Self {
        Self {
            admission: Admission::new(rule, deadline),
            deadline,
            generation: 0,
            making: 0,
            next_frame: 0,
        }
    }

    pub(super) fn set_rule(&mut self, rule: DropRule) {
        self.admission = Admission::new(rule, self.deadline);
    }

    /// The stream that it decides for.
    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }

    /// From now on it decides for another stream, or on another path: what it knew is of no use.
    pub(super) fn renew(&mut self, generation: u64, deadline: Duration) {
        (self.generation, self.deadline) = (generation, deadline);
        self.set_rule(self.rule());
    }

    pub(super) const fn rule(&self) -> DropRule {
        self.admission.rule()
    }

    /// Nothing is in the making any more.
    pub(super) const fn clear(&mut self) {
        self.making = 0;
    }

    /// The number that the next frame will have.
    pub(super) const fn next_number(&self) -> FrameNumber {
        FrameNumber(self.next_frame)
    }

    /// Numbers a frame that is captured.
    pub(super) const fn number(&mut self) -> FrameNumber {
        let frame = self.next_number();
        self.next_frame += 1;
        frame
    }

    /// There was no such frame, the last that was numbered.
    pub(super) const fn return_number(&mut self, frame: FrameNumber) {
        self.next_frame = frame.0;
    }

    /// Decides whether a frame is worth computing; `least` is what the smallest tensor takes that can be
    /// made of it, where there is a choice.
    pub(super) fn admit(
        &mut self,
        now: Time,
        captured: Time,
        least: Option<usize>,
        outlook: &Outlook,
    ) -> Result<(), DropReason> {
        let Outlook { path, load, parity } = outlook;
        self.admission
            .set_least(least.map(|bytes| with_parity(bytes, *parity)));
        self.admission
            .decide(now, captured, path, *load, self.making)?;
        self.making += 1;
        Ok(())
    }

    /// A frame that was admitted comes to nothing.
    pub(super) const fn give_up(&mut self) {
        self.making = self.making.saturating_sub(1);
    }

    /// Bytes that the tensor of a frame may have, if it is encoded now.
    pub(super) fn budget(
        &self,
        now: Time,
        captured: Time,
        interval: Duration,
        outlook: &Outlook,
    ) -> Option<usize> {
        let left = (captured + self.deadline) - now;
        byte_budget(&outlook.path, outlook.parity, left, interval)
    }

    /// Hands over the tensor of a frame that was made `made`, if it is not late already.
    pub(super) async fn send(
        &mut self,
        (session, deadline): (&SessionHandle, Duration),
        making: Making,
        made: Time,
        encoded: Encoded,
        outlook: &Outlook,
    ) -> Result<Result<TensorId, Unsent>, PathEnded> {
        self.give_up();
        let edge_time = made - making.decided;
        let now = session.clock().now();
        let learns = making.generation == self.generation;
        if making.captured + deadline <= now {
            if learns {
                self.admission.wasted(edge_time);
            }
            return Ok(Err(Unsent::Dropped(DropReason::Deadline)));
        }
        let bytes = with_parity(encoded.slices.bytes(), outlook.parity);
        let is_best = encoded.step == 0;
        let tensor = OutgoingTensor {
            frame: making.frame,
            captured: making.captured,
            step: encoded.step,
            slices: encoded.slices,
        };
        Ok(match session.send_tensor(tensor).await? {
            Ok(id) => {
                if learns {
                    self.admission.sent(now, edge_time, bytes, &outlook.path);
                }
                if !is_best {
                    session.measure_again()?;
                }
                Ok(id)
            }
            Err(SendError::QueueFull(_)) => Err(Unsent::Dropped(DropReason::Rate)),
            Err(error) => Err(Unsent::Refused(error)),
        })
    }

    /// When the session will take the next frame, where frames come only as it does.
    pub(super) fn ready_at(&self, now: Time, outlook: &Outlook) -> Time {
        self.admission.ready_at(now, &outlook.path, self.making)
    }
}

/// Bytes of a tensor with its REPAIR packets, so many for each source packet.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "at most three times the bytes of a tensor in memory"
)]
fn with_parity(bytes: usize, parity: f64) -> usize {
    (bytes as f64 * (1.0 + parity)) as usize
}
