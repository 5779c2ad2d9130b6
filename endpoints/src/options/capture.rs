//! What is captured: options.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::capture::{Recorder, Recording};
use crate::clock::Clock;

/// Whether the datagrams of the data path are captured, and how.
#[derive(Args, Clone, Debug)]
pub struct CaptureOptions {
    /// Write the datagrams of the data path (udp and quic-datagram) as pcapng, replacing the file (`tw-lab
    /// inspect` and `tw-lab replay` read it)
    #[arg(long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,
    /// Write the secrets of the sessions into the capture as well, without which nothing can look into sealed
    /// datagrams. Whoever has the file can read and forge these streams: only you may read it
    #[arg(long, requires = "pcap")]
    pub pcap_secrets: bool,
}

impl CaptureOptions {
    /// What is asked for.
    #[must_use]
    pub const fn recording(&self) -> Recording {
        match (&self.pcap, self.pcap_secrets) {
            (None, _) => Recording::Off,
            (Some(_), false) => Recording::Datagrams,
            (Some(_), true) => Recording::WithSecrets,
        }
    }

    /// Begins the capture that is asked for, of sessions on this clock.
    ///
    /// # Errors
    /// If the file cannot be created or written.
    pub fn recorder(&self, clock: Clock) -> Result<Option<Recorder>> {
        match (&self.pcap, self.pcap_secrets) {
            (None, _) => Ok(None),
            (Some(path), false) => Recorder::create(path, clock).map(Some),
            (Some(path), true) => Recorder::create_with_secrets(path, clock).map(Some),
        }
    }
}
