//! Frames that are not sent, and why.

use anyhow::Error;
use tensorwire_protocol::admission::DropReason;
use tensorwire_protocol::wire::{FrameNumber, NoticeReason};

use super::{Frame, Pipeline};
use crate::datapath::PathEnded;
use crate::edge::Outcome;
use crate::edge::leg::Leg;

/// Why frames are skipped while there is no session.
pub const DISCONNECTED: &str = "disconnected";

impl Pipeline<'_> {
    /// There is no session for a frame.
    pub(super) fn lose(&mut self, frame: Frame, tell: &mut impl FnMut(Outcome)) {
        if frame.decided.is_some() {
            self.gate.give_up();
        }
        // A cloud to come begins with the first frame that it gets.
        tell(Outcome::Skipped {
            frame: frame.number,
            notice: NoticeReason::FrameApplication,
            reason: DISCONNECTED.to_owned(),
        });
    }

    /// A newer frame took the place of one that waited for its next stage.
    pub(super) async fn supersede<T>(
        &mut self,
        waiting: Option<(Frame, T)>,
        tell: &mut impl FnMut(Outcome),
    ) -> Result<(), PathEnded> {
        match waiting {
            Some((frame, _)) => self.drop_frame(frame, DropReason::Superseded, tell).await,
            None => Ok(()),
        }
    }

    pub(super) async fn drop_frame(
        &mut self,
        frame: Frame,
        reason: DropReason,
        tell: &mut impl FnMut(Outcome),
    ) -> Result<(), PathEnded> {
        if frame.decided.is_some() {
            self.gate.give_up();
        }
        let (words, leg) = (reason.name().to_owned(), self.legs.taking(frame.generation));
        skip(leg, frame.number, reason.notice(), words, tell).await
    }

    pub(super) async fn fail(
        &mut self,
        frame: Frame,
        error: &Error,
        tell: &mut impl FnMut(Outcome),
    ) -> Result<(), PathEnded> {
        if frame.decided.is_some() {
            self.gate.give_up();
        }
        let (notice, words) = (NoticeReason::FrameApplication, format!("{error:#}"));
        let leg = self.legs.taking(frame.generation);
        skip(leg, frame.number, notice, words, tell).await
    }

    /// The stream ends before its frames have: each is told all the same.
    pub(in crate::edge) fn end(mut self, tell: &mut impl FnMut(Outcome)) {
        // A frame that is being captured may be none.
        let mut frames = vec![];
        frames.extend(std::iter::from_fn(|| self.encoded.pop()).map(|(frame, _)| frame));
        frames.extend(self.encoder.forget());
        frames.extend(std::iter::from_fn(|| self.computed.pop()).map(|(frame, _)| frame));
        frames.extend(self.model.forget());
        frames.extend(std::iter::from_fn(|| self.captured.pop()).map(|(frame, _)| frame));
        for frame in frames {
            if frame.decided.is_some() {
                self.gate.give_up();
            }
            tell(Outcome::Skipped {
                frame: frame.number,
                notice: NoticeReason::FrameApplication,
                reason: "the stream ended before it was sent".to_owned(),
            });
        }
        for leg in self.legs.current.iter_mut().chain(&mut self.legs.retiring) {
            leg.answers.end(tell);
        }
    }
}

/// A frame is not sent.
pub(super) async fn skip(
    leg: Option<&Leg>,
    frame: FrameNumber,
    notice: NoticeReason,
    reason: String,
    tell: &mut impl FnMut(Outcome),
) -> Result<(), PathEnded> {
    tell(Outcome::Skipped {
        frame,
        notice,
        reason,
    });
    match leg {
        Some(leg) => leg.session.skip_frames(notice, frame, 1).await,
        None => Ok(()),
    }
}
