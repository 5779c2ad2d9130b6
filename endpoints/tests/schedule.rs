//! Many edges at one cloud: who is let in, who is sent away, and what they share.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what goes wrong here fails the test"
)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ndarray::ArrayView3;
use tensorwire_codec::{ClipRange, Coder, Format, Map, Quantiser, Shape};
use tensorwire_concealment::Method;
use tensorwire_endpoints::carrier::Carriers;
use tensorwire_endpoints::classifier::{ClassifierOpener, Concealment};
use tensorwire_endpoints::clock::Clock;
use tensorwire_endpoints::cloud::schedule::ScheduleConfig;
use tensorwire_endpoints::cloud::{
    Answer, Cloud, CloudConfig, CloudNotice, Opener, Stages, TensorHandler,
};
use tensorwire_endpoints::control::Refuse;
use tensorwire_endpoints::edge::{Connector, Edge, Outcome, Pace, Protection, Route};
use tensorwire_endpoints::embedded;
use tensorwire_endpoints::identity::{CloudIdentity, EdgeIdentity, Trust};
use tensorwire_endpoints::model::{Keep, Model, SharedModel};
use tensorwire_endpoints::options::ModelOptions;
use tensorwire_endpoints::quality::Quality;
use tensorwire_endpoints::source::ImageSource;
use tensorwire_endpoints::stream::StreamDescription;
use tensorwire_protocol::ReceivedTensor;
use tensorwire_protocol::wire::ResultStatus;
use tokio::sync::{mpsc, oneshot};

const PATIENCE: Duration = Duration::from_secs(60);
const SPLIT: &str = "add_5";

type Started = (SocketAddr, mpsc::Receiver<CloudNotice>, oneshot::Sender<()>);

/// Any port of this machine.
fn local() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

async fn start(opener: impl Opener, schedule: ScheduleConfig) -> Started {
    let config = CloudConfig {
        listen: local(),
        carriers: Carriers::ALL,
        gso: false,
        sessions: 16,
    };
    let identity = CloudIdentity::for_this_run().unwrap();
    let cloud = Cloud::bind(config, identity, Clock::start()).await.unwrap();
    let cloud = cloud.with_schedule(schedule).unwrap();
    let address = cloud.local_addr();
    let (notices, inbox) = Cloud::notices();
    let (stop, stopped) = oneshot::channel();
    tokio::spawn(cloud.serve(Arc::new(opener), notices, async {
        let _ = stopped.await;
    }));
    (address, inbox, stop)
}

async fn next(notices: &mut mpsc::Receiver<CloudNotice>) -> CloudNotice {
    let notice = tokio::time::timeout(PATIENCE, notices.recv()).await;
    notice.expect("a notice").expect("a cloud")
}

fn format(model: &Model, split: &str) -> Format {
    let shape = model.split_point(split).unwrap().shape;
    let shape = Shape::of(shape.as_tuple()).unwrap();
    let range = ClipRange::new(-4.0, 4.0).unwrap();
    let map = Map::random_for(1, shape, 256, 144);
    let quantiser = Quantiser::new(range, 256).unwrap();
    Format::new(shape, quantiser, map, Coder::Raw).unwrap()
}

fn stream(model: &Model, split: &str) -> StreamDescription {
    let format = format(model, split);
    let mut stream = StreamDescription::new(&format, split, model.digest(), None).unwrap();
    // Nothing is lost here, and how busy the machine is must not matter.
    stream.deadline_ms = 30_000;
    stream
}

fn connector(cloud: SocketAddr, stream: StreamDescription) -> Connector {
    Connector::new(
        vec![cloud],
        EdgeIdentity::new(Trust::Any),
        Route::default(),
        stream,
        Protection::default(),
        Clock::start(),
    )
}

async fn connect(cloud: SocketAddr, stream: StreamDescription) -> Edge {
    connector(cloud, stream).connect(None).await.unwrap()
}

/// Answers everything at once, and says that its model takes 40 ms.
struct Slow(Arc<SharedModel>);

impl Slow {
    fn new() -> Self {
        let model = embedded::model().unwrap();
        let shared = SharedModel::new(model.cloud(SPLIT).unwrap());
        (0..200).for_each(|_| shared.took(Duration::from_millis(40)));
        Self(Arc::new(shared))
    }
}

impl Opener for Slow {
    fn open(&self, _stream: &StreamDescription) -> Result<Box<dyn TensorHandler>, Refuse> {
        Ok(Box::new(Self(Arc::clone(&self.0))))
    }
}

impl TensorHandler for Slow {
    fn handle(&mut self, _tensor: &ReceivedTensor) -> Answer {
        self.finish(Ok(vec![]))
    }

    fn stages(&mut self) -> Option<&mut dyn Stages> {
        Some(self)
    }
}

impl Stages for Slow {
    fn model(&self) -> &Arc<SharedModel> {
        &self.0
    }

    fn prepare(&mut self, _tensor: &ReceivedTensor) -> Result<(), ResultStatus> {
        Ok(())
    }

