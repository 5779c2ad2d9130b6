//! Every carrier, through the real edge and cloud in this process.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "what goes wrong here fails the test"
)]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tensorwire_codec::{ClipRange, Coder, Format, Map, Quantiser, Shape};
use tensorwire_endpoints::carrier::{Carrier, Carriers, Congestion};
use tensorwire_endpoints::clock::Clock;
use tensorwire_endpoints::cloud::{
    Answer, Cloud, CloudConfig, CloudNotice, Opener, Policy, TensorHandler,
};
use tensorwire_endpoints::control::Refuse;
use tensorwire_endpoints::digest::Digest;
use tensorwire_endpoints::edge::{
    Captured, Computed, Edge, Encoded, FrameSource, Outcome, Pace, Protection, Route,
};
use tensorwire_endpoints::identity::{CloudIdentity, EdgeIdentity, Trust};
use tensorwire_endpoints::relay::Relay;
use tensorwire_endpoints::stream::StreamDescription;
use tensorwire_protocol::admission::DropReason;
use tensorwire_protocol::link::LinkConfig;
use tensorwire_protocol::wire::ResultStatus;
use tensorwire_protocol::{ReceivedTensor, ReleaseReason, Slices};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

const PATIENCE: Duration = Duration::from_secs(60);
const FRAMES: u64 = 20;
/// Bytes of a tensor: more than a packet, and more than a stream is read at a time.
const BYTES: usize = 40_000;

fn local() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

fn stream() -> StreamDescription {
    let shape = Shape::new(4, 100, 100).unwrap();
    let quantiser = Quantiser::new(ClipRange::new(-1.0, 1.0).unwrap(), 256).unwrap();
    let map = Map::ChannelRows { rows: 50 };
    let format = Format::new(shape, quantiser, map, Coder::Raw).unwrap();
    let mut stream = StreamDescription::new(&format, "split", Digest::of("model"), None).unwrap();
    // Nothing is lost here, and how busy the machine is must not matter.
    stream.deadline_ms = 30_000;
    // Not even what the buffers of a busy machine lose.
    stream.retransmission = true;
    stream
}

/// The tensor of a frame: bytes that say where they are and whose.
fn tensor(frame: u64) -> Slices {
    let bytes: Vec<u8> = (0..BYTES)
        .map(|i| (i as u8) ^ (i >> 8) as u8 ^ frame as u8)
        .collect();
    let ends = (1..=8).map(|slice| slice * BYTES as u32 / 8);
    Slices::new(Bytes::from(bytes), ends.collect()).unwrap()
}

struct Frames(u64);

impl FrameSource for Frames {
    fn capture(self: Arc<Self>, number: u64) -> anyhow::Result<Option<Captured>> {
        let encode = move |_budget| {
            Ok(Encoded {
                step: 0,
                slices: tensor(number),
            })
        };
        let compute = move || Ok(Computed::new(encode));
        Ok((number < self.0).then(|| Captured::new(number.to_string(), None, compute)))
    }
}

/// Answers with the frame's number if every slice is as it was sent.
struct Checking;

impl Opener for Checking {
    fn open(&self, _stream: &StreamDescription) -> Result<Box<dyn TensorHandler>, Refuse> {
        Ok(Box::new(Self))
    }
}

impl TensorHandler for Checking {
    fn handle(&mut self, received: &ReceivedTensor) -> Answer {
        let frame = received.info().frame.0;
        let sent = tensor(frame);
        let same = (0..8).all(|slice| received.slice(slice) == sent.get(slice));
        Answer {
            status: if same {
                ResultStatus::Done
            } else {
                ResultStatus::Undecodable
            },
            payload: Bytes::copy_from_slice(&frame.to_be_bytes()),
        }
    }
}

struct Running {
    address: SocketAddr,
    has_tcp: bool,
    notices: mpsc::Receiver<CloudNotice>,
    _stop: oneshot::Sender<()>,
}

