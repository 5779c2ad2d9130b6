//! The end of the pipeline: tensors are handed to their session.

use tensorwire_protocol::admission::drained;
use tensorwire_protocol::wire::NoticeReason;

use super::unsent::skip;
use super::{ASK_AGAIN, EARLY, Pipeline, SOON};
use crate::datapath::PathEnded;
use crate::edge::gate::{Making, Unsent};
use crate::edge::{Outcome, SentTensor};

impl Pipeline<'_> {
    /// Hands tensors to the session: at once where all are kept, otherwise as soon as it has nearly sent
    /// what it has, so that a newer one can take the place of one that would wait there.
    pub(super) async fn hand_over(
        &mut self,
        tell: &mut impl FnMut(Outcome),
    ) -> Result<(), PathEnded> {
        while let Some((first, _)) = self.encoded.first() {
            let generation = first.generation;
            let Some(leg) = self.legs.taking(generation) else {
                if let Some((frame, _)) = self.encoded.pop() {
                    self.lose(frame, tell);
                }
                continue;
            };
            let now = self.clock.now();
            if self.ask_again.is_some_and(|at| at > now) {
                break;
            }
            let outlook = leg.session.outlook().await?;
            let waits = drained(&outlook.path);
            let busy = waits > EARLY || outlook.path.silent;
            if busy && !self.keeps_all() && now < first.captured + leg.deadline {
                self.ask_again = Some(now + (waits.saturating_sub(EARLY)).clamp(SOON, ASK_AGAIN));
                break;
            }
            let Some((frame, encoded)) = self.encoded.pop() else {
                break;
            };
            let making = Making {
                frame: frame.number,
                captured: frame.captured,
                decided: frame.decided.unwrap_or(frame.captured),
                generation,
            };
            let (step, bytes) = (encoded.step, encoded.slices.bytes());
            let sent = (self.gate)
                .send(
                    (&leg.session, leg.deadline),
                    making,
                    frame.made,
                    encoded,
                    &outlook,
                )
                .await?;
            match sent {
                Ok(id) => {
                    let sent = SentTensor {
                        frame: frame.number,
                        name: frame.name,
                        label: frame.label,
                        step,
                        bytes,
                        captured: frame.captured,
                        handed: now,
                        model: frame.model,
                        encode: frame.encode,
                    };
                    if let Some(leg) = self.legs.taking_mut(generation) {
                        leg.answers.expect(id, sent);
                    }
                }
                Err(Unsent::Dropped(reason)) => {
                    let (notice, words) = (reason.notice(), reason.name().to_owned());
                    skip(Some(leg), frame.number, notice, words, tell).await?;
                }
                Err(Unsent::Refused(error)) => {
                    let (notice, words) = (NoticeReason::FrameApplication, error.to_string());
                    skip(Some(leg), frame.number, notice, words, tell).await?;
                }
            }
        }
        Ok(())
    }
}
