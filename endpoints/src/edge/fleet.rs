//! Many sessions of one process through one port, for whoever wants to load a cloud.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use tensorwire_protocol::Event;
use tokio::sync::mpsc;

use super::connector::{Base, Connector};
use super::link::Link;
use super::{Protection, Route};
use crate::clock::Clock;
use crate::datapath::{DataPath, SessionHandle};
use crate::identity::EdgeIdentity;
use crate::stream::StreamDescription;

/// A port, and what the sessions on it share. Datagrams of TSP are what carries their tensors.
#[derive(Debug)]
pub struct Fleet {
    connector: Connector,
    base: Base,
    path: DataPath,
    cloud: SocketAddr,
}

/// A session of a fleet. It ends when this is dropped, and in good order by [`close`](Self::close).
#[derive(Debug)]
pub struct Member {
    /// The session.
    pub session: SessionHandle,
    /// What happens on it; none once somebody has taken it.
    pub events: Option<mpsc::Receiver<Event>>,
    link: Link,
}

impl Fleet {
    /// Binds a port from which sessions of `stream` with the cloud at `cloud` can be opened, protected
    /// unless `plain`; with `gso`, datagrams that are due at once leave in one system call.
    ///
    /// # Errors
    /// If no port can be bound.
    pub async fn bind(
        cloud: SocketAddr,
        identity: EdgeIdentity,
        (stream, protection): (StreamDescription, Protection),
        (gso, plain): (bool, bool),
        clock: Clock,
    ) -> Result<Self> {
        let route = Route {
            gso,
            plain,
            ..Route::default()
        };
        let clouds = vec![cloud];
        let base = Base::bind(cloud, route, &identity, clock, None).await?;
        let connector = Connector::new(clouds, identity, route, stream, protection, clock);
        let path = base.path.clone().context("a route without datagrams")?;
        Ok(Self {
            connector,
            base,
            path,
            cloud,
        })
    }

    /// The data path, whose counters outlive the sessions.
    #[must_use]
    pub const fn path(&self) -> &DataPath {
        &self.path
    }

    /// Opens a session whose stream has this name, on a control connection of its own as an edge would.
    ///
    /// # Errors
    /// If the cloud does not answer, is not the right one, or refuses.
    pub async fn open(&self, split: String) -> Result<Member> {
        let mut stream = self.connector.stream.clone();
        stream.split = split;
        let protection = self.connector.protection.clone();
        let connector = self.connector.changed(stream, protection);
        let (link, leg) = connector.get(&self.base, self.cloud).await?;
        Ok(Member {
            session: leg.session,
            events: Some(leg.events),
            link,
        })
    }
}

impl Member {
    /// Ends the session in good order.
    pub async fn close(self) {
        self.session.close().await;
        self.link.close().await;
    }
}
