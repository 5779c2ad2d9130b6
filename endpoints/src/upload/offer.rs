//! What an edge can give to a cloud, and how it is sent.

use std::collections::HashMap;
use std::io::{self, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWrite, AsyncWriteExt as _};

use super::header::Header;
use crate::digest::Digest;

/// Bytes read and written at a time.
const PIECE: usize = 64 * 1_024;

/// The files that an edge gives to a cloud that asks for them by their digest; by default none.
#[derive(Clone, Debug, Default)]
pub struct Offers {
    blobs: HashMap<Digest, Content>,
}

#[derive(Clone, Debug)]
enum Content {
    File(PathBuf),
    Bytes(Arc<[u8]>),
}

impl Offers {
    /// Offers nothing.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Offers a file. It is read when it is asked for: if it has changed meanwhile, the cloud notices.
    #[must_use]
    pub fn with_file(mut self, digest: Digest, path: impl Into<PathBuf>) -> Self {
        self.blobs.insert(digest, Content::File(path.into()));
        self
    }

    /// Offers bytes.
    #[must_use]
    pub fn with_bytes(mut self, bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        let digest = Digest::of(&bytes);
        self.blobs.insert(digest, Content::Bytes(bytes));
        self
    }

    /// Whether nothing is offered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blobs.is_empty()
    }

    /// Bytes of a blob; none if it is not offered.
    ///
    /// # Errors
    /// If its file cannot be read.
    pub async fn length(&self, digest: Digest) -> io::Result<Option<u64>> {
        match self.blobs.get(&digest) {
            Some(Content::Bytes(bytes)) => Ok(Some(bytes.len() as u64)),
            Some(Content::File(path)) => Ok(Some(tokio::fs::metadata(path).await?.len())),
            None => Ok(None),
        }
    }

    /// Sends a blob from `offset` on, header first, and tells how many of its bytes went. Memory: one piece of
    /// 64 KiB, and what the stream's window allows.
    ///
    /// # Errors
    /// If it is not offered or cannot be read, or the stream breaks.
    pub async fn send(
        &self,
        digest: Digest,
        offset: u64,
        mut stream: impl AsyncWrite + Unpin,
    ) -> io::Result<u64> {
        let total = self.length(digest).await?.ok_or(io::ErrorKind::NotFound)?;
        if offset > total {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let header = Header {
            digest,
            offset,
            total,
        };
        stream.write_all(&header.encode()).await?;
        let sent = match self.blobs.get(&digest) {
            Some(Content::Bytes(bytes)) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let rest = bytes.get(start..).unwrap_or_default();
                stream.write_all(rest).await?;
                rest.len() as u64
            }
            Some(Content::File(path)) => {
                let mut file = tokio::fs::File::open(path).await?;
                file.seek(SeekFrom::Start(offset)).await?;
                // A file that grows is not sent further than was announced.
                let mut file = file.take(total - offset);
                let mut piece = vec![0; PIECE];
                let mut sent = 0;
                loop {
                    let read = file.read(&mut piece).await?;
                    let Some(bytes) = piece.get(..read).filter(|bytes| !bytes.is_empty()) else {
                        break sent;
                    };
                    stream.write_all(bytes).await?;
                    sent += read as u64;
                }
            }
            None => 0,
        };
        stream.flush().await?;
        Ok(sent)
    }
}
