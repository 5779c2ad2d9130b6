//! What it takes to get a session: where, over what, of which stream, as whom.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::sync::mpsc;

use super::answers::Answers;
use super::leg::Leg;
use super::link::{Blobs, Desk, Link, Refused};
use super::notice::{EdgeNotice, Notices};
use super::reconnect::{Backoff, Reconnect};
use super::route::Opening;
use super::{EVENTS, Edge, Protection, Route};
use crate::capture::{Recorder, Recording, Role};
use crate::carrier::{Carrier, Carriers};
use crate::clock::Clock;
use crate::control::{Capabilities, Ciphers, Feature, Features, Hello, SessionNumber, Token};
use crate::datapath::{DataPath, SessionWatch};
use crate::identity::{EdgeIdentity, TrustError, alert};
use crate::quic;
use crate::stream::StreamDescription;

/// Asks clouds for a session, first and again.
#[derive(Clone)]
pub struct Connector {
    clouds: Vec<SocketAddr>,
    identity: EdgeIdentity,
    pub(super) route: Route,
    pub(super) stream: StreamDescription,
    pub(super) protection: Protection,
    clock: Clock,
    blobs: Option<Arc<dyn Blobs>>,
    interval: Option<Duration>,
    statistics: bool,
}

/// The place of a session among those of its edge; that of the first by default.
#[derive(Debug, Default)]
pub(super) struct Succession {
    generation: u64,
    /// The session that it takes the place of, on the same connection.
    replaces: Option<SessionNumber>,
    /// The session whose knowledge of the path it begins with.
    follows: Option<SessionWatch>,
}

impl Succession {
    /// That of the session which takes the place of `leg`.
    pub(super) fn after(leg: &Leg) -> Self {
        Self {
            generation: leg.generation + 1,
            replaces: Some(leg.number),
            follows: Some(leg.session.watch()),
        }
    }
}

/// The sockets of an edge.
#[derive(Clone, Debug)]
pub(super) struct Base {
    pub(super) endpoint: quinn::Endpoint,
    /// Where TSP runs, if it does.
    pub(super) path: Option<DataPath>,
    links: Arc<AtomicU64>,
}

impl Base {
    /// The sockets to reach `cloud`.
    pub(super) async fn bind(
        cloud: SocketAddr,
        route: Route,
        identity: &EdgeIdentity,
        clock: Clock,
        recorder: Option<&Recorder>,
    ) -> Result<Self> {
        let any: SocketAddr = match cloud {
            SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
            SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
        };
        let path = match route.carrier {
            Carrier::Udp => {
                let path = DataPath::bind_with(any, clock, route.gso).await;
                Some(path.context("cannot open a UDP socket")?)
            }
            Carrier::QuicDatagram => Some(DataPath::without_socket(clock)),
            Carrier::QuicStream | Carrier::Tcp => None,
        };
        // QUIC and TSP share a port.
        let endpoint = match path.as_ref().and_then(DataPath::quic_socket) {
            Some(socket) => quic::client_on(socket, route.tuning(), identity)?,
            None => quic::client(any, route.tuning(), identity)?,
        };
        if let (Some(recorder), Some(path)) = (recorder, &path) {
            path.record(recorder.tap(Role::Edge, endpoint.local_addr()?));
        }
        Ok(Self {
            endpoint,
            path,
            links: Arc::default(),
        })
    }
}

impl Connector {
    /// Asks the first of `clouds` that answers for a session of `stream`, if it is the right one by
    /// `identity`.
    #[must_use]
    pub const fn new(
        clouds: Vec<SocketAddr>,
        identity: EdgeIdentity,
        route: Route,
        stream: StreamDescription,
        protection: Protection,
        clock: Clock,
    ) -> Self {
        Self {
            clouds,
            identity,
            route,
            stream,
            protection,
            clock,
            blobs: None,
            interval: None,
            statistics: false,
        }
    }

    /// Asks these clouds as well, where those before do not answer.
    #[must_use]
    pub fn or(mut self, clouds: Vec<SocketAddr>) -> Self {
        self.clouds.extend(clouds);
        self
    }

