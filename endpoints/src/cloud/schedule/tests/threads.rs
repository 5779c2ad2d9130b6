//! Workers that are threads: what is asserted does not depend on how fast they are.

use std::num::NonZeroUsize;
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use ndarray::{Array3, ArrayView3};
use tensorwire_protocol::wire::{FrameNumber, ResultStatus, TensorId};
use tensorwire_protocol::{Event, ReceivedTensor, TensorInfo};

use crate::clock::Clock;
use crate::cloud::schedule::queue::BUSY;
use crate::cloud::schedule::{
    Answer, Lane, Overloaded, Schedule, ScheduleConfig, Served, Stages, TensorHandler,
};
use crate::embedded;
use crate::model::{Keep, SharedModel};

const DEADLINE: Duration = Duration::from_secs(10);

fn schedule(workers: usize) -> Schedule {
    let config = ScheduleConfig {
        workers: NonZeroUsize::new(workers),
        ..ScheduleConfig::default()
    };
    Schedule::start(config, Clock::start()).unwrap()
}

fn tensor(number: u64) -> Event {
    let info = TensorInfo::new(TensorId(number), FrameNumber(number), 0);
    Event::Tensor(ReceivedTensor::new(info, Bytes::new(), vec![]).unwrap())
}

fn lost(count: u64) -> Event {
    let first = TensorId(0);
    Event::Lost { first, count }
}

/// A door that work waits at.
#[derive(Clone, Default)]
struct Door(Arc<(Mutex<bool>, Condvar)>);

impl Door {
    fn pass(&self) {
        let (open, changed) = &*self.0;
        let _open = changed
            .wait_while(open.lock().unwrap(), |open| !*open)
            .unwrap();
    }

    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

/// Tells what it is asked for; waits at the door for tensor 0, and panics at tensor 13.
struct Telling {
    door: Door,
    told: mpsc::Sender<u64>,
}

impl TensorHandler for Telling {
    fn handle(&mut self, tensor: &ReceivedTensor) -> Answer {
        let number = tensor.info().id.0;
        let _ = self.told.send(number);
        if number == 0 {
            self.door.pass();
        }
        assert_ne!(number, 13, "a handler that fails");
        Answer {
            status: ResultStatus::Done,
            payload: Bytes::from(number.to_be_bytes().to_vec()),
        }
    }

