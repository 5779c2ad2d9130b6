//! Changing the stream while it streams.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tensorwire_endpoints::carrier::Carrier;
use tensorwire_endpoints::clock::Clock;
use tensorwire_endpoints::cloud::{CloudNotice, Policy};
use tensorwire_endpoints::edge::{Connector, Edge, EdgeNotice, Outcome, Pace, Protection, Route};
use tensorwire_endpoints::relay::Relay;
use tensorwire_protocol::link::LinkConfig;
use tensorwire_protocol::wire::ResultStatus;
use tensorwire_protocol::{AdaptiveRate, Event, Path, RateControl, ReleaseReason, Slices};

use super::bench::{
    Frames, MS, Naming, PATIENCE, Serving, anybody, connector, laboratory, large, serve, stream,
};

const FRAMES: u64 = 120;
const PACE: Pace = Pace {
    interval: Duration::from_millis(10),
    in_flight: 64,
};

/// A way to `cloud` that takes 20 ms each way.
async fn far(cloud: SocketAddr) -> SocketAddr {
    let delay = 20 * MS;
    through(
        cloud,
        LinkConfig {
            delay,
            ..LinkConfig::default()
        },
    )
    .await
}

/// A way to `cloud` over such links.
async fn through(cloud: SocketAddr, link: LinkConfig) -> SocketAddr {
    let front = ([127, 0, 0, 1], 0).into();
    let relay = Relay::bind(front, cloud, link.clone(), link, Clock::start());
    let relay = relay.await.unwrap();
    let through = relay.local_addr().unwrap();
    tokio::spawn(relay.run());
    through
}

/// Streams, changes to twice as many channels in the midst, and says which split each frame was of, and
/// the first frame that should be of the second.
async fn streamed_with_a_change(cloud: SocketAddr, carrier: Carrier) -> (Vec<String>, u64) {
    let first = stream(4, "first");
    let mut edge = connector(cloud, carrier, first)
        .connect(None)
        .await
        .unwrap();
    let mut notices = edge.notices().unwrap();
    let changer = edge.changer();
    let (half, halfway) = tokio::sync::oneshot::channel::<()>();
    let change = tokio::spawn(async move {
        halfway.await.unwrap();
        let source = Arc::new(Frames {
            channels: 8,
            frames: FRAMES,
        });
        let (second, protection) = (stream(8, "second"), Protection::default());
        changer.change(second, protection, Some(source)).await
    });
    let (mut half, mut splits) = (Some(half), vec![String::new(); FRAMES as usize]);
    let source = Arc::new(Frames {
        channels: 4,
        frames: FRAMES,
    });
    let streaming = edge.stream(source, PACE, std::future::pending(), |outcome| {
        let Outcome::Answered { sent, result, .. } = outcome else {
            panic!("{carrier:?}: {outcome:?}");
        };
        assert_eq!(result.status, ResultStatus::Done);
        // Whole, and in time: neither lost nor late.
        assert_eq!(result.reason, ReleaseReason::Complete);
        assert_eq!(result.missing_share, 0.0);
        let split = &mut splits[sent.frame.0 as usize];
        assert!(split.is_empty(), "frame {} twice", sent.frame.0);
        *split = String::from_utf8(result.payload.to_vec()).unwrap();
        if let Some(half) = half.take_if(|_| sent.frame.0 >= 30) {
            half.send(()).unwrap();
        }
    });
    tokio::time::timeout(PATIENCE, streaming)
        .await
        .expect("an end")
        .unwrap();
    let from = change.await.unwrap().unwrap();
    assert!(matches!(
        notices.try_recv(),
        Ok(EdgeNotice::Changed { from: told }) if told == from
    ));
    assert_eq!(edge.past_stats().len(), 1, "the first session is closed");
    edge.close().await;
    (splits, from.0)
}

