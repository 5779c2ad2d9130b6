//! Tensors that wait for a reliable stream: a bounded queue in the order of their numbers.

use std::collections::VecDeque;
use std::time::Duration;

use tensorwire_protocol::wire::{FrameNumber, TensorId};
use tensorwire_protocol::{Config, OutgoingTensor, SendError, Stats, Time};

/// The longest step of frame numbers that TSP tells; the same here, so that no carrier takes what
/// another refuses.
const MAX_FRAME_STEP: u64 = 0x7FFF;

/// The sending half.
#[derive(Debug)]
pub(super) struct Outbox {
    slices: u16,
    steps: u8,
    most: usize,
    deadline: Duration,
    next: TensorId,
    last_frame: Option<FrameNumber>,
    queue: VecDeque<(TensorId, OutgoingTensor)>,
}

impl Outbox {
    pub(super) const fn new(config: &Config) -> Self {
        Self {
            slices: config.slices,
            steps: config.steps,
            most: config.send_queue,
            deadline: config.deadline,
            next: TensorId(0),
            last_frame: None,
            queue: VecDeque::new(),
        }
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.queue
            .iter()
            .map(|(_, tensor)| tensor.slices.bytes())
            .sum()
    }

    /// Whether a number is that of a tensor that was accepted.
    pub(super) fn knows(&self, id: TensorId) -> bool {
        id < self.next
    }

    /// Gives a tensor the next number and keeps it until it can be sent.
    pub(super) fn push(&mut self, tensor: OutgoingTensor) -> Result<TensorId, SendError> {
        if self.queue.len() >= self.most {
            return Err(SendError::QueueFull(self.queue.len()));
        }
        let found = tensor.slices.len();
        if found != usize::from(self.slices) {
            let expected = self.slices;
            return Err(SendError::SliceCount { expected, found });
        }
        if tensor.step >= self.steps {
            let (step, steps) = (tensor.step, self.steps);
            return Err(SendError::Step { step, steps });
        }
        let frame = tensor.frame;
        let last = self.last_frame.unwrap_or_default();
        let in_order = self.last_frame.is_none() || frame > last;
        if !in_order || frame.0 - last.0 > MAX_FRAME_STEP {
            return Err(SendError::FrameOrder { frame, last });
        }
        let id = self.next;
        self.next = id.next();
        self.last_frame = Some(frame);
        self.queue.push_back((id, tensor));
        Ok(id)
    }

    /// The tensors that can no longer arrive in time; they are not sent.
    pub(super) fn abandon_late(
        &mut self,
        now: Time,
        stats: &mut Stats,
    ) -> impl Iterator<Item = TensorId> {
        let deadline = self.deadline;
        let late = |tensor: &OutgoingTensor| tensor.captured + deadline <= now;
        let count = self
            .queue
            .iter()
            .take_while(|(_, tensor)| late(tensor))
            .count();
        stats.tensors_abandoned += count as u64;
        self.queue.drain(..count).map(|(id, _)| id)
    }

    /// The tensor to send next.
    pub(super) fn pop(&mut self) -> Option<(TensorId, OutgoingTensor)> {
        self.queue.pop_front()
    }

    /// Whether any waits.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tensorwire_protocol::Slices;

    use super::*;

    fn tensor(frame: u64, slices: u32) -> OutgoingTensor {
        OutgoingTensor {
            frame: FrameNumber(frame),
            captured: Time::from_millis(frame),
            step: 0,
            slices: Slices::new(
                Bytes::from(vec![0; slices as usize]),
                (1..=slices).collect(),
            )
            .unwrap(),
        }
    }

    #[test]
    fn a_full_queue_refuses_and_deadlines_make_room() {
        let mut config = Config::new(2);
        config.send_queue = 3;
        let (mut outbox, mut stats) = (Outbox::new(&config), Stats::default());
        for frame in 0..3 {
            assert_eq!(outbox.push(tensor(frame, 2)), Ok(TensorId(frame)));
        }
        assert_eq!(outbox.push(tensor(3, 2)), Err(SendError::QueueFull(3)));
        assert_eq!(outbox.bytes(), 6);
        let late: Vec<_> = outbox
            .abandon_late(Time::from_millis(101), &mut stats)
            .collect();
        assert_eq!(late, [TensorId(0), TensorId(1)]);
        assert_eq!(stats.tensors_abandoned, 2);
        assert_eq!(
            outbox.push(tensor(3, 2)),
            Ok(TensorId(3)),
            "the refused one took no number"
        );
        assert_eq!(outbox.pop().unwrap().0, TensorId(2));
    }

    #[test]
    fn what_tsp_refuses_is_refused() {
        let mut outbox = Outbox::new(&Config::new(2));
        let (expected, found) = (2, 3);
        assert_eq!(
            outbox.push(tensor(0, 3)),
            Err(SendError::SliceCount { expected, found })
        );
        outbox.push(tensor(5, 2)).unwrap();
        for frame in [5, 4, 5 + 0x8000] {
            let refused = outbox.push(tensor(frame, 2));
            assert!(
                matches!(refused, Err(SendError::FrameOrder { .. })),
                "{frame}"
            );
        }
    }
}
