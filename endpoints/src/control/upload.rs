//! Asking an edge for what the cloud lacks; how its bytes travel is not the control protocol's affair.

use minicbor::{Decode, Encode};

use super::limits::MAX_WORDS;
use super::open::SessionNumber;
use super::words::{cut, shown};
use crate::digest::Digest;

/// What a blob is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlobKind {
    /// A model file.
    Model = 0,
    /// A side-information bundle.
    Bundle = 1,
}

/// Cloud to edge: asks for a blob, from an offset on.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub struct Want {
    /// The session that was asked for and needs the blob.
    #[n(0)]
    pub session: SessionNumber,
    /// SHA-256 of the whole blob.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub digest: [u8; 32],
    /// What it is: the number of a [`BlobKind`].
    #[n(2)]
    pub kind: u32,
    /// Bytes at its beginning that the cloud has already.
    #[n(3)]
    pub offset: u64,
    /// Bytes that the whole blob may have.
    #[n(4)]
    pub limit: u64,
}

/// Edge to cloud: the blob comes, on a unidirectional stream.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub struct Offer {
    /// SHA-256 of the whole blob.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub digest: [u8; 32],
    /// Bytes of the whole blob.
    #[n(1)]
    pub length: u64,
}

/// Edge to cloud: the blob does not come.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub struct Missing {
    /// SHA-256 of the whole blob.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub digest: [u8; 32],
    /// Why, for people; at most 512 bytes.
    #[n(1)]
    pub reason: String,
}

impl BlobKind {
    /// The kind with this number.
    #[must_use]
    pub const fn from_code(code: u32) -> Option<Self> {
        match code {
            0 => Some(Self::Model),
            1 => Some(Self::Bundle),
            _ => None,
        }
    }

    /// Its name, for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Bundle => "bundle",
        }
    }
}

impl Want {
    /// Asks for a blob of at most `limit` bytes, from `offset` on.
    #[must_use]
    pub const fn new(
        session: SessionNumber,
        digest: Digest,
        kind: BlobKind,
        offset: u64,
        limit: u64,
    ) -> Self {
        Self {
            session,
            digest: *digest.as_bytes(),
            kind: kind as u32,
            offset,
            limit,
        }
    }

    /// SHA-256 of the blob.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        Digest::from_bytes(self.digest)
    }
}

impl Offer {
    /// Offers a blob of `length` bytes.
    #[must_use]
    pub const fn new(digest: Digest, length: u64) -> Self {
        Self {
            digest: *digest.as_bytes(),
            length,
        }
    }

    /// SHA-256 of the blob.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        Digest::from_bytes(self.digest)
    }
}

impl Missing {
    /// Says why the blob does not come. A reason that is too long is cut.
    #[must_use]
    pub fn new(digest: Digest, reason: impl Into<String>) -> Self {
        Self {
            digest: *digest.as_bytes(),
            reason: cut(reason.into()),
        }
    }

    /// SHA-256 of the blob.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        Digest::from_bytes(self.digest)
    }

    /// The reason, fit to be shown.
    #[must_use]
    pub fn shown(&self) -> String {
        shown(&self.reason)
    }

    pub(super) const fn check(&self) -> Result<(), &'static str> {
        if self.reason.len() > MAX_WORDS {
            return Err("a reason of more than 512 bytes");
        }
        Ok(())
    }
}
