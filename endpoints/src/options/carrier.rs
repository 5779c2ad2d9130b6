//! What carries tensors: options.

use clap::Args;

use crate::carrier::{Carrier, Congestion};
use crate::edge::Route;

/// What carries an edge's tensors.
#[derive(Args, Clone, Copy, Debug)]
pub struct CarrierOptions {
    /// What carries tensors and results
    #[arg(long, value_enum, default_value_t)]
    pub carrier: Carrier,
    /// Congestion controller of the carriers that have their own: quic-datagram, quic-stream and tcp
    /// [default: what quinn or the kernel choose]
    #[arg(long, value_enum, value_name = "NAME")]
    pub congestion: Option<Congestion>,
    /// Let datagrams that are due at once leave in one system call (generic segmentation offload): less
    /// work, but the network sees a burst, and netem takes it for one packet
    #[arg(long)]
    pub gso: bool,
    /// Stream over UDP without protection: anyone on the way can read and forge tensors and results. For
    /// laboratories; the cloud has to be started with it, too
    #[arg(long)]
    pub plain: bool,
}

impl CarrierOptions {
    /// The route that these options ask for.
    #[must_use]
    pub const fn route(&self) -> Route {
        Route {
            carrier: self.carrier,
            congestion: self.congestion,
            gso: self.gso,
            plain: self.plain,
        }
    }
}
