//! The way of an edge's tensors to the cloud, and how a session on it is opened.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tensorwire_protocol::wire::ConnectionId;
use tensorwire_protocol::{Config, Event};
use tokio::sync::mpsc;

use super::link::Desk;
use crate::capture::Recording;
use crate::carrier::tcp::{self, Attach};
use crate::carrier::{Carrier, Congestion, quic_stream};
use crate::clock::Clock;
use crate::control::{Accept, Cipher, Open, SessionNumber};
use crate::datapath::{DataPath, SessionHandle, SessionNames, SessionWatch, Side, export};
use crate::quic::Tuning;
use crate::stream::StreamDescription;

/// The longest that a stream waits for the rate of a new path.
const MEASURING: Duration = Duration::from_millis(300);

/// The way of an edge's tensors to the cloud; default UDP.
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
    /// Whether datagrams that are due at once may leave in one system call (generic segmentation
    /// offload).
    pub gso: bool,
    /// Whether UDP goes unprotected: anyone on the way can then read and forge tensors and results. For
    /// laboratories.
    pub plain: bool,
}

impl Route {
    /// Checks that the parts of the route go together, and with a capture of its datagrams.
    ///
    /// # Errors
    /// If it asks for what its carrier does not have.
    pub fn validate(&self, recording: Recording) -> Result<()> {
        let carrier = self.carrier;
        let captured = recording != Recording::Off;
        if captured && matches!(carrier, Carrier::QuicStream | Carrier::Tcp) {
            bail!(
                "captures hold TSP datagrams, and {} has none",
                carrier.name()
            );
        }
        if recording == Recording::Datagrams && carrier == Carrier::Udp && !self.plain {
            bail!(
                "a capture of sealed datagrams shows nothing without their secrets: capture those, too \
                 (--pcap-secrets), or stream unprotected (--plain)"
            );
        }
        if self.congestion.is_some() && carrier == Carrier::Udp {
            bail!(
                "TSP over UDP has a rate control of its own; cubic and bbr are for quic-datagram, \
                 quic-stream and tcp"
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
    /// The session whose knowledge of the path it begins with.
    pub(super) follows: Option<SessionWatch>,
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
        let cipher = if in_quic {
            Cipher::Plain
        } else {
            self.cipher()?
        };
        let session = path.open(config, None, self.events.clone()).await?;
        let (edge, cipher_of) = (session.connection(), cipher.of_sessions());
        let accept = self.negotiate(edge.value(), cipher).await?;
        let remote = ConnectionId::new(accept.connection);
        let secrets = match cipher_of.filter(|_| !in_quic) {
            Some(cipher) => {
                let names = SessionNames {
                    cloud: remote,
                    edge,
                    number: accept.session,
                };
                Some(export(connection, cipher, names, Side::Edge)?)
            }
            None => None,
        };
        path.describe(&session, remote, &self.stream, secrets.as_ref());
        // Only now: it may have taken the cloud long to grant this session, and the other has gone on.
        if let Some(before) = &self.follows {
            session.follow(before).await??;
        }
        if in_quic {
            session.attach_quic(remote, connection.clone()).await?;
        } else {
            let peer = connection.remote_address();
            if let Some(secrets) = secrets {
                session.protect(secrets, Some(peer)).await??;
            }
            session.attach(remote, Some(peer)).await?;
        }
        session.measure(MEASURING).await?;
        Ok((accept.session, session))
    }

    /// A session on reliable streams, which start when it is granted.
    async fn open_streams(&self) -> Result<(SessionNumber, SessionHandle)> {
        let accept = self.negotiate(0, Cipher::Plain).await?;
        let (config, events, clock) = (self.config.clone(), self.events.clone(), self.clock);
        let connection = &self.desk.connection;
        let session = if self.route.carrier == Carrier::Tcp {
            let attach = Attach {
                control: connection,
                id: ConnectionId::new(accept.connection),
                address: connection.remote_address(),
                congestion: self.route.congestion,
            };
            tcp::connect(attach, config, clock, events).await?
        } else {
            quic_stream::connect(connection.clone(), config, clock, events)
        };
        Ok((accept.session, session))
    }

    /// How datagrams over UDP are to be protected.
    fn cipher(&self) -> Result<Cipher> {
        if self.route.plain {
            return Ok(Cipher::Plain);
        }
        let offered = self.desk.ciphers;
        let cipher = offered.first_of(&Cipher::preferred());
        cipher.with_context(|| {
            format!("the cloud offers the ciphers {offered}; unprotected is possible with --plain")
        })
    }

    /// Asks for the session; `id` is its connection ID here.
    async fn negotiate(&self, id: u32, cipher: Cipher) -> Result<Accept> {
        let interval = self.interval.map(|interval| interval.as_micros());
        let interval = interval.and_then(|micros| u32::try_from(micros).ok());
        let (stream, carrier) = (self.stream.clone(), self.route.carrier.code());
        let open = |number| {
            Open::new(number, stream, id)
                .over(carrier)
                .protected(cipher)
                .every(interval.filter(|micros| *micros > 0))
                .replacing(self.replaces)
        };
        self.desk.open(open).await
    }
}
