//! The tensors that wait for their answers.

use std::collections::BTreeMap;
use std::time::Duration;

use tensorwire_protocol::wire::TensorId;
use tensorwire_protocol::{Event, ReleaseReason, Time};

use super::{Outcome, SentTensor};
use crate::clock::Clock;

/// A cloud that has not answered so long after a tensor's deadline will not.
const ANSWER_GRACE: Duration = Duration::from_secs(2);

/// The tensors that wait for their answers.
#[derive(Debug)]
pub(super) struct Answers {
    clock: Clock,
    patience: Duration,
    waiting: BTreeMap<TensorId, SentTensor>,
}

impl Answers {
    pub(super) const fn new(clock: Clock, deadline: Duration) -> Self {
        Self {
            clock,
            patience: deadline.saturating_add(ANSWER_GRACE),
            waiting: BTreeMap::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn expect(&mut self, id: TensorId, sent: SentTensor) {
        self.waiting.insert(id, sent);
    }

    pub(super) fn take(&mut self, event: Event, tell: &mut impl FnMut(Outcome)) {
        match event {
            Event::Result(result) => {
                if let Some(sent) = self.waiting.remove(&result.tensor) {
                    let latency = self.clock.now() - sent.captured;
                    tell(Outcome::Answered {
                        sent,
                        result,
                        latency,
                    });
                }
            }
            Event::Delivery { tensor, reason, .. }
                if matches!(reason, ReleaseReason::Lost | ReleaseReason::Superseded) =>
            {
                if let Some(sent) = self.waiting.remove(&tensor) {
                    tell(Outcome::Dropped { sent, reason });
                }
            }
            _ => {}
        }
    }

    /// When the oldest unanswered tensor is given up.
    pub(super) fn first_overdue(&self) -> Option<Time> {
        let captured = self.waiting.values().map(|sent| sent.captured).min();
        captured.map(|captured| captured + self.patience)
    }

    pub(super) fn give_up(&mut self, tell: &mut impl FnMut(Outcome)) {
        let (now, patience) = (self.clock.now(), self.patience);
        let overdue = self
            .waiting
            .extract_if(.., |_, sent| sent.captured + patience <= now);
        overdue.for_each(|(_, sent)| tell(Outcome::Unanswered { sent }));
    }

    /// No more answers come.
    pub(super) fn end(&mut self, tell: &mut impl FnMut(Outcome)) {
        let unanswered = std::mem::take(&mut self.waiting).into_values();
        unanswered.for_each(|sent| tell(Outcome::Unanswered { sent }));
    }
}
