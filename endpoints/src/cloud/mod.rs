//! The cloud: accepts sessions over QUIC, receives their tensors by the carriers that it offers, answers
//! each.

mod handshakes;
mod session;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use tensorwire_protocol::wire::{ConnectionId, ResultStatus};
use tensorwire_protocol::{Event, ReceivedTensor};
use tokio::sync::{Semaphore, mpsc};

use crate::carrier::{Carrier, Carriers, tcp};
use crate::clock::Clock;
use crate::control::Refuse;
use crate::datapath::{DataPath, PathStats};
use crate::identity::{CloudIdentity, Name};
use crate::quic;
use crate::stream::StreamDescription;

use handshakes::Handshakes;
use session::Shared;

/// Notices that may wait for whoever runs the cloud; further ones are not told.
const NOTICES: usize = 1_024;
/// Connections beyond the sessions that may be on their way to one, or to a refusal.
const NEGOTIATING: usize = 16;

/// How often the system is asked for a port whose number is free for UDP and for TCP.
const ATTEMPTS: u32 = 16;

/// What becomes of a session's tensors. Called in a thread of its own, one tensor at a time.
pub trait TensorHandler: Send {
    /// Answers a released tensor.
    fn handle(&mut self, tensor: &ReceivedTensor) -> Answer;

    /// Hears what else happens on the session.
    fn observe(&mut self, _event: &Event) {}
}

/// Decides whether a stream can be served. Shared by all sessions; may block.
pub trait Opener: Send + Sync + 'static {
    /// A handler for the tensors of a new session.
    ///
    /// # Errors
    /// Why there can be no session of this stream.
    fn open(&self, stream: &StreamDescription) -> Result<Box<dyn TensorHandler>, Refuse>;
}

/// A handler's answer to a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "made by handlers, field by field"
)]
pub struct Answer {
    /// How it went.
    pub status: ResultStatus,
    /// What the edge's application gets, at most 1,024 bytes.
    pub payload: Bytes,
}

/// What a cloud tells whoever runs it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CloudNotice {
    /// A session began.
    Opened {
        /// Its name here.
        connection: ConnectionId,
        /// The edge's control address.
        peer: SocketAddr,
        /// What the edge is called, if the cloud knows whom it lets in.
        client: Option<Name>,
        /// How.
        carrier: Carrier,
        /// What it streams.
        stream: Box<StreamDescription>,
    },
    /// An edge did not get a session.
    Refused {
        /// The edge's control address.
        peer: SocketAddr,
        /// What the edge is called, if it has shown that.
        client: Option<Name>,
        /// Why.
        reason: String,
    },
    /// A session ended.
    Closed {
        /// Its name here.
        connection: ConnectionId,
        /// Everything it counted, unless the data path went first.
        stats: Option<Box<PathStats>>,
        /// Why, in words.
        reason: String,
    },
}

/// Where and how a cloud listens.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "made by the caller, field by field"
)]
pub struct CloudConfig {
    /// Address of the UDP port that QUIC and TSP share and, where TCP is offered, of the TCP port of the
    /// same number.
    pub listen: SocketAddr,
    /// Carriers that edges may choose from.
    pub carriers: Carriers,
    /// Whether datagrams that are due at once may leave in one system call (generic segmentation offload).
    pub gso: bool,
    /// Sessions at a time.
    pub sessions: usize,
}

/// A cloud that is bound and ready to serve.
#[derive(Debug)]
pub struct Cloud {
    endpoint: quinn::Endpoint,
    identity: CloudIdentity,
    path: DataPath,
    tcp: Option<tcp::Listener>,
    config: CloudConfig,
}

