//! Protected streams between an edge and a cloud, past one who reads, changes and replays what goes by,
//! and a NAT that forgets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "what goes wrong here fails the test"
)]

#[path = "support/in_process.rs"]
#[allow(
    dead_code,
    reason = "shared by several tests that do not use all of it"
)]
mod in_process;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use in_process::{anybody, local};
use tensorwire_codec::{ClipRange, Coder, Format, Map, Quantiser, Shape};
use tensorwire_endpoints::carrier::{Carrier, Carriers};
use tensorwire_endpoints::clock::Clock;
use tensorwire_endpoints::cloud::{
    Answer, Cloud, CloudConfig, CloudNotice, Opener, Policy, TensorHandler,
};
use tensorwire_endpoints::control::{Refuse, RefuseCode};
use tensorwire_endpoints::datapath::PathStats;
use tensorwire_endpoints::digest::Digest;
use tensorwire_endpoints::edge::{
    Captured, Computed, Edge, Encoded, FrameSource, Outcome, Pace, Protection, Refused, Route,
};
use tensorwire_endpoints::identity::CloudIdentity;
use tensorwire_endpoints::stream::StreamDescription;
use tensorwire_protocol::wire::{ResultStatus, is_tsp};
use tensorwire_protocol::{ReceivedTensor, Slices};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};

const PATIENCE: Duration = Duration::from_secs(90);
/// What tensors and results are full of.
const MARK: &[u8] = b"a feature";
const SLICES: usize = 8;

fn stream() -> StreamDescription {
    let shape = Shape::new(4, 100, 100).unwrap();
    let quantiser = Quantiser::new(ClipRange::new(-1.0, 1.0).unwrap(), 256).unwrap();
    let map = Map::ChannelRows { rows: 50 };
    let format = Format::new(shape, quantiser, map, Coder::Raw).unwrap();
    let mut stream = StreamDescription::new(&format, "split", Digest::of("model"), None).unwrap();
    // How busy the machine is must not matter.
    stream.deadline_ms = 30_000;
    stream.retransmission = true;
    stream
}

/// Tensors that tell their numbers, and show themselves.
struct Frames {
    count: u64,
    /// What is to happen once so many were captured.
    at: u64,
    then: Arc<AtomicBool>,
}

fn slice(frame: u64, slice: usize) -> Vec<u8> {
    let mut bytes = frame.to_be_bytes().to_vec();
    bytes.push(slice as u8);
    bytes.extend(MARK.iter().cycle().take(400));
    bytes
}

impl FrameSource for Frames {
    fn capture(self: Arc<Self>, number: u64) -> anyhow::Result<Option<Captured>> {
        if number == self.at {
            self.then.store(true, Ordering::Relaxed);
        }
        let encode = move |_budget| {
            let (mut bytes, mut ends) = (Vec::new(), Vec::new());
            for index in 0..SLICES {
                bytes.extend(slice(number, index));
                ends.push(bytes.len() as u32);
            }
            let slices = Slices::new(Bytes::from(bytes), ends)?;
            Ok(Encoded { step: 0, slices })
        };
        let compute = move || Ok(Computed::new(encode));
        Ok((number < self.count).then(|| Captured::new(number.to_string(), None, compute)))
    }
}

/// Answers with a mark and the frame's number; whatever arrived has to be what was sent.
struct Checking;

impl Opener for Checking {
    fn open(&self, _stream: &StreamDescription) -> Result<Box<dyn TensorHandler>, Refuse> {
        Ok(Box::new(Self))
    }
}

impl TensorHandler for Checking {
    fn handle(&mut self, received: &ReceivedTensor) -> Answer {
        let frame = received.info().frame.0;
        let same = received
            .slices()
            .enumerate()
            .all(|(index, found)| found.is_none_or(|found| found == slice(frame, index)));
        let status = if same {
            ResultStatus::Done
        } else {
            ResultStatus::Undecodable
        };
        let payload = [MARK, &frame.to_be_bytes()].concat();
        Answer {
            status,
            payload: Bytes::from(payload),
        }
    }
}

