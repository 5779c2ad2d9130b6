//! The cloud: accepts sessions over QUIC, receives their tensors by the carriers that it offers, answers
//! each.

mod connection;
mod grant;
mod handshakes;
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
use handshakes::Handshakes;
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

/// How often the system is asked for a port whose number is free for UDP and for TCP.
const ATTEMPTS: u32 = 16;
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
    schedule: Schedule,
    config: CloudConfig,
    policy: Policy,
}

impl Cloud {
    /// Binds the port of a cloud that is, and lets in, whom `identity` says. Where the system chooses the
    /// port (0), UDP and TCP have the same all the same.
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
            sessions, carriers, ..
        } = self.config;
        let places = Arc::new(Semaphore::new(sessions + NEGOTIATING));
        let handshakes = Handshakes::default();
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
                    Err(error) => return connection::no_handshake(&shared, peer, &error),
                };
                match places.try_acquire() {
                    Ok(_place) => connection::serve(shared, connection).await,
                    Err(_) => connection.close(
                        (CloseCode::Refused as u32).into(),
                        b"this cloud has as many connections as it can hold",
                    ),
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
