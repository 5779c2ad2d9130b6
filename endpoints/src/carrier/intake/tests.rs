use proptest::prelude::*;
use tensorwire_protocol::wire::FrameNumber;

use super::*;

const DEADLINE: Duration = Duration::from_millis(100);

fn config(latest_only: bool) -> Config {
    let mut config = Config::new(3);
    config.deadline = DEADLINE;
    config.latest_only = latest_only;
    config.limits.tensors_in_progress = 4;
    config.limits.bytes_in_progress = 2_000;
    config
}

/// A tensor of slices that end at these bytes.
fn head(id: u64, ends: [u32; 3]) -> TensorHead {
    TensorHead {
        id: TensorId(id),
        frame: FrameNumber(id + 10),
        captured: 0,
        step: 0,
        ends: ends.to_vec(),
    }
}

fn at(ms: u64) -> Time {
    Time::from_millis(ms)
}

fn events(intake: &mut Intake) -> Vec<Event> {
    std::iter::from_fn(|| intake.poll_event()).collect()
}

fn released(intake: &mut Intake) -> ReceivedTensor {
    match events(intake).as_slice() {
        [Event::Tensor(tensor)] => tensor.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_whole_tensor_is_released_at_once_with_every_slice() {
    let (mut intake, mut stats) = (Intake::new(&config(false)), Stats::default());
    assert!(intake.begin(at(20), head(0, [2, 2, 5]), at(10), &mut stats));
    assert!(intake.extend(at(21), TensorId(0), b"abc", &mut stats));
    assert_eq!(events(&mut intake), []);
    assert!(!intake.extend(at(22), TensorId(0), b"de", &mut stats));
    let tensor = released(&mut intake);
    let slices: Vec<_> = tensor.slices().collect();
    assert_eq!(slices, [Some(&b"ab"[..]), Some(b""), Some(b"cde")]);
    let info = tensor.info();
    assert_eq!((info.id, info.frame), (TensorId(0), FrameNumber(10)));
    assert_eq!(
        (info.captured, info.first_arrival, info.released),
        (at(10), at(20), at(22))
    );
    assert_eq!(
        (info.reason, info.slices_received),
        (ReleaseReason::Complete, 3)
    );
    assert_eq!((stats.tensors_complete, intake.memory()), (1, 0));
    assert_eq!(intake.next_deadline(), None);
}

#[test]
fn the_deadline_releases_the_slices_that_are_whole() {
    let (mut intake, mut stats) = (Intake::new(&config(false)), Stats::default());
    assert!(intake.begin(at(20), head(0, [2, 4, 6]), at(10), &mut stats));
    assert!(intake.extend(at(30), TensorId(0), b"abcde", &mut stats));
    assert_eq!(intake.next_deadline(), Some(at(110)));
    intake.expire(at(109), &mut stats);
    assert_eq!(events(&mut intake), []);
    intake.expire(at(110), &mut stats);
    let tensor = released(&mut intake);
    assert_eq!(
        tensor.slices().collect::<Vec<_>>(),
        [Some(&b"ab"[..]), Some(b"cd"), None]
    );
    assert_eq!(tensor.info().reason, ReleaseReason::Deadline);
    assert!(
        !intake.extend(at(111), TensorId(0), b"f", &mut stats),
        "it has ended"
    );
    assert_eq!((stats.tensors_deadline, intake.memory()), (1, 0));
}

#[test]
fn what_has_no_whole_slice_by_its_deadline_is_lost() {
    let (mut intake, mut stats) = (Intake::new(&config(false)), Stats::default());
    // 0 never comes; 1 begins; 2 comes when it is too late.
    assert!(intake.begin(at(20), head(1, [2, 4, 6]), at(10), &mut stats));
    assert!(intake.extend(at(30), TensorId(1), b"a", &mut stats));
    intake.expire(at(110), &mut stats);
    assert!(!intake.begin(at(125), head(2, [2, 4, 6]), at(25), &mut stats));
    let lost = Event::Lost {
        first: TensorId(0),
        count: 3,
    };
    assert_eq!(events(&mut intake), [lost]);
    assert_eq!((stats.tensors_lost, stats.late), (3, 1));
    assert!(
        !intake.begin(at(126), head(1, [1, 1, 1]), at(120), &mut stats),
        "told already"
    );
    assert_eq!(stats.late, 2);
}

#[test]
fn streams_may_overtake_each_other() {
    let (mut intake, mut stats) = (Intake::new(&config(false)), Stats::default());
    for id in [2, 0, 1] {
        assert!(intake.begin(at(20), head(id, [1, 2, 3]), at(10), &mut stats));
        intake.extend(at(20), TensorId(id), b"abc", &mut stats);
    }
    let ids: Vec<u64> = events(&mut intake)
        .into_iter()
        .map(|event| match event {
            Event::Tensor(tensor) => tensor.info().id.0,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ids, [2, 0, 1]);
    assert_eq!((stats.tensors_complete, stats.tensors_lost), (3, 0));
}

#[test]
fn where_only_the_latest_counts_a_release_gives_up_what_is_older() {
    let (mut intake, mut stats) = (Intake::new(&config(true)), Stats::default());
    assert!(intake.begin(at(20), head(1, [1, 2, 3]), at(10), &mut stats));
    intake.extend(at(20), TensorId(1), b"a", &mut stats);
    assert!(intake.begin(at(20), head(2, [1, 2, 3]), at(12), &mut stats));
    intake.extend(at(21), TensorId(2), b"abc", &mut stats);
    let events = events(&mut intake);
    let [
        Event::Tensor(tensor),
        Event::Lost { first, count: 1 },
        Event::Superseded(info),
    ] = events.as_slice()
    else {
        panic!("{events:?}")
    };
    assert_eq!(
        (tensor.info().id, *first, info.id),
        (TensorId(2), TensorId(0), TensorId(1))
    );
    assert_eq!(info.slices_received, 1);
    assert_eq!(
        (
            stats.tensors_superseded,
            stats.tensors_lost,
            intake.memory()
        ),
        (1, 1, 0)
    );
}

#[test]
fn memory_is_bounded_and_the_oldest_goes_first() {
    let (mut intake, mut stats) = (Intake::new(&config(false)), Stats::default());
    for id in 0..5 {
        assert!(intake.begin(at(20), head(id, [1, 2, 900]), at(10), &mut stats));
        intake.extend(at(20), TensorId(id), b"a", &mut stats);
    }
    assert_eq!(
        released(&mut intake).info().id,
        TensorId(0),
        "four at a time"
    );
    for id in 1..4 {
        intake.extend(at(20), TensorId(id), &[7; 800], &mut stats);
        assert!(intake.memory() <= 2_000);
    }
    assert_eq!(released(&mut intake).info().reason, ReleaseReason::Evicted);
    assert_eq!(stats.tensors_evicted, 2);
    // A number far ahead makes nothing be kept.
    assert!(!intake.begin(at(20), head(u64::MAX - 20, [1, 2, 3]), at(10), &mut stats));
    assert!(!intake.begin(at(20), head(1 << 40, [1, 2, 3]), at(10), &mut stats));
    assert_eq!(stats.conflicts, 2);
}

#[derive(Clone, Debug)]
enum Step {
    Begin(u64, u64),
    Extend(u64, usize),
    Wait(u64),
}

proptest! {
    /// Whatever a peer does, every tensor ends once, and memory stays within its bounds.
    #[test]
    fn every_tensor_ends_once_whatever_comes(
        latest: bool,
        steps in prop::collection::vec(prop_oneof![
            (0_u64..12, 0_u64..120).prop_map(|(id, age)| Step::Begin(id, age)),
            (0_u64..12, 0_usize..400).prop_map(|(id, n)| Step::Extend(id, n)),
            (0_u64..60).prop_map(Step::Wait),
        ], 0..80),
    ) {
        let (mut intake, mut stats) = (Intake::new(&config(latest)), Stats::default());
        let (mut now, mut ended) = (at(1_000), std::collections::BTreeMap::new());
        for step in steps.into_iter().chain([Step::Wait(10_000)]) {
            match step {
                Step::Begin(id, age) => {
                    let captured = now - Duration::from_millis(age);
                    intake.begin(now, head(id, [100, 200, 700]), captured, &mut stats);
                }
                Step::Extend(id, n) => {
                    intake.extend(now, TensorId(id), &vec![1; n], &mut stats);
                }
                Step::Wait(ms) => {
                    now = now + Duration::from_millis(ms);
                    intake.expire(now, &mut stats);
                }
            }
            prop_assert!(intake.memory() <= 2_000 && intake.live <= 4);
            for event in events(&mut intake) {
                let ids = match event {
                    Event::Tensor(tensor) => {
                        prop_assert!(tensor.info().slices_received > 0);
                        tensor.info().id.0..tensor.info().id.0 + 1
                    }
                    Event::Superseded(info) => info.id.0..info.id.0 + 1,
                    Event::Lost { first, count } => first.0..first.0 + count,
                    other => panic!("{other:?}"),
                };
                ids.for_each(|id| *ended.entry(id).or_insert(0) += 1);
            }
        }
        prop_assert!(ended.values().all(|times| *times == 1), "{ended:?}");
        prop_assert_eq!(ended.keys().copied().collect::<Vec<_>>(), (0..intake.first).collect::<Vec<_>>());
        prop_assert_eq!((intake.memory(), intake.live, intake.slots.len()), (0, 0, 0));
    }
}
