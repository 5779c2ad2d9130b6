//! What an edge does when its cloud, its model or its path is slower than its camera. Counts, no times: a
//! slow machine drops more, but nothing twice and nothing silently.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what goes wrong here fails the test"
)]

#[path = "support/in_process.rs"]
mod in_process;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use in_process::{anybody, start};

use bytes::Bytes;
use tensorwire_codec::{ClipRange, Coder, Format, Map, Quantiser, Shape};
use tensorwire_endpoints::clock::Clock;
use tensorwire_endpoints::cloud::{Answer, Opener, TensorHandler};
use tensorwire_endpoints::control::Refuse;
use tensorwire_endpoints::digest::Digest;
use tensorwire_endpoints::edge::{
    Captured, Computed, Edge, Encoded, FrameSource, Outcome, Pace, Protection, Route,
};
use tensorwire_endpoints::stream::StreamDescription;
use tensorwire_protocol::admission::{DropReason, DropRule};
use tensorwire_protocol::wire::{NoticeReason, ResultStatus};
use tensorwire_protocol::{Event, RateControl, ReceivedTensor, Slices};

const MS: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(60);

fn stream(deadline_ms: u32) -> StreamDescription {
    let shape = Shape::new(4, 8, 8).unwrap();
    let quantiser = Quantiser::new(ClipRange::new(-1.0, 1.0).unwrap(), 256).unwrap();
    let map = Map::ChannelRows { rows: 8 };
    let format = Format::new(shape, quantiser, map, Coder::Raw).unwrap();
    let mut stream = StreamDescription::new(&format, "split", Digest::of("model"), None).unwrap();
    stream.deadline_ms = deadline_ms;
    stream
}

fn tensor() -> Slices {
    Slices::new(Bytes::from(vec![7; 256]), vec![64, 128, 192, 256]).unwrap()
}

/// A model that takes so long for each tensor.
struct Slow(Duration);

impl Opener for Slow {
    fn open(&self, _stream: &StreamDescription) -> Result<Box<dyn TensorHandler>, Refuse> {
        Ok(Box::new(Self(self.0)))
    }
}

impl TensorHandler for Slow {
    fn handle(&mut self, _tensor: &ReceivedTensor) -> Answer {
        std::thread::sleep(self.0);
        Answer {
            status: ResultStatus::Done,
            payload: Bytes::new(),
        }
    }
}

/// An edge whose steps take so long.
struct Steps {
    frames: u64,
    compute: Duration,
    encode: Duration,
    computed: AtomicUsize,
}

impl Steps {
    fn new(frames: u64, compute: Duration, encode: Duration) -> Arc<Self> {
        Arc::new(Self {
            frames,
            compute,
            encode,
            computed: AtomicUsize::new(0),
        })
    }
}

impl FrameSource for Steps {
    fn capture(self: Arc<Self>, number: u64) -> anyhow::Result<Option<Captured>> {
        if number >= self.frames {
            return Ok(None);
        }
        if number == 3 {
            anyhow::bail!("a frame that cannot be read");
        }
        Ok(Some(Captured::new(number.to_string(), None, move || {
            self.computed.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(self.compute);
            Ok(Computed::new(move |_budget| {
                std::thread::sleep(self.encode);
                let slices = tensor();
                Ok(Encoded::from(slices))
            }))
        })))
    }
}

async fn connect(cloud: SocketAddr, deadline_ms: u32, rate: RateControl) -> Edge {
    let protection = Protection {
        rate,
        ..Protection::default()
    };
    let stream = stream(deadline_ms);
    let edge = Edge::connect(
        cloud,
        &anybody(),
        Route::default(),
        stream,
        protection,
        Clock::start(),
    )
    .await;
    edge.unwrap()
}

/// What became of the frames of a stream.
#[derive(Default)]
struct Counts {
    frames: Vec<u64>,
    answered: usize,
    busy: usize,
    lost: usize,
    skipped: BTreeMap<String, usize>,
}

impl Counts {
    fn add(&mut self, outcome: Outcome) {
        let frame = match outcome {
            Outcome::Answered { sent, result, .. } => {
                self.answered += usize::from(result.status == ResultStatus::Done);
                self.busy += usize::from(result.status == ResultStatus::Busy);
                sent.frame
            }
            Outcome::Dropped { sent, .. } | Outcome::Unanswered { sent } => {
                self.lost += 1;
                sent.frame
            }
            Outcome::Skipped {
                frame,
                notice,
                reason,
            } => {
                let dropped = DropReason::ALL.iter().find(|r| r.name() == reason);
                let expected = dropped.map_or(NoticeReason::FrameApplication, |r| r.notice());
                assert_eq!(notice, expected, "{reason}");
                *self.skipped.entry(reason).or_default() += 1;
                frame
            }
            other => panic!("{other:?}"),
        };
        self.frames.push(frame.0);
    }

