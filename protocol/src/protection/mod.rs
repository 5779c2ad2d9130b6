//! What protects datagrams: CRC-32 in plain mode, AEAD in protected mode (wire-format.md, section 10).
//!
//! Each direction of a session has a secret of its own, from which come a key and an IV, and by a ratchet
//! the secrets after it. [`Keys`] seal and open single datagrams; the session moves from key to key.

#![deny(clippy::indexing_slicing)]

mod cipher;
mod guard;
mod keys;
mod opener;
mod sealer;
mod secrets;
mod unsealer;

pub use cipher::Cipher;
pub use keys::Keys;
pub use secrets::Secrets;
pub use unsealer::Unsealer;

pub(crate) use guard::Guard;
pub(crate) use secrets::Entropy;

/// Bytes of an AEAD tag: the trailer of protected mode.
pub const TAG_LEN: usize = 16;

/// What protects the datagrams of a session, the same on both sides.
#[derive(Clone, Default, Debug)]
#[non_exhaustive]
pub enum Protection {
    /// CRC-32 against accidents: anyone on the way can read and forge. For laboratories.
    #[default]
    Plain,
    /// Bodies are encrypted, and headers and bodies authenticated.
    Protected(Secrets),
}
