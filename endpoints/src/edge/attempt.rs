//! Sending frame by frame, for applications that make their tensors themselves.

use anyhow::{Context, Result};
use tensorwire_protocol::admission::DropReason;
use tensorwire_protocol::wire::{FrameNumber, NoticeReason, TensorId};
use tensorwire_protocol::{Event, Time};

use super::gate::{Making, Unsent};
use super::{Edge, Encoded};

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
        self.session.clock()
    }

    /// Gives a frame that was captured at `captured` its number, and decides by the drop rule whether it
    /// is worth computing. Several may be in the making at a time.
    ///
    /// # Errors
    /// If the data path has ended; inside, why the frame is dropped.
    pub async fn admit(&mut self, captured: Time) -> Result<Result<Admitted, DropReason>> {
        let frame = self.gate.number();
        let outlook = self.session.outlook().await?;
        let now = self.session.clock().now();
        if let Err(reason) = self.gate.admit(now, captured, &outlook) {
            self.session.skip_frames(reason.notice(), frame, 1).await?;
            return Ok(Err(reason));
        }
        Ok(Ok(Admitted(Making {
            frame,
            captured,
            decided: now,
        })))
    }

    /// Bytes that the tensor of a frame may have to arrive in time, if it is sent now; none where nothing
    /// limits them.
    ///
    /// # Errors
    /// If the data path has ended.
    pub async fn budget(&self, frame: &Admitted) -> Result<Option<usize>> {
        let outlook = self.session.outlook().await?;
        let now = self.session.clock().now();
        let interval = std::time::Duration::ZERO;
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
        let outlook = self.session.outlook().await?;
        let made = self.session.clock().now();
        let sent = (self.gate)
            .send(&self.session, making, made, tensor.into(), &outlook)
            .await?;
        let reason = match sent {
            Ok(id) => return Ok(Ok(id)),
            Err(Unsent::Dropped(reason)) => reason,
            Err(Unsent::Refused(error)) => {
                let notice = NoticeReason::FrameApplication;
                self.session.skip_frames(notice, making.frame, 1).await?;
                return Err(error.into());
            }
        };
        let notice = reason.notice();
        self.session.skip_frames(notice, making.frame, 1).await?;
        Ok(Err(reason))
    }

    /// Gives up a frame that was admitted, and tells the cloud why.
    ///
    /// # Errors
    /// If the data path has ended.
    pub async fn skip(&mut self, frame: Admitted, why: NoticeReason) -> Result<()> {
        self.gate.give_up();
        Ok(self.session.skip_frames(why, frame.frame(), 1).await?)
    }

    /// Waits for what happens next on the session: answers above all.
    ///
    /// # Errors
    /// If the data path has ended.
    pub async fn event(&mut self) -> Result<Event> {
        self.events.recv().await.context("the data path has ended")
    }

    /// What has happened on the session, if anything has.
    pub fn try_event(&mut self) -> Option<Event> {
        self.events.try_recv().ok()
    }
}
