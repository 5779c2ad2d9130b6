//! The receiving half of a session: DATA and REPAIR packets to tensors, and reports of what arrived.

mod arrivals;
mod assembly;
mod bits;
pub mod clock;
mod end;
mod exhaustion;
pub(crate) mod feedback;
mod joint;
mod passing;
mod past;
mod repairs;
mod seen;
mod tensors;

pub(crate) use arrivals::PacketArrivals;
pub(crate) use assembly::Packet;
pub(crate) use exhaustion::Prospect;
pub(crate) use feedback::FeedbackState;
pub(crate) use passing::{Arrival, Passing};
pub(crate) use repairs::Recovered;
pub(crate) use seen::Seen;
pub(crate) use tensors::{Filed, Scope, TensorWindow};
