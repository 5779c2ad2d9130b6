//! Turns the engine's errors and panics into ours.

use tract_onnx::prelude::TractResult;

use super::ModelError;
use crate::caught::caught;

/// Runs `work`, which a message calls "the model … `stage`".
///
/// tract indexes and asserts its way through graphs that contradict themselves, and a model file is
/// input like any other, so its panics are caught. `work` may leave only values behind that are
/// thrown away on error.
pub(super) fn guarded<T>(
    stage: &'static str,
    work: impl FnOnce() -> TractResult<T>,
) -> Result<T, ModelError> {
    match caught(work) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(ModelError::Graph {
            stage,
            reason: format!("{error:#}"),
        }),
        Err(reason) => Err(ModelError::Panicked { stage, reason }),
    }
}
