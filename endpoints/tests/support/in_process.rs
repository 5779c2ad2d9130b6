//! A cloud in the test's own process.

use std::net::SocketAddr;
use std::sync::Arc;

use tensorwire_endpoints::carrier::Carriers;
use tensorwire_endpoints::clock::Clock;
use tensorwire_endpoints::cloud::schedule::ScheduleConfig;
use tensorwire_endpoints::cloud::{Cloud, CloudConfig, CloudNotice, Opener};
use tokio::sync::{mpsc, oneshot};

/// Any port of this machine.
pub(crate) fn local() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// Starts a cloud that offers every carrier: its control address, what it tells, and what ends it when
/// used or dropped.
pub(crate) async fn start<O: Opener>(
    opener: O,
) -> (SocketAddr, mpsc::Receiver<CloudNotice>, oneshot::Sender<()>) {
    let config = CloudConfig {
        listen: local(),
        data: local(),
        carriers: Carriers::ALL,
        gso: false,
        sessions: 4,
        any_source: false,
        schedule: ScheduleConfig::default(),
    };
    let cloud = Cloud::bind(config, Clock::start()).await.unwrap();
    let address = cloud.local_addr().unwrap();
    let (notices, inbox) = Cloud::notices();
    let (stop, stopped) = oneshot::channel();
    tokio::spawn(cloud.serve(Arc::new(opener), notices, async {
        let _ = stopped.await;
    }));
    (address, inbox, stop)
}
