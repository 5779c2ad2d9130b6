//! An edge that is faster than its cloud or its path drops frames before it computes them: what is
//! delivered comes in time, and nothing queues up.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tensorwire_protocol::admission::{Admission, DropReason, DropRule};
use tensorwire_protocol::link::LinkConfig;
use tensorwire_protocol::wire::{Load, NoticeReason, ResultStatus};
use tensorwire_protocol::{Event, OutgoingResult, RateControl, TensorInfo, Time};
use tensorwire_tests::{Pair, Path, frame, outgoing, slices, stream};

const MS: Duration = Duration::from_millis(1);
const FRAME: Duration = Duration::from_micros(33_333);
const DEADLINE: Duration = Duration::from_millis(100);
/// Time that the edge takes to make a tensor of eleven slices, 11,000 bytes.
const MADE: Duration = Duration::from_millis(5);
const SLICES: [usize; 11] = [1_000; 11];
const FRAMES: u64 = 600;

/// The cloud's model: one tensor at a time, the others wait.
struct Model {
    service: Duration,
    waiting: VecDeque<TensorInfo>,
    /// The tensor at work, and when it is done.
    work: Option<(TensorInfo, Time)>,
    /// Of each tensor, from capture until the model began, and what waited behind it.
    begun: Vec<(Duration, usize)>,
    done: u64,
}

impl Model {
    fn new(service: Duration) -> Self {
        Self {
            service,
            waiting: VecDeque::new(),
            work: None,
            begun: Vec::new(),
            done: 0,
        }
    }

    /// Does what is due, and tells the session the load.
    fn step(&mut self, pair: &mut Pair) {
        let now = pair.cloud_now();
        for (_, event) in pair.cloud_events.drain(..) {
            if let Event::Tensor(tensor) = event {
                self.waiting.push_back(*tensor.info());
            }
        }
        if let Some((tensor, done)) = self.work
            && done <= now
        {
            self.work = None;
            self.done += 1;
            let result = OutgoingResult {
                tensor,
                status: ResultStatus::Done,
                compute: self.service,
                payload: Bytes::new(),
            };
            pair.cloud.send_result(now, result).unwrap();
        }
        if self.work.is_none()
            && let Some(tensor) = self.waiting.pop_front()
        {
            self.begun.push((now - tensor.captured, self.waiting.len()));
            self.work = Some((tensor, now + self.service));
        }
        let service = u32::try_from(self.service.as_micros()).unwrap();
        let waiting = u32::try_from(self.waiting.len()).unwrap();
        if self.done > 0 {
            pair.cloud.set_load(Load {
                queue_length: u16::try_from(waiting).unwrap(),
                service_micros: service,
                admission_micros: service * (8 + waiting) / 8,
            });
        }
        pair.drain();
    }
}

/// What came of a stream.
struct Outcome {
    pair: Pair,
    model: Model,
    sent: u64,
    dropped: Vec<DropReason>,
    told: u64,
}

impl Outcome {
    fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped.iter().filter(|r| **r == reason).count() as u64
    }

    fn oldest(&self) -> Duration {
        self.model.begun.iter().map(|(age, _)| *age).max().unwrap()
    }

    fn longest_queue(&self) -> usize {
        self.model
            .begun
            .iter()
            .map(|(_, behind)| *behind)
            .max()
            .unwrap()
    }
}

/// Streams frames 33 ms apart over a path of 20 ms, making those that the rule admits.
fn run(rule: DropRule, service: Duration, control: RateControl, rate: u64) -> Outcome {
    let config = stream(11, |c| {
        (c.deadline, c.rate) = (DEADLINE, control);
        c.retransmission = true;
    });
    let path = Path::symmetric(LinkConfig {
        delay: 20 * MS,
        rate: Some(rate),
        ..LinkConfig::default()
    });
    let mut pair = Pair::new(config, path);
    let mut model = Model::new(service);
    let mut admission = Admission::new(rule, DEADLINE);
    let (mut sent, mut dropped) = (0, vec![]);
    let mut told = 0;
    let start = Time::from_millis(1_000);
    pair.run_until(start);
    for number in 0..FRAMES {
        let captured = pair.edge_now();
        let (path, load) = (pair.edge.path(captured), pair.edge.peer_load());
        let next = start + FRAME * u32::try_from(number + 1).unwrap();
        match admission.decide(captured, captured, &path, load, 0) {
            Ok(()) => {
                until(&mut pair, &mut model, captured + MADE, &mut told);
                let now = pair.edge_now();
                let path = pair.edge.path(now);
                let tensor = outgoing(number, captured, slices(&SLICES, number));
                if pair.edge.send_tensor(now, tensor).is_ok() {
                    admission.sent(now, MADE, 11_000, &path);
                    sent += 1;
                }
            }
            Err(reason) => {
                dropped.push(reason);
                pair.edge.skip_frames(reason.notice(), frame(number), 1);
            }
        }
        until(&mut pair, &mut model, next, &mut told);
    }
    while pair.now < start + FRAME * u32::try_from(FRAMES + 30).unwrap() || model.work.is_some() {
        let end = pair.now + 100 * MS;
        until(&mut pair, &mut model, end, &mut told);
    }
    Outcome {
        pair,
        model,
        sent,
        dropped,
        told,
    }
}