    fn skipped(&self, reason: DropReason) -> usize {
        self.skipped.get(reason.name()).copied().unwrap_or(0)
    }

    /// Every frame has one outcome.
    fn check(&mut self, frames: u64) {
        self.frames.sort_unstable();
        assert!(
            self.frames.iter().copied().eq(0..frames),
            "{:?}",
            self.frames
        );
        assert_eq!(self.skipped.get("a frame that cannot be read"), Some(&1));
    }
}

async fn run(edge: &mut Edge, source: &Arc<Steps>, interval: Duration, in_flight: usize) -> Counts {
    let mut counts = Counts::default();
    let pace = Pace {
        interval,
        in_flight,
    };
    let stream = edge.stream(
        Arc::clone(source) as Arc<dyn FrameSource>,
        pace,
        std::future::pending(),
        |outcome| counts.add(outcome),
    );
    tokio::time::timeout(PATIENCE, stream)
        .await
        .expect("an end")
        .unwrap();
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_cloud_gets_fewer_frames_and_is_never_full() {
    let (cloud, _notices, _stop) = start(Slow(40 * MS)).await;
    for rule in [DropRule::Predictive, DropRule::Published] {
        let mut edge = connect(cloud, 400, RateControl::Off).await;
        edge.set_drop_rule(rule, 1);
        let source = Steps::new(200, Duration::ZERO, Duration::ZERO);
        let mut counts = run(&mut edge, &source, 10 * MS, 1_024).await;
        edge.close().await;
        counts.check(200);
        let told = format!(
            "{rule:?}: {} answered, {:?}",
            counts.answered, counts.skipped
        );
        // Two seconds of frames are 50 services; a slow machine serves fewer.
        assert!(counts.answered >= 10, "{told}");
        assert!(counts.skipped(DropReason::ServerBusy) >= 50, "{told}");
        assert_eq!((counts.busy, counts.lost), (0, 0), "{told}");
        // What was dropped was not computed.
        let computed = source.computed.load(Ordering::Relaxed);
        assert!(
            computed <= 200 - counts.skipped(DropReason::ServerBusy),
            "{told}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_model_takes_the_newest_frame() {
    let (cloud, _notices, _stop) = start(Slow(Duration::ZERO)).await;
    let mut edge = connect(cloud, 10_000, RateControl::Off).await;
    edge.set_drop_rule(DropRule::Predictive, 1);
    let source = Steps::new(100, 50 * MS, Duration::ZERO);
    let mut counts = run(&mut edge, &source, 5 * MS, 1_024).await;
    counts.check(100);
    let superseded = counts.skipped(DropReason::Superseded);
    assert!(superseded >= 25, "{:?}", counts.skipped);
    assert_eq!(
        counts.answered + superseded + 1,
        100,
        "{:?}",
        counts.skipped
    );
    assert_eq!(source.computed.load(Ordering::Relaxed), counts.answered);
    // The same edge without a rule: capture waits, and every frame is sent.
    edge.set_drop_rule(DropRule::Off, 1);
    let source = Steps::new(20, 5 * MS, 5 * MS);
    let counts = run(&mut edge, &source, MS, 1_024).await;
    assert_eq!((counts.answered, counts.frames.len()), (19, 20));
    edge.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_coder_takes_the_newest_tensor() {
    let (cloud, _notices, _stop) = start(Slow(Duration::ZERO)).await;
    let mut edge = connect(cloud, 10_000, RateControl::Off).await;
    edge.set_drop_rule(DropRule::Predictive, 1);
    let source = Steps::new(100, MS, 50 * MS);
    let mut counts = run(&mut edge, &source, 5 * MS, 1_024).await;
    edge.close().await;
    counts.check(100);
    let superseded = counts.skipped(DropReason::Superseded);
    assert!(superseded >= 15, "{:?}", counts.skipped);
    assert_eq!(
        counts.answered + superseded + 1,
        100,
        "{:?}",
        counts.skipped
    );
}

/// Tensors of 256 bytes at 64 kbit/s: some 40 ms each, with headers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_path_drops_frames_before_they_are_computed() {
    let (cloud, _notices, _stop) = start(Slow(Duration::ZERO)).await;
    let bits_per_second = 64_000;
    let mut edge = connect(cloud, 300, RateControl::Fixed { bits_per_second }).await;
    edge.set_drop_rule(DropRule::Predictive, 1);
    let source = Steps::new(200, Duration::ZERO, Duration::ZERO);
    let mut counts = run(&mut edge, &source, 10 * MS, 1_024).await;
    edge.close().await;
    counts.check(200);
    assert!(counts.answered >= 10, "{}", counts.answered);
    let early = counts.skipped(DropReason::Rate) + counts.skipped(DropReason::Superseded);
    assert!(early >= 50, "{:?}", counts.skipped);
}

/// No rule drops a frame that is captured only because the session takes one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_fast_as_the_session_takes_them_means_all_of_them() {
    let (cloud, _notices, _stop) = start(Slow(5 * MS)).await;
    for (rule, rate) in [
        (DropRule::Predictive, RateControl::Off),
        (
            DropRule::Predictive,
            RateControl::Fixed {
                bits_per_second: 400_000,
            },
        ),
        (DropRule::Off, RateControl::Off),
    ] {
        let mut edge = connect(cloud, 10_000, rate).await;
        edge.set_drop_rule(rule, 1);
        let source = Steps::new(60, MS, MS);
        let mut counts = run(&mut edge, &source, Duration::ZERO, 8).await;
        edge.close().await;
        counts.check(60);
        assert_eq!(
            counts.answered, 59,
            "{rule:?} {rate:?}: {:?}",
            counts.skipped
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_hears_what_becomes_of_each_frame() {
    let (cloud, _notices, _stop) = start(Slow(Duration::ZERO)).await;
    let mut edge = connect(cloud, 20_000, RateControl::Off).await;
    edge.set_drop_rule(DropRule::Predictive, 1);
    for expected in 0..5 {
        let captured = edge.clock().now();
        let frame = edge.admit(captured).await.unwrap().expect("an idle path");
        assert_eq!(frame.frame().0, expected);
        let id = edge.try_send(frame, tensor()).await.unwrap().expect("room");
        assert_eq!(id.0, expected);
        let answered = async {
            loop {
                if let Event::Result(result) = edge.event().await.unwrap() {
                    break result;
                }
            }
        };
        let result = tokio::time::timeout(PATIENCE, answered).await.unwrap();
        assert_eq!((result.tensor, result.frame.0), (id, expected));
    }
    let frame = edge.admit(edge.clock().now()).await.unwrap().unwrap();
    edge.skip(frame, NoticeReason::FrameApplication)
        .await
        .unwrap();
    // A tensor of another stream is the application's mistake, not a drop.
    let frame = edge.admit(edge.clock().now()).await.unwrap().unwrap();
    let wrong = Slices::new(Bytes::from_static(b"one"), vec![3]).unwrap();
    let error = edge.try_send(frame, wrong).await.unwrap_err();
    assert!(
        error.to_string().contains("1 slices in a stream of 4"),
        "{error}"
    );
    // Tensor numbers go on without a gap, frame numbers with one.
    let frame = edge.admit(edge.clock().now()).await.unwrap().unwrap();
    assert_eq!(frame.frame().0, 7);
    assert_eq!(edge.try_send(frame, tensor()).await.unwrap().unwrap().0, 5);
    assert_eq!(edge.stats().await.unwrap().session.frames_skipped, 2);
    edge.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_past_its_deadline_is_dropped_before_and_after_it_is_made() {
    let (cloud, _notices, _stop) = start(Slow(Duration::ZERO)).await;
    let mut edge = connect(cloud, 1, RateControl::Off).await;
    edge.set_drop_rule(DropRule::Predictive, 1);
    let old = edge.clock().now();
    edge.clock().sleep_until(Some(old + 5 * MS)).await;
    let dropped = edge.admit(old).await.unwrap();
    assert!(matches!(dropped, Err(DropReason::Deadline)), "{dropped:?}");
    edge.set_drop_rule(DropRule::Off, 1);
    let frame = edge.admit(old).await.unwrap().expect("no rule, no drop");
    let sent = edge.try_send(frame, tensor()).await.unwrap();
    assert_eq!(sent, Err(DropReason::Deadline));
    edge.close().await;
}
