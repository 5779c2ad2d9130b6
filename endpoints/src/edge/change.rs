//! Changing what an edge streams while it streams.

use std::sync::Arc;

use anyhow::{Context, Result};
use tensorwire_protocol::wire::FrameNumber;
use tokio::sync::{mpsc, oneshot};

use super::{FrameSource, Protection};
use crate::stream::StreamDescription;

/// A change of the stream.
pub(super) struct Change {
    pub(super) stream: StreamDescription,
    pub(super) protection: Protection,
    /// Where frames come from then; none for where they come from now.
    pub(super) source: Option<Arc<dyn FrameSource>>,
    pub(super) reply: oneshot::Sender<Result<FrameNumber>>,
}

/// Changes an edge's stream while [`Edge::stream`](super::Edge::stream) runs. Copies change the same.
#[derive(Clone, Debug)]
pub struct Changer(pub(super) mpsc::Sender<Change>);

impl Changer {
    /// Has frames streamed by another description: another split, codec, ladder or deadline. The cloud is
    /// asked for a second session while the first goes on; when it is granted, frames captured from then
    /// on go there, and the first session is closed when its answers are in. No frame is lost by that.
    ///
    /// `source`, if there is one, makes the frames from there on; it is asked for them by their numbers in
    /// the stream, which go on. Without one, the tensors of the present source have to fit.
    ///
    /// Returns the first frame of the new stream.
    ///
    /// # Errors
    /// If the cloud refuses or goes away, or the stream has ended: then nothing changes.
    pub async fn change(
        &self,
        stream: StreamDescription,
        protection: Protection,
        source: Option<Arc<dyn FrameSource>>,
    ) -> Result<FrameNumber> {
        let (reply, answer) = oneshot::channel();
        let change = Change {
            stream,
            protection,
            source,
            reply,
        };
        let ended = "the stream has ended";
        self.0.send(change).await.ok().context(ended)?;
        answer.await.context(ended)?
    }
}
