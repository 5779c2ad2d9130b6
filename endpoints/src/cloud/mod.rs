//! The cloud: accepts sessions over QUIC, receives their tensors by the carriers that it offers, answers
//! each.

mod connection;
mod grant;
mod memory;
mod peer;
mod policy;
pub mod schedule;
mod session;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use anyhow::{Context, Result};
use tensorwire_protocol::wire::ConnectionId;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use crate::carrier::{Carrier, Carriers, tcp};
use crate::clock::Clock;
use crate::control::{CloseCode, Drain, Refuse};
use crate::datapath::{DataPath, PathStats};
use crate::identity::CloudIdentity;
use crate::quic;
use crate::stream::StreamDescription;

use grant::Shared;
use memory::Memory;
use schedule::{Schedule, ScheduleConfig};

pub use memory::session_memory;
pub use peer::{Peer, WantError};
pub use policy::Policy;
pub use schedule::{Answer, Stages, TensorHandler};

/// Notices that may wait for whoever runs the cloud; further ones are not told.
const NOTICES: usize = 1_024;
/// Connections beyond the sessions that may be on their way to one, or to a refusal.
const NEGOTIATING: usize = 16;
/// How long the end of connections may take that did not end while the cloud drained.
const CLOSING: Duration = Duration::from_secs(2);
/// What is wrong where the workers cannot start.
const NO_THREADS: &str = "the system gives no threads for the model";

/// Decides whether a stream can be served. Shared by all sessions; may block.
pub trait Opener: Send + Sync + 'static {
    /// A handler for the tensors of a new session.
    ///
    /// # Errors
    /// Why there can be no session of this stream.
    fn open(&self, stream: &StreamDescription) -> Result<Box<dyn TensorHandler>, Refuse>;

    /// Gets what [`open`](Self::open) will need of `edge`, before it; default nothing. Must not block.
    ///
    /// # Errors
    /// Why there can be no session of this stream.
    fn prepare<'a>(&'a self, _stream: &'a StreamDescription, _edge: &'a Peer) -> Preparing<'a> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// A session in preparation.
pub type Preparing<'a> = Pin<Box<dyn Future<Output = Result<(), Refuse>> + Send + 'a>>;

/// How a cloud fares.
#[derive(Clone, Debug)]
enum Phase {
    /// It serves.
    Serving,
    /// It takes no new sessions, and waits for those that it has.
    Draining(Drain),
    /// It waits no more.
    Closing,
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
        /// What the edge is called, if that is known.
        name: Option<String>,
    },
    /// An edge did not get a session.
    Refused {
        /// The edge's control address.
        peer: SocketAddr,
        /// Why.
        reason: String,
        /// What the edge is called, if that is known.
        name: Option<String>,
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
    schedule: Schedule,
    config: CloudConfig,
    policy: Policy,
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
        let schedule = Schedule::start(ScheduleConfig::default(), clock);
        Ok(Self {
            endpoint,
            identity,
            path,
            tcp,
            schedule: schedule.context(NO_THREADS)?,
            config,
            policy: Policy::default(),
        })
    }

    /// Serves by this policy instead of the default one.
    #[must_use]
    pub fn with_policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Computes by this schedule instead of the default one.
    ///
    /// # Errors
    /// If the system gives no threads.
    pub fn with_schedule(mut self, config: ScheduleConfig) -> Result<Self> {
        self.schedule = Schedule::start(config, self.path.clock()).context(NO_THREADS)?;
        Ok(self)
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

    /// The workers that answer the tensors.
    #[must_use]
    pub const fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// A channel for [`serve`](Self::serve) to tell what happens, bounded, since edges make it happen.
    #[must_use]
    pub fn notices() -> (mpsc::Sender<CloudNotice>, mpsc::Receiver<CloudNotice>) {
        mpsc::channel(NOTICES)
    }

    /// Serves edges until `stop` is ready. Then it drains: it tells its edges, takes no new sessions, and
    /// waits for those that it has to be closed, as long as its [`Policy::grace`] lasts. A caller that
    /// drops the future instead leaves the workers to end by themselves.
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
        let grace = self.policy.grace;
        let (phase, phases) = watch::channel(Phase::Serving);
        let shared = Arc::new(Shared {
            opener,
            identity: self.identity,
            path: self.path,
            tcp: self.tcp,
            schedule: self.schedule,
            carriers,
            sessions: Arc::new(Semaphore::new(sessions)),
            count: Arc::new(AtomicUsize::new(0)),
            memory: Memory::new(self.policy.memory),
            policy: self.policy,
            any_source,
            notices,
            phase: phases,
        });
        let mut stop = std::pin::pin!(stop);
        let mut tasks = JoinSet::new();
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
                    Ok(connection) => connection::serve(shared, connection).await,
                    Err(error) => connection::no_handshake(&shared, peer, &error),
                }
            });
        }
        let drain = Drain::new(grace, "the cloud is shutting down");
        phase.send_replace(Phase::Draining(drain));
        let drained = drain_all(&self.endpoint, &mut tasks);
        if tokio::time::timeout(grace, drained).await.is_err() {
            phase.send_replace(Phase::Closing);
            let _ = tokio::time::timeout(CLOSING, drain_all(&self.endpoint, &mut tasks)).await;
        }
        self.endpoint.close(
            (CloseCode::ShuttingDown as u32).into(),
            b"the cloud is shutting down",
        );
        while tasks.join_next().await.is_some() {}
        self.endpoint.wait_idle().await;
    }
}

/// Waits for every connection to end, and refuses new ones.
async fn drain_all(endpoint: &quinn::Endpoint, tasks: &mut JoinSet<()>) {
    loop {
        tokio::select! {
            ended = tasks.join_next() => if ended.is_none() {
                return;
            },
            Some(incoming) = endpoint.accept() => incoming.refuse(),
        }
    }
}
