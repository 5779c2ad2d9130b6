//! The AEAD algorithms, and how far each may be used.

use ring::aead::{AES_128_GCM, Algorithm, CHACHA20_POLY1305};

/// An AEAD algorithm with keys of its own length, nonces of 12 bytes and tags of 16.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Cipher {
    /// AES-128 in Galois/counter mode (NIST SP 800-38D): the faster where the processor has AES.
    Aes128Gcm,
    /// ChaCha20-Poly1305 (RFC 8439): the faster where it has not.
    ChaCha20Poly1305,
}

impl Cipher {
    /// Every cipher, in order of its number.
    pub const ALL: [Self; 2] = [Self::Aes128Gcm, Self::ChaCha20Poly1305];

    /// The number in the labels of key derivation: 1 or 2.
    pub const fn code(self) -> u8 {
        match self {
            Self::Aes128Gcm => 1,
            Self::ChaCha20Poly1305 => 2,
        }
    }

    /// The cipher with this number.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Aes128Gcm),
            2 => Some(Self::ChaCha20Poly1305),
            _ => None,
        }
    }

    /// One word for people and files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes128Gcm => "aes-128-gcm",
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
        }
    }

    /// Datagrams that may fail to open in one direction of a session, over all its keys (RFC 9001,
    /// section 6.6): 2^52 or 2^36.
    pub const fn most_failed_openings(self) -> u64 {
        match self {
            Self::Aes128Gcm => 1 << 52,
            Self::ChaCha20Poly1305 => 1 << 36,
        }
    }

    /// Datagrams that one key may seal: 2^23 (RFC 9001, section 6.6, for datagrams of up to 2^16 bytes).
    /// ChaCha20-Poly1305 would bear more; one rule is simpler.
    pub const MOST_SEALED: u64 = 1 << 23;

    pub(super) fn algorithm(self) -> &'static Algorithm {
        match self {
            Self::Aes128Gcm => &AES_128_GCM,
            Self::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        }
    }
}
