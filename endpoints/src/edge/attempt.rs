//! Sending frame by frame, for applications that make their tensors themselves.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tensorwire_protocol::admission::DropReason;
use tensorwire_protocol::wire::{FrameNumber, NoticeReason, TensorId};
use tensorwire_protocol::{Event, Time};

use super::connector::Succession;
use super::gate::{Making, Unsent};
use super::leg::Happening;
use super::link::News;
use super::{Edge, EdgeNotice, Encoded, GONE, Protection};
use crate::stream::StreamDescription;

/// How long after their deadline the answers of a session are waited for that another has taken the place
/// of.
const RETIRING: Duration = Duration::from_secs(2);

/// A frame that is worth computing, by [`Edge::admit`]. It is to be given back: to [`Edge::try_send`] with
/// its tensor, or to [`Edge::skip`].
#[derive(Debug)]
#[must_use = "a frame that comes to nothing has to be skipped"]
pub struct Admitted(Making);

impl Admitted {
    /// Its number, among all frames captured.
    #[must_use]
    pub const fn frame(&self) -> FrameNumber {
        self.0.frame
    }

    /// When it was captured.
    #[must_use]
    pub const fn captured(&self) -> Time {
        self.0.captured
    }
}

/// Sending frame by frame. An application that has a loop of its own captures a frame, asks whether it is
/// worth computing, and hands over its tensor; each time it hears what happened, and the cloud hears of
/// every frame that was dropped.
///
/// ```no_run
/// use tensorwire_endpoints::edge::Edge;
/// use tensorwire_protocol::admission::DropRule;
/// use tensorwire_protocol::{Event, Slices};
///
/// # fn camera() -> Vec<u8> { vec![] }
/// # fn compute(image: &[u8], _budget: Option<usize>) -> anyhow::Result<Slices> {
/// #     Ok(Slices::new(image.to_vec().into(), vec![u32::try_from(image.len())?])?)
/// # }
/// # async fn example(mut edge: Edge) -> anyhow::Result<()> {
/// edge.set_drop_rule(DropRule::Predictive, 1);
/// loop {
///     let (captured, image) = (edge.clock().now(), camera());
///     let frame = match edge.admit(captured).await? {
///         Ok(frame) => frame,
///         Err(reason) => {
///             println!("not computed: {}", reason.name());
///             continue;
///         }
///     };
///     // However long this takes, the edge learns what to expect of the next.
///     let slices = compute(&image, edge.budget(&frame).await?)?;
///     match edge.try_send(frame, slices).await? {
///         Ok(tensor) => println!("sent as {tensor:?}"),
///         Err(reason) => println!("dropped: {}", reason.name()),
///     }
///     while let Some(event) = edge.try_event() {
///         if let Event::Result(result) = event {
///             println!("{:?}: {:?}", result.frame, result.payload);
///         }
///     }
/// }
/// # }
/// ```
impl Edge {
    /// The clock that capture times are read from.
    #[must_use]
    pub const fn clock(&self) -> crate::clock::Clock {
        self.clock
    }

    /// Gives a frame that was captured at `captured` its number, and decides by the drop rule whether it
    /// is worth computing. Several may be in the making at a time.
    ///
    /// # Errors
    /// If the data path has ended; inside, why the frame is dropped.
    pub async fn admit(&mut self, captured: Time) -> Result<Result<Admitted, DropReason>> {
        self.retire().await;
        let session = &self.legs.current.as_ref().context(GONE)?.session;
        let frame = self.gate.number();
        let outlook = session.outlook().await?;
        let now = self.clock.now();
        if let Err(reason) = self.gate.admit(now, captured, None, &outlook) {
            session.skip_frames(reason.notice(), frame, 1).await?;
            return Ok(Err(reason));
        }
        Ok(Ok(Admitted(Making {
            frame,
            captured,
            decided: now,
            generation: self.gate.generation(),
        })))
    }

    /// Bytes that the tensor of a frame may have to arrive in time, if it is sent now; none where nothing
    /// limits them.
    ///
    /// # Errors
    /// If the data path has ended.
    pub async fn budget(&self, frame: &Admitted) -> Result<Option<usize>> {
        let leg = self.legs.taking(frame.0.generation).context(GONE)?;
        let outlook = leg.session.outlook().await?;
        let now = self.clock.now();
        let interval = Duration::ZERO;
        Ok(self.gate.budget(now, frame.captured(), interval, &outlook))
    }

    /// Sends the tensor of a frame, in as many slices as the stream has: slices of step 0, or an
    /// [`Encoded`] that says which step it is of. Frames have to be sent in the
    /// order in which they were admitted.
    ///
    /// # Errors
    /// If the tensor does not fit the stream or comes out of order, or the data path has ended; inside,
    /// why it is dropped: [`DropReason::Deadline`] if it was made too late,
    /// [`DropReason::Rate`] if as many wait as the session takes.
    pub async fn try_send(
        &mut self,
        frame: Admitted,
        tensor: impl Into<Encoded>,
    ) -> Result<Result<TensorId, DropReason>> {
        let Admitted(making) = frame;
        let leg = self.legs.taking(making.generation).context(GONE)?;
        let session = &leg.session;
        let outlook = session.outlook().await?;
        let made = self.clock.now();
        let sent = (self.gate)
            .send(
                (session, leg.deadline),
                making,
                made,
                tensor.into(),
                &outlook,
            )
            .await?;
        let reason = match sent {
            Ok(id) => return Ok(Ok(id)),
            Err(Unsent::Dropped(reason)) => reason,
            Err(Unsent::Refused(error)) => {
                let notice = NoticeReason::FrameApplication;
                session.skip_frames(notice, making.frame, 1).await?;
                return Err(error.into());
            }
        };
        let notice = reason.notice();
        session.skip_frames(notice, making.frame, 1).await?;
        Ok(Err(reason))
    }

