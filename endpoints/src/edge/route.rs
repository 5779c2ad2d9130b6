//! The way of an edge's tensors to the cloud, and how a session on it is opened.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tensorwire_protocol::wire::ConnectionId;
use tensorwire_protocol::{Config, Event};
use tokio::sync::mpsc;

use super::link::Desk;
use crate::carrier::tcp::{self, Attach};
use crate::carrier::{Carrier, Congestion, quic_stream};
use crate::clock::Clock;
use crate::control::{Accept, Open, SessionNumber};
use crate::datapath::{DataPath, SessionHandle};
use crate::quic::Tuning;
use crate::stream::StreamDescription;

/// The way of an edge's tensors to the cloud; default UDP, to where the cloud says.
#[derive(Clone, Copy, Debug, Default)]
#[expect(
    clippy::exhaustive_structs,
    reason = "made by the caller, field by field"
)]
pub struct Route {
    /// What carries them.
    pub carrier: Carrier,
    /// The congestion controller of QUIC or TCP; what quinn or the kernel choose if none.
    pub congestion: Option<Congestion>,
    /// Where UDP or TCP go instead of where the cloud says (to a link emulator, say).
    pub data: Option<SocketAddr>,
    /// Whether datagrams that are due at once may leave in one system call (generic segmentation
    /// offload).
    pub gso: bool,
}

impl Route {
    /// Checks that the parts of the route go together, and with a capture of its datagrams, if they are
    /// `captured`.
    ///
    /// # Errors
    /// If it asks for what its carrier does not have.
    pub fn validate(&self, captured: bool) -> Result<()> {
        let carrier = self.carrier;
        if captured && matches!(carrier, Carrier::QuicStream | Carrier::Tcp) {
            bail!(
                "captures hold TSP datagrams, and {} has none",
                carrier.name()
            );
        }
        if self.congestion.is_some() && carrier == Carrier::Udp {
            bail!(
                "TSP over UDP has a rate control of its own; cubic and bbr are for quic-datagram, \
                 quic-stream and tcp"
            );
        }
        if self.data.is_some() && carrier.is_quic() {
            bail!(
                "{} travels on the control connection; another address for the data path is for udp and \
                 tcp",
                carrier.name()
            );
        }
        Ok(())
    }

    /// How the QUIC connection sends.
    pub(super) fn tuning(&self) -> Tuning {
        Tuning {
            congestion: self.congestion.filter(|_| self.carrier.is_quic()),
            gso: self.gso,
            // What fits into a datagram decides the MSS, which does not change.
            larger_packets: self.carrier != Carrier::QuicDatagram,
        }
    }
}

/// A session that is to be opened on a control connection.
pub(super) struct Opening<'a> {
    pub(super) route: Route,
    pub(super) desk: &'a Desk,
    /// Where TSP runs.
    pub(super) path: Option<&'a DataPath>,
    pub(super) stream: StreamDescription,
    pub(super) config: Config,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) clock: Clock,
    /// Time between frames, if it is known.
    pub(super) interval: Option<Duration>,
    /// The session that this one takes the place of.
    pub(super) replaces: Option<SessionNumber>,
}

impl Opening<'_> {
    pub(super) async fn open(mut self) -> Result<(SessionNumber, SessionHandle)> {
        match self.route.carrier {
            Carrier::Udp | Carrier::QuicDatagram => self.open_tsp().await,
            Carrier::QuicStream | Carrier::Tcp => self.open_streams().await,
        }
    }

    /// A session of TSP. The cloud has to know its ID.
    async fn open_tsp(&mut self) -> Result<(SessionNumber, SessionHandle)> {
        let connection = &self.desk.connection;
        let path = self.path.context("there is no data path")?;
        let in_quic = self.route.carrier == Carrier::QuicDatagram;
        if in_quic {
            let most = connection.max_datagram_size();
            let most = most.context("the cloud takes no QUIC datagrams")?;
            let mss = self.config.mss.min(u16::try_from(most).unwrap_or(u16::MAX));
            (self.config.mss, self.stream.mss) = (mss, mss);
        }
        let config = self.config.clone();
        let session = path.open(config, None, self.events.clone()).await?;
        let accept = self.negotiate(session.connection().value()).await?;
        let remote = ConnectionId::new(accept.connection);
        path.describe(&session, remote, &self.stream);
        if in_quic {
            session.attach_quic(remote, connection.clone()).await?;
        } else {
            let peer = self.data(&accept);
            session.attach(remote, Some(peer)).await?;
        }
        Ok((accept.session, session))
    }

    /// A session on reliable streams, which start when it is granted.
    async fn open_streams(&self) -> Result<(SessionNumber, SessionHandle)> {
        let accept = self.negotiate(0).await?;
        let (config, events, clock) = (self.config.clone(), self.events.clone(), self.clock);
        let connection = &self.desk.connection;
        let session = if self.route.carrier == Carrier::Tcp {
            let attach = Attach {
                control: connection,
                id: ConnectionId::new(accept.connection),
                address: self.data(&accept),
                congestion: self.route.congestion,
            };
            tcp::connect(attach, config, clock, events).await?
        } else {
            quic_stream::connect(connection.clone(), config, clock, events)
        };
        Ok((accept.session, session))
    }

    /// Where the data path goes.
    fn data(&self, accept: &Accept) -> SocketAddr {
        let mut cloud = self.desk.connection.remote_address();
        cloud.set_port(accept.data_port);
        self.route.data.unwrap_or(cloud)
    }

    /// Asks for the session; `id` is its connection ID here.
    async fn negotiate(&self, id: u32) -> Result<Accept> {
        let interval = self.interval.map(|interval| interval.as_micros());
        let interval = interval.and_then(|micros| u32::try_from(micros).ok());
        let (stream, carrier) = (self.stream.clone(), self.route.carrier.code());
        let open = |number| {
            Open::new(number, stream, id)
                .over(carrier)
                .every(interval.filter(|micros| *micros > 0))
                .replacing(self.replaces)
        };
        self.desk.open(open).await
    }
}
