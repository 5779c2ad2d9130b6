//! A tensor of which nothing arrives is known from the gap in the numbers, and reported lost once its
//! packets can no longer be merely reordered; at the deadline of the tensor that showed the gap where
//! they could be sent again. The edge hears of it.

use std::time::Duration;

use tensorwire_protocol::wire::TensorId;
use tensorwire_protocol::{Event, ReleaseReason, Session, Time};
use tensorwire_tests::{configs, stream, tensor};

/// How late a packet may be on a path that has not reordered any.
const WINDOW: Duration = Duration::from_millis(1);

/// Sends `n` tensors at once, of which those with these numbers arrive, and tells the cloud's events
/// now, its events after the window, and the deliveries that the edge then hears of.
fn run(n: u64, arrive: &[u64]) -> (Vec<Event>, Vec<Event>, Vec<(u64, ReleaseReason)>) {
    run_until(n, arrive, false, WINDOW)
}

/// The same where the lost ones end after `wait`: the cloud may expect retransmissions.
fn run_until(
    n: u64,
    arrive: &[u64],
    retransmission: bool,
    wait: Duration,
) -> (Vec<Event>, Vec<Event>, Vec<(u64, ReleaseReason)>) {
    let now = Time::from_millis(10_000);
    let (edge, mut cloud) = configs(stream(20, |_| ()));
    cloud.retransmission = retransmission;
    let mut edge = Session::new(edge, now).unwrap();
    let mut cloud = Session::new(cloud, now).unwrap();
    for id in 0..n {
        let (_, packets) = tensor(&mut edge, now, id, &[130; 20]);
        if arrive.contains(&id) {
            packets
                .iter()
                .for_each(|p| cloud.handle_datagram(now, p).unwrap());
        }
    }
    let at_once = std::iter::from_fn(|| cloud.poll_event()).collect();
    let end = now + wait;
    cloud.handle_timeout(end - Duration::from_micros(1));
    assert_eq!(cloud.poll_event(), None, "too early");
    cloud.handle_timeout(end);
    let later = std::iter::from_fn(|| cloud.poll_event()).collect();
    let (mut buffer, mut deliveries) = (Vec::new(), Vec::new());
    let report = end + Duration::from_millis(10);
    while cloud.poll_transmit(report, &mut buffer).is_some() {
        edge.handle_datagram(report, &buffer).unwrap();
    }
    while let Some(event) = edge.poll_event() {
        if let Event::Delivery { tensor, reason, .. } = event {
            deliveries.push((tensor.0, reason));
        }
    }
    deliveries.sort_by_key(|(id, _)| *id);
    (at_once, later, deliveries)
}

fn lost(first: u64, count: u64) -> Event {
    let first = TensorId(first);
    Event::Lost { first, count }
}

#[test]
fn one_in_the_middle() {
    let (at_once, later, deliveries) = run(3, &[0, 2]);
    assert_eq!(at_once.len(), 2);
    assert_eq!(later, [lost(1, 1)]);
    let (complete, gone) = (ReleaseReason::Complete, ReleaseReason::Lost);
    assert_eq!(deliveries, [(0, complete), (1, gone), (2, complete)]);
}

#[test]
fn what_may_be_sent_again_is_waited_for_until_the_deadline() {
    let deadline = Duration::from_millis(100);
    let (at_once, later, deliveries) = run_until(3, &[0, 2], true, deadline);
    assert_eq!(at_once.len(), 2);
    assert_eq!(later, [lost(1, 1)]);
    assert!(deliveries.contains(&(1, ReleaseReason::Lost)));
}

#[test]
fn the_very_first() {
    let (_, later, _) = run(2, &[1]);
    assert_eq!(later, [lost(0, 1)]);
}

#[test]
fn several_in_a_row_are_told_at_once() {
    let (at_once, later, deliveries) = run(9, &[2, 8]);
    assert_eq!(at_once.len(), 2);
    assert_eq!(later, [lost(0, 2), lost(3, 5)]);
    let gone = deliveries
        .iter()
        .filter(|(_, reason)| *reason == ReleaseReason::Lost);
    assert_eq!(
        gone.map(|(id, _)| *id).collect::<Vec<_>>(),
        [0, 1, 3, 4, 5, 6, 7]
    );
}

#[test]
fn more_than_the_receiver_keeps_track_of() {
    let (at_once, later, _) = run(300, &[299]);
    assert_eq!(at_once[0], lost(0, 236), "no longer among the newest 64");
    assert_eq!(later, [lost(236, 63)]);
}

#[test]
fn after_the_last_that_arrived_nothing_is_known() {
    let (_, later, _) = run(5, &[0, 1]);
    assert_eq!(later, []);
}