    /// Sends clouds what they lack.
    #[must_use]
    pub fn with_blobs(mut self, blobs: Arc<dyn Blobs>) -> Self {
        self.blobs = Some(blobs);
        self
    }

    /// Tells clouds how often frames come, so that one that could not compute them says so at once.
    #[must_use]
    pub const fn with_interval(mut self, interval: Duration) -> Self {
        self.interval = Some(interval);
        self
    }

    /// Has clouds tell how they fare ([`EdgeNotice::Statistics`]).
    #[must_use]
    pub const fn with_statistics(mut self) -> Self {
        self.statistics = true;
        self
    }

    /// Connects, with the datagrams in a capture, if there is one: of a carrier that has datagrams.
    ///
    /// # Errors
    /// If nobody answers, or it is not the right cloud (a [`TrustError`]), or the cloud refuses: the message
    /// says why.
    pub async fn connect(self, recorder: Option<&Recorder>) -> Result<Edge> {
        // Before anything is sent, or a socket opened.
        self.stream.config().context("the stream cannot be")?;
        let recording = recorder.map_or(Recording::Off, Recorder::recording);
        self.route.validate(recording)?;
        let mut failed = anyhow::anyhow!("the name has no address");
        for cloud in self.clouds.clone() {
            let (route, identity) = (self.route, &self.identity);
            let base = Base::bind(cloud, route, identity, self.clock, recorder).await?;
            match self.get(&base, cloud).await {
                Ok((link, leg)) => return Ok(Edge::new(self, base, link, leg)),
                Err(error) => {
                    base.endpoint.wait_idle().await;
                    if is_about_identity(&error) {
                        // Another address of the name would be no answer to that.
                        return Err(error);
                    }
                    failed = error;
                }
            }
        }
        Err(failed)
    }

    /// A connection to `cloud`.
    async fn link(&self, base: &Base, cloud: SocketAddr) -> Result<Link> {
        let (connection, verified) = quic::connect(&base.endpoint, cloud, &self.identity).await?;
        let features = [
            self.blobs.is_some().then_some(Feature::Upload),
            self.statistics.then_some(Feature::Statistics),
            Some(Feature::Drain),
        ];
        let features: Features = features.into_iter().flatten().collect();
        let ciphers = if self.route.plain {
            Ciphers::ALL
        } else {
            Ciphers::PROTECTED
        };
        let capabilities = Capabilities::new(Carriers::ALL.bits(), ciphers, features);
        let token = self.identity.token();
        let token = (!token.is_empty()).then(|| Token::new(token.to_vec()));
        let hello = Hello::new(capabilities).with_token(token.flatten());
        let id = base.links.fetch_add(1, Ordering::Relaxed);
        let blobs = self.blobs.clone();
        let greeted = Link::greet(id, (connection.clone(), verified), hello, blobs).await;
        greeted.map_err(|error| given_up(&connection, error))
    }

    /// A connection to `cloud`, and the first session on it.
    pub(super) async fn get(&self, base: &Base, cloud: SocketAddr) -> Result<(Link, Leg)> {
        self.get_after(base, cloud, Succession::default()).await
    }

    async fn get_after(
        &self,
        base: &Base,
        cloud: SocketAddr,
        succession: Succession,
    ) -> Result<(Link, Leg)> {
        let link = self.link(base, cloud).await?;
        match self.open(base, (link.id, &link.desk), succession).await {
            Ok(leg) => Ok((link, leg)),
            Err(error) => Err(given_up(&link.desk.connection, error)),
        }
    }

    /// A session on a connection.
    async fn open(
        &self,
        base: &Base,
        (link, desk): (u64, &Desk),
        succession: Succession,
    ) -> Result<Leg> {
        let Succession {
            generation,
            replaces,
            follows,
        } = succession;
        let mut config = self.stream.config().context("the stream cannot be")?;
        config.redundancy = self.protection.redundancy.clone();
        config.importance = self.protection.importance.clone();
        config.rate = self.protection.rate;
        config.ecn = self.protection.ecn;
        let deadline = config.deadline;
        let (sender, events) = mpsc::channel(EVENTS);
        let opening = Opening {
            route: self.route,
            desk,
            path: base.path.as_ref(),
            stream: self.stream.clone(),
            config,
            events: sender,
            clock: self.clock,
            interval: self.interval,
            replaces,
            follows,
        };
        let (number, session) = opening.open().await?;
        Ok(Leg {
            session,
            events,
            answers: Answers::new(self.clock, deadline),
            deadline,
            generation,
            link,
            number,
            drained: false,
            until: None,
        })
    }

