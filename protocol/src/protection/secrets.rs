//! The secrets that a session begins with.

use std::fmt;

use super::{Cipher, keys};

/// The secrets of one session, one for each direction, and the cipher that they are for.
///
/// **No two sessions may have the same**: packet numbers begin at 0 in each, and a key with which two
/// datagrams of one number are sealed protects neither. The QUIC connection that sets the session up
/// exports them for a context that names the session. They are not shown by `Debug`; that memory is wiped
/// when they are dropped is not promised.
#[derive(Clone, PartialEq, Eq)]
pub struct Secrets {
    pub(super) cipher: Cipher,
    pub(super) send: [u8; 32],
    pub(super) receive: [u8; 32],
    pub(super) entropy: Option<Entropy>,
}

impl Secrets {
    /// Secrets for what this endpoint sends and receives: the peer has the same, the other way round.
    #[must_use]
    pub const fn new(cipher: Cipher, send: [u8; 32], receive: [u8; 32]) -> Self {
        Self {
            cipher,
            send,
            receive,
            entropy: None,
        }
    }

    /// Adds random bytes for this session that this endpoint alone knows, of which the challenges are made
    /// that validate a new path: the core reads no randomness. A peer that knew them could let us send to
    /// addresses that are not its own. Without them a session stays on its first path.
    #[must_use]
    pub const fn with_entropy(mut self, entropy: [u8; 32]) -> Self {
        self.entropy = Some(Entropy(entropy));
        self
    }

    /// The cipher.
    #[must_use]
    pub const fn cipher(&self) -> Cipher {
        self.cipher
    }

    /// The secrets of what this endpoint sends and receives, for whoever is to read the stream: with them
    /// [`Unsealer`](super::Unsealer) opens it, and anybody can forge it.
    #[must_use]
    pub const fn reveal(&self) -> [[u8; 32]; 2] {
        [self.send, self.receive]
    }

    pub(crate) fn entropy(&self) -> Option<Entropy> {
        self.entropy.clone()
    }

    /// Whether something that must be of one session only is of both.
    pub(crate) fn shares_with(&self, other: &Self) -> bool {
        self.send == other.send
            || self.receive == other.receive
            || self.entropy.is_some() && self.entropy == other.entropy
    }

    /// Whether a datagram that is sent back to its sender would open there.
    pub(crate) fn is_symmetric(&self) -> bool {
        self.send == self.receive
    }
}

/// Random bytes that one endpoint alone knows.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Entropy([u8; 32]);

impl Entropy {
    /// The 64 bits of the challenge with this number.
    pub(crate) fn challenge(&self, number: u64) -> [u8; 8] {
        keys::challenge(&self.0, number)
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entropy")
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets")
            .field("cipher", &self.cipher)
            .finish_non_exhaustive()
    }
}
