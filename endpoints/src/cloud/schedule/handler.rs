//! What becomes of a session's tensors, in one step or in stages.

use std::sync::Arc;

use bytes::Bytes;
use ndarray::ArrayView3;
use tensorwire_protocol::wire::ResultStatus;
use tensorwire_protocol::{Event, ReceivedTensor};

use crate::model::SharedModel;

/// What becomes of a session's tensors. Called by whichever worker is free, one tensor at a time, in the
/// order of release. One that panics ends its session.
pub trait TensorHandler: Send {
    /// Answers a released tensor.
    fn handle(&mut self, tensor: &ReceivedTensor) -> Answer;

    /// Hears what else happens on the session. Takes no time to speak of.
    fn observe(&mut self, _event: &Event) {}

    /// The same in stages, if a model that sessions share is what takes the time: tensors of several
    /// sessions then run at once.
    fn stages(&mut self) -> Option<&mut dyn Stages> {
        None
    }
}

/// A handler whose model can run by itself: [`prepare`](Self::prepare), then the [`model`](Self::model) on
/// the [`features`](Self::features), then [`finish`](Self::finish) amount to
/// [`handle`](TensorHandler::handle).
pub trait Stages {
    /// The model. It stays the same.
    fn model(&self) -> &Arc<SharedModel>;

    /// Decodes a tensor and fills what is missing.
    ///
    /// # Errors
    /// What failed: the model does not run then.
    fn prepare(&mut self, tensor: &ReceivedTensor) -> Result<(), ResultStatus>;

    /// The tensor prepared last.
    fn features(&self) -> ArrayView3<'_, f32>;

    /// The answer that tells the model's scores, or what failed.
    fn finish(&mut self, scores: Result<Vec<f32>, ResultStatus>) -> Answer;
}

/// A handler's answer to a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "made by handlers, field by field"
)]
pub struct Answer {
    /// How it went.
    pub status: ResultStatus,
    /// What the edge's application gets, at most 1,024 bytes.
    pub payload: Bytes,
}
