//! What an upload's stream begins with (spec/upload.md, section 3).
//!
//! ```text
//! "TWUP" | version (8) | SHA-256 (256) | offset (64) | length of the whole blob (64)
//! ```

use crate::digest::Digest;

/// The version of the stream's format.
const VERSION: u8 = 1;
/// The first bytes.
const MAGIC: [u8; 4] = *b"TWUP";

/// The first bytes of an upload's stream, before those of the blob from the offset on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "the format is fixed by its version"
)]
pub struct Header {
    /// SHA-256 of the whole blob.
    pub digest: Digest,
    /// Where in the blob the stream's bytes begin.
    pub offset: u64,
    /// Bytes of the whole blob, at least `offset`.
    pub total: u64,
}

/// Why a stream is no upload: the peer's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The stream is something else.
    #[error("the stream does not begin as an upload does")]
    Magic,
    /// The stream is of another version.
    #[error("the upload's stream is of version {0}, not {VERSION}")]
    Version(u8),
    /// The offset lies behind the end.
    #[error("the upload begins at byte {offset} of {total}")]
    Offset {
        /// Where its bytes begin.
        offset: u64,
        /// Bytes of the whole blob.
        total: u64,
    },
}

impl Header {
    /// Bytes of a header.
    pub const SIZE: usize = 4 + 1 + Digest::SIZE + 8 + 8;

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::SIZE] {
        let Self {
            digest,
            offset,
            total,
        } = self;
        let (offset, total) = (offset.to_be_bytes(), total.to_be_bytes());
        let fields: [&[u8]; 5] = [&MAGIC, &[VERSION], digest.as_ref(), &offset, &total];
        let mut bytes = [0; Self::SIZE];
        for (byte, value) in bytes.iter_mut().zip(fields.concat()) {
            *byte = value;
        }
        bytes
    }

    /// Reads it.
    ///
    /// # Errors
    /// If it is none.
    pub fn decode(bytes: &[u8; Self::SIZE]) -> Result<Self, HeaderError> {
        let rest = bytes.as_slice();
        let (magic, rest) = rest.split_first_chunk::<4>().ok_or(HeaderError::Magic)?;
        let (version, rest) = rest.split_first().ok_or(HeaderError::Magic)?;
        let (digest, rest) = rest.split_first_chunk().ok_or(HeaderError::Magic)?;
        let (offset, rest) = rest.split_first_chunk().ok_or(HeaderError::Magic)?;
        let total = rest.first_chunk().ok_or(HeaderError::Magic)?;
        if *magic != MAGIC {
            return Err(HeaderError::Magic);
        }
        if *version != VERSION {
            return Err(HeaderError::Version(*version));
        }
        let (offset, total) = (u64::from_be_bytes(*offset), u64::from_be_bytes(*total));
        if offset > total {
            return Err(HeaderError::Offset { offset, total });
        }
        Ok(Self {
            digest: Digest::from_bytes(*digest),
            offset,
            total,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_bytes_are_those_of_the_specification() {
        let header = Header {
            digest: Digest::from_bytes([0xAB; 32]),
            offset: 10,
            total: 0x0102,
        };
        let bytes = header.encode();
        assert_eq!(&bytes[..5], b"TWUP\x01");
        assert_eq!(&bytes[5..37], [0xAB; 32]);
        assert_eq!(
            &bytes[37..],
            [0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 1, 2]
        );
        assert_eq!(Header::decode(&bytes), Ok(header));
        let changed = |at: usize, to: u8| {
            let mut bytes = bytes;
            bytes[at] = to;
            Header::decode(&bytes)
        };
        assert_eq!(changed(0, b't'), Err(HeaderError::Magic));
        assert_eq!(changed(4, 2), Err(HeaderError::Version(2)));
        let (offset, total) = (10 | 1 << 56, 0x0102);
        assert_eq!(changed(37, 1), Err(HeaderError::Offset { offset, total }));
    }

    proptest! {
        #[test]
        fn what_decodes_encodes_the_same(bytes: [[u8; 32]; 2]) {
            let bytes = bytes.concat();
            let bytes = bytes.first_chunk().unwrap();
            if let Ok(header) = Header::decode(bytes) {
                prop_assert_eq!(&header.encode(), bytes);
            }
        }
    }
}
