//! Where the peer is, and how a new address of its is validated (wire-format.md, section 7.3).

mod id;
mod probe;
mod table;

pub use id::PathId;

pub(crate) use table::{Paths, Seen, Validated};
