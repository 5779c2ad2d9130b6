//! The cloud: accepts sessions over QUIC, receives their tensors by the carriers that it offers, answers
//! each.

pub mod schedule;
mod session;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tensorwire_protocol::wire::ConnectionId;
use tokio::sync::{Semaphore, mpsc};

use crate::carrier::{Carrier, Carriers, tcp};
use crate::clock::Clock;
use crate::control::Refuse;
use crate::datapath::{DataPath, PathStats};
use crate::digest::Digest;
use crate::quic;
use crate::stream::StreamDescription;

use schedule::{Schedule, ScheduleConfig};
use session::Shared;

pub use schedule::{Answer, Stages, TensorHandler};

/// Notices that may wait for whoever runs the cloud; further ones are not told.
const NOTICES: usize = 1_024;
/// How long what was received is still computed when the cloud ends.
const DRAIN: Duration = Duration::from_secs(1);
/// Connections beyond the sessions that may be on their way to one, or to a refusal.
const NEGOTIATING: usize = 16;

/// Decides whether a stream can be served. Shared by all sessions; may block.
pub trait Opener: Send + Sync + 'static {
    /// A handler for the tensors of a new session.
    ///
    /// # Errors
    /// Why there can be no session of this stream.
    fn open(&self, stream: &StreamDescription) -> Result<Box<dyn TensorHandler>, Refuse>;
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
        /// How.
        carrier: Carrier,
        /// What it streams.
        stream: Box<StreamDescription>,
    },
    /// An edge did not get a session.
    Refused {
        /// The edge's control address.
        peer: SocketAddr,
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
    /// How the tensors of all sessions are served.
    pub schedule: ScheduleConfig,
}

/// A cloud that is bound and ready to serve.
#[derive(Debug)]
pub struct Cloud {
    endpoint: quinn::Endpoint,
    fingerprint: Digest,
    path: DataPath,
    tcp: Option<tcp::Listener>,
    schedule: Schedule,
    config: CloudConfig,
}

impl Cloud {
    /// Binds the sockets. Where the data port is chosen by the system (0), TCP may get another number than
    /// UDP.
    ///
    /// # Errors
    /// If an address cannot be bound.
    pub async fn bind(config: CloudConfig, clock: Clock) -> Result<Self> {
        let tuning = quic::Tuning {
            gso: config.gso,
            ..quic::Tuning::default()
        };
        let (endpoint, fingerprint) = quic::server(config.listen, tuning)?;
        let data = config.data;
        let path = DataPath::bind_with(data, clock, config.gso).await;
        let path = path.with_context(|| format!("cannot bind the data path to {data} (UDP)"))?;
        let tcp = if config.carriers.contains(Carrier::Tcp) {
            let listener = tcp::Listener::bind(path.local_addr(), data.port() == 0).await;
            Some(listener.with_context(|| format!("cannot bind the data path to {data} (TCP)"))?)
        } else {
            None
        };
        let schedule = Schedule::start(config.schedule, clock);
        let schedule = schedule.context("no threads for the model")?;
        Ok(Self {
            endpoint,
            fingerprint,
            path,
            tcp,
            schedule,
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

    /// The workers that answer the tensors.
    #[must_use]
    pub const fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// SHA-256 of the certificate.
    #[must_use]
    pub const fn fingerprint(&self) -> Digest {
        self.fingerprint
    }

    /// A channel for [`serve`](Self::serve) to tell what happens, bounded, since edges make it happen.
    #[must_use]
    pub fn notices() -> (mpsc::Sender<CloudNotice>, mpsc::Receiver<CloudNotice>) {
        mpsc::channel(NOTICES)
    }

    /// Serves edges until `stop` is ready, then answers the tensors that it has, waiting a second at most,
    /// and closes every session. A caller that drops the future instead leaves the workers to end by
    /// themselves.
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
            path: self.path,
            tcp: self.tcp,
            schedule: self.schedule.clone(),
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
                // A handshake that fails has told the edge why.
                if let Ok(connection) = incoming.await {
                    shared.serve_edge(&connection).await;
                }
            });
        }
        // What takes longer is not waited for.
        let _ = tokio::time::timeout(DRAIN, self.schedule.drain()).await;
        self.endpoint
            .close(0_u32.into(), b"the cloud is shutting down");
        while tasks.join_next().await.is_some() {}
        self.endpoint.wait_idle().await;
    }
}
