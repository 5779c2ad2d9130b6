//! A cloud in the test's own process.

use std::net::SocketAddr;
use std::sync::Arc;

use tensorwire_endpoints::carrier::Carriers;
use tensorwire_endpoints::clock::Clock;
use tensorwire_endpoints::cloud::{Cloud, CloudConfig, CloudNotice, Opener, Policy};
use tensorwire_endpoints::identity::{CloudIdentity, EdgeIdentity, Trust};
use tokio::sync::{mpsc, oneshot};

/// Any port of this machine.
pub(crate) fn local() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// A cloud at this address that offers every carrier.
pub(crate) const fn config(listen: SocketAddr) -> CloudConfig {
    CloudConfig {
        listen,
        carriers: Carriers::ALL,
        gso: false,
        sessions: 4,
    }
}

/// An edge of a test that is not about who connects.
pub(crate) fn anybody() -> EdgeIdentity {
    EdgeIdentity::new(Trust::Any)
}

/// Starts a cloud that offers every carrier: its address, what it tells, and what ends it when
/// used or dropped.
pub(crate) async fn start<O: Opener>(
    opener: O,
) -> (SocketAddr, mpsc::Receiver<CloudNotice>, oneshot::Sender<()>) {
    start_as(opener, CloudIdentity::for_this_run().unwrap()).await
}

/// The same with a cloud that is, and lets in, whom `identity` says.
pub(crate) async fn start_as<O: Opener>(
    opener: O,
    identity: CloudIdentity,
) -> (SocketAddr, mpsc::Receiver<CloudNotice>, oneshot::Sender<()>) {
    start_under(opener, identity, Policy::default()).await
}

/// The same with a cloud that allows what `policy` says.
pub(crate) async fn start_under<O: Opener>(
    opener: O,
    identity: CloudIdentity,
    policy: Policy,
) -> (SocketAddr, mpsc::Receiver<CloudNotice>, oneshot::Sender<()>) {
    let cloud = Cloud::bind(config(local()), identity, Clock::start())
        .await
        .unwrap()
        .with_policy(policy);
    let address = cloud.local_addr();
    let (notices, inbox) = Cloud::notices();
    let (stop, stopped) = oneshot::channel();
    tokio::spawn(cloud.serve(Arc::new(opener), notices, async {
        let _ = stopped.await;
    }));
    (address, inbox, stop)
}
