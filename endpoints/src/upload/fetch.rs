//! Asking an edge for what the cloud lacks, until it is there or will not come.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncRead;
use tokio::task::spawn_blocking;

use super::receive::{Patience, ReceiveError, receive};
use crate::control::{BlobKind, ControlError, Refuse, RefuseCode};
use crate::digest::Digest;
use crate::store::{Begun, Blob, Partial, Store, StoreError};

/// How often it is looked whether another has brought the same.
const LOOK: Duration = Duration::from_millis(100);
/// Streams in a row that may bring nothing new.
const FRUITLESS: u32 = 3;

/// What a cloud lacks for a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by openers, field by field")]
pub struct Need {
    /// SHA-256 of it.
    pub digest: Digest,
    /// What it is.
    pub kind: BlobKind,
    /// Whether there can be no session without it.
    pub required: bool,
}

/// What an edge answers to a request for a blob.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "it sends the blob, or it does not")]
pub enum Reply<S> {
    /// It comes. A blob that is longer than it may be is refused by whoever asks.
    Coming {
        /// Bytes of the whole blob, as the edge says.
        total: u64,
        /// What brings it.
        stream: S,
    },
    /// It does not come, for this reason.
    Missing(String),
}

/// Who can be asked for blobs: an edge, on its control stream.
pub trait Source: Send {
    /// What brings a blob.
    type Stream: AsyncRead + Unpin + Send;

    /// Asks for a blob of at most `limit` bytes, from `offset` on.
    ///
    /// # Errors
    /// If the connection ends, or the edge does not keep to the protocol: nothing more can be asked then.
    fn want(
        &mut self,
        need: Need,
        offset: u64,
        limit: u64,
    ) -> impl Future<Output = Result<Reply<Self::Stream>, FetchError>> + Send;
}

/// Why a blob could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The edge does not send it.
    #[error("the edge does not send the {} {digest}: {reason}", kind.name())]
    Missing {
        /// What was asked for.
        digest: Digest,
        /// What it is.
        kind: BlobKind,
        /// What the edge says.
        reason: String,
    },
    /// Another edge brings it, and is not done. Try later.
    #[error("another edge brings the same file, and is not done")]
    Busy,
    /// What came is not what was asked for, or not all.
    #[error(transparent)]
    Receive(#[from] ReceiveError),
    /// It cannot be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The control connection is of no more use.
    #[error(transparent)]
    Control(#[from] ControlError),
}

impl FetchError {
    /// What an edge is told.
    #[must_use]
    pub fn refuse(&self) -> Refuse {
        let code = match self {
            Self::Busy => RefuseCode::Busy,
            Self::Store(error) | Self::Receive(ReceiveError::Store(error)) => match error {
                StoreError::TooLarge { .. } | StoreError::NoRoom { .. } | StoreError::DiskFull => {
                    RefuseCode::TooLarge
                }
                StoreError::Io { .. } => RefuseCode::Internal,
                _ => RefuseCode::Upload,
            },
            _ => RefuseCode::Upload,
        };
        // Where the cloud keeps its files is nobody's business.
        let words = match code {
            RefuseCode::Internal => "the cloud cannot keep what is uploaded".to_owned(),
            _ => self.to_string(),
        };
        Refuse::new(code, words)
    }
}

/// The blob that is needed, from the store or else from `source`. Goes on where an earlier upload stopped,
/// whoever's it was; where that has brought wrong bytes, once more from the beginning.
///
/// # Errors
/// If it cannot be had; what has come stays in the store, but for wrong bytes.
pub async fn fetch(
    store: &Arc<Store>,
    need: Need,
    source: &mut impl Source,
    patience: Patience,
) -> Result<Blob, FetchError> {
    let mut fruitless = 0;
    // Whether bytes of an earlier upload are among what there is.
    let mut inherited = None;
    loop {
        let partial = match begin(store, need.digest, patience).await? {
            Begun::Present(blob) => return Ok(blob),
            Begun::Writing(partial) => partial,
            Begun::Busy => return Err(FetchError::Busy),
        };
        let offset = partial.offset();
        let inherits = *inherited.get_or_insert(offset > 0);
        let error = match bring(store, need, source, partial, patience).await {
            Ok(partial) => match blocking(move || partial.finish()).await? {
                Ok(blob) => return Ok(blob),
                Err(StoreError::Mismatch { .. }) if inherits => {
                    inherited = Some(false);
                    continue;
                }
                Err(error) => return Err(error.into()),
            },
            Err(error) => error,
        };
        let FetchError::Receive(ReceiveError::Interrupted { at, .. }) = error else {
            return Err(error);
        };
        fruitless = if at > offset { 0 } else { fruitless + 1 };
        if fruitless >= FRUITLESS {
            return Err(error);
        }
        tokio::time::sleep(patience.pause).await;
    }
}

/// Asks once, and receives what comes.
async fn bring(
    store: &Store,
    need: Need,
    source: &mut impl Source,
    mut partial: Partial,
    patience: Patience,
) -> Result<Partial, FetchError> {
    let Need { digest, kind, .. } = need;
    let limit = store.limits().blob;
    match source.want(need, partial.offset(), limit).await? {
        Reply::Missing(reason) => Err(FetchError::Missing {
            digest,
            kind,
            reason,
        }),
        Reply::Coming { total, .. } if total > limit => {
            let bytes = total;
            Err(StoreError::TooLarge { bytes, limit }.into())
        }
        Reply::Coming { total, stream } => {
            if total < partial.offset() {
                // What an earlier upload left cannot be the beginning of it.
                partial.restart()?;
                let at = 0;
                return Err(ReceiveError::Interrupted { at, total }.into());
            }
            Ok(receive(stream, partial, total, patience).await?)
        }
    }
}

/// Waits while another writes the blob.
async fn begin(
    store: &Arc<Store>,
    digest: Digest,
    patience: Patience,
) -> Result<Begun, FetchError> {
    let since = Instant::now();
    loop {
        let store = Arc::clone(store);
        let begun = blocking(move || store.begin(digest)).await??;
        if !matches!(begun, Begun::Busy) || since.elapsed() >= patience.others {
            return Ok(begun);
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ControlError> {
    let done = spawn_blocking(work).await;
    done.map_err(|error| ControlError::ended(&error))
}
