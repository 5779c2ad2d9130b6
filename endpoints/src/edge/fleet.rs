//! Many sessions of one process through one port, for whoever wants to load a cloud.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use tensorwire_protocol::Event;
use tokio::sync::mpsc;

use super::Protection;
use super::route::{Control, Opening, Route};
use crate::clock::Clock;
use crate::control::Close;
use crate::control::channel::write;
use crate::datapath::{DataPath, SessionHandle};
use crate::identity::EdgeIdentity;
use crate::quic;
use crate::stream::StreamDescription;

/// Events of a session that may wait: its answers come one a tensor.
const EVENTS: usize = 64;

/// A port, and what the sessions on it share. Datagrams of TSP are what carries their tensors.
#[derive(Debug)]
pub struct Fleet {
    path: DataPath,
    endpoint: quinn::Endpoint,
    cloud: SocketAddr,
    identity: EdgeIdentity,
    route: Route,
}

/// A session of a fleet. It ends when this is dropped, and in good order by [`close`](Self::close).
#[derive(Debug)]
pub struct Member {
    /// The session.
    pub session: SessionHandle,
    /// What happens on it; none once somebody has taken it.
    pub events: Option<mpsc::Receiver<Event>>,
    connection: quinn::Connection,
    control: Control,
}

impl Fleet {
    /// Binds a port from which sessions with the cloud at `cloud` can be opened; with `gso`, datagrams that
    /// are due at once leave in one system call.
    ///
    /// # Errors
    /// If no port can be bound.
    pub async fn bind(
        cloud: SocketAddr,
        identity: EdgeIdentity,
        gso: bool,
        clock: Clock,
    ) -> Result<Self> {
        let any: SocketAddr = match cloud {
            SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
            SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
        };
        let route = Route {
            gso,
            ..Route::default()
        };
        let path = DataPath::bind_with(any, clock, gso).await;
        let path = path.context("cannot open a UDP socket")?;
        let socket = path.quic_socket().context("a data path without socket")?;
        let endpoint = quic::client_on(socket, route.tuning(), &identity)?;
        Ok(Self {
            path,
            endpoint,
            cloud,
            identity,
            route,
        })
    }

    /// The data path, whose counters outlive the sessions.
    #[must_use]
    pub const fn path(&self) -> &DataPath {
        &self.path
    }

    /// Opens a session, on a control connection of its own as an edge would.
    ///
    /// # Errors
    /// If the cloud does not answer, is not the right one, or refuses.
    pub async fn open(&self, stream: StreamDescription, protection: Protection) -> Result<Member> {
        let mut config = stream.config().context("the stream cannot be")?;
        config.redundancy = protection.redundancy;
        config.importance = protection.importance;
        config.rate = protection.rate;
        config.ecn = protection.ecn;
        let (connection, _) = quic::connect(&self.endpoint, self.cloud, &self.identity).await?;
        let (sender, events) = mpsc::channel(EVENTS);
        let opening = Opening {
            route: self.route,
            connection: &connection,
            path: Some(self.path.clone()),
            token: self.identity.token(),
            local: self.path.local_addr(),
            stream,
            config,
            events: sender,
            clock: self.path.clock(),
            recorder: None,
        };
        let (session, control) = opening.open().await?;
        Ok(Member {
            session,
            events: Some(events),
            connection,
            control,
        })
    }
}

impl Member {
    /// Ends the session in good order.
    pub async fn close(mut self) {
        self.session.close().await;
        // The cloud may have gone first.
        let _ = write(&mut self.control.0, &Close::done().into()).await;
        let _ = self.control.0.finish();
        let wait = tokio::time::timeout(Duration::from_secs(1), self.connection.closed());
        let _ = wait.await;
        self.connection.close(0_u32.into(), b"done");
    }
}
