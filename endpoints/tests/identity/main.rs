//! Who may connect, and to whom: each way on loopback, with the right peer and with wrong ones.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what goes wrong here fails the test"
)]

mod authority;
mod clients;
mod clouds;
#[allow(
    dead_code,
    reason = "shared by several tests that do not use all of it"
)]
#[path = "../support/in_process.rs"]
mod in_process;
mod programs;
#[allow(
    dead_code,
    reason = "shared by several tests that do not use all of it"
)]
#[path = "../support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::time::Duration;

use tensorwire_endpoints::clock::Clock;
use tensorwire_endpoints::cloud::CloudNotice;
use tensorwire_endpoints::edge::{Edge, Protection, Route};
use tensorwire_endpoints::identity::{CloudIdentity, EdgeIdentity, TrustError};
use tensorwire_endpoints::stand_in;
use tensorwire_endpoints::stand_in::handler::{Ledger, StandInOpener};
use tokio::sync::{mpsc, oneshot};

/// How long an answer may take before a test fails; not a measure of speed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A cloud that runs until it is dropped.
struct Running {
    address: SocketAddr,
    notices: mpsc::Receiver<CloudNotice>,
    _stop: oneshot::Sender<()>,
}

impl Running {
    async fn start(identity: CloudIdentity) -> Self {
        let (address, notices, stop) = in_process::start_as(opener(), identity).await;
        Self {
            address,
            notices,
            _stop: stop,
        }
    }

    /// A cloud that lets anybody in.
    async fn open() -> (Self, CloudIdentity) {
        let identity = CloudIdentity::for_this_run().unwrap();
        (Self::start(identity.clone()).await, identity)
    }

    async fn notice(&mut self) -> CloudNotice {
        let notice = tokio::time::timeout(PATIENCE, self.notices.recv()).await;
        notice.expect("in time").expect("the cloud runs")
    }

    /// What the edge of the next session is called.
    async fn opened_by(&mut self) -> Option<String> {
        match self.notice().await {
            CloudNotice::Opened { name, .. } => name,
            other => panic!("{other:?}"),
        }
    }

    /// Why the cloud refused the next edge.
    async fn refused(&mut self) -> String {
        match self.notice().await {
            CloudNotice::Refused { reason, .. } => reason,
            other => panic!("{other:?}"),
        }
    }
}

/// Answers every tensor.
fn opener() -> StandInOpener {
    StandInOpener::new(Clock::start(), Duration::ZERO, Ledger::default())
}

/// Opens a session.
async fn connect(cloud: SocketAddr, identity: &EdgeIdentity) -> anyhow::Result<Edge> {
    let stream = stand_in::describe(&stand_in::format(2_000)?)?;
    let (route, protection) = (Route::default(), Protection::default());
    let edge = Edge::connect(cloud, identity, route, stream, protection, Clock::start());
    tokio::time::timeout(PATIENCE, edge).await.expect("in time")
}

/// Why there is no session, for people.
async fn refused(cloud: SocketAddr, identity: &EdgeIdentity) -> String {
    match connect(cloud, identity).await {
        Ok(_) => panic!("there is a session"),
        Err(error) => format!("{error:#}"),
    }
}

/// Why a cloud is not the right one.
async fn mistrusted(cloud: SocketAddr, identity: &EdgeIdentity) -> TrustError {
    let error = connect(cloud, identity).await.expect_err("no session");
    let words = format!("{error:#}");
    error.downcast().unwrap_or_else(|_| panic!("{words}"))
}
