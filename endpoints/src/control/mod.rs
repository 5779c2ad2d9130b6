//! The control protocol: CBOR messages on one QUIC stream (spec/control.md).
//!
//! Each message, or pair of messages, has a file of its own; `message` puts them in their envelope,
//! [`channel`] on a QUIC stream, and [`limits`] says how much of anything a peer may send.

#[cfg(not(fuzzing))]
pub mod channel;
mod close;
mod drain;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod hello;
pub mod limits;
mod message;
mod open;
mod refuse;
mod sets;
mod statistics;
mod token;
mod upload;
mod version;
mod words;

#[cfg(not(fuzzing))]
pub use channel::{ControlReader, ControlWriter};
pub use close::{Close, CloseCode};
pub use drain::Drain;
pub use error::ControlError;
pub use hello::{Capabilities, Hello, SessionLimits, Welcome};
pub use message::{Message, decode, encode};
pub use open::{Accept, Open, SessionNumber, Wait};
pub use refuse::{Refuse, RefuseCode};
pub use sets::{Cipher, Ciphers, Feature, Features};
pub use statistics::{Ask, Statistics};
pub use token::Token;
pub use upload::{BlobKind, Missing, Offer, Want};
pub use version::{VERSIONS, Versions};

/// The ALPN token of the control connection.
pub const ALPN: &[u8] = b"tensorwire/1";

#[cfg(test)]
mod tests;
