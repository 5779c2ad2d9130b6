//! The state of a stream: one frame in the making, and those that wait for their answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tensorwire_protocol::wire::{FrameNumber, NoticeReason, TensorId};
use tensorwire_protocol::{Event, OutgoingTensor, ReleaseReason, SendError, Time};
use tokio::task::JoinHandle;

use super::{FrameSource, Outcome, Produced, SentTensor};
use crate::clock::Clock;
use crate::datapath::SessionHandle;

/// A cloud that has not answered so long after a tensor's deadline will not.
const ANSWER_GRACE: Duration = Duration::from_secs(2);

/// A frame in the making: when it was captured, and its tensor.
type Job = (Time, JoinHandle<Result<Option<Produced>>>);

/// The state of a stream: one frame in the making, and those that wait for their answers.
pub(super) struct Streamer {
    pub(super) clock: Clock,
    pub(super) deadline: Duration,
    pub(super) next_frame: u64,
    pub(super) job: Option<Job>,
    pub(super) waiting: BTreeMap<TensorId, SentTensor>,
    pub(super) ended: bool,
}

impl Streamer {
    pub(super) fn capture(&mut self, source: &Arc<dyn FrameSource>) {
        let (source, number) = (Arc::clone(source), self.next_frame);
        let job = tokio::task::spawn_blocking(move || source.produce(number));
        self.job = Some((self.clock.now(), job));
    }

    /// Waits for the frame in the making; for ever if there is none.
    pub(super) async fn produced(&mut self) -> (Time, Result<Option<Produced>>) {
        let Some((captured, job)) = &mut self.job else {
            return std::future::pending().await;
        };
        let captured = *captured;
        let produced = match job.await {
            Ok(produced) => produced,
            Err(error) => Err(error.into()),
        };
        self.job = None;
        (captured, produced)
    }

    pub(super) async fn send(
        &mut self,
        session: &SessionHandle,
        captured: Time,
        produced: Result<Option<Produced>>,
        tell: &mut impl FnMut(Outcome),
    ) -> Result<()> {
        let frame = FrameNumber(self.next_frame);
        let refused = match produced {
            Ok(None) => {
                self.ended = true;
                return Ok(());
            }
            Ok(Some(_)) if captured + self.deadline <= self.clock.now() => {
                let took = (self.clock.now() - captured).as_millis();
                let reason = format!("made too late: it took {took} ms; raise the deadline");
                Some((NoticeReason::FrameDeadline, reason))
            }
            Ok(Some(Produced {
                name,
                label,
                slices,
                model,
                encode,
            })) => {
                let bytes = slices.bytes();
                let tensor = OutgoingTensor {
                    frame,
                    captured,
                    slices,
                };
                let handed = self.clock.now();
                match session.send_tensor(tensor).await? {
                    Ok(id) => {
                        let sent = SentTensor {
                            frame,
                            name,
                            label,
                            bytes,
                            captured,
                            handed,
                            model,
                            encode,
                        };
                        self.waiting.insert(id, sent);
                        None
                    }
                    Err(error @ SendError::QueueFull(_)) => {
                        Some((NoticeReason::FrameRate, error.to_string()))
                    }
                    Err(error) => Some((NoticeReason::FrameApplication, error.to_string())),
                }
            }
            Err(error) => Some((NoticeReason::FrameApplication, format!("{error:#}"))),
        };
        self.next_frame += 1;
        if let Some((notice, reason)) = refused {
            session.skip_frames(notice, frame, 1).await?;
            tell(Outcome::Skipped {
                frame,
                notice,
                reason,
            });
        }
        Ok(())
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
        self.waiting
            .values()
            .map(|sent| sent.captured + self.deadline + ANSWER_GRACE)
            .min()
    }

    pub(super) fn give_up(&mut self, tell: &mut impl FnMut(Outcome)) {
        let (now, patience) = (self.clock.now(), self.deadline + ANSWER_GRACE);
        let overdue = self
            .waiting
            .extract_if(.., |_, sent| sent.captured + patience <= now);
        overdue.for_each(|(_, sent)| tell(Outcome::Unanswered { sent }));
    }
}
