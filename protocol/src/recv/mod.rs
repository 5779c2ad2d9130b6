//! The receiving half of a session: DATA packets to tensors, and reports of what arrived.

mod arrivals;
mod assembly;
mod bits;
pub mod clock;
pub(crate) mod feedback;
mod seen;
mod tensors;

pub(crate) use arrivals::PacketArrivals;
pub(crate) use feedback::FeedbackState;
pub(crate) use seen::Seen;
pub(crate) use tensors::TensorWindow;
