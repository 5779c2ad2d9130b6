//! Why the connection of an edge ends.

use crate::control::{CloseCode, ControlError};

/// Why a connection ends.
#[derive(Debug)]
pub(super) struct End {
    pub(super) code: CloseCode,
    /// In words: what the edge hears where the cloud ends it, what the cloud's notices say else.
    pub(super) reason: String,
    /// Whether the edge ended it.
    pub(super) by_edge: bool,
}

impl End {
    pub(super) fn new(code: CloseCode, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        let by_edge = false;
        Self {
            code,
            reason,
            by_edge,
        }
    }

    pub(super) fn by_edge(reason: impl Into<String>) -> Self {
        Self {
            code: CloseCode::Done,
            reason: reason.into(),
            by_edge: true,
        }
    }
}

impl From<ControlError> for End {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Ended(_) => Self::by_edge(error.to_string()),
            _ => Self::new(error.close_code(), error.to_string()),
        }
    }
}
