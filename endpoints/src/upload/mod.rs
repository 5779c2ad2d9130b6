//! Models and bundles that edges bring: both ends of their way to the cloud, and what the cloud does with
//! them (spec/upload.md).
//!
//! - [`offer`]: the edge's files, and how they are sent.
//! - [`fetch`](mod@fetch): how the cloud asks for what it lacks, goes on where an upload stopped, and gives up.
//! - [`allowed`]: what a cloud takes and runs.
//! - [`models`]: models that were uploaded: vetted, loaded once, shared by sessions.
//! - [`wire`]: the messages and streams of the control connection that carry it.
//!
//! An upload is [received](receive::receive) into the [`store`](crate::store), which bounds it and checks its
//! digest; no byte of it means anything before that.

pub mod allowed;
pub mod fetch;
pub mod header;
pub mod models;
pub mod offer;
pub mod receive;
#[cfg(test)]
mod tests;
pub mod wire;

pub use allowed::Allowed;
pub use fetch::{FetchError, Need, fetch};
pub use models::Uploads;
pub use offer::Offers;