    fn features(&self) -> ArrayView3<'_, f32> {
        panic!("nothing runs together here")
    }

    fn finish(&mut self, _scores: Result<Vec<f32>, ResultStatus>) -> Answer {
        Answer {
            status: ResultStatus::Done,
            payload: Bytes::new(),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_whose_frames_nobody_could_compute_in_time_is_refused_with_the_figures() {
    let one = ScheduleConfig {
        workers: NonZeroUsize::new(1),
        ..ScheduleConfig::default()
    };
    let (cloud, mut notices, _stop) = start(Slow::new(), one).await;
    let model = embedded::model().unwrap();
    let every = |ms| Duration::from_millis(ms);
    let wish = || connector(cloud, stream(&model, SPLIT));
    // Half of the worker; it counts as announced for its first two seconds, in which the next one comes.
    let first = wish().with_interval(every(80)).connect(None).await.unwrap();
    let refused = wish().with_interval(every(80)).connect(None).await;
    let words = format!("{:#}", refused.expect_err("a refusal"));
    assert!(
        words.contains("12.5 tensors a second") && words.contains("% busy"),
        "{words}"
    );
    assert!(matches!(
        next(&mut notices).await,
        CloudNotice::Opened { .. }
    ));
    let CloudNotice::Refused { reason, .. } = next(&mut notices).await else {
        panic!("a session");
    };
    assert!(reason.contains("12.5 tensors a second"), "{reason}");
    // One that says nothing of its rate, or asks for little, is let in.
    let second = wish().connect(None).await.unwrap();
    let third = wish()
        .with_interval(every(800))
        .connect(None)
        .await
        .unwrap();
    for edge in [first, second, third] {
        edge.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_that_is_not_heard_of_is_closed_with_the_reason() {
    let impatient = ScheduleConfig {
        idle: Some(Duration::from_secs(1)),
        ..ScheduleConfig::default()
    };
    let (cloud, mut notices, _stop) = start(Slow::new(), impatient).await;
    let model = embedded::model().unwrap();
    // It holds its connection all the time.
    let _edge = connect(cloud, stream(&model, SPLIT)).await;
    assert!(matches!(
        next(&mut notices).await,
        CloudNotice::Opened { .. }
    ));
    let CloudNotice::Closed { reason, .. } = next(&mut notices).await else {
        panic!("still open");
    };
    assert_eq!(reason, "nothing was heard of the edge for 1 s");
}

/// The classes that an edge is told, by frame.
async fn classes(mut edge: Edge, frames: u64) -> BTreeMap<u64, u32> {
    let loaded = ModelOptions {
        model: None,
        description: None,
        split: Some(SPLIT.to_owned()),
    };
    let loaded = loaded.load().unwrap();
    let quality = Quality::fixed(&format(&loaded.model, SPLIT));
    let images = embedded::images().unwrap();
    let source = ImageSource::new(&loaded, images, quality, None, frames).unwrap();
    let mut told = BTreeMap::new();
    let pace = Pace {
        interval: Duration::ZERO,
        in_flight: 4,
    };
    let streamed = edge.stream(Arc::new(source), pace, std::future::pending(), |outcome| {
        let Outcome::Answered { sent, result, .. } = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(result.status, ResultStatus::Done);
        let classes = tensorwire_codec::Classification::decode(&result.payload).unwrap();
        told.insert(sent.frame.0, classes.classes[0].0);
    });
    tokio::time::timeout(PATIENCE, streamed)
        .await
        .expect("an end")
        .unwrap();
    edge.close().await;
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edges_whose_tensors_run_together_are_told_the_same_as_alone() {
    const FRAMES: u64 = 30;
    let one = ScheduleConfig {
        workers: NonZeroUsize::new(1),
        ..ScheduleConfig::default()
    };
    let model = Arc::new(embedded::model().unwrap());
    let opener = |batch| {
        let conceal = Concealment::new(Method::Zero);
        ClassifierOpener::new(Arc::clone(&model), None, conceal).with_batch(batch, Keep::All)
    };
    let (cloud, _notices, _stop) = start(opener(1), one).await;
    let alone = classes(connect(cloud, stream(&model, SPLIT)).await, FRAMES).await;
    assert_eq!(alone.len(), 30);
    let (cloud, _notices, _stop) = start(opener(8), one).await;
    let mut edges = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let edge = connect(cloud, stream(&model, SPLIT)).await;
        edges.spawn(classes(edge, FRAMES));
    }
    while let Some(told) = edges.join_next().await {
        assert_eq!(told.unwrap(), alone);
    }
}

#[test]
fn sessions_of_a_split_share_its_part_and_find_it_again() {
    let model = Arc::new(embedded::model().unwrap());
    let opener = ClassifierOpener::new(Arc::clone(&model), None, Concealment::new(Method::Zero));
    let part = |split: &str| {
        let mut session = opener.classifier(&stream(&model, split)).unwrap();
        let part = Arc::clone(session.stages().unwrap().model());
        (session, part)
    };
    let (first, second) = (part("add_5"), part("add_5"));
    assert!(Arc::ptr_eq(&first.1, &second.1));
    assert!(!Arc::ptr_eq(&first.1, &part("add_4").1));
    let kept = Arc::downgrade(&first.1);
    drop((first, second));
    // An edge that comes again need not wait.
    assert!(Arc::ptr_eq(&kept.upgrade().unwrap(), &part("add_5").1));
    // But edges cannot fill the memory with parts.
    part("add_3");
    part("add_2");
    assert!(kept.upgrade().is_none());
}
