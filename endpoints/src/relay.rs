//! The link emulator: relays datagrams between UDP sockets through a seeded model of a bad network.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tensorwire_protocol::link::{Link, LinkConfig, LinkStats};
use tensorwire_protocol::wire::Ecn;
use tokio::net::UdpSocket;

use crate::capture::{Recorder, Role, Tap};
use crate::clock::Clock;
use crate::datapath::MAX_UDP;

/// What became of the datagrams of both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RelayStats {
    /// From the client to the server.
    pub up: LinkStats,
    /// From the server to the client.
    pub down: LinkStats,
}

/// A relay for one client: what comes to its front goes to the server, and back. A datagram from a new
/// address at the front makes that the client.
#[derive(Debug)]
pub struct Relay {
    front: UdpSocket,
    back: UdpSocket,
    clock: Clock,
    client: Option<SocketAddr>,
    up: Link<Vec<u8>>,
    down: Link<Vec<u8>>,
    stats: Arc<Mutex<RelayStats>>,
    taps: Option<Taps>,
}

/// The ends of a capture: both sockets, and so both sides of the losses.
#[derive(Debug)]
struct Taps {
    front: Tap,
    back: Tap,
    server: SocketAddr,
}

impl Relay {
    /// Listens at `front` and relays to `server`, `up` being the way there and `down` the way back.
    ///
    /// # Errors
    /// If a socket cannot be bound or connected.
    pub async fn bind(
        front: SocketAddr,
        server: SocketAddr,
        up: LinkConfig,
        down: LinkConfig,
        clock: Clock,
    ) -> io::Result<Self> {
        let front = UdpSocket::bind(front).await?;
        let any: SocketAddr = match server {
            SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
            SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
        };
        let back = UdpSocket::bind(any).await?;
        back.connect(server).await?;
        Ok(Self {
            front,
            back,
            clock,
            client: None,
            up: Link::new(up),
            down: Link::new(down),
            stats: Arc::default(),
            taps: None,
        })
    }

    /// Hands what comes and goes to a capture, before the losses and behind them.
    ///
    /// # Errors
    /// If a socket has no address any more.
    pub fn record(&mut self, recorder: &Recorder) -> io::Result<()> {
        self.taps = Some(Taps {
            front: recorder.tap(Role::LinkEdge, self.front.local_addr()?),
            back: recorder.tap(Role::LinkCloud, self.back.local_addr()?),
            server: self.back.peer_addr()?,
        });
        Ok(())
    }

    /// Where the client has to send.
    ///
    /// # Errors
    /// If the socket has no address any more.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.front.local_addr()
    }

    /// The counters, kept up to date while the relay runs.
    #[must_use]
    pub fn stats(&self) -> Arc<Mutex<RelayStats>> {
        Arc::clone(&self.stats)
    }

    /// Relays until it is dropped.
    pub async fn run(mut self) {
        let mut upward = vec![0; MAX_UDP];
        let mut downward = vec![0; MAX_UDP];
        loop {
            let arrivals = [self.up.next_arrival(), self.down.next_arrival()];
            let wake = arrivals.into_iter().flatten().min();
            tokio::select! {
                received = self.front.recv_from(&mut upward) => {
                    // Errors are echoes of ICMP messages: somebody is not there, which is a loss.
                    if let Ok((len, from)) = received {
                        self.client = Some(from);
                        let datagram = upward.get(..len).unwrap_or_default();
                        let now = self.clock.now();
                        if let Some(taps) = &self.taps {
                            taps.front.received(now, from, Ecn::NotEct, datagram);
                        }
                        self.up.send(now, datagram.to_vec());
                    }
                }
                received = self.back.recv(&mut downward) => {
                    if let Ok(len) = received {
                        let datagram = downward.get(..len).unwrap_or_default();
                        let now = self.clock.now();
                        if let Some(taps) = &self.taps {
                            taps.back.received(now, taps.server, Ecn::NotEct, datagram);
                        }
                        self.down.send(now, datagram.to_vec());
                    }
                }
                () = self.clock.sleep_until(wake) => {}
            }
            let now = self.clock.now();
            while let Some((_, datagram)) = self.up.receive(now) {
                if let Some(taps) = &self.taps {
                    taps.back
                        .sent(now, None, taps.server, Ecn::NotEct, &datagram);
                }
                let _ = self.back.send(&datagram).await;
            }
            while let Some((_, datagram)) = self.down.receive(now) {
                if let Some(client) = self.client {
                    if let Some(taps) = &self.taps {
                        taps.front.sent(now, None, client, Ecn::NotEct, &datagram);
                    }
                    let _ = self.front.send_to(&datagram, client).await;
                }
            }
            let mut stats = self.stats.lock().unwrap_or_else(PoisonError::into_inner);
            *stats = RelayStats {
                up: *self.up.stats(),
                down: *self.down.stats(),
            };
        }
    }
}
