//! A cloud, an edge and their stream in this process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tensorwire_codec::{ClipRange, Coder, Format, Map, Quantiser, Shape};
use tensorwire_endpoints::carrier::{Carrier, Carriers};
use tensorwire_endpoints::clock::Clock;
use tensorwire_endpoints::cloud::{
    Answer, Cloud, CloudConfig, CloudNotice, Opener, Policy, TensorHandler,
};
use tensorwire_endpoints::control::Refuse;
use tensorwire_endpoints::digest::Digest;
use tensorwire_endpoints::edge::{
    Captured, Computed, Connector, Edge, Encoded, FrameSource, Protection, Route,
};
use tensorwire_endpoints::identity::{CloudIdentity, EdgeIdentity, Trust};
use tensorwire_endpoints::stream::StreamDescription;
use tensorwire_protocol::wire::ResultStatus;
use tensorwire_protocol::{ReceivedTensor, Slices};
use tokio::sync::{mpsc, oneshot};

/// How long anything may take before a test fails; not a measure of speed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const MS: Duration = Duration::from_millis(1);

/// A stream of tensors of so many channels, a slice each, by the name of a split.
pub(crate) fn stream(channels: u32, split: &str) -> StreamDescription {
    shaped(Shape::new(channels, 8, 8).unwrap(), 8, split)
}

/// A stream of the largest tensors, in small slices.
pub(crate) fn large() -> StreamDescription {
    shaped(Shape::new(1_024, 64, 64).unwrap(), 2, "large")
}

fn shaped(shape: Shape, rows: u16, split: &str) -> StreamDescription {
    let quantiser = Quantiser::new(ClipRange::new(-1.0, 1.0).unwrap(), 256).unwrap();
    let map = Map::ChannelRows { rows };
    let format = Format::new(shape, quantiser, map, Coder::Raw).unwrap();
    let mut stream = StreamDescription::new(&format, split, Digest::of("model"), None).unwrap();
    // How busy the machine is must not matter.
    stream.deadline_ms = 20_000;
    stream
}

/// Answers every tensor with the name of its split, after a time.
pub(crate) struct Naming {
    pub(crate) service: Duration,
    /// Handlers that there are.
    pub(crate) open: Arc<AtomicUsize>,
}

impl Naming {
    pub(crate) fn new(service: Duration) -> Self {
        let open = Arc::default();
        Self { service, open }
    }
}

struct Named {
    split: String,
    service: Duration,
    open: Arc<AtomicUsize>,
}

impl Opener for Naming {
    fn open(&self, stream: &StreamDescription) -> Result<Box<dyn TensorHandler>, Refuse> {
        self.open.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(Named {
            split: stream.split.clone(),
            service: self.service,
            open: Arc::clone(&self.open),
        }))
    }
}

impl TensorHandler for Named {
    fn handle(&mut self, tensor: &ReceivedTensor) -> Answer {
        assert_eq!(tensor.info().missing_share(), 0.0, "nothing is lost here");
        std::thread::sleep(self.service);
        Answer {
            status: ResultStatus::Done,
            payload: Bytes::from(self.split.clone()),
        }
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Frames of so many channels, until so many.
pub(crate) struct Frames {
    pub(crate) channels: u32,
    pub(crate) frames: u64,
}

impl FrameSource for Frames {
    fn capture(self: Arc<Self>, number: u64) -> anyhow::Result<Option<Captured>> {
        if number >= self.frames {
            return Ok(None);
        }
        let channels = self.channels;
        Ok(Some(Captured::new(number.to_string(), None, move || {
            Ok(Computed::new(move |_| {
                let bytes = Bytes::from(vec![7; channels as usize * 64]);
                let slices = Slices::new(bytes, (1..=channels).map(|i| 64 * i).collect())?;
                Ok(Encoded::from(slices))
            }))
        })))
    }
}

/// A cloud at work: where, what it tells, and what ends it when used or dropped.
pub(crate) struct Serving {
    pub(crate) address: SocketAddr,
    pub(crate) notices: mpsc::Receiver<CloudNotice>,
    pub(crate) stop: Option<oneshot::Sender<()>>,
    pub(crate) task: tokio::task::JoinHandle<()>,
}

/// The policy of a cloud that takes unprotected streams: those over TCP, and of edges written by hand.
pub(crate) fn laboratory() -> Policy {
    Policy::default().with_plain()
}

pub(crate) async fn serve<O: Opener>(opener: O, policy: Policy, sessions: usize) -> Serving {
    let config = CloudConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        carriers: Carriers::ALL,
        gso: false,
        sessions,
    };
    let identity = CloudIdentity::for_this_run().unwrap();
    let cloud = Cloud::bind(config, identity, Clock::start()).await.unwrap();
    let cloud = cloud.with_policy(policy);
    let address = cloud.local_addr();
    let (sender, notices) = Cloud::notices();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(cloud.serve(Arc::new(opener), sender, async {
        let _ = stopped.await;
    }));
    Serving {
        address,
        notices,
        stop: Some(stop),
        task,
    }
}

impl Serving {
    pub(crate) fn end(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// The next notice.
    pub(crate) async fn notice(&mut self) -> CloudNotice {
        let notice = tokio::time::timeout(PATIENCE, self.notices.recv()).await;
        notice.expect("a notice").expect("a cloud")
    }

    /// Why the next session that ends does, or the next edge gets none.
    pub(crate) async fn reason(&mut self) -> String {
        loop {
            match self.notice().await {
                CloudNotice::Refused { reason, .. } | CloudNotice::Closed { reason, .. } => {
                    return reason;
                }
                _ => {}
            }
        }
    }
}

pub(crate) fn anybody() -> EdgeIdentity {
    EdgeIdentity::new(Trust::Any)
}

pub(crate) fn connector(
    cloud: SocketAddr,
    carrier: Carrier,
    stream: StreamDescription,
) -> Connector {
    let route = Route {
        carrier,
        ..Route::default()
    };
    let (protection, clock) = (Protection::default(), Clock::start());
    Connector::new(vec![cloud], anybody(), route, stream, protection, clock)
}

pub(crate) async fn connect(cloud: SocketAddr, stream: StreamDescription) -> anyhow::Result<Edge> {
    connector(cloud, Carrier::Udp, stream).connect(None).await
}