impl Running {
    async fn start(carriers: Carriers) -> Self {
        let config = CloudConfig {
            listen: local(),
            carriers,
            gso: false,
            sessions: 4,
        };
        let identity = CloudIdentity::for_this_run().unwrap();
        let cloud = Cloud::bind(config, identity, Clock::start()).await.unwrap();
        // TCP is not encrypted.
        let cloud = cloud.with_policy(Policy::default().with_plain());
        let (address, has_tcp) = (cloud.local_addr(), cloud.has_tcp());
        let (sender, notices) = Cloud::notices();
        let (stop, stopped) = oneshot::channel();
        tokio::spawn(cloud.serve(Arc::new(Checking), sender, async {
            let _ = stopped.await;
        }));
        Self {
            address,
            has_tcp,
            notices,
            _stop: stop,
        }
    }

    async fn notice(&mut self) -> CloudNotice {
        let notice = tokio::time::timeout(PATIENCE, self.notices.recv()).await;
        notice.expect("a notice").expect("a cloud")
    }
}

async fn connect(cloud: SocketAddr, route: Route) -> anyhow::Result<Edge> {
    let anybody = EdgeIdentity::new(Trust::Any);
    let connecting = Edge::connect(
        cloud,
        &anybody,
        route,
        stream(),
        Protection::default(),
        Clock::start(),
    );
    tokio::time::timeout(PATIENCE, connecting)
        .await
        .expect("an end")
}

fn over(carrier: Carrier) -> Route {
    Route {
        carrier,
        ..Route::default()
    }
}

