//! The stream of an upload, at the cloud.

use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::header::{Header, HeaderError};
use crate::digest::Digest;
use crate::store::{Partial, StoreError};

/// Bytes read, and written to disk, at a time.
const PIECE: usize = 128 * 1_024;

/// How slow an upload may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "made by the caller, field by field"
)]
pub struct Patience {
    /// The longest time without a byte, and the interval over which the rate is looked at; default 10 s.
    pub stall: Duration,
    /// Bytes that each interval has to bring; default 32 KiB, 26 kbit/s: whoever is slower holds up others that
    /// bring the same.
    pub least: u64,
    /// How long to wait while another brings the same; default 60 s.
    pub others: Duration,
    /// Time between a stream that stopped and the next request; default 50 ms, since an edge's answers count
    /// against the rate of messages that it may send (control.md, section 7).
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            stall: Duration::from_secs(10),
            least: 32 * 1_024,
            others: Duration::from_secs(60),
            pause: Duration::from_millis(50),
        }
    }
}

impl Patience {
    const fn exceeded(&self) -> ReceiveError {
        ReceiveError::Stalled {
            least: self.least,
            seconds: self.stall.as_secs(),
        }
    }
}

/// Why a stream brought no whole blob. What it brought before is kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// The stream or its connection ended first. The edge may go on later.
    #[error("the upload stopped at byte {at} of {total}")]
    Interrupted {
        /// Bytes of the blob that there are.
        at: u64,
        /// Bytes of the whole.
        total: u64,
    },
    /// Too little came for too long.
    #[error("the upload stalled: less than {least} bytes in {seconds} s")]
    Stalled {
        /// What should have come.
        least: u64,
        /// Within this time.
        seconds: u64,
    },
    /// The stream is no upload.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The stream brings something else than it was asked for.
    #[error("the upload brings {found} from byte {offset} on, of {total}: not what was asked for")]
    Other {
        /// What it brings.
        found: Digest,
        /// From where on.
        offset: u64,
        /// Of how many bytes.
        total: u64,
    },
    /// It does not fit, or the disk fails.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Receives a blob of `total` bytes, from where `partial` stands to its end. Memory: 128 KiB, and what the
/// stream's window allows.
///
/// # Errors
/// If less came, or something else; what came of the blob stays in the store.
pub async fn receive(
    mut stream: impl AsyncRead + Unpin,
    mut partial: Partial,
    total: u64,
    patience: Patience,
) -> Result<Partial, ReceiveError> {
    begin(&mut stream, &mut partial, total, patience).await?;
    let mut interval = (Instant::now(), partial.offset());
    let mut piece = Vec::with_capacity(PIECE);
    loop {
        let at = partial.offset() + piece.len() as u64;
        // One byte more than is missing shows a blob that is longer than it should be.
        let most = total.saturating_sub(at).saturating_add(1);
        let mut rest = (&mut stream).take(most.min(PIECE as u64));
        let read = timeout(patience.stall, rest.read_buf(&mut piece)).await;
        let at = partial.offset() + piece.len() as u64;
        let mut stalled = read.is_err();
        let (since, from) = interval;
        if since.elapsed() >= patience.stall {
            stalled |= at - from < patience.least && at < total;
            interval = (Instant::now(), at);
        }
        let ended = stalled || !matches!(read, Ok(Ok(1..)));
        // Small pieces are gathered, so that the disk is not asked for each.
        if ended || piece.len() >= PIECE / 2 || at >= total {
            let written = spawn_blocking(move || {
                partial.write(&piece)?;
                piece.clear();
                Ok::<_, StoreError>((partial, piece))
            });
            let written = written.await;
            // The program ends.
            let written = written.map_err(|_| ReceiveError::Interrupted { at, total })?;
            (partial, piece) = written?;
        }
        if ended {
            return match (stalled, at == total) {
                (false, true) => Ok(partial),
                (false, false) => Err(ReceiveError::Interrupted { at, total }),
                (true, _) => Err(patience.exceeded()),
            };
        }
    }
}

/// Reads the header, checks it, and makes room.
async fn begin(
    stream: &mut (impl AsyncRead + Unpin),
    partial: &mut Partial,
    total: u64,
    patience: Patience,
) -> Result<(), ReceiveError> {
    let mut header = [0; Header::SIZE];
    let at = partial.offset();
    match timeout(patience.stall, stream.read_exact(&mut header)).await {
        Ok(Ok(_)) => {}
        Ok(Err(_)) => return Err(ReceiveError::Interrupted { at, total }),
        Err(_) => return Err(patience.exceeded()),
    }
    let found = Header::decode(&header)?;
    let asked = Header {
        digest: partial.digest(),
        offset: at,
        total,
    };
    if found != asked {
        let Header {
            digest,
            offset,
            total,
        } = found;
        return Err(ReceiveError::Other {
            found: digest,
            offset,
            total,
        });
    }
    partial.expect(total)?;
    Ok(())
}