    fn observe(&mut self, event: &Event) {
        if let Event::Lost { count, .. } = event {
            let _ = self.told.send(1_000 + count);
        }
    }
}

fn telling(schedule: &Schedule) -> (Lane, Door, mpsc::Receiver<u64>) {
    let (sender, told) = mpsc::channel();
    let door = Door::default();
    let handler = Telling {
        door: door.clone(),
        told: sender,
    };
    (schedule.open(Box::new(handler), DEADLINE, None), door, told)
}

fn answered(served: Option<Served>) -> (u64, ResultStatus) {
    match served {
        Some(Served::Answered(answered)) => (answered.tensor.id.0, answered.answer.status),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_session_is_answered_in_its_order_whichever_worker_does_it() {
    let schedule = schedule(3);
    let mut lanes: Vec<_> = (0..5).map(|_| telling(&schedule)).collect();
    for number in 100..200 {
        for (lane, ..) in &mut lanes {
            lane.push(tensor(number));
            if number % 10 == 0 {
                lane.push(lost(number));
            }
        }
    }
    for (lane, _, told) in &mut lanes {
        for number in 100..200 {
            let served = lane.blocking_next();
            assert_eq!(answered(served), (number, ResultStatus::Done));
            assert_eq!(told.recv().unwrap(), number);
            if number % 10 == 0 {
                assert!(matches!(lane.blocking_next(), Some(Served::Observed)));
                assert_eq!(told.recv().unwrap(), 1_000 + number);
            }
        }
        assert_eq!(lane.unserved(), 0);
    }
}

#[test]
fn a_handler_that_panics_ends_its_lane_and_no_other() {
    let schedule = schedule(1);
    let (mut bad, ..) = telling(&schedule);
    let (mut good, ..) = telling(&schedule);
    bad.push(tensor(13));
    bad.push(tensor(14));
    good.push(tensor(14));
    assert!(matches!(bad.blocking_next(), Some(Served::Failed)));
    assert!(bad.blocking_next().is_none());
    bad.push(tensor(15));
    assert!(bad.blocking_next().is_none());
    assert_eq!(
        answered(good.blocking_next()),
        (14, ResultStatus::Done),
        "the worker lives on"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_that_ends_waits_for_what_is_at_work_and_drops_what_waits() {
    let schedule = schedule(1);
    let (mut lane, door, told) = telling(&schedule);
    let (mut other, _, other_told) = telling(&schedule);
    lane.push(tensor(0));
    assert_eq!(told.recv().unwrap(), 0);
    lane.push(tensor(1));
    lane.push(lost(5));
    other.push(tensor(1));
    let finished = tokio::spawn(lane.finish());
    // Two tensors and an event waited; the tensor of the lane that ends does so no more.
    while schedule.load().waiting > 1 {
        tokio::task::yield_now().await;
    }
    assert!(!finished.is_finished());
    door.open();
    finished.await.unwrap();
    // The handler heard of what was lost, and is gone.
    assert_eq!(told.iter().collect::<Vec<_>>(), [1_005]);
    assert_eq!(answered(other.next().await), (1, ResultStatus::Done));
    assert_eq!(other_told.recv().unwrap(), 1);
    assert_eq!(schedule.load().sessions, 1);
}

#[test]
fn workers_end_with_the_last_who_could_ask_them() {
    let schedule = schedule(2);
    let (mut lane, door, told) = telling(&schedule);
    lane.push(tensor(0));
    lane.push(tensor(1));
    assert_eq!(told.recv().unwrap(), 0);
    // The lane keeps the workers.
    drop(schedule);
    drop(lane);
    door.open();
    // What was at work has ended, and its handler with it; what waited was not begun.
    assert_eq!(told.iter().next(), None);
}

/// Computes features that are the tensor's number; panics before or after the model at some. Tells what it
/// is asked for, and whether that is to finish.
struct Staged {
    told: mpsc::Sender<(bool, u64)>,
    model: Arc<SharedModel>,
    features: Array3<f32>,
    door: Door,
    number: u64,
}

impl TensorHandler for Staged {
    fn handle(&mut self, tensor: &ReceivedTensor) -> Answer {
        if tensor.info().id.0 == 0 {
            self.door.pass();
        }
        let prepared = self.prepare(tensor);
        let scores = prepared.and_then(|()| {
            let run = self.model.single().run(self.features.view());
            run.map_err(|_| ResultStatus::ModelFailed)
        });
        self.finish(scores)
    }

    fn stages(&mut self) -> Option<&mut dyn Stages> {
        Some(self)
    }
}

impl Stages for Staged {
    fn model(&self) -> &Arc<SharedModel> {
        &self.model
    }

    fn prepare(&mut self, tensor: &ReceivedTensor) -> Result<(), ResultStatus> {
        self.number = tensor.info().id.0;
        assert_ne!(self.number, 13, "a handler that fails");
        if self.number == 14 {
            return Err(ResultStatus::Undecodable);
        }
        let _ = self.told.send((false, self.number));
        // The engine takes what is not finite, and the scores are refused.
        let value = match self.number {
            15 => f32::INFINITY,
            number => number as f32 / 10.0,
        };
        self.features.fill(value);
        Ok(())
    }

    fn features(&self) -> ArrayView3<'_, f32> {
        self.features.view()
    }

    fn finish(&mut self, scores: Result<Vec<f32>, ResultStatus>) -> Answer {
        let _ = self.told.send((true, self.number));
        assert_ne!(self.number, 16, "a handler that fails");
        let (status, scores) = match scores {
            Ok(scores) => (ResultStatus::Done, scores),
            Err(status) => (status, vec![]),
        };
        let payload = scores.iter().flat_map(|score| score.to_be_bytes());
        Answer {
            status,
            payload: payload.collect(),
        }
    }
}

/// Of eight tensors of eight sessions in one run, each fails or is answered by itself, with the scores that
/// it has alone.
#[test]
fn in_a_run_of_several_each_tensor_fails_alone() {
    let model = embedded::model().unwrap();
    let split = "add_5";
    let shared = Arc::new(SharedModel::new(model.cloud(split).unwrap()));
    shared.learn(&model, split, 8, Keep::All);
    assert!(shared.uses(8) && shared.uses(4) && shared.uses(2));
    let schedule = schedule(1);
    let features = Array3::zeros(shared.single().input().as_tuple());
    let door = Door::default();
    let (sender, told) = mpsc::channel();
    let open = || {
        let handler = Staged {
            told: sender.clone(),
            model: Arc::clone(&shared),
            features: features.clone(),
            door: door.clone(),
            number: 0,
        };
        schedule.open(Box::new(handler), DEADLINE, None)
    };
    // Keeps the worker busy until all of the others wait.
    let mut first = open();
    first.push(tensor(0));
    while schedule.load().waiting > 0 {
        std::thread::yield_now();
    }
    // Due before the others, and as many as make the worker busy enough for runs of several.
    let mut before: Vec<_> = (0..BUSY).map(|_| telling(&schedule)).collect();
    for (lane, ..) in &mut before {
        lane.push(tensor(1));
    }
    let mut lanes: Vec<_> = (10..18).map(|number| (number, open())).collect();
    for (number, lane) in &mut lanes {
        lane.push(tensor(*number));
    }
    assert_eq!(schedule.load().waiting, BUSY + 8);
    door.open();
    assert_eq!(answered(first.blocking_next()), (0, ResultStatus::Done));
    let mut parts = vec![];
    for (number, lane) in &mut lanes {
        let served = lane.blocking_next();
        if *number == 13 || *number == 16 {
            assert!(
                matches!(served, Some(Served::Failed)),
                "{number}: {served:?}"
            );
            continue;
        }
        let Some(Served::Answered(found)) = served else {
            panic!("{number}: {served:?}");
        };
        let expected = match *number {
            14 => ResultStatus::Undecodable,
            15 => ResultStatus::ModelFailed,
            _ => ResultStatus::Done,
        };
        assert_eq!(found.answer.status, expected, "{number}");
        if expected == ResultStatus::Done {
            let alone = Array3::from_elem(features.dim(), *number as f32 / 10.0);
            let alone = shared.single().run(alone.view()).unwrap();
            let scores = found.answer.payload.chunks_exact(4);
            let scores = scores.map(|bytes| f32::from_be_bytes(bytes.try_into().unwrap()));
            let far = alone
                .iter()
                .zip(scores)
                .map(|(a, b)| (a - b).abs() / a.abs().max(1.0));
            assert!(far.fold(0.0, f32::max) <= 1e-5, "{number}");
            parts.push(found.compute);
        }
    }
    assert_eq!(parts.len(), 4);
    // One run: all are prepared before any is finished. (13 and 14 failed before that was told.)
    let order: Vec<_> = told.try_iter().skip_while(|told| told.1 == 0).collect();
    let prepared = [10, 11, 12, 15, 16, 17].map(|number| (false, number));
    let finished = [10, 11, 12, 14, 15, 16, 17].map(|number| (true, number));
    let expected = prepared.into_iter().chain(finished);
    assert_eq!(order, expected.collect::<Vec<_>>());
    assert!(shared.service().is_some());
}

#[test]
fn the_load_is_what_sessions_ask_for_and_a_new_one_is_measured_against_it() {
    let model = embedded::model().unwrap();
    let shared = Arc::new(SharedModel::new(model.cloud("add_5").unwrap()));
    let handler = || Staged {
        told: mpsc::channel().0,
        model: Arc::clone(&shared),
        features: Array3::zeros(shared.single().input().as_tuple()),
        door: Door::default(),
        number: 0,
    };
    let schedule = schedule(2);
    assert_eq!(schedule.load().share, 0.0);
    (0..1_000).for_each(|_| shared.took(Duration::from_millis(40)));
    let second = Duration::from_secs(1);
    // Announced, and not measured otherwise for two seconds: 20 of 40 ms each are 0.8 of one of two workers.
    let _first = schedule.open(Box::new(handler()), DEADLINE, Some(second / 20));
    let load = schedule.load();
    assert!((load.share - 0.4).abs() < 0.01, "{load:?}");
    schedule.admit(&mut handler(), Some(second / 20)).unwrap();
    let _second = schedule.open(Box::new(handler()), DEADLINE, Some(second / 20));
    let refused = schedule.admit(&mut handler(), Some(second / 20));
    let Err(Overloaded::Rate { with, load, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert!((with - 1.2).abs() < 0.01 && (load - 0.8).abs() < 0.01);
    schedule.admit(&mut handler(), Some(second)).unwrap();
}

/// What an edge is told of its share includes the time that the worker gave to others; what its result
/// tells does not.
#[test]
fn a_session_is_occupied_while_others_are_served_before_it() {
    let schedule = schedule(1);
    let (mut first, door, told) = telling(&schedule);
    let (mut second, ..) = telling(&schedule);
    first.push(tensor(0));
    assert_eq!(told.recv().unwrap(), 0);
    second.push(tensor(1));
    let waited = Duration::from_millis(30);
    std::thread::sleep(waited);
    door.open();
    let times = |lane: &mut Lane| match lane.blocking_next() {
        Some(Served::Answered(answered)) => (answered.compute, answered.occupied.unwrap()),
        other => panic!("{other:?}"),
    };
    let (compute, occupied) = times(&mut first);
    assert!(waited <= compute && compute <= occupied + Duration::from_millis(1));
    let (compute, occupied) = times(&mut second);
    assert!(occupied >= waited + compute - Duration::from_millis(1));
}
