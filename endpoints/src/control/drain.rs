//! The end of a cloud, announced.

use std::time::Duration;

use minicbor::{Decode, Encode};

use super::limits::{MAX_GRACE, MAX_WORDS};
use super::words::{cut, shown};

/// Cloud to edge: no new frames, please. What is in flight is finished within the grace; then the cloud
/// closes the connection.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub struct Drain {
    /// Milliseconds that the cloud waits for its edges to be done.
    #[n(0)]
    pub grace_ms: u32,
    /// Why, for people; at most 512 bytes.
    #[n(1)]
    pub reason: String,
}

impl Drain {
    /// Announces the end. A longer grace than ten minutes is taken for ten minutes; a reason that is too
    /// long is cut.
    #[must_use]
    pub fn new(grace: Duration, reason: impl Into<String>) -> Self {
        let grace = grace.min(MAX_GRACE).as_millis();
        Self {
            grace_ms: u32::try_from(grace).unwrap_or(u32::MAX),
            reason: cut(reason.into()),
        }
    }

    /// How long the cloud waits for its edges to be done.
    #[must_use]
    pub fn grace(&self) -> Duration {
        Duration::from_millis(u64::from(self.grace_ms)).min(MAX_GRACE)
    }

    /// The reason, fit to be shown.
    #[must_use]
    pub fn shown(&self) -> String {
        shown(&self.reason)
    }

    pub(super) const fn check(&self) -> Result<(), &'static str> {
        if self.reason.len() > MAX_WORDS {
            return Err("a reason of more than 512 bytes");
        }
        Ok(())
    }
}