/// Runs sessions and model up to a moment; frames that the cloud was told of as skipped are counted.
fn until(pair: &mut Pair, model: &mut Model, end: Time, told: &mut u64) {
    loop {
        let skipped = pair
            .cloud_events
            .iter()
            .filter_map(|(_, event)| match event {
                Event::FramesSkipped { count, .. } => Some(u64::from(*count)),
                _ => None,
            });
        *told += skipped.sum::<u64>();
        model.step(pair);
        let next = model.work.map_or(end, |(_, done)| done.min(end));
        let next = next.min(pair.next_wake());
        if next >= end {
            pair.run_until(end);
            return;
        }
        pair.run_until(next);
    }
}

#[test]
fn an_overloaded_cloud_gets_what_it_can_serve_in_time() {
    let service = 2 * FRAME;
    for rule in [DropRule::Predictive, DropRule::Published] {
        let outcome = run(rule, service, RateControl::Off, 20_000_000);
        // Every second frame.
        let served = outcome.model.done;
        assert_eq!(served, outcome.sent, "{rule:?}");
        assert_eq!(outcome.sent + outcome.dropped.len() as u64, FRAMES);
        assert!(
            (280..=310).contains(&served),
            "{rule:?}: {served} of {FRAMES}"
        );
        assert!(outcome.dropped(DropReason::ServerBusy) >= 280, "{rule:?}");
        // Once the load is known, and what the edge sent before is worked off.
        let known = &outcome.model.begun[8..];
        assert!(
            known.iter().all(|(age, _)| *age <= DEADLINE),
            "{rule:?}: {known:?}"
        );
        assert!(
            known.iter().all(|(_, behind)| *behind <= 1),
            "{rule:?}: {known:?}"
        );
        assert_eq!(outcome.pair.edge.stats().tensors_abandoned, 0);
        // But for those after the last tensor, of which nothing tells.
        let dropped = outcome.dropped.len() as u64;
        assert!(
            outcome.told <= dropped && outcome.told + 2 >= dropped,
            "{rule:?}: {}",
            outcome.told
        );
    }
}

#[test]
fn without_a_rule_an_overloaded_cloud_falls_behind() {
    let outcome = run(DropRule::Off, 2 * FRAME, RateControl::Off, 20_000_000);
    assert_eq!(outcome.sent, FRAMES);
    assert!(outcome.longest_queue() > 250);
    assert!(outcome.oldest() > Duration::from_secs(15));
}

#[test]
fn a_cloud_that_keeps_up_gets_every_frame() {
    let service = FRAME * 9 / 10;
    let outcome = run(DropRule::Predictive, service, RateControl::Off, 20_000_000);
    assert_eq!((outcome.model.done, outcome.dropped.len()), (FRAMES, 0));
    assert!(outcome.oldest() <= DEADLINE);
}

/// 2.9 Mbit/s of tensors on a path of 1.5.
#[test]
fn a_slow_path_carries_what_it_can_in_time() {
    let slow = 1_500_000;
    let control = RateControl::Fixed {
        bits_per_second: slow,
    };
    let stats = |outcome: &Outcome| *outcome.pair.cloud.stats();
    let outcome = run(DropRule::Predictive, MS, control, slow);
    // 11,000 bytes take 63 ms: every second frame.
    let whole = stats(&outcome).tensors_complete;
    // But for the first ones: the queue that the pacer's first burst makes is not known yet.
    assert!(whole + 3 >= outcome.sent, "{whole} of {}", outcome.sent);
    assert!((290..=310).contains(&whole), "{whole} of {FRAMES}");
    assert_eq!(outcome.dropped(DropReason::Rate), FRAMES - outcome.sent);
    assert_eq!(outcome.pair.edge.stats().tensors_abandoned, 0);
    assert!(outcome.oldest() <= DEADLINE);

    let without = run(DropRule::Off, MS, control, slow);
    assert!(stats(&without).tensors_complete < whole / 2);
    assert!(without.pair.edge.stats().tensors_abandoned > 0);
}

#[test]
fn a_deadline_that_cannot_be_met_computes_a_frame_now_and_then() {
    // 20 ms on the way, 5 to make it, 90 to send it.
    let slow = 1_050_000;
    let control = RateControl::Fixed {
        bits_per_second: slow,
    };
    let outcome = run(DropRule::Predictive, MS, control, slow);
    // The first one told how long such tensors are; one each half second sees whether they still are.
    assert!((2..=41).contains(&outcome.sent), "{}", outcome.sent);
    assert_eq!(outcome.dropped(DropReason::Deadline), FRAMES - outcome.sent);
    assert_eq!(DropReason::Deadline.notice(), NoticeReason::FrameDeadline);
}
