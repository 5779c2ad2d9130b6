//! What an edge learns, and when it tries again.

use super::*;
use crate::wire::Load;

const MS: Duration = Duration::from_millis(1);

fn path() -> Path {
    Path {
        rate: Some(20_000_000),
        pace: Some(20_000_000),
        one_way: Some(20 * MS),
        ..Path::default()
    }
}

fn at(millis: u64) -> Time {
    Time::from_millis(millis)
}

fn admission() -> Admission {
    Admission::new(DropRule::Predictive, 100 * MS)
}

#[test]
fn an_edge_that_was_too_slow_is_tried_again_after_a_while() {
    let mut admission = admission();
    assert_eq!(admission.decide(at(0), at(0), &path(), None, 0), Ok(()));
    admission.sent(at(150), 150 * MS, 1_000, &path());
    let late = Err(DropReason::Deadline);
    assert_eq!(admission.decide(at(160), at(160), &path(), None, 0), late);
    assert_eq!(admission.decide(at(499), at(499), &path(), None, 0), late);
    assert_eq!(admission.decide(at(500), at(500), &path(), None, 0), Ok(()));
    // Only once: the next waits for what becomes of it.
    assert_eq!(admission.edge_time(), Duration::ZERO);
    admission.sent(at(505), 5 * MS, 1_000, &path());
    assert_eq!(admission.decide(at(510), at(510), &path(), None, 0), Ok(()));
}

#[test]
fn a_path_that_cannot_is_not_tried() {
    let mut admission = admission();
    admission.sent(at(5), 5 * MS, 1_000, &path());
    let mut long = path();
    long.one_way = Some(101 * MS);
    for millis in [10, 1_000, 2_000] {
        let decided = admission.decide(at(millis), at(millis), &long, None, 0);
        assert_eq!(decided, Err(DropReason::Deadline));
    }
}

#[test]
fn a_path_that_was_too_slow_is_tried_again_once_nothing_is_under_way() {
    let mut admission = admission();
    let decide = |admission: &mut Admission, millis, path: &Path| {
        admission.decide(at(millis), at(millis), path, None, 0)
    };
    assert_eq!(decide(&mut admission, 0, &path()), Ok(()));
    admission.sent(at(5), 5 * MS, 11_719, &path());
    let mut slow = path();
    (slow.rate, slow.pace) = (Some(500_000), Some(500_000));
    let late = Err(DropReason::Deadline);
    assert_eq!(decide(&mut admission, 400, &slow), late);
    slow.in_flight = 1_200;
    assert_eq!(decide(&mut admission, 600, &slow), late);
    slow.in_flight = 0;
    assert_eq!(decide(&mut admission, 600, &slow), Ok(()));
    admission.sent(at(605), 5 * MS, 11_719, &slow);
    assert_eq!(decide(&mut admission, 1_099, &slow), late);
    assert_eq!(decide(&mut admission, 1_100, &slow), Ok(()));
    slow.queue_delay = 200 * MS;
    (slow.rate, slow.pace) = (None, None);
    admission.sent(at(1_105), 5 * MS, 11_719, &slow);
    assert_eq!(decide(&mut admission, 1_199, &slow), Err(DropReason::Rate));
    assert_eq!(decide(&mut admission, 1_200, &slow), Ok(()));
}

#[test]
fn without_a_path_or_a_load_nothing_is_dropped() {
    let mut admission = admission();
    for millis in (0..1_000).step_by(10) {
        let now = at(millis);
        assert_eq!(
            admission.decide(now, now, &Path::default(), None, 0),
            Ok(())
        );
        admission.sent(now + 5 * MS, 5 * MS, 1 << 20, &Path::default());
    }
}

#[test]
fn what_a_frame_has_waited_counts() {
    let mut admission = admission();
    admission.sent(at(0), 40 * MS, 1_000, &path());
    assert_eq!(admission.decide(at(38), at(0), &path(), None, 0), Ok(()));
    let decided = admission.decide(at(41), at(0), &path(), None, 0);
    assert_eq!(decided, Err(DropReason::Deadline));
}

/// An unlimited source waits until the queue is sent but for what goes while the next frame is made, or
/// until the server takes it.
#[test]
fn where_frames_come_as_they_are_taken_it_says_when() {
    let mut admission = admission();
    let mut path = path();
    assert_eq!(admission.ready_at(at(0), &path, 0), at(0));
    admission.sent(at(5), 5 * MS, 0, &path);
    path.waiting = 25_000;
    assert_eq!(admission.ready_at(at(10), &path, 0), at(15));
    path.waiting = 12_500;
    assert_eq!(admission.ready_at(at(10), &path, 0), at(10));
    path.waiting = 0;
    let load = Load {
        queue_length: 0,
        service_micros: 0,
        admission_micros: 80_000,
    };
    let load = PeerLoad { load, at: at(10) };
    assert_eq!(
        admission.decide(at(10), at(10), &path, Some(load), 0),
        Ok(())
    );
    admission.sent(at(15), 5 * MS, 0, &path);
    // It arrives at 35; the next may at 35 + 80 − 40.
    assert_eq!(admission.ready_at(at(16), &path, 0), at(75 - 5 - 20));
}

#[test]
fn a_frame_that_can_be_made_smaller_is_worth_it_if_so_small_a_tensor_is_in_time() {
    let mut admission = admission();
    let decide = |admission: &mut Admission, path: &Path| {
        admission.decide(at(1_000), at(1_000), path, None, 0)
    };
    // Each took 4 ms of a path that carries 20 Mbit/s.
    admission.sent(at(5), 5 * MS, 9_375, &path());
    // Of 2 Mbit/s and a queue of 50 ms, 25 ms are left: too few for such a tensor, enough for a sixth.
    let mut slow = path();
    (slow.rate, slow.pace) = (Some(2_000_000), Some(2_000_000));
    slow.queue_delay = 50 * MS;
    slow.in_flight = 12_500;
    assert_eq!(decide(&mut admission, &slow), Err(DropReason::Rate));
    admission.set_least(Some(1_500));
    assert_eq!(decide(&mut admission, &slow), Ok(()));
    admission.set_least(Some(9_000));
    assert_eq!(decide(&mut admission, &slow), Err(DropReason::Rate));
    // More than was needed so far is not needed now.
    admission.set_least(Some(usize::MAX));
    assert_eq!(decide(&mut admission, &path()), Ok(()));
    assert_eq!(admission.bytes(), 9_375, "what is expected stays");
}