    /// Gives up a frame that was admitted, and tells the cloud why.
    ///
    /// # Errors
    /// If the data path has ended.
    pub async fn skip(&mut self, frame: Admitted, why: NoticeReason) -> Result<()> {
        self.gate.give_up();
        match self.legs.taking(frame.0.generation) {
            Some(leg) => Ok(leg.session.skip_frames(why, frame.frame(), 1).await?),
            None => Ok(()),
        }
    }

    /// Waits for what happens next on the session: answers above all.
    ///
    /// # Errors
    /// If the cloud went away.
    pub async fn event(&mut self) -> Result<Event> {
        loop {
            self.current()?;
            let at = self.legs.retire_at();
            let happening = tokio::select! {
                happening = self.legs.next() => happening,
                () = self.clock.sleep_until(at) => {
                    self.retire().await;
                    continue;
                }
            };
            if let Some(event) = self.happened(happening).await? {
                return Ok(event);
            }
        }
    }

    /// What has happened on the session, if anything has.
    pub fn try_event(&mut self) -> Option<Event> {
        let current = self.legs.current.iter_mut();
        let mut legs = current.chain(&mut self.legs.retiring);
        legs.find_map(|leg| leg.events.try_recv().ok())
    }

    /// Takes what happened on a session or connection: the event, if it is one.
    async fn happened(&mut self, happening: Happening) -> Result<Option<Event>> {
        let mut nobody = |_| {};
        let (lost, reason) = match happening {
            Happening::Event(_, _, Some(event)) => return Ok(Some(event)),
            Happening::Event(link, number, None) => {
                let leg = self.legs.find_mut(link, number);
                let reason = leg.map(|leg| leg.session.end_reason().to_owned());
                let lost = self.legs.lose(link, number, &mut nobody).await;
                (lost, reason.unwrap_or_default())
            }
            Happening::News(link, News::Closed(number, _, reason)) => {
                (self.legs.lose(link, number, &mut nobody).await, reason)
            }
            Happening::News(link, News::Ended(_, reason)) => {
                (self.legs.lose_link(link, &mut nobody).await, reason)
            }
            Happening::News(_, News::Drain(drain)) => {
                let (grace, reason) = (drain.grace(), drain.shown());
                self.notices.tell(EdgeNotice::Draining { grace, reason });
                (false, String::new())
            }
            Happening::News(_, News::Statistics(statistics)) => {
                self.notices.tell(EdgeNotice::Statistics(statistics));
                (false, String::new())
            }
        };
        if lost {
            return Err(anyhow::anyhow!(reason).context(GONE));
        }
        Ok(None)
    }

    async fn retire(&mut self) {
        let now = self.clock.now();
        self.legs.retire(now, |_| true, &mut |_| {}).await;
    }

    /// Has frames that are admitted from now on streamed by another description, as
    /// [`Changer::change`](super::Changer::change) does: frames admitted before still go where they were
    /// to go, and their answers come. Returns the first frame of the new stream.
    ///
    /// # Errors
    /// If the cloud refuses or goes away: then nothing changes.
    pub async fn reconfigure(
        &mut self,
        stream: StreamDescription,
        protection: Protection,
    ) -> Result<FrameNumber> {
        let link = self.legs.link().context(GONE)?;
        let leg = self.legs.current.as_ref().context(GONE)?;
        let deadline = leg.deadline;
        let connector = self.connector.changed(stream, protection);
        let changing = connector.clone().change(
            self.base.clone(),
            (link.id, link.cloud, Arc::clone(&link.desk)),
            Succession::after(leg),
        );
        let (link, leg) = changing.await?;
        link.into_iter().for_each(|link| self.legs.add_link(link));
        self.connector = connector;
        self.gate.renew(leg.generation, leg.deadline);
        self.legs.succeed(leg);
        // Nobody here knows which of its tensors are answered.
        let until = self.clock.now() + deadline.saturating_add(RETIRING);
        if let Some(before) = self.legs.retiring.last_mut() {
            before.until = Some(until);
        }
        Ok(self.gate.next_number())
    }

    /// Looks for a cloud again, as [`set_reconnect`](Self::set_reconnect) says. What the lost session had
    /// not answered is not answered any more.
    ///
    /// # Errors
    /// If none is found, or it refuses.
    pub async fn come_back(&mut self) -> Result<()> {
        if let Some(link) = self.legs.link().map(|link| link.id) {
            self.legs.lose_link(link, &mut |_| {}).await;
        }
        let back = self.connector.clone().back(
            self.base.clone(),
            (self.gate.generation(), None),
            self.reconnect,
            self.notices.clone(),
        );
        let (link, leg) = back.await?;
        link.into_iter().for_each(|link| self.legs.add_link(link));
        self.gate.renew(leg.generation, leg.deadline);
        self.legs.succeed(leg);
        Ok(())
    }
}
