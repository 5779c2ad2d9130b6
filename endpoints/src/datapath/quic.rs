//! TSP datagrams in the datagrams of a QUIC connection (RFC 9221; spec/carriers.md, section 3).

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use tensorwire_protocol::wire::ConnectionId;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::{Command, QuicPath};

/// While QUIC takes no datagrams, the session's timers are looked at so often at most.
pub(super) const BLOCKED_PAUSE: Duration = Duration::from_millis(1);

/// A QUIC connection that carries a session's datagrams, both ways.
///
/// When QUIC's congestion controller holds datagrams back, its send buffer would drop the oldest to make
/// room for new ones. So nothing more is taken from the session then: packets wait where their deadlines
/// are known.
#[derive(Debug)]
pub(super) struct QuicWay {
    session: ConnectionId,
    connection: quinn::Connection,
    driver: mpsc::WeakSender<Command>,
    reader: AbortHandle,
    blocked: bool,
}

impl QuicWay {
    /// Starts to hand what arrives to the driver.
    pub(super) fn start(session: ConnectionId, path: QuicPath) -> Self {
        let QuicPath { connection, driver } = path;
        let reader = tokio::spawn(read(session, connection.clone(), driver.clone()));
        Self {
            session,
            connection,
            driver,
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
        let (connection, driver, session) =
            (self.connection.clone(), self.driver.clone(), self.session);
        tokio::spawn(async move {
            let sent = connection.send_datagram_wait(datagram).await;
            if let Some(driver) = driver.upgrade() {
                // The driver may have gone.
                let _ = driver.send(Command::Room(session, sent)).await;
            }
        });
        true
    }

    /// QUIC has room again.
    pub(super) const fn unblock(&mut self) {
        self.blocked = false;
    }
}

impl Drop for QuicWay {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Hands datagrams to the driver until the connection or the driver ends.
async fn read(
    session: ConnectionId,
    connection: quinn::Connection,
    driver: mpsc::WeakSender<Command>,
) {
    while let Ok(datagram) = connection.read_datagram().await {
        let Some(driver) = driver.upgrade() else {
            return;
        };
        let handed = driver.send(Command::Datagram(session, datagram)).await;
        if handed.is_err() {
            return;
        }
    }
}
