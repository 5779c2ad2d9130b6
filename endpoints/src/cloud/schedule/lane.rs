//! A session's end of the workers.

use std::time::Duration;

use tensorwire_protocol::{Event, ReceivedTensor, Time};
use tokio::sync::mpsc;

use super::Schedule;
use super::pool::Served;
use super::queue::LaneId;

/// Time after the release deadline within which an answer is still in time, as a share of that deadline:
/// one in so many. A tensor that was released at its deadline has to wait and be computed, too.
const ANSWER: u32 = 2;

/// Where a session hands over what happens on it, and gets the answers. Dropping it ends the lane: tensors
/// that wait are not computed.
#[derive(Debug)]
pub struct Lane {
    schedule: Schedule,
    id: LaneId,
    served: mpsc::UnboundedReceiver<Served>,
    deadline: Duration,
    unserved: usize,
}

impl Lane {
    pub(super) const fn new(
        schedule: Schedule,
        id: LaneId,
        served: mpsc::UnboundedReceiver<Served>,
        deadline: Duration,
    ) -> Self {
        Self {
            schedule,
            id,
            served,
            deadline,
            unserved: 0,
        }
    }

    /// Hands over what happened. A tensor is answered, whatever becomes of it, unless the lane fails or
    /// ends before; whatever is handed over is [`served`](Self::next) in this order.
    ///
    /// What waits is not bounded here: look at [`unserved`](Self::unserved).
    pub fn push(&mut self, event: Event) {
        let due = match &event {
            Event::Tensor(tensor) => Some(self.due(tensor)),
            _ => None,
        };
        self.unserved += 1;
        self.schedule.pool().push(self.id, event, due);
    }

    /// What came of the next; none once the lane has failed.
    pub async fn next(&mut self) -> Option<Served> {
        let served = self.served.recv().await;
        self.unserved = self.unserved.saturating_sub(1);
        served
    }

    /// The same, for threads. Not to be called from asynchronous code.
    pub fn blocking_next(&mut self) -> Option<Served> {
        let served = self.served.blocking_recv();
        self.unserved = self.unserved.saturating_sub(1);
        served
    }

    /// What was handed over and did not come back yet.
    #[must_use]
    pub const fn unserved(&self) -> usize {
        self.unserved
    }

    /// The silence after which its session is to be closed; none: never.
    #[must_use]
    pub fn idle_limit(&self) -> Option<Duration> {
        self.schedule.config().idle
    }

    /// Ends the lane and waits for what is at work of it. Tensors that wait are not computed; of everything
    /// else the handler is told.
    pub async fn finish(mut self) {
        self.schedule.pool().close(self.id);
        while self.served.recv().await.is_some() {}
    }

    fn due(&self, tensor: &ReceivedTensor) -> Time {
        tensor.info().captured + self.deadline + self.deadline / ANSWER
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.schedule.pool().close(self.id);
    }
}
