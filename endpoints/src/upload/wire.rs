//! Uploads on the control connection: Want, Offer and Missing on the control stream, bytes on a unidirectional
//! stream each.

use std::io;

use quinn::{Connection, RecvStream, VarInt};
use tokio::time::timeout;

use super::Offers;
use super::fetch::{FetchError, Need, Reply, Source};
use super::receive::{Patience, ReceiveError};
use crate::cloud::{Peer, WantError};
use crate::control::{ControlWriter, Missing, Offer, Want};
use crate::edge::Blobs;

/// What all streams of a connection may bring before it is read, while an upload comes, bytes.
const UPLOAD_WINDOW: u32 = 1 << 20;
/// The same at other times: what the control stream takes.
const QUIET_WINDOW: u32 = 64 * 1_024;
/// The error code of a stream whose blob cannot be read to its end.
const UNREADABLE: VarInt = VarInt::from_u32(1);
/// Below the control stream and tensors.
const PRIORITY: i32 = i32::MIN;

/// An edge that is asked for blobs.
pub struct PeerSource<'a> {
    peer: &'a Peer,
    patience: Patience,
}

impl<'a> PeerSource<'a> {
    /// Lets the edge open the streams that it needs for uploads, until this is dropped.
    #[must_use]
    pub fn new(peer: &'a Peer, patience: Patience) -> Self {
        let connection = peer.connection();
        connection.set_receive_window(VarInt::from_u32(UPLOAD_WINDOW));
        connection.set_max_concurrent_uni_streams(VarInt::from_u32(1));
        Self { peer, patience }
    }
}

impl Drop for PeerSource<'_> {
    fn drop(&mut self) {
        let connection = self.peer.connection();
        connection.set_max_concurrent_uni_streams(VarInt::from_u32(0));
        connection.set_receive_window(VarInt::from_u32(QUIET_WINDOW));
    }
}

impl Source for PeerSource<'_> {
    type Stream = RecvStream;

    async fn want(
        &mut self,
        need: Need,
        offset: u64,
        limit: u64,
    ) -> Result<Reply<RecvStream>, FetchError> {
        let Need { digest, kind, .. } = need;
        let Patience { stall, least, .. } = self.patience;
        let stalled = || ReceiveError::Stalled {
            least,
            seconds: stall.as_secs(),
        };
        let asked = timeout(stall, self.peer.want(digest, kind, offset, limit)).await;
        let offer = match asked.map_err(|_| stalled())? {
            Ok(offer) => offer,
            Err(WantError::Ended(error)) => return Err(error.into()),
            Err(error) => return Ok(Reply::Missing(error.to_string())),
        };
        let total = offer.length;
        let accepted = timeout(stall, self.peer.connection().accept_uni()).await;
        match accepted.map_err(|_| stalled())? {
            Ok(stream) => Ok(Reply::Coming { total, stream }),
            Err(_) => Err(ReceiveError::Interrupted { at: offset, total }.into()),
        }
    }
}

impl Blobs for Offers {
    fn answer(&self, want: Want, connection: Connection, writer: ControlWriter) {
        let offers = self.clone();
        tokio::spawn(async move {
            // Whatever breaks, the cloud notices.
            match offers.check(&want).await {
                Ok(length) => {
                    let offer = Offer::new(want.digest(), length);
                    if writer.send(offer).await.is_ok() {
                        let _ = offers.upload(&want, &connection).await;
                    }
                }
                Err(reason) => {
                    let _ = writer.send(Missing::new(want.digest(), reason)).await;
                }
            }
        });
    }
}

impl Offers {
    /// The length of what a cloud wants, if it can be had.
    async fn check(&self, want: &Want) -> Result<u64, String> {
        match self.length(want.digest()).await {
            Ok(Some(length)) if length > want.limit => {
                let limit = want.limit;
                Err(format!("it has {length} bytes; the cloud takes {limit}"))
            }
            Ok(Some(length)) if want.offset > length => {
                let offset = want.offset;
                Err(format!(
                    "it has {length} bytes, and nothing from {offset} on"
                ))
            }
            Ok(Some(length)) => Ok(length),
            Ok(None) => Err("this edge does not give it".to_owned()),
            Err(error) => Err(format!("this edge cannot read it: {error}")),
        }
    }

    async fn upload(&self, want: &Want, connection: &Connection) -> io::Result<()> {
        let mut stream = connection.open_uni().await?;
        // The stream is new.
        let _ = stream.set_priority(PRIORITY);
        match self.send(want.digest(), want.offset, &mut stream).await {
            Ok(_) => {
                let _ = stream.finish();
                // So that the stream outlives its last bytes.
                let _ = stream.stopped().await;
                Ok(())
            }
            Err(error) => {
                let _ = stream.reset(UNREADABLE);
                Err(error)
            }
        }
    }
}
