//! Why a model did not pass.

/// Why a model did not pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VetError {
    /// The model cannot be loaded, split or run.
    #[error("{reason}")]
    Failed {
        /// What is wrong with it.
        reason: String,
    },
    /// The model needs more memory than it may.
    #[error("the model needs more than {} MiB", limit >> 20)]
    Memory {
        /// The limit, bytes: [`VetLimits::memory`](super::VetLimits::memory).
        limit: u64,
    },
    /// The model computes for longer than it may.
    #[error("the model needs more than {seconds} s to be loaded and run once")]
    Time {
        /// The limit, [`VetLimits::time`](super::VetLimits::time).
        seconds: u64,
    },
    /// The model's operators hang together in too long a chain for the engine.
    #[error("the model's graph is too deep")]
    TooDeep,
    /// The model made the engine crash.
    #[error("the model made the engine crash: {how}")]
    Crashed {
        /// How the child ended.
        how: String,
    },
    /// The child was not done in time, though it did not compute for so long: this system is busy. Try later.
    #[error("vetting the model took longer than {seconds} s: this cloud is busy")]
    Slow {
        /// The limit by the clock.
        seconds: u64,
    },
    /// Others are being vetted. Try later.
    #[error("this cloud vets other models")]
    Busy,
    /// No child can be started: the system's doing.
    #[error("cannot vet the model: {reason}")]
    System {
        /// What the system said.
        reason: String,
    },
}

impl VetError {
    /// Whether it would be the same the next time.
    #[must_use]
    pub const fn is_the_models(&self) -> bool {
        match self {
            Self::Failed { .. }
            | Self::Memory { .. }
            | Self::Time { .. }
            | Self::TooDeep
            | Self::Crashed { .. } => true,
            Self::Slow { .. } | Self::Busy | Self::System { .. } => false,
        }
    }
}
