//! The link emulator: relays the datagrams of a port, QUIC and TSP alike, through a seeded model of a bad
//! network.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tensorwire_protocol::Time;
use tensorwire_protocol::link::{Link, LinkConfig, LinkStats, LossModel, LossProcess};
use tensorwire_protocol::wire::{Ecn, Form};
use tokio::net::UdpSocket;

use crate::capture::{Recorder, Role, Tap};
use crate::clock::Clock;
use crate::datapath::MAX_UDP;

/// Changes the seed of a link's losses into that of its QUIC datagrams.
const QUIC_SEED: u64 = 0xBB67_AE85_84CA_A73B;

/// What became of the datagrams of both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RelayStats {
    /// From the client to the server.
    pub up: WayStats,
    /// From the server to the client.
    pub down: WayStats,
}

/// What became of the datagrams of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WayStats {
    /// Datagrams of TSP.
    pub tsp: LinkStats,
    /// The others: QUIC's, and whatever else came.
    pub quic: LinkStats,
}

impl WayStats {
    const fn of(&mut self, form: Form) -> &mut LinkStats {
        match form {
            Form::Tsp => &mut self.tsp,
            Form::Quic | Form::Neither => &mut self.quic,
        }
    }
}

/// One direction: a link whose bottleneck, queue and delay all datagrams share, with losses of their own
/// for TSP and for QUIC. QUIC's keep-alives and acknowledgements come when they will, and must not decide
/// which packets of a stream a seed or a recorded trace loses.
#[derive(Debug)]
struct Way {
    link: Link<Passing>,
    tsp: LossProcess,
    quic: LossProcess,
    stats: WayStats,
}

/// A datagram on its way.
#[derive(Debug)]
struct Passing {
    bytes: Vec<u8>,
    form: Form,
    /// Whether it will be lost behind the bottleneck.
    lost: bool,
}

impl AsRef<[u8]> for Passing {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Way {
    fn new(config: LinkConfig) -> Self {
        let seed = config.seed;
        let tsp = LossProcess::new(config.loss.clone(), seed);
        let quic = LossProcess::new(config.loss.clone(), seed ^ QUIC_SEED);
        let link = Link::new(LinkConfig {
            loss: LossModel::None,
            ..config
        });
        Self {
            link,
            tsp,
            quic,
            stats: WayStats::default(),
        }
    }

    fn send(&mut self, now: Time, bytes: &[u8]) {
        let form = Form::of(bytes);
        let lost = match form {
            Form::Tsp => self.tsp.next_is_lost(),
            Form::Quic | Form::Neither => self.quic.next_is_lost(),
        };
        let before = self.link.stats().overflowed;
        self.link.send(
            now,
            Passing {
                bytes: bytes.to_vec(),
                form,
                lost,
            },
        );
        let stats = self.stats.of(form);
        stats.offered += 1;
        stats.overflowed += self.link.stats().overflowed - before;
    }

    /// The next datagram that has arrived by `now`, with what it is.
    fn receive(&mut self, now: Time) -> Option<(Vec<u8>, Form)> {
        loop {
            let (_, passing) = self.link.receive(now)?;
            let stats = self.stats.of(passing.form);
            if passing.lost {
                stats.lost += 1;
            } else {
                stats.delivered += 1;
                return Some((passing.bytes, passing.form));
            }
        }
    }
}

/// A relay for one client: what comes to its front goes to the server, and back. A datagram from a new
/// address at the front makes that the client.
#[derive(Debug)]
pub struct Relay {
    front: UdpSocket,
    back: UdpSocket,
    clock: Clock,
    client: Option<SocketAddr>,
    up: Way,
    down: Way,
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
            up: Way::new(up),
            down: Way::new(down),
            stats: Arc::default(),
            taps: None,
        })
    }

    /// Hands the TSP datagrams that come and go to a capture, before the losses and behind them.
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
            let arrivals = [self.up.link.next_arrival(), self.down.link.next_arrival()];
            let wake = arrivals.into_iter().flatten().min();
            tokio::select! {
                received = self.front.recv_from(&mut upward) => {
                    // Errors are echoes of ICMP messages: somebody is not there, which is a loss.
                    if let Ok((len, from)) = received {
                        self.client = Some(from);
                        let datagram = upward.get(..len).unwrap_or_default();
                        let now = self.clock.now();
                        if let Some(taps) = self.taps_of(Form::of(datagram)) {
                            taps.front.received(now, from, Ecn::NotEct, datagram);
                        }
                        self.up.send(now, datagram);
                    }
                }
                received = self.back.recv(&mut downward) => {
                    if let Ok(len) = received {
                        let datagram = downward.get(..len).unwrap_or_default();
                        let now = self.clock.now();
                        if let Some(taps) = self.taps_of(Form::of(datagram)) {
                            taps.back.received(now, taps.server, Ecn::NotEct, datagram);
                        }
                        self.down.send(now, datagram);
                    }
                }
                () = self.clock.sleep_until(wake) => {}
            }
            let now = self.clock.now();
            while let Some((datagram, form)) = self.up.receive(now) {
                if let Some(taps) = self.taps_of(form) {
                    taps.back
                        .sent(now, None, taps.server, Ecn::NotEct, &datagram);
                }
                let _ = self.back.send(&datagram).await;
            }
            while let Some((datagram, form)) = self.down.receive(now) {
                if let Some(client) = self.client {
                    if let Some(taps) = self.taps_of(form) {
                        taps.front.sent(now, None, client, Ecn::NotEct, &datagram);
                    }
                    let _ = self.front.send_to(&datagram, client).await;
                }
            }
            let mut stats = self.stats.lock().unwrap_or_else(PoisonError::into_inner);
            *stats = RelayStats {
                up: self.up.stats,
                down: self.down.stats,
            };
        }
    }

    /// The ends of the capture, for a datagram that goes into it.
    fn taps_of(&self, form: Form) -> Option<&Taps> {
        self.taps.as_ref().filter(|_| form == Form::Tsp)
    }
}
