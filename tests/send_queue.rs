//! The sender's queue: bounded, in order, and honest about what it did not send.

use tensorwire_protocol::wire::TensorId;
use tensorwire_protocol::{SendError, Session, Time};
use tensorwire_tests::{configs, flood, frame, outgoing, slices, stream};

fn edge() -> Session {
    let (edge, _) = configs(stream(4, |c| c.send_queue = 3));
    Session::new(edge, Time::ZERO).unwrap()
}

fn send(edge: &mut Session, now: Time, frame: u64) -> Result<TensorId, SendError> {
    edge.send_tensor(now, outgoing(frame, now, slices(&[700; 4], frame)))
}

#[test]
fn a_full_queue_refuses_and_the_number_goes_to_the_next() {
    let mut edge = edge();
    (0..3).for_each(|n| assert_eq!(send(&mut edge, Time::ZERO, n), Ok(TensorId(n))));
    assert_eq!(send(&mut edge, Time::ZERO, 3), Err(SendError::QueueFull(3)));
    assert_eq!(flood(&mut edge, Time::ZERO).len(), 12);
    assert_eq!(send(&mut edge, Time::ZERO, 4), Ok(TensorId(3)));
    assert_eq!(edge.stats().tensors_sent, 4);
}

#[test]
fn a_tensor_whose_deadline_has_passed_makes_room() {
    let mut edge = edge();
    (0..3).for_each(|n| assert!(send(&mut edge, Time::from_millis(n), n).is_ok()));
    assert_eq!(
        send(&mut edge, Time::from_millis(99), 3),
        Err(SendError::QueueFull(3))
    );
    assert_eq!(send(&mut edge, Time::from_millis(101), 3), Ok(TensorId(3)));
    assert_eq!(edge.stats().tensors_abandoned, 2);
    assert_eq!(
        flood(&mut edge, Time::from_millis(101)).len(),
        8,
        "the third and the last"
    );
}

#[test]
fn frames_go_forward_by_what_their_bits_tell() {
    let mut edge = edge();
    let order = |frame_number, last| {
        let (frame, last) = (frame(frame_number), frame(last));
        Err(SendError::FrameOrder { frame, last })
    };
    assert_eq!(
        send(&mut edge, Time::ZERO, 32_768),
        order(32_768, 0),
        "too far for the first"
    );
    assert!(send(&mut edge, Time::ZERO, 5).is_ok());
    assert_eq!(send(&mut edge, Time::ZERO, 5), order(5, 5));
    assert_eq!(send(&mut edge, Time::ZERO, 4), order(4, 5));
    assert_eq!(
        send(&mut edge, Time::ZERO, 5 + 32_768),
        order(5 + 32_768, 5)
    );
    assert!(send(&mut edge, Time::ZERO, 5 + 32_767).is_ok());
}

#[test]
fn a_tensor_that_does_not_fit_the_stream_is_refused() {
    let mut edge = edge();
    let wrong = edge.send_tensor(Time::ZERO, outgoing(0, Time::ZERO, slices(&[9; 5], 0)));
    let (expected, found) = (4, 5);
    assert_eq!(wrong, Err(SendError::SliceCount { expected, found }));
    let huge = slices(&[12_000_000; 4], 0);
    let huge = edge.send_tensor(Time::ZERO, outgoing(0, Time::ZERO, huge));
    assert!(huge.is_ok(), "41,000 packets");
    let most = slices(&[16_777_215; 5], 0);
    let (config, _) = configs(stream(5, |c| c.mss = 1_200));
    let mut edge = Session::new(config, Time::ZERO).unwrap();
    let refused = edge.send_tensor(Time::ZERO, outgoing(0, Time::ZERO, most));
    assert_eq!(refused, Err(SendError::TooLarge));
    assert_eq!(
        send_five(&mut edge),
        Ok(TensorId(0)),
        "a refused tensor takes no number"
    );
}

fn send_five(edge: &mut Session) -> Result<TensorId, SendError> {
    edge.send_tensor(Time::ZERO, outgoing(1, Time::ZERO, slices(&[9; 5], 0)))
}
