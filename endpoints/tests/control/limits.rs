//! What a cloud allows.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tensorwire_endpoints::carrier::Carrier;
use tensorwire_endpoints::cloud::Policy;
use tensorwire_endpoints::control::{Ask, Cipher, Close, Message, Open, RefuseCode, SessionNumber};
use tensorwire_endpoints::edge::Refused;

use super::bench::{MS, Naming, connect, connector, laboratory, large, serve, stream};
use super::raw::Raw;

async fn refused(edge: &mut Raw, number: u32) -> (RefuseCode, String) {
    let Message::Refuse(refuse) = edge.next().await else {
        panic!("session {number} is granted");
    };
    assert_eq!(refuse.session, Some(SessionNumber(number)));
    (refuse.code(), refuse.shown())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_would_take_too_much_memory_is_refused_with_numbers() {
    let small = stream(1, "small").config().unwrap();
    let need = tensorwire_endpoints::cloud::session_memory(&small);
    let policy = Policy {
        session_memory: need + need / 10,
        memory: 2 * need + need / 2,
        ..laboratory()
    };
    let serving = serve(Naming::new(Duration::ZERO), policy, 4).await;
    let large = connect(serving.address, large()).await;
    let error = large.unwrap_err();
    let refuse = error.downcast_ref::<Refused>().expect("a refusal");
    assert_eq!(refuse.0.code(), RefuseCode::Memory);
    let most = (need + need / 10) as f64 / 1_048_576.0;
    let allowed = format!("{most:.1} MiB are allowed");
    assert!(error.to_string().contains(&allowed), "{error}");
    // Two fit, and a third when one of them has gone.
    let mut edge = Raw::greeted(serving.address).await;
    for number in [1, 2] {
        edge.open(number, &stream(1, "small")).await;
        assert!(matches!(edge.next().await, Message::Accept(_)));
    }
    edge.open(3, &stream(1, "small")).await;
    let (code, words) = refused(&mut edge, 3).await;
    assert_eq!(code, RefuseCode::Memory);
    assert!(words.contains("are left"), "{words}");
    edge.say(Close::done().of(SessionNumber(1))).await;
    let mut number = 4;
    loop {
        edge.open(number, &stream(1, "small")).await;
        match edge.next().await {
            Message::Accept(_) => break,
            // The first is not gone yet.
            Message::Refuse(_) => tokio::time::sleep(20 * MS).await,
            other => panic!("{other:?}"),
        }
        number += 1;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_are_limited_by_connection_and_cloud() {
    let policy = Policy {
        connection_sessions: 2,
        ..laboratory()
    };
    let serving = serve(Naming::new(Duration::ZERO), policy, 3).await;
    let mut first = Raw::greeted(serving.address).await;
    let mut second = Raw::greeted(serving.address).await;
    for (edge, number) in [(&mut first, 1), (&mut second, 1)] {
        edge.open(number, &stream(1, "any")).await;
        assert!(matches!(edge.next().await, Message::Accept(_)));
    }
    first.open(2, &stream(1, "any")).await;
    assert!(matches!(first.next().await, Message::Accept(_)));
    first.open(3, &stream(1, "any")).await;
    let (code, words) = refused(&mut first, 3).await;
    assert_eq!(code, RefuseCode::Busy);
    assert!(words.contains("has 2 sessions; it may have 2"), "{words}");
    second.open(2, &stream(1, "any")).await;
    let (code, words) = refused(&mut second, 2).await;
    assert_eq!(code, RefuseCode::Busy);
    assert!(words.contains("as many sessions as it can (3)"), "{words}");
    // But one that takes the place of another finds room, once.
    let replacing = |number| {
        Open::new(SessionNumber(number), stream(1, "any"), number).replacing(Some(SessionNumber(1)))
    };
    second.say(replacing(3)).await;
    assert!(matches!(second.next().await, Message::Accept(_)));
    second.say(Close::done().of(SessionNumber(3))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_streams_and_unknown_ciphers_are_refused_by_their_codes() {
    let serving = serve(Naming::new(Duration::ZERO), Policy::default(), 4).await;
    let mut edge = Raw::greeted(serving.address).await;
    let open = |number| Open::new(SessionNumber(number), stream(1, "any"), number);
    edge.say(open(1)).await;
    let (code, words) = refused(&mut edge, 1).await;
    assert_eq!(code, RefuseCode::Plain);
    assert!(words.contains("aes-128-gcm, chacha20-poly1305"), "{words}");
    edge.say(open(2).over(Carrier::Tcp.code())).await;
    assert_eq!(refused(&mut edge, 2).await.0, RefuseCode::Plain);
    let mut unknown = open(3);
    unknown.cipher = 77;
    edge.say(unknown).await;
    assert_eq!(refused(&mut edge, 3).await.0, RefuseCode::Cipher);
    let protected = open(4).over(Carrier::QuicDatagram.code());
    edge.say(protected.protected(Cipher::Aes128Gcm)).await;
    assert_eq!(refused(&mut edge, 4).await.0, RefuseCode::Cipher);
    edge.say(open(5).over(99)).await;
    assert_eq!(refused(&mut edge, 5).await.0, RefuseCode::Carrier);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_in_quic_has_its_connection_for_itself() {
    let serving = serve(Naming::new(Duration::ZERO), laboratory(), 4).await;
    let mut edge = Raw::greeted(serving.address).await;
    let open = |number, carrier: Carrier| {
        Open::new(SessionNumber(number), stream(1, "any"), 0).over(carrier.code())
    };
    edge.say(open(1, Carrier::QuicStream)).await;
    assert!(matches!(edge.next().await, Message::Accept(_)));
    for (number, carrier) in [(2, Carrier::QuicStream), (3, Carrier::Udp)] {
        edge.say(open(number, carrier)).await;
        assert_eq!(refused(&mut edge, number).await.0, RefuseCode::Busy);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statistics_come_by_themselves_and_when_asked_for() {
    let opener = Naming::new(Duration::ZERO);
    let open = std::sync::Arc::clone(&opener.open);
    let policy = Policy {
        statistics: 50 * MS,
        ..laboratory()
    };
    let serving = serve(opener, policy, 4).await;
    let mut edge = Raw::greeted(serving.address).await;
    edge.open(7, &stream(1, "any")).await;
    for _ in 0..3 {
        let Message::Statistics(statistics) = edge.reader.next().await.unwrap() else {
            continue;
        };
        assert_eq!(statistics.session, SessionNumber(7));
        assert_eq!((statistics.sessions, statistics.answered), (1, 0));
    }
    edge.say(Ask::new()).await;
    assert!(matches!(
        edge.reader.next().await.unwrap(),
        Message::Statistics(_)
    ));
    assert_eq!(open.load(Ordering::Relaxed), 1);
    // The end of the connection ends the session, and what it held.
    edge.connection.close(0_u32.into(), b"");
    while open.load(Ordering::Relaxed) > 0 {
        tokio::time::sleep(5 * MS).await;
    }
    let edge = connector(serving.address, Carrier::Udp, stream(1, "any")).connect(None);
    edge.await.unwrap().close().await;
}
