//! QUIC and TSP on one port.

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

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::Duration;

use bytes::Bytes;
use in_process::local;
use tensorwire_endpoints::clock::Clock;
use tensorwire_endpoints::datapath::{DataPath, SessionHandle};
use tensorwire_endpoints::identity::{CloudIdentity, EdgeIdentity};
use tensorwire_endpoints::quic::{self, Tuning};
use tensorwire_endpoints::relay::Relay;
use tensorwire_protocol::link::{LinkConfig, LossModel};
use tensorwire_protocol::wire::FrameNumber;
use tensorwire_protocol::{Config, Event, OutgoingTensor, Slices};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of a tensor.
const TENSOR: usize = 8 * 1_000;

async fn patiently<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("an end")
}

/// A port with QUIC on it.
struct Server {
    path: DataPath,
    endpoint: quinn::Endpoint,
}

impl Server {
    async fn start(identity: &CloudIdentity) -> Self {
        let path = DataPath::bind(local(), Clock::start()).await.unwrap();
        let socket = path.quic_socket().unwrap();
        let endpoint = quic::server(socket, Tuning::default(), identity).unwrap();
        Self { path, endpoint }
    }

    async fn accept(&self) -> quinn::Connection {
        let incoming = patiently(self.endpoint.accept()).await.unwrap();
        patiently(incoming.into_future()).await.unwrap()
    }
}

/// A connection and what it takes, from a port that shares it with TSP.
async fn connect(
    cloud: SocketAddr,
    edge: &EdgeIdentity,
) -> (DataPath, quinn::Endpoint, quinn::Connection) {
    let path = DataPath::bind(local(), Clock::start()).await.unwrap();
    let socket = path.quic_socket().unwrap();
    let endpoint = quic::client_on(socket, Tuning::default(), edge).unwrap();
    let connecting = quic::connect(&endpoint, cloud, edge);
    let (connection, _) = patiently(connecting).await.unwrap();
    (path, endpoint, connection)
}

fn identities() -> (CloudIdentity, EdgeIdentity) {
    let cloud = CloudIdentity::for_this_run().unwrap();
    let edge = EdgeIdentity::pinned(cloud.fingerprint());
    (cloud, edge)
}

fn config() -> Config {
    let mut config = Config::new(8);
    // Nothing is late here, however slow the machine is.
    config.deadline = Duration::from_secs(30);
    config.retransmission = true;
    config
}

/// Two sessions that know each other, the first at an edge whose peer is at `cloud`.
async fn sessions(
    [edge, cloud]: [&DataPath; 2],
    at: SocketAddr,
) -> (SessionHandle, SessionHandle, mpsc::Receiver<Event>) {
    let (told, _) = mpsc::channel(1_024);
    let (events, arriving) = mpsc::channel(1_024);
    let sender = edge.open(config(), None, told).await.unwrap();
    let receiver = cloud.open(config(), None, events).await.unwrap();
    receiver.attach(sender.connection(), None).await.unwrap();
    sender
        .attach(receiver.connection(), Some(at))
        .await
        .unwrap();
    (sender, receiver, arriving)
}

async fn send(session: &SessionHandle, frame: u64) {
    let ends = (1..=8).map(|slice| slice * TENSOR as u32 / 8);
    let bytes = Bytes::from(vec![frame as u8; TENSOR]);
    let tensor = OutgoingTensor {
        frame: FrameNumber(frame),
        captured: session.clock().now(),
        step: 0,
        slices: Slices::new(bytes, ends.collect()).unwrap(),
    };
    session.send_tensor(tensor).await.unwrap().unwrap();
}