/// Streams all frames over `route`, and checks that all are answered.
async fn all_are_answered(route: Route) {
    let mut cloud = Running::start(Carriers::ALL).await;
    let mut edge = connect(cloud.address, route).await.unwrap();
    let pace = Pace {
        interval: Duration::ZERO,
        in_flight: 4,
    };
    let (mut answered, mut others) = (BTreeSet::new(), Vec::new());
    let streaming = edge.stream(
        Arc::new(Frames(FRAMES)),
        pace,
        std::future::pending(),
        |outcome| match outcome {
            Outcome::Answered { sent, result, .. } => {
                assert_eq!(result.status, ResultStatus::Done, "as it was sent");
                assert_eq!(result.missing_share, 0.0);
                assert_eq!(result.reason, ReleaseReason::Complete);
                assert_eq!(result.frame, sent.frame);
                assert_eq!(result.payload, sent.frame.0.to_be_bytes()[..]);
                answered.insert(sent.frame.0);
            }
            other => others.push(other),
        },
    );
    let streamed = tokio::time::timeout(PATIENCE, streaming).await;
    streamed.expect("an end").unwrap();
    assert!(others.is_empty(), "{others:?}");
    assert_eq!(answered, (0..FRAMES).collect());
    let stats = edge.stats().await.unwrap();
    assert_eq!(stats.session.tensors_sent, FRAMES);
    assert!(stats.session.bytes_sent > FRAMES * BYTES as u64);
    edge.close().await;

    let CloudNotice::Opened { carrier, .. } = cloud.notice().await else {
        panic!("no session")
    };
    assert_eq!(carrier, route.carrier);
    let CloudNotice::Closed { stats, reason, .. } = cloud.notice().await else {
        panic!("still open")
    };
    assert_eq!(reason, "the edge is done");
    let stats = stats.unwrap();
    assert_eq!(stats.session.tensors_complete, FRAMES, "{stats:?}");
    assert_eq!((stats.busy, stats.session.conflicts), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn udp_carries_tensors_and_results() {
    all_are_answered(over(Carrier::Udp)).await;
    let gso = true;
    all_are_answered(Route {
        gso,
        ..over(Carrier::Udp)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quic_datagrams_carry_tensors_and_results() {
    all_are_answered(over(Carrier::QuicDatagram)).await;
    let congestion = Some(Congestion::Bbr);
    all_are_answered(Route {
        congestion,
        ..over(Carrier::QuicDatagram)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quic_streams_carry_tensors_and_results() {
    all_are_answered(over(Carrier::QuicStream)).await;
    let congestion = Some(Congestion::Bbr);
    all_are_answered(Route {
        congestion,
        ..over(Carrier::QuicStream)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tcp_carries_tensors_and_results() {
    all_are_answered(over(Carrier::Tcp)).await;
    // Every kernel with TCP lets everybody use the one that it uses by default.
    let default = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control");
    let congestion = match default.unwrap_or_default().trim() {
        "cubic" => Some(Congestion::Cubic),
        "bbr" => Some(Congestion::Bbr),
        _ => None,
    };
    all_are_answered(Route {
        congestion,
        ..over(Carrier::Tcp)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_carrier_that_is_not_offered_is_refused_with_those_that_are() {
    let offered = [Carrier::Udp, Carrier::QuicStream];
    let mut cloud = Running::start(offered.into_iter().collect()).await;
    assert!(!cloud.has_tcp);
    for carrier in [Carrier::Tcp, Carrier::QuicDatagram] {
        let error = connect(cloud.address, over(carrier)).await.unwrap_err();
        let message = format!("{error:#}");
        assert!(message.contains("udp, quic-stream, not"), "{message}");
        assert!(message.contains(carrier.name()), "{message}");
        assert!(matches!(cloud.notice().await, CloudNotice::Refused { .. }));
    }
    connect(cloud.address, over(Carrier::QuicStream))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_that_its_carrier_cannot_take_is_refused_at_once() {
    let nobody = ([127, 0, 0, 1], 1).into();
    let udp = over(Carrier::Udp);
    let congestion = Some(Congestion::Bbr);
    let route = Route { congestion, ..udp };
    let error = connect(nobody, route).await.unwrap_err().to_string();
    assert!(error.contains("a rate control of its own"), "{error}");
}

/// 40 kB take four seconds on this path, and the deadline is two.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_late_leaves_the_slices_that_arrived_whole() {
    let mut cloud = Running::start(Carriers::ALL).await;
    let slow = LinkConfig {
        rate: Some(80_000),
        ..LinkConfig::default()
    };
    let back = LinkConfig::default();
    let clock = Clock::start();
    let relay = Relay::bind(local(), cloud.address, slow, back, clock).await;
    let relay = relay.unwrap();
    let through = relay.local_addr().unwrap();
    tokio::spawn(relay.run());
    let mut stream = stream();
    stream.deadline_ms = 2_000;
    let route = over(Carrier::QuicStream);
    let anybody = EdgeIdentity::new(Trust::Any);
    let edge = Edge::connect(
        through,
        &anybody,
        route,
        stream,
        Protection::default(),
        clock,
    );
    let mut edge = edge.await.unwrap();
    let pace = Pace {
        interval: Duration::ZERO,
        in_flight: 1,
    };
    let mut shares = Vec::new();
    let streaming = edge.stream(
        Arc::new(Frames(1)),
        pace,
        std::future::pending(),
        |outcome| {
            let Outcome::Answered { result, .. } = outcome else {
                panic!("{outcome:?}")
            };
            assert_eq!(result.reason, ReleaseReason::Deadline);
            shares.push(result.missing_share);
        },
    );
    let streamed = tokio::time::timeout(PATIENCE, streaming).await;
    streamed.expect("an end").unwrap();
    let [share] = shares[..] else {
        panic!("{shares:?}")
    };
    assert!(share > 0.0 && share < 1.0, "{share}");
    let stats = edge.stats().await.unwrap().session;
    assert_eq!(stats.tensors_sent, 1);
    edge.close().await;
    assert!(matches!(cloud.notice().await, CloudNotice::Opened { .. }));
    let CloudNotice::Closed { stats, .. } = cloud.notice().await else {
        panic!("still open")
    };
    let stats = stats.unwrap().session;
    assert_eq!((stats.tensors_deadline, stats.tensors_complete), (1, 0));
    assert!(stats.bytes_received < BYTES as u64, "the rest was stopped");
}

/// Another host: its UDP port leads to the cloud, but at its TCP port listens somebody else.
async fn elsewhere(cloud: SocketAddr) -> (SocketAddr, TcpListener) {
    let host = [127, 0, 0, 2];
    let (perfect, clock) = (LinkConfig::default(), Clock::start());
    let relay = Relay::bind((host, 0).into(), cloud, perfect.clone(), perfect, clock);
    let relay = relay.await.unwrap();
    let through = relay.local_addr().unwrap();
    tokio::spawn(relay.run());
    let listener = TcpListener::bind(through);
    (through, listener.await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_does_not_get_into_a_session() {
    let mut cloud = Running::start(Carriers::ALL).await;
    let tcp = cloud.address;
    // The edge's TCP gets elsewhere, so that its session waits.
    let (through, elsewhere) = elsewhere(cloud.address).await;
    let edge = connect(through, over(Carrier::Tcp)).await.unwrap();
    let CloudNotice::Opened { connection, .. } = cloud.notice().await else {
        panic!("no session")
    };
    // What the edge says where it connected instead: name, version, session, secret.
    let mut attach = [0; 41];
    let (mut socket, _) = elsewhere.accept().await.unwrap();
    socket.read_exact(&mut attach).await.unwrap();
    assert_eq!(attach[..5], *b"TWTC\x01");
    assert_eq!(attach[5..9], connection.value().to_be_bytes());

    let mut wrong = attach;
    wrong[40] ^= 1;
    let mut unknown = attach;
    unknown[8] ^= 1;
    for message in [wrong, unknown, [0; 41]] {
        let mut stranger = TcpStream::connect(tcp).await.unwrap();
        stranger.write_all(&message).await.unwrap();
        let closed = tokio::time::timeout(PATIENCE, stranger.read(&mut [0; 1])).await;
        assert!(
            matches!(closed.expect("an end"), Ok(0) | Err(_)),
            "it is closed"
        );
    }
    // Who knows the secret gets in, once.
    let mut right = TcpStream::connect(tcp).await.unwrap();
    right.write_all(&attach).await.unwrap();
    let mut ping = [0; 9];
    right.read_exact(&mut ping).await.unwrap();
    assert_eq!(ping[..5], [5, 0, 0, 0, 4], "the cloud asks for the clock");
    let mut again = TcpStream::connect(tcp).await.unwrap();
    again.write_all(&attach).await.unwrap();
    let closed = tokio::time::timeout(PATIENCE, again.read(&mut ping)).await;
    assert!(matches!(closed.expect("an end"), Ok(0) | Err(_)));

    // Bytes that are no frames end the session, and say why.
    right.write_all(&[0xFF; 16]).await.unwrap();
    let CloudNotice::Closed { reason, .. } = cloud.notice().await else {
        panic!("still open")
    };
    assert!(reason.contains("unknown kind 255"), "{reason}");
    drop(edge);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_stops_reading_makes_the_edge_refuse_and_not_grow() {
    let mut cloud = Running::start(Carriers::ALL).await;
    // Somebody who takes the connection and reads nothing.
    let (through, elsewhere) = elsewhere(cloud.address).await;
    let mut edge = connect(through, over(Carrier::Tcp)).await.unwrap();
    let _socket = elsewhere.accept().await.unwrap();
    assert!(matches!(cloud.notice().await, CloudNotice::Opened { .. }));
    let pace = Pace {
        interval: Duration::ZERO,
        in_flight: 1_024,
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let mut stop = Some(stop);
    let mut refused = 0;
    let stopped = async {
        let _ = stopped.await;
    };
    let streaming = edge.stream(Arc::new(Frames(u64::MAX)), pace, stopped, |outcome| {
        if let Outcome::Skipped { reason, .. } = outcome {
            assert_eq!(reason, DropReason::Rate.name());
            refused += 1;
            if refused == 20 {
                drop(stop.take());
            }
        }
    });
    // Unanswered tensors are waited for longer than this test likes to: it ends when enough are refused.
    let _ = tokio::time::timeout(Duration::from_secs(20), streaming).await;
    assert!(refused >= 20, "{refused}");
    let stats = edge.stats().await.unwrap().session;
    // What the kernel's buffers took, and a queue of eight.
    assert!(stats.tensors_sent < 1_000, "{}", stats.tensors_sent);
    assert_eq!(stats.frames_skipped, refused);
    let waiting =
        stats.tensors_sent * BYTES as u64 - stats.bytes_sent.min(stats.tensors_sent * BYTES as u64);
    assert!(waiting <= 9 * BYTES as u64, "{waiting}");
}
