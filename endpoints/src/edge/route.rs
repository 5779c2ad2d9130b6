//! The way of an edge's tensors to the cloud, and how a session on it is opened.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tensorwire_protocol::wire::ConnectionId;
use tensorwire_protocol::{Config, Event};
use tokio::sync::mpsc;

use crate::capture::{Recorder, Role};
use crate::carrier::tcp::{self, Attach};
use crate::carrier::{Carrier, Carriers, Congestion, quic_stream};
use crate::clock::Clock;
use crate::control::channel::write;
use crate::control::limits::HELLO_TIMEOUT;
use crate::control::{
    Accept, Capabilities, Ciphers, ControlError, ControlReader, Features, Hello, Message, Open,
    SessionNumber,
};
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
pub(super) type Control = (quinn::SendStream, ControlReader);

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

/// A session that is to be opened on a control connection that has just been made.
pub(super) struct Opening<'a> {
    pub(super) route: Route,
    pub(super) connection: &'a quinn::Connection,
    /// This end of the control connection.
    pub(super) local: SocketAddr,
    pub(super) stream: StreamDescription,
    pub(super) config: Config,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) clock: Clock,
    pub(super) recorder: Option<&'a Recorder>,
}

impl Opening<'_> {
    pub(super) async fn open(mut self) -> Result<(SessionHandle, Control)> {
        match self.route.carrier {
            Carrier::Udp | Carrier::QuicDatagram => self.open_tsp().await,
            Carrier::QuicStream | Carrier::Tcp => self.open_streams().await,
        }
    }

    /// A session of TSP. The cloud has to know its ID.
    async fn open_tsp(&mut self) -> Result<(SessionHandle, Control)> {
        let in_quic = self.route.carrier == Carrier::QuicDatagram;
        let path = if in_quic {
            let most = self.connection.max_datagram_size();
            let most = most.context("the cloud takes no QUIC datagrams")?;
            let mss = self.config.mss.min(u16::try_from(most).unwrap_or(u16::MAX));
            (self.config.mss, self.stream.mss) = (mss, mss);
            DataPath::without_socket(self.clock)
        } else {
            let any: SocketAddr = match self.connection.remote_address() {
                SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
                SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
            };
            let path = DataPath::bind_with(any, self.clock, self.route.gso).await;
            path.context("cannot open a UDP socket")?
        };
        if let Some(recorder) = self.recorder {
            let local = if in_quic {
                self.local
            } else {
                path.local_addr()
            };
            path.record(recorder.tap(Role::Edge, local));
        }
        let config = self.config.clone();
        let session = path.open(config, None, self.events.clone()).await?;
        let (control, accept) = self.negotiate(session.connection().value()).await?;
        let remote = ConnectionId::new(accept.connection);
        path.describe(&session, remote, &self.stream);
        if in_quic {
            session.attach_quic(remote, self.connection.clone()).await?;
        } else {
            let peer = self.data(&accept);
            session.attach(remote, Some(peer)).await?;
        }
        Ok((session, control))
    }

    /// A session on reliable streams, which start when it is granted.
    async fn open_streams(&self) -> Result<(SessionHandle, Control)> {
        let (control, accept) = self.negotiate(0).await?;
        let (config, events, clock) = (self.config.clone(), self.events.clone(), self.clock);
        let session = if self.route.carrier == Carrier::Tcp {
            let attach = Attach {
                control: self.connection,
                id: ConnectionId::new(accept.connection),
                address: self.data(&accept),
                congestion: self.route.congestion,
            };
            tcp::connect(attach, config, clock, events).await?
        } else {
            quic_stream::connect(self.connection.clone(), config, clock, events)
        };
        Ok((session, control))
    }

    /// Where the data path goes.
    fn data(&self, accept: &Accept) -> SocketAddr {
        let mut cloud = self.connection.remote_address();
        cloud.set_port(accept.data_port);
        self.route.data.unwrap_or(cloud)
    }

    /// Asks for the session; `id` is its connection ID here.
    async fn negotiate(&self, id: u32) -> Result<(Control, Accept)> {
        let open = Open::new(SessionNumber(0), self.stream.clone(), id);
        let open = open.over(self.route.carrier.code());
        let negotiated = tokio::time::timeout(OPEN_TIMEOUT, negotiate(self.connection, open)).await;
        negotiated.context("the cloud does not answer our request for a session")?
    }
}

async fn negotiate(connection: &quinn::Connection, open: Open) -> Result<(Control, Accept)> {
    let (mut send, receive) = connection.open_bi().await?;
    let mut receive = ControlReader::new(receive);
    let capabilities = Capabilities::new(Carriers::ALL.bits(), Ciphers::ALL, Features::default());
    write(&mut send, &Hello::new(capabilities).into()).await?;
    match receive.next_within(HELLO_TIMEOUT, "Welcome").await? {
        Message::Welcome(_) => {}
        Message::Refuse(refuse) => bail!("the cloud refuses: {}", refuse.shown()),
        other => {
            return Err(ControlError::Unexpected {
                expected: "Welcome or Refuse",
                found: other.name(),
            }
            .into());
        }
    }
    write(&mut send, &open.into()).await?;
    match receive.next().await? {
        Message::Accept(accept) => Ok(((send, receive), *accept)),
        Message::Refuse(refuse) => bail!("the cloud refuses: {}", refuse.shown()),
        other => Err(ControlError::Unexpected {
            expected: "Accept or Refuse",
            found: other.name(),
        }
        .into()),
    }
}