/// Takes tensors until so many have come; each is whole.
async fn take(arriving: &mut mpsc::Receiver<Event>, count: u64) {
    let mut taken = 0;
    while taken < count {
        if let Event::Tensor(tensor) = patiently(arriving.recv()).await.expect("a session") {
            let frame = tensor.info().frame.0 as u8;
            for slice in 0..8 {
                assert_eq!(tensor.slice(slice), Some(&[frame; TENSOR / 8][..]));
            }
            taken += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_and_a_session_share_a_pair_of_sockets() {
    const TENSORS: u64 = 50;
    const STREAM: usize = 3_000_000;
    let (cloud, edge) = identities();
    let server = Server::start(&cloud).await;
    let accepted = async {
        let connection = server.accept().await;
        // Within what an edge may open before it is granted a session.
        let (mut send, mut receive) = patiently(connection.accept_bi()).await.unwrap();
        let bytes = patiently(receive.read_to_end(STREAM)).await.unwrap();
        send.write_all(&bytes[..10]).await.unwrap();
        send.finish().unwrap();
        patiently(connection.closed()).await;
        bytes
    };
    let streaming = async {
        let (path, endpoint, connection) = connect(server.path.local_addr(), &edge).await;
        let peer = connection.remote_address();
        assert_eq!(peer, server.path.local_addr());
        let (sender, _receiver, mut arriving) = sessions([&path, &server.path], peer).await;
        let (mut quic, mut answer) = connection.open_bi().await.unwrap();
        let bytes: Vec<u8> = (0..STREAM).map(|i| (i ^ i >> 8 ^ i >> 16) as u8).collect();
        let writing = async {
            quic.write_all(&bytes).await.unwrap();
            quic.finish().unwrap();
            patiently(answer.read_to_end(10)).await.unwrap()
        };
        let tensors = async {
            for frame in 0..TENSORS {
                send(&sender, frame).await;
                take(&mut arriving, 1).await;
            }
        };
        let (answered, ()) = tokio::join!(writing, tensors);
        assert_eq!(answered, bytes[..10]);
        let stats = sender.stats().await.unwrap();
        assert_eq!(stats.session.refused.total(), 0);
        connection.close(0_u32.into(), b"done");
        patiently(endpoint.wait_idle()).await;
        (bytes, path.port_stats())
    };
    let (arrived, (sent, stats)) = tokio::join!(accepted, streaming);
    assert!(arrived == sent, "a byte of the stream was lost");
    assert!(stats.quic > 0 && stats.strays == 0, "{stats:?}");
    let stats = server.path.port_stats();
    assert!(stats.quic >= (STREAM / 1_500) as u64, "{stats:?}");
    assert_eq!((stats.strays, server.path.strays()), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_and_sessions_get_through_a_link_that_loses_a_tenth() {
    let (cloud, edge) = identities();
    let server = Server::start(&cloud).await;
    for seed in 1..=8 {
        let lossy = LinkConfig {
            loss: LossModel::independent(0.1).unwrap(),
            delay: Duration::from_millis(2),
            seed,
            ..LinkConfig::default()
        };
        let back = LinkConfig {
            seed: seed + 100,
            ..lossy.clone()
        };
        let clock = Clock::start();
        let relay = Relay::bind(local(), server.path.local_addr(), lossy, back, clock);
        let relay = relay.await.unwrap();
        let (through, counted) = (relay.local_addr().unwrap(), relay.stats());
        let relay = tokio::spawn(relay.run());
        // Losses can make an edge begin its handshake anew.
        let accepting = async {
            loop {
                let incoming = server.endpoint.accept().await.unwrap();
                if let Ok(connection) = incoming.await {
                    break connection;
                }
            }
        };
        let (accepted, (path, _endpoint, connection)) =
            tokio::join!(patiently(accepting), connect(through, &edge));
        let (sender, _receiver, mut arriving) = sessions([&path, &server.path], through).await;
        for frame in 0..5 {
            send(&sender, frame).await;
            take(&mut arriving, 1).await;
        }
        connection.close(0_u32.into(), b"done");
        drop(accepted);
        let stats = *counted.lock().unwrap();
        assert!(stats.up.quic.delivered > 0 && stats.down.quic.delivered > 0);
        assert!(stats.up.tsp.delivered >= 5 * 7, "{stats:?}");
        relay.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_false_packets_is_counted_and_ends_nothing() {
    const FLOOD: u64 = 30_000;
    let (cloud, edge) = identities();
    let server = Server::start(&cloud).await;
    let at = server.path.local_addr();
    let (accepted, (path, _endpoint, connection)) =
        tokio::join!(server.accept(), connect(at, &edge));
    let (sender, _receiver, mut arriving) = sessions([&path, &server.path], at).await;
    let flood = std::thread::spawn(move || {
        let socket = std::net::UdpSocket::bind(local()).unwrap();
        let mut datagram = [0xA5; 1_200];
        let mut sent = 0;
        while sent < FLOOD {
            // Initial packets of version 1 with 8-byte connection IDs, short headers, neither, TSP.
            datagram[..6].copy_from_slice(&[0xC0, 0, 0, 0, 1, 8]);
            datagram[0] = [0xC0, 0x40, 0x00, 0x90][sent as usize % 4];
            datagram[6..14].copy_from_slice(&sent.to_be_bytes());
            datagram[14] = 0;
            datagram[15] = 0;
            sent += u64::from(socket.send_to(&datagram, at).is_ok());
        }
    });
    for frame in 0..30 {
        send(&sender, frame).await;
        take(&mut arriving, 1).await;
    }
    tokio::task::spawn_blocking(move || flood.join().unwrap())
        .await
        .unwrap();
    send(&sender, 30).await;
    take(&mut arriving, 1).await;
    assert!(connection.close_reason().is_none(), "it lives");
    let (mut quic, _) = connection.open_bi().await.unwrap();
    quic.write_all(b"still here").await.unwrap();
    let (_, mut receive) = patiently(accepted.accept_bi()).await.unwrap();
    let mut said = [0; 10];
    patiently(receive.read_exact(&mut said)).await.unwrap();
    assert_eq!(&said, b"still here");
    let stats = server.path.port_stats();
    assert!(stats.strays > 0 && stats.quic > 0, "{stats:?}");
    assert!(server.path.strays() > stats.strays, "TSP of no session");
}

/// A link for one edge. Which cloud it leads to can be chosen anew, and which address the edge has there.
#[derive(Default)]
struct Switch {
    cloud: AtomicU16,
    second_address: AtomicBool,
}

impl Switch {
    async fn start(to: SocketAddr) -> (SocketAddr, Arc<Self>) {
        let [front, back, second] = [
            UdpSocket::bind(local()).await.unwrap(),
            UdpSocket::bind(local()).await.unwrap(),
            UdpSocket::bind(local()).await.unwrap(),
        ];
        let at = front.local_addr().unwrap();
        let switch = Arc::new(Self::default());
        switch.lead_to(to);
        let this = Arc::clone(&switch);
        tokio::spawn(async move {
            let (mut upward, mut downward, mut downward_too) = ([0; 2_000], [0; 2_000], [0; 2_000]);
            let mut edge = None;
            loop {
                let cloud = SocketAddr::from(([127, 0, 0, 1], this.cloud.load(Ordering::Relaxed)));
                let rebound = this.second_address.load(Ordering::Relaxed);
                let (len, from) = tokio::select! {
                    Ok((len, from)) = front.recv_from(&mut upward) => {
                        edge = Some(from);
                        let back = if rebound { &second } else { &back };
                        let _ = back.send_to(&upward[..len], cloud).await;
                        continue;
                    }
                    Ok(arrived) = back.recv_from(&mut downward), if !rebound => arrived,
                    Ok((len, from)) = second.recv_from(&mut downward_too) => {
                        downward[..len].copy_from_slice(&downward_too[..len]);
                        (len, from)
                    }
                };
                // What comes from a cloud that is not chosen does not come.
                if let Some(edge) = edge
                    && from == cloud
                {
                    let _ = front.send_to(&downward[..len], edge).await;
                }
            }
        });
        (at, switch)
    }

    fn lead_to(&self, cloud: SocketAddr) {
        self.cloud.store(cloud.port(), Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_survives_a_new_address_of_its_edge() {
    let (cloud, edge) = identities();
    let server = Server::start(&cloud).await;
    let (through, switch) = Switch::start(server.path.local_addr()).await;
    let (accepted, (_path, _endpoint, connection)) =
        tokio::join!(server.accept(), connect(through, &edge));
    let before = accepted.remote_address();
    switch.second_address.store(true, Ordering::Relaxed);
    let (mut send, mut heard) = connection.open_bi().await.unwrap();
    send.write_all(b"from elsewhere").await.unwrap();
    let (mut answer, mut receive) = patiently(accepted.accept_bi()).await.unwrap();
    let mut said = [0; 14];
    patiently(receive.read_exact(&mut said)).await.unwrap();
    answer.write_all(b"heard").await.unwrap();
    let mut said = [0; 5];
    patiently(heard.read_exact(&mut said)).await.unwrap();
    assert_eq!(&said, b"heard");
    patiently(async {
        while accepted.remote_address() == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let idle = tokio::time::timeout(2 * quic::IDLE, accepted.closed()).await;
    assert!(idle.is_err(), "{idle:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_dies_is_noticed_within_two_seconds_of_its_last_packet() {
    assert!(quic::KEEP_ALIVE + quic::IDLE <= Duration::from_millis(1_800));
    let (cloud, edge) = identities();
    let server = Server::start(&cloud).await;
    let nobody = UdpSocket::bind(local()).await.unwrap();
    let (through, switch) = Switch::start(server.path.local_addr()).await;
    let (accepted, (_path, _endpoint, connection)) =
        tokio::join!(server.accept(), connect(through, &edge));
    // Silence alone ends nothing.
    let idle = tokio::time::timeout(2 * quic::IDLE, connection.closed()).await;
    assert!(idle.is_err(), "{idle:?}");
    switch.lead_to(nobody.local_addr().unwrap());
    for end in [
        patiently(connection.closed()).await,
        patiently(accepted.closed()).await,
    ] {
        assert_eq!(end, quinn::ConnectionError::TimedOut);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cloud_that_was_started_again_tells_its_edges_so() {
    let (cloud, edge) = identities();
    let before = Server::start(&cloud).await;
    let (through, switch) = Switch::start(before.path.local_addr()).await;
    let (_accepted, (_path, _endpoint, connection)) =
        tokio::join!(before.accept(), connect(through, &edge));
    let after = Server::start(&cloud).await;
    switch.lead_to(after.path.local_addr());
    let end = patiently(connection.closed()).await;
    assert_eq!(end, quinn::ConnectionError::Reset);

    // Another cloud cannot say so.
    let (other, _) = identities();
    let (through, switch) = Switch::start(before.path.local_addr()).await;
    let (_accepted, (_path, _endpoint, connection)) =
        tokio::join!(before.accept(), connect(through, &edge));
    let other = Server::start(&other).await;
    switch.lead_to(other.path.local_addr());
    let end = patiently(connection.closed()).await;
    assert_eq!(end, quinn::ConnectionError::TimedOut);
}
