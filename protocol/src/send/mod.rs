//! The sending half of a session: tensors to DATA and REPAIR packets, results to RESULT packets.

mod fate;
mod flight;
mod in_flight;
mod loss;
mod notices;
mod outlook;
mod packetiser;
mod parity;
mod partition;
mod repair;
pub(crate) mod results;
mod rtt;
mod sent;
mod silence;
mod tensors;

pub use loss::Loss;
pub use tensors::{OutgoingTensor, SendError, SliceError, Slices};

pub(crate) use flight::Flight;
pub(crate) use loss::LossEstimator;
pub(crate) use outlook::Outlook;
pub(crate) use results::ResultQueue;
pub(crate) use rtt::Rtt;
pub(crate) use sent::{Acknowledged, Cargo, SentPacket, SentPackets};
pub(crate) use silence::{Newest, Silence};
pub(crate) use tensors::TensorQueue;
