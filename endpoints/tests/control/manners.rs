//! Edges that do not keep to the protocol: they lose their connection, and harm no other.

use std::sync::Arc;
use std::time::Duration;

use tensorwire_endpoints::control::{Accept, Ask, Close, CloseCode, Message, Offer, SessionNumber};
use tensorwire_endpoints::digest::Digest;
use tensorwire_endpoints::edge::{Outcome, Pace};

use super::bench::{Frames, Naming, PATIENCE, Serving, connect, laboratory, serve, stream};
use super::raw::Raw;

async fn cloud() -> Serving {
    serve(Naming::new(Duration::ZERO), laboratory(), 8).await
}

/// An edge that keeps to it is served.
async fn serves(serving: &Serving) {
    let mut edge = connect(serving.address, stream(2, "any")).await.unwrap();
    let (mut answered, pace) = (
        0,
        Pace {
            interval: Duration::ZERO,
            in_flight: 2,
        },
    );
    let source = Arc::new(Frames {
        channels: 2,
        frames: 5,
    });
    let streaming = edge.stream(source, pace, std::future::pending(), |outcome| {
        answered += usize::from(matches!(outcome, Outcome::Answered { .. }));
    });
    tokio::time::timeout(PATIENCE, streaming)
        .await
        .expect("an end")
        .unwrap();
    assert_eq!(answered, 5);
    edge.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_message_ends_the_connection() {
    let mut serving = cloud().await;
    let cases: [(&[u8], CloseCode, &str); 3] = [
        (b"\x00\x05hello", CloseCode::Protocol, "does not decode"),
        (b"\xFF\xFF", CloseCode::Protocol, "at most"),
        (b"\x00\x00", CloseCode::Protocol, "does not decode"),
    ];
    for (bytes, code, words) in cases {
        let mut edge = Raw::greeted(serving.address).await;
        edge.send.write_all(bytes).await.unwrap();
        assert_eq!(edge.closed().await, code);
        let reason = serving.reason().await;
        assert!(reason.contains(words), "{reason}");
    }
    serves(&serving).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_out_of_order_end_the_connection() {
    let mut serving = cloud().await;
    let wishes = stream(1, "any");
    let accept = Message::from(Accept::new(SessionNumber(1), 1));
    let cases: [(Vec<Message>, &str); 3] = [
        // A message of a cloud.
        (vec![accept], "expected a message of an edge"),
        (
            vec![Close::done().of(SessionNumber(3)).into()],
            "a session that was never asked for",
        ),
        (vec![], "a number that is not above"),
    ];
    for (messages, words) in cases {
        let mut edge = Raw::greeted(serving.address).await;
        if messages.is_empty() {
            edge.open(5, &wishes).await;
            assert!(matches!(edge.next().await, Message::Accept(_)));
            edge.open(5, &wishes).await;
        }
        for message in messages {
            edge.say(message).await;
        }
        assert_eq!(edge.closed().await, CloseCode::Protocol);
        let reason = serving.reason().await;
        assert!(reason.contains(words), "{reason}");
    }
    serves(&serving).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_open_at_a_time() {
    let serving = serve(Slow, laboratory(), 4).await;
    let mut edge = Raw::greeted(serving.address).await;
    edge.open(1, &stream(1, "any")).await;
    edge.open(2, &stream(1, "any")).await;
    assert_eq!(edge.closed().await, CloseCode::Protocol);
}

/// Takes its time for every session.
struct Slow;

impl tensorwire_endpoints::cloud::Opener for Slow {
    fn open(
        &self,
        _stream: &tensorwire_endpoints::stream::StreamDescription,
    ) -> Result<
        Box<dyn tensorwire_endpoints::cloud::TensorHandler>,
        tensorwire_endpoints::control::Refuse,
    > {
        std::thread::sleep(Duration::from_millis(500));
        let code = tensorwire_endpoints::control::RefuseCode::Model;
        Err(tensorwire_endpoints::control::Refuse::new(code, "late"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_message_and_silence_end_in_time() {
    let mut serving = cloud().await;
    let mut half = Raw::greeted(serving.address).await;
    half.open(1, &stream(1, "any")).await;
    assert!(matches!(half.next().await, Message::Accept(_)));
    let drip = tokio::spawn(async move {
        // A byte a second keeps the connection alive, but not the message.
        for byte in [0, 20, 0x82, 0x0A, 0xA0, 0, 0, 0] {
            if half.send.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        half.closed().await
    });
    let silent = Raw::connected(serving.address).await;
    let idle = Raw::greeted(serving.address).await;
    assert_eq!(silent.closed().await, CloseCode::Idle);
    assert_eq!(idle.closed().await, CloseCode::Idle);
    assert_eq!(drip.await.unwrap(), CloseCode::Limit);
    let mut reasons = [
        serving.reason().await,
        serving.reason().await,
        serving.reason().await,
    ];
    reasons.sort();
    assert!(
        reasons.iter().any(|r| r.contains("say hello")),
        "{reasons:?}"
    );
    assert!(
        reasons.iter().any(|r| r.contains("no session in time")),
        "{reasons:?}"
    );
    assert!(
        reasons
            .iter()
            .any(|r| r.contains("the rest of a control message")),
        "{reasons:?}"
    );
    serves(&serving).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_messages_end_the_connection() {
    let mut serving = cloud().await;
    let mut edge = Raw::greeted(serving.address).await;
    edge.open(1, &stream(1, "any")).await;
    assert!(matches!(edge.next().await, Message::Accept(_)));
    for _ in 0..500 {
        let ask = Message::from(Ask::new());
        let written = tensorwire_endpoints::control::channel::write(&mut edge.send, &ask).await;
        if written.is_err() {
            break;
        }
    }
    assert_eq!(edge.closed().await, CloseCode::Limit);
    let reason = serving.reason().await;
    assert!(reason.contains("more control messages"), "{reason}");
    serves(&serving).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_new_or_has_crossed_is_ignored() {
    let serving = cloud().await;
    let mut edge = Raw::greeted(serving.address).await;
    // [99, {0: [1, 2]}]
    let unknown = [0, 8, 0x82, 0x18, 0x63, 0xA1, 0x00, 0x82, 0x01, 0x02];
    edge.send.write_all(&unknown).await.unwrap();
    edge.say(Offer::new(Digest::of("nothing"), 5)).await;
    edge.open(4, &stream(1, "any")).await;
    assert!(matches!(edge.next().await, Message::Accept(_)));
    // One that has ended, one that was never asked for but might have been.
    for session in [4, 4, 2] {
        edge.say(Close::done().of(SessionNumber(session))).await;
    }
    edge.open(9, &stream(1, "any")).await;
    assert!(matches!(edge.next().await, Message::Accept(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_of_another_edge_cannot_be_closed() {
    let serving = cloud().await;
    let mut mine = Raw::greeted(serving.address).await;
    mine.open(1, &stream(1, "any")).await;
    assert!(matches!(mine.next().await, Message::Accept(_)));
    let mut other = Raw::greeted(serving.address).await;
    other.say(Close::done().of(SessionNumber(1))).await;
    assert_eq!(other.closed().await, CloseCode::Protocol);
    mine.say(Ask::new()).await;
    let statistics = mine.reader.next().await.unwrap();
    let Message::Statistics(statistics) = statistics else {
        panic!("{statistics:?}");
    };
    assert_eq!(statistics.session, SessionNumber(1));
}