async fn check(mut serving: Serving, through: SocketAddr, carrier: Carrier) {
    let (splits, from) = streamed_with_a_change(through, carrier).await;
    assert!((30..FRAMES).contains(&from), "{carrier:?}: from {from}");
    for (frame, split) in (0..).zip(&splits) {
        let expected = if frame < from { "first" } else { "second" };
        assert_eq!(split, expected, "{carrier:?}: frame {frame} of {from}");
    }
    // Both sessions ended because the edge was done with them.
    let (mut opened, mut closed) = (0, 0);
    while closed < 2 {
        match serving.notice().await {
            CloudNotice::Opened { .. } => opened += 1,
            CloudNotice::Closed { reason, .. } => {
                assert_eq!(reason, "the edge is done");
                closed += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(opened, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_frame_is_lost_or_late_over_a_change_on_a_far_path() {
    // One session is as many as this cloud has.
    let serving = serve(Naming::new(Duration::ZERO), laboratory(), 1).await;
    let through = far(serving.address).await;
    check(serving, through, Carrier::Udp).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_carriers_change_alike() {
    for carrier in [Carrier::QuicDatagram, Carrier::QuicStream, Carrier::Tcp] {
        let serving = serve(Naming::new(Duration::ZERO), laboratory(), 2).await;
        let address = serving.address;
        check(serving, address, carrier).await;
    }
}

async fn path(edge: &Edge) -> Path {
    edge.watch().unwrap().outlook().await.unwrap().path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rate_does_not_start_anew_at_a_change() {
    const START: u64 = 300_000;
    let serving = serve(Naming::new(Duration::ZERO), laboratory(), 4).await;
    let link = LinkConfig {
        delay: 20 * MS,
        rate: Some(8_000_000),
        ..LinkConfig::default()
    };
    let through = through(serving.address, link).await;
    let protection = || Protection {
        rate: RateControl::Adaptive(AdaptiveRate {
            start: START,
            ..AdaptiveRate::default()
        }),
        ..Protection::default()
    };
    let (clock, route) = (Clock::start(), Route::default());
    let again = |channels, split| {
        let mut stream = stream(channels, split);
        stream.retransmission = true;
        stream
    };
    let first = again(64, "first");
    let connector = Connector::new(vec![through], anybody(), route, first, protection(), clock);
    let mut edge = connector.clone().connect(None).await.unwrap();
    let fresh = path(&edge).await;
    assert!(
        fresh.bottleneck.is_some(),
        "measured before the first frame"
    );
    let probes = edge.stats().await.unwrap().session.datagrams_sent;
    assert!(probes > 5, "{probes}");
    let (channels, frames) = (64, 60);
    let source = Arc::new(Frames { channels, frames });
    let streaming = edge.stream(source, PACE, std::future::pending(), |_| {});
    let streamed = tokio::time::timeout(PATIENCE, streaming).await;
    streamed.expect("an end").unwrap();
    let before = path(&edge).await;
    assert!(before.rate.unwrap() > 2 * START, "{before:?}");

    let second = again(32, "second");
    edge.reconfigure(second, protection()).await.unwrap();
    let after = path(&edge).await;
    assert!(after.rate.unwrap() > 2 * START, "{before:?}, {after:?}");
    assert!(after.one_way.is_some() && after.bottleneck.is_some());
    let probes = edge.stats().await.unwrap().session.datagrams_sent;
    assert!(probes < 5, "nothing is measured anew: {probes}");

    let (channels, frames) = (32, 20);
    let source = Arc::new(Frames { channels, frames });
    let mut answered = 0;
    let streaming = edge.stream(source, PACE, std::future::pending(), |outcome| {
        let Outcome::Answered { result, .. } = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(&result.payload[..], b"second");
        answered += 1;
    });
    let streamed = tokio::time::timeout(PATIENCE, streaming).await;
    streamed.expect("an end").unwrap();
    assert_eq!(answered, 20);
    edge.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_is_refused_changes_nothing() {
    let policy = Policy {
        session_memory: 42 << 20,
        ..laboratory()
    };
    let serving = serve(Naming::new(Duration::ZERO), policy, 4).await;
    let mut edge = connector(serving.address, Carrier::Udp, stream(4, "first"))
        .connect(None)
        .await
        .unwrap();
    let changer = edge.changer();
    let change =
        tokio::spawn(async move { changer.change(large(), Protection::default(), None).await });
    let (mut answered, source) = (
        0,
        Arc::new(Frames {
            channels: 4,
            frames: 50,
        }),
    );
    let streaming = edge.stream(source, PACE, std::future::pending(), |outcome| {
        let Outcome::Answered { result, .. } = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(&result.payload[..], b"first");
        answered += 1;
    });
    tokio::time::timeout(PATIENCE, streaming)
        .await
        .expect("an end")
        .unwrap();
    assert_eq!(answered, 50);
    let refused = change.await.unwrap().unwrap_err().to_string();
    assert!(refused.contains("42.0 MiB are allowed"), "{refused}");
    edge.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_with_a_loop_of_its_own_changes_too() {
    let serving = serve(Naming::new(Duration::ZERO), laboratory(), 4).await;
    let mut edge = connector(serving.address, Carrier::Udp, stream(1, "first"))
        .connect(None)
        .await
        .unwrap();
    let tensor = |channels: usize| {
        let ends = (1..=channels as u32).map(|i| 64 * i).collect();
        Slices::new(vec![7; channels * 64].into(), ends).unwrap()
    };
    let now = edge.clock().now();
    let before = edge.admit(now).await.unwrap().unwrap();
    let between = edge.admit(now).await.unwrap().unwrap();
    edge.try_send(before, tensor(1)).await.unwrap().unwrap();
    let changed = edge.reconfigure(stream(2, "second"), Protection::default());
    assert_eq!(changed.await.unwrap().0, 2);
    // It was admitted for the first stream, and still belongs to it.
    edge.try_send(between, tensor(1)).await.unwrap().unwrap();
    let after = edge.admit(now).await.unwrap().unwrap();
    assert_eq!(after.frame().0, 2);
    edge.try_send(after, tensor(2)).await.unwrap().unwrap();
    let mut answers = [const { String::new() }; 3];
    while answers.iter().any(String::is_empty) {
        let event = tokio::time::timeout(PATIENCE, edge.event()).await;
        if let Event::Result(result) = event.expect("an event").unwrap() {
            answers[result.frame.0 as usize] = String::from_utf8(result.payload.to_vec()).unwrap();
        }
    }
    assert_eq!(answers, ["first", "first", "second"]);
    edge.close().await;
}
