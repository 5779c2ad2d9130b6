//! The end of a cloud, announced.

use std::sync::Arc;
use std::time::Duration;

use tensorwire_endpoints::carrier::Carrier;
use tensorwire_endpoints::cloud::{CloudNotice, Policy};
use tensorwire_endpoints::control::{CloseCode, Message, RefuseCode};
use tensorwire_endpoints::edge::{DISCONNECTED, EdgeNotice, Outcome, Pace, Reconnect};

use super::bench::{Frames, MS, Naming, PATIENCE, connect, connector, laboratory, serve, stream};
use super::raw::Raw;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_flight_is_finished_and_the_edge_hears_why() {
    let mut serving = serve(Naming::new(50 * MS), laboratory(), 4).await;
    let mut edge = connect(serving.address, stream(4, "first")).await.unwrap();
    let mut notices = edge.notices().unwrap();
    let source = Arc::new(Frames {
        channels: 4,
        frames: u64::MAX,
    });
    let pace = Pace {
        interval: 5 * MS,
        in_flight: 4,
    };
    let (mut answered, mut skipped) = (0, 0);
    let streaming = edge.stream(
        source,
        pace,
        std::future::pending(),
        |outcome| match outcome {
            Outcome::Answered { .. } => {
                answered += 1;
                if answered == 5 {
                    serving.end();
                }
            }
            Outcome::Skipped { reason, .. } if reason == DISCONNECTED => skipped += 1,
            other => panic!("{other:?}"),
        },
    );
    let ended = tokio::time::timeout(PATIENCE, streaming)
        .await
        .expect("an end");
    let reason = format!("{:#}", ended.unwrap_err());
    assert!(reason.contains("shutting down"), "{reason}");
    // Four were in flight, each of which was answered.
    assert!(answered >= 8, "{answered} answered, {skipped} skipped");
    let told = notices.try_recv().unwrap();
    assert!(matches!(told, EdgeNotice::Draining { .. }), "{told:?}");
    edge.close().await;
    tokio::time::timeout(PATIENCE, serving.task)
        .await
        .expect("the cloud ends with its last edge")
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_goes_on_with_another_cloud() {
    let mut first = serve(Naming::new(Duration::ZERO), laboratory(), 4).await;
    let second = serve(Naming::new(Duration::ZERO), laboratory(), 4).await;
    let (here, there) = (first.address, second.address);
    let connector = connector(here, Carrier::Udp, stream(4, "first")).or(vec![there]);
    let mut edge = connector.connect(None).await.unwrap();
    edge.set_reconnect(Reconnect::For(PATIENCE));
    let mut notices = edge.notices().unwrap();
    let source = Arc::new(Frames {
        channels: 4,
        frames: u64::MAX,
    });
    let pace = Pace {
        interval: 5 * MS,
        in_flight: 4,
    };
    let (enough, stop) = tokio::sync::oneshot::channel::<()>();
    let (mut enough, mut answered, mut back) = (Some(enough), 0, None);
    let streaming = edge.stream(source, pace, async { stop.await.unwrap() }, |outcome| {
        assert!(!matches!(outcome, Outcome::Unanswered { .. }));
        if !matches!(outcome, Outcome::Answered { .. }) {
            return;
        }
        answered += 1;
        if answered == 5 {
            first.end();
        }
        while let Ok(notice) = notices.try_recv() {
            if let EdgeNotice::Back { cloud, .. } = notice {
                assert_eq!(cloud, there);
                back = Some(answered);
            }
        }
        if back.is_some_and(|back| answered >= back + 5)
            && let Some(enough) = enough.take()
        {
            enough.send(()).unwrap();
        }
    });
    tokio::time::timeout(PATIENCE, streaming)
        .await
        .expect("an end")
        .unwrap();
    assert_eq!(edge.cloud().unwrap(), there);
    edge.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_that_does_not_heed_it_is_closed_after_the_grace() {
    let policy = Policy {
        grace: 300 * MS,
        ..laboratory()
    };
    let mut serving = serve(Naming::new(Duration::ZERO), policy, 4).await;
    let mut edge = Raw::greeted(serving.address).await;
    edge.open(1, &stream(1, "first")).await;
    assert!(matches!(edge.next().await, Message::Accept(_)));
    serving.end();
    let Message::Drain(drain) = edge.next().await else {
        panic!("no drain");
    };
    assert_eq!(drain.grace(), 300 * MS);
    edge.open(2, &stream(1, "second")).await;
    let Message::Refuse(refuse) = edge.next().await else {
        panic!("a new session");
    };
    assert_eq!(refuse.code(), RefuseCode::Draining);
    let Message::Close(close) = edge.next().await else {
        panic!("no close");
    };
    assert_eq!(
        (close.session, close.code()),
        (None, CloseCode::ShuttingDown)
    );
    assert_eq!(edge.closed().await, CloseCode::ShuttingDown);
    let ended = tokio::time::timeout(PATIENCE, serving.task).await;
    ended.expect("the cloud ends").unwrap();
    let mut closed = 0;
    while let Some(notice) = serving.notices.recv().await {
        closed += usize::from(matches!(notice, CloudNotice::Closed { .. }));
    }
    assert_eq!(closed, 1);
}