    /// The same for another stream.
    pub(super) fn changed(&self, stream: StreamDescription, protection: Protection) -> Self {
        Self {
            stream,
            protection,
            ..self.clone()
        }
    }

    /// The session of a changed stream, beside the one that it succeeds on this connection; with a
    /// connection of its own where its carrier needs one.
    pub(super) async fn change(
        self,
        base: Base,
        (link, cloud, desk): (u64, SocketAddr, Arc<Desk>),
        mut succession: Succession,
    ) -> Result<(Option<Link>, Leg)> {
        if self.route.carrier.is_quic() {
            succession.replaces = None;
            let (link, leg) = self.get_after(&base, cloud, succession).await?;
            return Ok((Some(link), leg));
        }
        let opened = self.open(&base, (link, &desk), succession);
        Ok((None, opened.await?))
    }

    /// A session again after `away` without one, with any of the clouds, but with `avoid` last.
    pub(super) async fn back(
        self,
        base: Base,
        (generation, avoid): (u64, Option<SocketAddr>),
        reconnect: Reconnect,
        notices: Notices,
    ) -> Result<(Option<Link>, Leg)> {
        let Reconnect::For(most) = reconnect else {
            bail!("this edge does not reconnect");
        };
        let family = |cloud: &&SocketAddr| match base.endpoint.local_addr() {
            Ok(local) => local.is_ipv4() == cloud.is_ipv4(),
            Err(_) => true,
        };
        let mut clouds: Vec<SocketAddr> = self.clouds.iter().filter(family).copied().collect();
        clouds.sort_by_key(|cloud| Some(*cloud) == avoid);
        let (start, mut backoff) = (self.clock.now(), Backoff::new(most));
        let mut last = anyhow::anyhow!("there was no time to try");
        while let Some(pause) = backoff.next(self.clock.now() - start, getrandom::u32()?) {
            tokio::time::sleep(pause).await;
            for cloud in &clouds {
                match self.get(&base, *cloud).await {
                    Ok((link, mut leg)) => {
                        leg.generation = generation;
                        return Ok((Some(link), leg));
                    }
                    Err(error) => {
                        notices.tell(EdgeNotice::Retried {
                            attempts: backoff.attempts(),
                            error: format!("{error:#}"),
                        });
                        let refused = error.downcast_ref::<Refused>();
                        let refused = refused.is_some_and(|refused| !refused.0.code().may_pass());
                        if refused || is_about_identity(&error) {
                            return Err(error);
                        }
                        last = error;
                    }
                }
            }
        }
        Err(last.context(format!("no cloud came back within {most:?}")))
    }
}

/// Closes a connection on which there is no session, and says why there is none.
fn given_up(connection: &quinn::Connection, error: anyhow::Error) -> anyhow::Error {
    // A cloud looks at our certificate when the handshake is done for us.
    let closed = connection.close_reason();
    connection.close(1_u32.into(), b"no session");
    let about_us = closed.and_then(|closed| Some((alert::at_edge(&closed)?, closed)));
    match about_us {
        Some((words, closed)) => anyhow::Error::new(closed).context(words),
        None => error,
    }
}

/// Whether it is about who the two are, so that to try again would change nothing.
fn is_about_identity(error: &anyhow::Error) -> bool {
    let connection = error.downcast_ref::<quinn::ConnectionError>();
    error.is::<TrustError>() || connection.is_some_and(|error| alert::at_edge(error).is_some())
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector")
            .field("clouds", &self.clouds)
            .field("route", &self.route)
            .finish_non_exhaustive()
    }
}
