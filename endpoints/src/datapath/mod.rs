//! The data path: TSP sessions on a UDP socket or in QUIC datagrams, and the only loop that drives them;
//! and the handle that applications have of a session, whatever carries it.

mod addresses;
mod alarm;
mod application;
mod driver;
mod exporter;
mod follow;
mod handle;
mod hub;
mod load;
mod measure;
mod quic;
mod seat;
mod socket;
mod timers;
mod watch;

#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use quinn::AsyncUdpSocket;
use tensorwire_protocol::wire::{ConnectionId, Load};
use tensorwire_protocol::{Config, ConfigError, Event, Path, PeerLoad, Secrets, Stats};
use tokio::sync::mpsc;

use crate::capture::Tap;
use crate::clock::Clock;
use crate::port::{PortStats, QuicSocket};
use crate::stream::StreamDescription;

pub(crate) use application::Application;
use driver::Driver;
pub(crate) use exporter::{SessionNames, Side, export};
pub(crate) use handle::Command;
use hub::Hub;
pub(crate) use socket::Socket;

pub use handle::SessionHandle;
pub use watch::SessionWatch;

/// Commands that may wait for a task that has a session; senders wait beyond.
pub(crate) const COMMANDS: usize = 64;
/// The largest UDP payload there can be.
pub(crate) const MAX_UDP: usize = 65_535;

/// A data path at work. It ends, and its sessions with it, when this and every session handle are
/// dropped, or the runtime shuts down.
#[derive(Clone, Debug)]
pub struct DataPath {
    keeper: Arc<Keeper>,
    local: SocketAddr,
}

/// Ends the data path when the last that needs it is dropped.
struct Keeper(Arc<Hub>);

impl Keeper {
    const fn hub(&self) -> &Arc<Hub> {
        &self.0
    }
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").finish_non_exhaustive()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// What a session and its socket have counted.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct PathStats {
    /// The session's counters. A session on QUIC streams or TCP counts no datagrams, and as `late` tensors
    /// whose bytes were thrown away.
    pub session: Stats,
    /// Tensors answered with `Busy`, because the application was behind.
    pub busy: u64,
    /// Tensors that the application has answered.
    pub answered: u64,
    /// The load that the peer was told last; none before the first answer.
    pub load: Option<Load>,
    /// Datagrams that the system, or QUIC, did not send.
    pub send_failed: u64,
}

/// What a session knows that decides which frames are worth computing.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Outlook {
    /// The path to the peer.
    pub path: Path,
    /// The load that the peer told last; none before it told any.
    pub load: Option<PeerLoad>,
    /// REPAIR packets for each source packet that tensors get ahead of losses.
    pub parity: f64,
}

/// The data path is gone: the runtime shuts down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the data path has ended")]
pub struct PathEnded;

/// Why a session could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The configuration is out of range: the caller is at fault.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data path is gone.
    #[error(transparent)]
    Ended(#[from] PathEnded),
    /// The system gives no random numbers.
    #[error("no random numbers from the system: {0}")]
    Random(#[from] getrandom::Error),
}

impl DataPath {
    /// Binds `address` and drives its sessions on the current runtime. Each datagram leaves in a system
    /// call of its own.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub async fn bind(address: SocketAddr, clock: Clock) -> io::Result<Self> {
        Self::bind_with(address, clock, false).await
    }

    /// The same; with `gso`, datagrams that are due at once leave in one call (generic segmentation
    /// offload). Cheaper, but the network sees them as a burst, and netem as one packet.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub async fn bind_with(address: SocketAddr, clock: Clock, gso: bool) -> io::Result<Self> {
        let socket = Arc::new(Socket::bind(address, gso).await?);
        let local = socket.local_addr()?;
        Ok(Self::start(Some(socket), local, clock))
    }

    /// A data path without a socket, for sessions whose datagrams travel in QUIC connections.
    #[must_use]
    pub fn without_socket(clock: Clock) -> Self {
        Self::start(None, ([0, 0, 0, 0], 0).into(), clock)
    }

    fn start(socket: Option<Arc<Socket>>, local: SocketAddr, clock: Clock) -> Self {
        let hub = Arc::new(Hub::new(socket, clock));
        tokio::spawn(Driver::new(Arc::clone(&hub)).run());
        let keeper = Arc::new(Keeper(hub));
        Self { keeper, local }
    }

    /// The socket for QUIC to share ([`port`](crate::port)): none where there is none. It keeps the data
    /// path at work.
    #[must_use]
    pub fn quic_socket(&self) -> Option<Arc<dyn AsyncUdpSocket>> {
        let socket = Arc::clone(self.keeper.hub().socket.as_ref()?);
        Some(Arc::new(QuicSocket::new(socket, self.clone())))
    }

    /// What became of datagrams on the port that were not TSP.
    #[must_use]
    pub fn port_stats(&self) -> PortStats {
        let socket = self.keeper.hub().socket.as_deref();
        socket.map(Socket::port_stats).unwrap_or_default()
    }

    /// Hands what the sessions send and receive from now on to a capture; only the first tap counts.
    pub fn record(&self, tap: Tap) {
        self.keeper.hub().set_tap(tap);
    }

    /// Tells the capture, if there is one, what a session on this path streams, so that it can be
    /// replayed, and what its datagrams are sealed with. To be called before the peer knows of the session;
    /// `remote` is the ID that the peer chose.
    pub fn describe(
        &self,
        session: &SessionHandle,
        remote: ConnectionId,
        stream: &StreamDescription,
        secrets: Option<&Secrets>,
    ) {
        let hub = self.keeper.hub();
        if let Some(tap) = hub.tap() {
            let (now, local) = (hub.clock.now(), session.connection());
            tap.session(now, local, remote, stream, secrets);
        }
    }

    /// The clock that its sessions count by.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.keeper.hub().clock
    }

    /// The address of the socket; unspecified, with port 0, where there is none.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Words for whoever runs this, where the system grants less room for received datagrams than many
    /// sessions need: they are lost while this program is busy otherwise.
    #[must_use]
    pub fn buffer_advice(&self) -> Option<String> {
        let (granted, asked) = self.keeper.hub().socket.as_ref()?.waiting();
        (granted < asked).then(|| {
            format!(
                "the system grants {granted} of {asked} bytes for datagrams that wait; with many \
                 sessions, raise net.core.rmem_max (sysctl)"
            )
        })
    }

    /// Datagrams that named no session of this data path, those included that were neither TSP nor QUIC.
    #[must_use]
    pub fn strays(&self) -> u64 {
        self.keeper.hub().strays.load(Ordering::Relaxed) + self.port_stats().strays
    }

    /// Opens a session and says which connection ID its incoming datagrams carry. What happens on it
    /// goes to `events`; a tensor that finds the channel full is answered with `Busy`, as are those beyond
    /// [`limit_waiting`](SessionHandle::limit_waiting).
    ///
    /// The session is silent until it knows its peer: from [`attach`](SessionHandle::attach), or from the
    /// first valid datagram that comes from the address `from` (any address, where there is none).
    ///
    /// # Errors
    /// If the configuration is out of range, or the data path has ended.
    pub async fn open(
        &self,
        config: Config,
        from: Option<IpAddr>,
        events: mpsc::Sender<Event>,
    ) -> Result<SessionHandle, OpenError> {
        let seat = self.keeper.hub().open(config, from, events)?;
        Ok(SessionHandle::seated(Arc::clone(&self.keeper), seat))
    }
}