/// A cloud of this policy: its address, what it tells, and what ends it.
async fn cloud(policy: Policy) -> (SocketAddr, mpsc::Receiver<CloudNotice>, oneshot::Sender<()>) {
    let config = CloudConfig {
        listen: local(),
        carriers: Carriers::ALL,
        gso: false,
        sessions: 4,
    };
    let identity = CloudIdentity::for_this_run().unwrap();
    let cloud = Cloud::bind(config, identity, Clock::start()).await.unwrap();
    let cloud = cloud.with_policy(policy);
    let address = cloud.local_addr();
    let (notices, inbox) = Cloud::notices();
    let (stop, stopped) = oneshot::channel();
    tokio::spawn(cloud.serve(Arc::new(Checking), notices, async {
        let _ = stopped.await;
    }));
    (address, inbox, stop)
}

async fn connect(cloud: SocketAddr, route: Route) -> anyhow::Result<Edge> {
    let identity = anybody();
    let connecting = Edge::connect(
        cloud,
        &identity,
        route,
        stream(),
        Protection::default(),
        Clock::start(),
    );
    tokio::time::timeout(PATIENCE, connecting)
        .await
        .expect("an end")
}

/// One on the way of a single edge.
struct Relay {
    address: SocketAddr,
    /// Whether it changes and replays TSP datagrams.
    meddles: Arc<AtomicBool>,
    /// Whether the cloud sees another port from now on.
    rebinds: Arc<AtomicBool>,
    /// TSP datagrams that it saw, and those that it made.
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
    made: Arc<AtomicU64>,
}

impl Relay {
    async fn start(cloud: SocketAddr) -> Self {
        let front = UdpSocket::bind(local()).await.unwrap();
        let relay = Self {
            address: front.local_addr().unwrap(),
            meddles: Arc::default(),
            rebinds: Arc::default(),
            seen: Arc::default(),
            made: Arc::default(),
        };
        let back = UdpSocket::bind(local()).await.unwrap();
        let run = Running {
            meddles: Arc::clone(&relay.meddles),
            rebinds: Arc::clone(&relay.rebinds),
            seen: Arc::clone(&relay.seen),
            made: Arc::clone(&relay.made),
            cloud,
        };
        tokio::spawn(run.run(front, back));
        relay
    }
}

struct Running {
    meddles: Arc<AtomicBool>,
    rebinds: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
    made: Arc<AtomicU64>,
    cloud: SocketAddr,
}

impl Running {
    async fn run(self, front: UdpSocket, mut back: UdpSocket) {
        let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
        let mut edge = None;
        loop {
            if self.rebinds.swap(false, Ordering::Relaxed) {
                back = UdpSocket::bind(local()).await.unwrap();
            }
            tokio::select! {
                Ok((length, from)) = front.recv_from(&mut up) => {
                    edge = Some(from);
                    for datagram in self.goes_on(&up[..length]) {
                        let _ = back.send_to(&datagram, self.cloud).await;
                    }
                }
                Ok((length, _)) = back.recv_from(&mut down) => {
                    let Some(edge) = edge else { continue };
                    for datagram in self.goes_on(&down[..length]) {
                        let _ = front.send_to(&datagram, edge).await;
                    }
                }
                else => return,
            }
        }
    }

    /// What becomes of a datagram.
    fn goes_on(&self, datagram: &[u8]) -> Vec<Vec<u8>> {
        let mut on = vec![datagram.to_vec()];
        if !is_tsp(datagram) {
            return on;
        }
        let mut seen = self.seen.lock().unwrap();
        seen.push(datagram.to_vec());
        if self.meddles.load(Ordering::Relaxed) {
            match seen.len() % 10 {
                // Changed first, and as it was.
                3 => {
                    let mut changed = datagram.to_vec();
                    let at = 9 + seen.len() % (changed.len() - 9);
                    changed[at] ^= 0x10;
                    on.insert(0, changed);
                }
                // Once more.
                6 => on.push(datagram.to_vec()),
                // With the header of another type.
                9 => {
                    let mut changed = datagram.to_vec();
                    changed[0] ^= 0x04;
                    on.insert(0, changed);
                }
                _ => {}
            }
            self.made.fetch_add(on.len() as u64 - 1, Ordering::Relaxed);
        }
        on
    }
}

/// Streams so many frames, and counts those that were answered rightly.
async fn streamed(edge: &mut Edge, frames: Frames) -> BTreeSet<u64> {
    let pace = Pace {
        interval: Duration::from_millis(10),
        in_flight: 16,
    };
    let mut answered = BTreeSet::new();
    let never = std::future::pending();
    let streaming = edge.stream(Arc::new(frames), pace, never, |outcome| {
        if let Outcome::Answered { sent, result, .. } = outcome {
            assert_eq!(result.status, ResultStatus::Done, "as it was sent");
            let right = [MARK, &sent.frame.0.to_be_bytes()].concat();
            assert_eq!(result.payload[..], right);
            answered.insert(sent.frame.0);
        }
    });
    let ended = tokio::time::timeout(PATIENCE, streaming).await;
    ended.expect("an end").unwrap();
    answered
}