impl Cloud {
    /// Binds the port of a cloud that is and lets in whom `identity` says. Where the system chooses the port
    /// (0), UDP and TCP have the same all the same.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub async fn bind(config: CloudConfig, identity: CloudIdentity, clock: Clock) -> Result<Self> {
        let (path, tcp) = bind(&config, clock).await?;
        let tuning = quic::Tuning {
            gso: config.gso,
            ..quic::Tuning::default()
        };
        let socket = path.quic_socket().context("no socket for QUIC")?;
        let endpoint = quic::server(socket, tuning, &identity)?;
        Ok(Self {
            endpoint,
            identity,
            path,
            tcp,
            config,
        })
    }

    /// The address at which it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.path.local_addr()
    }

    /// Whether TCP carries tensors, at the same address.
    #[must_use]
    pub const fn has_tcp(&self) -> bool {
        self.tcp.is_some()
    }

    /// The data path, whose counters outlive the sessions.
    #[must_use]
    pub const fn path(&self) -> &DataPath {
        &self.path
    }

    /// Who the cloud is, and whom it lets in.
    #[must_use]
    pub const fn identity(&self) -> &CloudIdentity {
        &self.identity
    }

    /// A channel for [`serve`](Self::serve) to tell what happens, bounded, since edges make it happen.
    #[must_use]
    pub fn notices() -> (mpsc::Sender<CloudNotice>, mpsc::Receiver<CloudNotice>) {
        mpsc::channel(NOTICES)
    }

    /// Serves edges until `stop` is ready, then closes every session. A caller that drops the future
    /// instead leaves the threads of running sessions to end by themselves.
    pub async fn serve<O: Opener>(
        self,
        opener: Arc<O>,
        notices: mpsc::Sender<CloudNotice>,
        stop: impl Future<Output = ()>,
    ) {
        let CloudConfig {
            sessions, carriers, ..
        } = self.config;
        let places = Arc::new(Semaphore::new(sessions + NEGOTIATING));
        let handshakes = Handshakes::default();
        let sessions = Arc::new(Semaphore::new(sessions));
        let shared = Arc::new(Shared {
            opener,
            identity: self.identity,
            path: self.path,
            tcp: self.tcp,
            carriers,
            sessions,
            notices,
        });
        let mut stop = std::pin::pin!(stop);
        let mut tasks = tokio::task::JoinSet::new();
        loop {
            let incoming = tokio::select! {
                incoming = self.endpoint.accept() => incoming,
                Some(_) = tasks.join_next() => continue,
                () = &mut stop => None,
            };
            let Some(incoming) = incoming else { break };
            if places.available_permits() == 0 {
                incoming.refuse();
                continue;
            }
            let Some(handshake) = handshakes.begin(incoming) else {
                continue;
            };
            let (shared, places) = (Arc::clone(&shared), Arc::clone(&places));
            tasks.spawn(async move {
                let peer = handshake.peer();
                let connection = match handshake.finish().await {
                    Ok(connection) => connection,
                    Err(error) => return shared.no_handshake(peer, &error),
                };
                match places.try_acquire() {
                    Ok(_place) => shared.serve_edge(&connection).await,
                    Err(_) => connection.close(1_u32.into(), b"too many edges"),
                }
            });
        }
        self.endpoint
            .close(0_u32.into(), b"the cloud is shutting down");
        while tasks.join_next().await.is_some() {}
        self.endpoint.wait_idle().await;
    }
}

/// Binds the UDP port and, if TCP is offered, the TCP port of the same number.
async fn bind(config: &CloudConfig, clock: Clock) -> Result<(DataPath, Option<tcp::Listener>)> {
    let listen = config.listen;
    let mut attempts = if listen.port() == 0 { ATTEMPTS } else { 1 };
    loop {
        let path = DataPath::bind_with(listen, clock, config.gso).await;
        let path =
            path.with_context(|| format!("cannot listen on {listen} (UDP); is the port in use?"))?;
        if !config.carriers.contains(Carrier::Tcp) {
            return Ok((path, None));
        }
        attempts -= 1;
        match tcp::Listener::bind(path.local_addr()).await {
            Ok(listener) => return Ok((path, Some(listener))),
            // Another program has the TCP port that goes with the UDP port that the system chose.
            Err(_) if attempts > 0 => {}
            Err(error) => {
                return Err(error).with_context(|| {
                    format!(
                        "cannot listen on {} (TCP); is the port in use? `--carriers` without tcp needs none",
                        path.local_addr()
                    )
                });
            }
        }
    }
}
