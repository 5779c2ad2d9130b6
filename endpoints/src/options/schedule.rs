//! How a cloud serves the tensors of its sessions.

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::Args;

use crate::cloud::schedule::ScheduleConfig;

/// How the tensors of all sessions are computed.
#[derive(Args, Clone, Debug)]
pub struct ScheduleOptions {
    /// Threads that compute, for all sessions together [default: one for each core]
    #[arg(long, value_name = "N")]
    pub workers: Option<NonZeroUsize>,
    /// Tensors of the same model and split, from several sessions, in one run, at most; more than one run
    /// together only where that is found to compute more of them. 1: never
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=8))]
    pub batch: u8,
    /// Share of the workers' time that sessions may ask for, 0 to 1; one that would make it more is refused
    #[arg(long, value_name = "SHARE", default_value_t = 0.9, value_parser = parse_share)]
    pub max_load: f64,
    /// Close a session of which nothing was heard for so long; 0: never
    #[arg(long, value_name = "S", default_value_t = 60)]
    pub idle_seconds: u32,
}

impl ScheduleOptions {
    /// What the scheduler is made of.
    #[must_use]
    pub fn config(&self) -> ScheduleConfig {
        let idle = Duration::from_secs(u64::from(self.idle_seconds));
        ScheduleConfig {
            workers: self.workers,
            max_load: self.max_load,
            idle: (!idle.is_zero()).then_some(idle),
        }
    }
}

fn parse_share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        Ok(_) => Err("a share above 0, up to 1, is needed".to_owned()),
        Err(_) => Err(format!("`{text}` is no number")),
    }
}
