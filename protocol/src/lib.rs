//! TSP, the Tensor Streaming Protocol: tensors in UDP packets of which any subset is useful.
//!
//! A tensor arrives here as opaque *slices*, each decodable alone. The sender packs whole slices into
//! packets of at most an MSS; the receiver releases the tensor when it is complete or when its deadline
//! comes, and says which slices it has. Nothing waits for a retransmission that cannot arrive in time,
//! and nothing is dropped without being counted. The bytes are those of `spec/wire-format.md`.
//!
//! The core has no sockets, clock, threads or async: a [`Session`] is told what happened and asked what
//! to do. The same core runs in the endpoints, in a virtual-time simulator and under the fuzzer.
//!
//! ```
//! use bytes::Bytes;
//! use tensorwire_protocol::wire::FrameNumber;
//! use tensorwire_protocol::{Config, Event, OutgoingTensor, Session, Slices, Time};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut now = Time::ZERO;
//! let mut edge = Session::new(Config::new(4), now)?;
//! let mut cloud = Session::new(Config::new(4), now)?;
//!
//! let slices = Slices::new(Bytes::from_static(b"one two three four"), vec![4, 8, 14, 18])?;
//! edge.send_tensor(now, OutgoingTensor { frame: FrameNumber(0), captured: now, step: 0, slices })?;
//!
//! // The run loop of an endpoint, with a network that delivers at once.
//! let mut buffer = Vec::new();
//! while edge.poll_transmit(now, &mut buffer).is_some() {
//!     cloud.handle_datagram(now, &buffer)?;
//! }
//! while let Some(event) = cloud.poll_event() {
//!     if let Event::Tensor(tensor) = event {
//!         assert_eq!(tensor.slice(2), Some(&b"three "[..]));
//!     }
//! }
//! if let Some((at, _what_for)) = cloud.poll_timeout() {
//!     now = now.max(at);
//!     cloud.handle_timeout(now);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Layers, from the bytes up: [`wire`] encodes and decodes messages, `send` makes packets of tensors,
//! `recv` makes tensors of packets, [`rate`] says when packets leave, [`session`] joins the three. [`link`] is no part of the protocol: it
//! is the seeded model of a bad network that tests, simulator and emulator share.

#![forbid(unsafe_code)]

pub mod admission;
mod config;
mod event;
pub mod fec;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod interleave;
pub mod link;
mod paths;
pub mod protection;
pub mod rate;
pub mod recv;
mod redundancy;
pub mod send;
pub mod session;
mod stats;
mod time;
mod timer;
mod windowed_min;
pub mod wire;

pub use config::{Config, ConfigError, Limits};
pub use event::{EndReason, Event, ReceivedResult, ReceivedTensor, ReleaseReason, TensorInfo};
pub use interleave::Interleaving;
pub use paths::PathId;
pub use protection::{Cipher, Protection, Secrets};
pub use rate::{AdaptiveRate, Path, PeerLoad, RateControl};
pub use redundancy::{AccuracyCurve, Adaptive, Redundancy};
pub use send::results::{OutgoingResult, ResultError};
pub use send::{Loss, OutgoingTensor, SendError, SliceError, Slices};
pub use session::{Session, Transmit};
pub use stats::{Refused, Stats};
pub use time::Time;
pub use timer::Timer;
