//! The way of an edge's tensors to the cloud, and how a session on it is opened.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tensorwire_protocol::wire::ConnectionId;
use tensorwire_protocol::{Config, Event};
use tokio::sync::mpsc;

use crate::carrier::{Carrier, Congestion, quic_stream, tcp};
use crate::clock::Clock;
use crate::control::{self, Accept, ControlError, Message, Open};
use crate::datapath::{DataPath, SessionHandle};
use crate::quic::Tuning;
use crate::stream::StreamDescription;

/// The control exchange may take so long: the cloud may have to load a model.
const OPEN_TIMEOUT: Duration = Duration::from_secs(60);

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

/// Both halves of the control stream.
pub(super) type Control = (quinn::SendStream, quinn::RecvStream);

impl Route {
    /// How the QUIC connection sends.
    ///
    /// # Errors
    /// If the route asks for what its carrier does not have.
    pub(super) fn tuning(&self) -> Result<Tuning> {
        let carrier = self.carrier;
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
        Ok(Tuning {
            congestion: self.congestion.filter(|_| carrier.is_quic()),
            gso: self.gso,
            // What fits into a datagram decides the MSS, which does not change.
            larger_packets: carrier != Carrier::QuicDatagram,
        })
    }
}

/// Opens a session of `stream` on a control connection that has just been made.
pub(super) async fn open(
    route: Route,
    connection: &quinn::Connection,
    (mut stream, mut config): (StreamDescription, Config),
    events: mpsc::Sender<Event>,
    clock: Clock,
) -> Result<(SessionHandle, Control)> {
    if route.carrier == Carrier::QuicDatagram {
        let most = connection.max_datagram_size();
        let most = most.context("the cloud takes no QUIC datagrams")?;
        config.mss = config.mss.min(u16::try_from(most).unwrap_or(u16::MAX));
        stream.mss = config.mss;
    }
    let mut cloud = connection.remote_address();
    // TSP sessions have an ID of ours, which the cloud has to know.
    let tsp = match route.carrier {
        Carrier::Udp => {
            let any: SocketAddr = match cloud {
                SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
                SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
            };
            let path = DataPath::bind_with(any, clock, route.gso).await;
            Some(path.context("cannot open a UDP socket")?)
        }
        Carrier::QuicDatagram => Some(DataPath::without_socket(clock)),
        Carrier::QuicStream | Carrier::Tcp => None,
    };
    let tsp = match tsp {
        Some(path) => Some(path.open(config.clone(), None, events.clone()).await?),
        None => None,
    };
    let id = tsp
        .as_ref()
        .map_or(0, |session| session.connection().value());
    let open = Open::new(stream, id).over(route.carrier);
    let negotiated = tokio::time::timeout(OPEN_TIMEOUT, negotiate(connection, open)).await;
    let negotiated = negotiated.context("the cloud does not answer our request for a session")?;
    let (control, accept) = negotiated?;
    let remote = ConnectionId::new(accept.connection);
    cloud.set_port(accept.data_port);
    let data = route.data.unwrap_or(cloud);
    let session = match (route.carrier, tsp) {
        (Carrier::QuicDatagram, Some(session)) => {
            session.attach_quic(remote, connection.clone()).await?;
            session
        }
        (_, Some(session)) => {
            session.attach(remote, Some(data)).await?;
            session
        }
        (Carrier::Tcp, None) => {
            config.remote_connection = remote;
            tcp::connect(connection, data, route.congestion, config, clock, events).await?
        }
        (_, None) => quic_stream::connect(connection.clone(), config, clock, events),
    };
    Ok((session, control))
}

async fn negotiate(connection: &quinn::Connection, open: Open) -> Result<(Control, Accept)> {
    let (mut send, mut receive) = connection.open_bi().await?;
    control::send(&mut send, &Message::Open(open)).await?;
    match control::receive(&mut receive).await? {
        Message::Accept(accept) if accept.data_port == 0 || accept.connection > 0x00FF_FFFF => {
            bail!("the cloud accepts with a port or connection ID that cannot be")
        }
        Message::Accept(accept) => Ok(((send, receive), accept)),
        Message::Refuse(refuse) => bail!("the cloud refuses: {}", refuse.shown()),
        _ => Err(ControlError::Unexpected {
            expected: "Accept or Refuse",
        }
        .into()),
    }
}
