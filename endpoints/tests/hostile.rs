//! Peers that do not keep to the rules, against a cloud and a data path in this process.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "what goes wrong here fails the test"
)]

#[path = "support/in_process.rs"]
mod in_process;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use in_process::{anybody, local, start};

use bytes::Bytes;
use tensorwire_codec::{ClipRange, Coder, Format, Map, Quantiser, Shape};
use tensorwire_endpoints::clock::Clock;
use tensorwire_endpoints::cloud::{Answer, CloudNotice, Opener, TensorHandler};
use tensorwire_endpoints::control::Refuse;
use tensorwire_endpoints::datapath::DataPath;
use tensorwire_endpoints::digest::Digest;
use tensorwire_endpoints::edge::{
    Captured, Computed, Edge, Encoded, FrameSource, Outcome, Pace, Protection, Route,
};
use tensorwire_endpoints::quic;
use tensorwire_endpoints::stream::StreamDescription;
use tensorwire_protocol::wire::{ConnectionId, ResultStatus};
use tensorwire_protocol::{Config, ReceivedTensor, Session, Slices, Time};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(60);

fn stream() -> StreamDescription {
    let shape = Shape::new(4, 8, 8).unwrap();
    let quantiser = Quantiser::new(ClipRange::new(-1.0, 1.0).unwrap(), 256).unwrap();
    let map = Map::ChannelRows { rows: 8 };
    let format = Format::new(shape, quantiser, map, Coder::Raw).unwrap();
    let mut stream = StreamDescription::new(&format, "split", Digest::of("model"), None).unwrap();
    // Nothing is lost here, and how busy the machine is must not matter.
    stream.deadline_ms = 30_000;
    stream
}

/// Answers every tensor with the number of slices that arrived; panics at an empty first slice.
struct Counting;

impl Opener for Counting {
    fn open(&self, _stream: &StreamDescription) -> Result<Box<dyn TensorHandler>, Refuse> {
        Ok(Box::new(Self))
    }
}

impl TensorHandler for Counting {
    fn handle(&mut self, tensor: &ReceivedTensor) -> Answer {
        assert_ne!(tensor.slice(0), Some(&[][..]), "a handler that fails");
        let payload = Bytes::from(vec![tensor.info().slices_received as u8]);
        Answer {
            status: ResultStatus::Done,
            payload,
        }
    }
}

/// Frames whose first slice is `first` bytes long.
struct Frames {
    first: usize,
}

impl FrameSource for Frames {
    fn capture(self: Arc<Self>, number: u64) -> anyhow::Result<Option<Captured>> {
        if number >= 5 {
            return Ok(None);
        }
        Ok(Some(Captured::new(number.to_string(), None, move || {
            Ok(Computed::new(move |_| {
                let first = self.first as u32;
                let bytes = Bytes::from(vec![7; self.first + 3 * 64]);
                let slices = Slices::new(bytes, (0..4).map(|i| first + 64 * i).collect())?;
                Ok(Encoded::from(slices))
            }))
        })))
    }
}

async fn next(notices: &mut mpsc::Receiver<CloudNotice>) -> CloudNotice {
    tokio::time::timeout(PATIENCE, notices.recv())
        .await
        .expect("a notice")
        .expect("a cloud")
}

async fn answers(cloud: SocketAddr, first: usize) -> (usize, anyhow::Result<()>) {
    let (route, protection) = (Route::default(), Protection::default());
    let mut edge = Edge::connect(
        cloud,
        &anybody(),
        route,
        stream(),
        protection,
        Clock::start(),
    )
    .await
    .unwrap();
    let pace = Pace {
        interval: Duration::ZERO,
        in_flight: 1,
    };
    let mut answered = 0;
    let streamed = edge
        .stream(
            Arc::new(Frames { first }),
            pace,
            std::future::pending(),
            |outcome| {
                answered += usize::from(matches!(outcome, Outcome::Answered { .. }));
            },
        )
        .await;
    edge.close().await;
    (answered, streamed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_and_oversized_messages_get_no_session_and_harm_no_other() {
    let (cloud, mut notices, _stop) = start(Counting).await;
    let client = quic::client(local(), quic::Tuning::default(), &anybody()).unwrap();
    // [0, {0: 98, 1: 99}]
    let long_version = [0x82, 0x00, 0xA2, 0x00, 0x18, 0x62, 0x01, 0x18, 0x63];
    let cases: [(&[u8], &str); 4] = [
        (b"\x00\x05hello", "does not decode"),
        (b"\xFF\xFFtoo long", "at most"),
        (b"\x00\x00", "does not decode"),
        (
            &[&[0, long_version.len() as u8][..], &long_version].concat(),
            "version 98 to 99",
        ),
    ];
    for (bytes, expected) in cases {
        let (connection, _) = quic::connect(&client, cloud, &anybody()).await.unwrap();
        let (mut send, _receive) = connection.open_bi().await.unwrap();
        send.write_all(bytes).await.unwrap();
        send.finish().unwrap();
        let CloudNotice::Refused { reason, .. } = next(&mut notices).await else {
            panic!("a session for {bytes:?}");
        };
        assert!(reason.contains(expected), "{reason}");
    }
    let (answered, streamed) = answers(cloud, 64).await;
    assert!(streamed.is_ok());
    assert_eq!(answered, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_panics_ends_its_session_only() {
    let (cloud, mut notices, _stop) = start(Counting).await;
    let (answered, streamed) = answers(cloud, 0).await;
    assert_eq!(answered, 0);
    assert!(
        streamed
            .unwrap_err()
            .to_string()
            .contains("the cloud went away")
    );
    assert!(matches!(
        next(&mut notices).await,
        CloudNotice::Opened { .. }
    ));
    let CloudNotice::Closed { reason, .. } = next(&mut notices).await else {
        panic!("still open")
    };
    assert!(
        reason.contains("what answers its tensors failed"),
        "{reason}"
    );
    assert_eq!(answers(cloud, 64).await.0, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_valid_datagram_decides_where_a_session_sends() {
    let path = DataPath::bind(local(), Clock::start()).await.unwrap();
    let (events, _inbox) = mpsc::channel(8);
    let session = path.open(Config::new(4), None, events).await.unwrap();
    let mut config = Config::new(4);
    config.remote_connection = session.connection();
    session.attach(ConnectionId::new(77), None).await.unwrap();
    config.local_connection = ConnectionId::new(77);
    let mut peer = Session::new(config, Time::ZERO).unwrap();

    let first = UdpSocket::bind(local()).await.unwrap();
    let second = UdpSocket::bind(local()).await.unwrap();
    let (mut ping, mut buffer) = (Vec::new(), vec![0; 2_000]);
    for (from, at) in [(&first, 0), (&second, 500), (&second, 1_000)] {
        assert!(
            peer.poll_transmit(Time::from_millis(at), &mut ping)
                .is_some()
        );
        from.send_to(&ping, path.local_addr()).await.unwrap();
        let answer = tokio::time::timeout(PATIENCE, first.recv_from(&mut buffer)).await;
        assert_eq!(answer.expect("an answer").unwrap().1, path.local_addr());
    }
    assert!(
        second.try_recv_from(&mut buffer).is_err(),
        "nothing goes to the second address"
    );

    // Neither TSP nor QUIC.
    first
        .send_to(b"\x07stray", path.local_addr())
        .await
        .unwrap();
    ping.truncate(8);
    first.send_to(&ping, path.local_addr()).await.unwrap();
    let stats = loop {
        let stats = session.stats().await.unwrap();
        if stats.session.refused.length == 1 && path.strays() == 1 {
            break stats;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(stats.session.refused.total(), 1);
}
