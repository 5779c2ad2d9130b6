//! The sending half of a session: tensors to DATA packets, results to RESULT packets.

mod notices;
mod packetiser;
mod partition;
pub(crate) mod results;
mod rtt;
mod sent;
mod tensors;

pub use tensors::{OutgoingTensor, SendError, SliceError, Slices};

pub(crate) use results::ResultQueue;
pub(crate) use rtt::Rtt;
pub(crate) use sent::SentPackets;
pub(crate) use tensors::TensorQueue;
