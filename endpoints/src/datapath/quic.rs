//! TSP datagrams in the datagrams of a QUIC connection (RFC 9221; spec/carriers.md, section 3).

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use tensorwire_protocol::Time;
use tensorwire_protocol::wire::Ecn;
use tokio::task::AbortHandle;

use super::PathEnded;
use super::hub::Hub;
use super::seat::{Entry, Seat, Way};

/// While a session's way takes no datagrams, its timers are looked at so often at most.
pub(super) const BLOCKED_PAUSE: Duration = Duration::from_millis(1);

/// A QUIC connection that carries a session's datagrams, both ways.
///
/// When QUIC's congestion controller holds datagrams back, its send buffer would drop the oldest to make
/// room for new ones. So nothing more is taken from the session then: packets wait where their deadlines
/// are known.
#[derive(Debug)]
pub(super) struct QuicWay {
    connection: quinn::Connection,
    back: Back,
    reader: AbortHandle,
    blocked: bool,
}

/// How those that wait for the connection get at the session, which they do not keep.
#[derive(Clone, Debug)]
struct Back {
    hub: Weak<Hub>,
    seat: Weak<Seat>,
}

impl Back {
    fn enter(&self, work: impl FnOnce(&Hub, &mut Entry, Time)) -> Result<(), PathEnded> {
        let (hub, seat) = (self.hub.upgrade(), self.seat.upgrade());
        let (hub, seat) = hub.zip(seat).ok_or(PathEnded)?;
        hub.enter(&seat, |entry, now| work(&hub, entry, now))
    }
}

impl QuicWay {
    /// Starts to hand what arrives to the session.
    pub(super) fn start(hub: &Arc<Hub>, seat: &Arc<Seat>, connection: quinn::Connection) -> Self {
        let (hub, seat) = (Arc::downgrade(hub), Arc::downgrade(seat));
        let back = Back { hub, seat };
        let reader = tokio::spawn(read(back.clone(), connection.clone()));
        Self {
            connection,
            back,
            reader: reader.abort_handle(),
            blocked: false,
        }
    }

    /// Whether QUIC takes no datagrams at present.
    pub(super) const fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// The other end of the connection.
    pub(super) fn peer(&self) -> SocketAddr {
        self.connection.remote_address()
    }

    /// Sends a datagram, or has it wait for room; whether that can be.
    pub(super) fn send(&mut self, datagram: &[u8]) -> bool {
        let datagram = Bytes::copy_from_slice(datagram);
        if self.connection.datagram_send_buffer_space() >= datagram.len() {
            return self.connection.send_datagram(datagram).is_ok();
        }
        self.blocked = true;
        let (connection, back) = (self.connection.clone(), self.back.clone());
        tokio::spawn(async move {
            let sent = connection.send_datagram_wait(datagram).await;
            // The session may have ended.
            let _ = back.enter(|_, entry, _| {
                entry.send_failed += u64::from(sent.is_err());
                if let Some(Way::Quic(way)) = &mut entry.way {
                    way.blocked = false;
                }
            });
        });
        true
    }
}

impl Drop for QuicWay {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Hands datagrams to the session until the connection or the session ends.
async fn read(back: Back, connection: quinn::Connection) {
    let peer = connection.remote_address();
    while let Ok(datagram) = connection.read_datagram().await {
        let handed = back.enter(|hub, entry, now| {
            if let Some(tap) = hub.tap() {
                tap.received(now, peer, Ecn::NotEct, &datagram);
            }
            // Whatever is wrong with it has been counted.
            let _ = entry.session.handle_datagram(now, &datagram);
        });
        if handed.is_err() {
            return;
        }
    }
}
