//! The cloud: accepts sessions over QUIC, receives their tensors by the carriers that it offers, answers
//! each.

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

use session::Shared;

/// Notices that may wait for whoever runs the cloud; further ones are not told.
const NOTICES: usize = 1_024;
/// Connections beyond the sessions that may be on their way to one, or to a refusal.
const NEGOTIATING: usize = 16;

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
    /// Address of the control connections.
    pub listen: SocketAddr,
    /// Address of the data path: a UDP port and, where TCP is offered, the TCP port of the same number.
    pub data: SocketAddr,
    /// Carriers that edges may choose from.
    pub carriers: Carriers,
    /// Whether datagrams that are due at once may leave in one system call (generic segmentation offload).
    pub gso: bool,
    /// Sessions at a time.
    pub sessions: usize,
    /// Whether a session's datagrams may come from another host than its control connection, as they do
    /// through a link emulator on a third one.
    pub any_source: bool,
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
    /// Binds the sockets of a cloud that is and lets in whom `identity` says. Where the data port is chosen by the system (0), TCP may get another number than
    /// UDP.
    ///
    /// # Errors
    /// If an address cannot be bound.
    pub async fn bind(config: CloudConfig, identity: CloudIdentity, clock: Clock) -> Result<Self> {
        let tuning = quic::Tuning {
            gso: config.gso,
            ..quic::Tuning::default()
        };
        let endpoint = quic::server(config.listen, tuning, &identity)?;
        let data = config.data;
        let path = DataPath::bind_with(data, clock, config.gso).await;
        let path = path.with_context(|| format!("cannot bind the data path to {data} (UDP)"))?;
        let tcp = if config.carriers.contains(Carrier::Tcp) {
            let listener = tcp::Listener::bind(path.local_addr(), data.port() == 0).await;
            Some(listener.with_context(|| format!("cannot bind the data path to {data} (TCP)"))?)
        } else {
            None
        };
        Ok(Self {
            endpoint,
            identity,
            path,
            tcp,
            config,
        })
    }

    /// The address of the control connections.
    ///
    /// # Errors
    /// If the socket has no address any more.
    pub fn local_addr(&self) -> Result<SocketAddr> {
        Ok(self.endpoint.local_addr()?)
    }

    /// The address of the data path.
    #[must_use]
    pub const fn data_addr(&self) -> SocketAddr {
        self.path.local_addr()
    }

    /// The address at which TCP carries tensors, if it does.
    #[must_use]
    pub fn tcp_addr(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().map(tcp::Listener::local_addr)
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
            sessions,
            any_source,
            carriers,
            ..
        } = self.config;
        let most = sessions + NEGOTIATING;
        let sessions = Arc::new(Semaphore::new(sessions));
        let shared = Arc::new(Shared {
            opener,
            identity: self.identity,
            path: self.path,
            tcp: self.tcp,
            carriers,
            sessions,
            any_source,
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
            if tasks.len() >= most {
                incoming.refuse();
                continue;
            }
            let shared = Arc::clone(&shared);
            tasks.spawn(async move {
                let peer = incoming.remote_address();
                match incoming.await {
                    Ok(connection) => shared.serve_edge(&connection).await,
                    Err(error) => shared.no_handshake(peer, &error),
                }
            });
        }
        self.endpoint
            .close(0_u32.into(), b"the cloud is shutting down");
        while tasks.join_next().await.is_some() {}
        self.endpoint.wait_idle().await;
    }
}
