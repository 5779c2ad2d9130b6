//! How much a cloud allows: options.

use std::time::Duration;

use clap::Args;

use crate::cloud::Policy;
use crate::control::limits::MAX_GRACE;

/// How much a cloud allows.
#[derive(Args, Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "options of the command line")]
pub struct PolicyOptions {
    /// Sessions that one connection may have at a time, 1 to 16; a change in mid-stream needs two
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub connection_sessions: u32,
    /// Memory that one session may take, MiB: the worst that its edge could make the cloud keep
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    pub session_memory: u64,
    /// Memory that all sessions may take together, MiB, counted alike
    #[arg(long, value_name = "MIB", default_value_t = 8_192, value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    pub memory: u64,
    /// Take streams over UDP and TCP that are not protected, too: anyone on the way can read and forge their
    /// tensors and results. For laboratories
    #[arg(long)]
    pub plain: bool,
    /// Time that edges get to finish what is in flight when the cloud is told to end, milliseconds, up to
    /// ten minutes
    #[arg(long, value_name = "MS", default_value = "5000", value_parser = parse_grace)]
    pub grace_ms: Duration,
}

impl PolicyOptions {
    /// The policy, with the defaults of what has no option.
    #[must_use]
    pub fn policy(&self) -> Policy {
        let policy = Policy {
            connection_sessions: self.connection_sessions,
            session_memory: self.session_memory << 20,
            memory: self.memory << 20,
            grace: self.grace_ms,
            ..Policy::default()
        };
        if self.plain {
            policy.with_plain()
        } else {
            policy
        }
    }
}

fn parse_grace(text: &str) -> Result<Duration, String> {
    let ms: u64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    let grace = Duration::from_millis(ms);
    if grace > MAX_GRACE {
        return Err(format!("at most {} ms", MAX_GRACE.as_millis()));
    }
    Ok(grace)
}