/// What the cloud says that it has counted.
async fn closed(notices: &mut mpsc::Receiver<CloudNotice>) -> PathStats {
    loop {
        let notice = tokio::time::timeout(PATIENCE, notices.recv()).await;
        if let CloudNotice::Closed { stats, .. } = notice.expect("in time").expect("a notice") {
            return *stats.expect("counts");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_on_the_way_reads_nothing_and_changes_nothing() {
    let (address, mut notices, _stop) = cloud(Policy::default()).await;
    let relay = Relay::start(address).await;
    let mut edge = connect(relay.address, Route::default()).await.unwrap();
    relay.meddles.store(true, Ordering::Relaxed);
    let frames = Frames {
        count: 60,
        at: u64::MAX,
        then: Arc::default(),
    };
    let answered = streamed(&mut edge, frames).await;
    assert!(answered.len() >= 57, "{answered:?}");
    let at_edge = edge.stats().await.unwrap().session;
    edge.close().await;
    let at_cloud = closed(&mut notices).await.session;

    let seen = relay.seen.lock().unwrap();
    assert!(seen.len() > 180, "{}", seen.len());
    let shows = |datagram: &&Vec<u8>| datagram.windows(MARK.len()).any(|bytes| bytes == MARK);
    assert_eq!(seen.iter().filter(shows).count(), 0);
    for stats in [&at_edge, &at_cloud] {
        let refused = stats.refused;
        assert!(refused.integrity > 0 && refused.replay > 0, "{refused:?}");
        assert_eq!(refused.total(), refused.integrity + refused.replay);
        assert_eq!(stats.conflicts, 0);
    }
    let made = relay.made.load(Ordering::Relaxed);
    let refused = at_edge.refused.total() + at_cloud.refused.total();
    // The last ones may have come when the session had ended.
    assert!(refused <= made && refused + 20 >= made, "{refused} {made}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_survives_the_rebinding_of_its_edge() {
    let (address, mut notices, _stop) = cloud(Policy::default()).await;
    let relay = Relay::start(address).await;
    let mut edge = connect(relay.address, Route::default()).await.unwrap();
    let frames = Frames {
        count: 120,
        at: 50,
        then: Arc::clone(&relay.rebinds),
    };
    let answered = streamed(&mut edge, frames).await;
    assert!(answered.len() >= 108, "{}", answered.len());
    assert!(answered.range(100..).count() >= 19, "{answered:?}");
    edge.close().await;
    let stats = closed(&mut notices).await.session;
    assert_eq!(stats.paths_validated, 1, "{stats:?}");
    assert_eq!(stats.refused.total(), 0, "{:?}", stats.refused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cloud_takes_protected_streams_only_unless_it_is_told_otherwise() {
    let (address, _notices, _stop) = cloud(Policy::default()).await;
    for carrier in [Carrier::Udp, Carrier::Tcp] {
        let plain = Route {
            carrier,
            plain: true,
            ..Route::default()
        };
        let error = connect(address, plain).await.unwrap_err();
        let refused = error.downcast_ref::<Refused>().expect("a refusal");
        assert_eq!(refused.0.code(), RefuseCode::Plain);
    }
    for carrier in [Carrier::Udp, Carrier::QuicDatagram, Carrier::QuicStream] {
        let route = Route {
            carrier,
            ..Route::default()
        };
        let edge = connect(address, route).await.unwrap();
        edge.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_does_without_protection_only_if_it_is_told_to() {
    let policy = Policy {
        ciphers: [tensorwire_endpoints::control::Cipher::Plain]
            .into_iter()
            .collect(),
        ..Policy::default()
    };
    let (address, _notices, _stop) = cloud(policy).await;
    let error = connect(address, Route::default()).await.unwrap_err();
    assert!(format!("{error:#}").contains("--plain"), "{error:#}");
    let plain = Route {
        plain: true,
        ..Route::default()
    };
    let mut edge = connect(address, plain).await.unwrap();
    let frames = Frames {
        count: 5,
        at: u64::MAX,
        then: Arc::default(),
    };
    assert_eq!(streamed(&mut edge, frames).await.len(), 5);
}
