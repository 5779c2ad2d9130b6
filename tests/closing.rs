//! CLOSE ends a session on both sides, although two of its three copies are lost; what had arrived still
//! meets its end. In plain mode, where anyone could say so, it ends nothing.

use std::time::Duration;

use tensorwire_protocol::wire::{Close, CloseCode, Message, MessageType};
use tensorwire_protocol::{Cipher, EndReason, Event, ReleaseReason, ResultError, Session, Time};
use tensorwire_tests::{
    CLOUD, Pair, Path, configs, everything, outgoing, protected, released, slices, stream,
};

fn pair() -> Pair {
    let config = stream(20, |_| ());
    let (edge, cloud) = protected(configs(config), Cipher::ChaCha20Poly1305);
    Pair::of(edge, cloud, Path::delay(15))
}

#[test]
fn both_sides_end_once_and_fall_silent() {
    let mut pair = pair();
    pair.run_for(Duration::from_millis(500));
    pair.edge.close(pair.edge_now(), CloseCode::GoingAway);
    pair.edge.close(pair.edge_now(), CloseCode::Done);
    pair.run_for(Duration::from_secs(5));
    let ends = |events: &[(Time, Event)]| -> Vec<EndReason> {
        let ends = events.iter().filter_map(|(_, event)| match event {
            Event::Ended(reason) => Some(*reason),
            _ => None,
        });
        ends.collect()
    };
    let code = CloseCode::GoingAway;
    assert_eq!(ends(&pair.edge_events), [EndReason::Local(code)]);
    assert_eq!(ends(&pair.cloud_events), [EndReason::Peer(code)]);
    assert_eq!(pair.edge.poll_timeout(), None);
    assert_eq!(pair.cloud.poll_timeout(), None);
    // The other two copies.
    assert_eq!(pair.cloud.stats().refused.ended, 2);
}

#[test]
fn one_of_three_copies_is_enough() {
    for lost in [[0, 1], [0, 2], [1, 2]] {
        let (edge, cloud) = protected(configs(stream(4, |_| ())), Cipher::Aes128Gcm);
        let mut edge = Session::new(edge, Time::ZERO).unwrap();
        let mut cloud = Session::new(cloud, Time::ZERO).unwrap();
        edge.close(Time::ZERO, CloseCode::Done);
        let (mut copies, mut buffer, mut now) = (0, Vec::new(), Time::ZERO);
        loop {
            while let Some(transmit) = edge.poll_transmit(now, &mut buffer) {
                assert_eq!(transmit.kind, MessageType::Close);
                if !lost.contains(&copies) {
                    cloud.handle_datagram(now, &buffer).unwrap();
                }
                copies += 1;
            }
            let Some((at, _)) = edge.poll_timeout() else {
                break;
            };
            now = at;
            edge.handle_timeout(now);
        }
        assert_eq!(copies, 3);
        assert_eq!(cloud.ended(), Some(EndReason::Peer(CloseCode::Done)));
    }
}

#[test]
fn what_had_arrived_meets_its_end() {
    let mut pair = pair();
    pair.run_for(Duration::from_millis(300));
    let now = pair.edge_now();
    let tensor = outgoing(0, now, slices(&[400; 20], 0));
    pair.edge.send_tensor(now, tensor).unwrap();
    let packets = everything(&mut pair.edge, now);
    for packet in &packets[..3] {
        pair.cloud
            .handle_datagram(pair.cloud_now(), packet)
            .unwrap();
    }
    pair.edge.close(now, CloseCode::Done);
    pair.run_for(Duration::from_secs(2));
    let tensors = released(pair.cloud_events.drain(..).map(|(_, event)| event));
    let [tensor] = &tensors[..] else {
        panic!("{tensors:?}")
    };
    let reasons = [ReleaseReason::Exhausted, ReleaseReason::Deadline];
    assert!(reasons.contains(&tensor.info().reason));
    let result = tensorwire_protocol::OutgoingResult {
        tensor: *tensor.info(),
        status: tensorwire_protocol::wire::ResultStatus::Done,
        compute: Duration::ZERO,
        payload: bytes::Bytes::new(),
    };
    let now = pair.cloud_now();
    assert_eq!(pair.cloud.send_result(now, result), Err(ResultError::Ended));
}

#[test]
fn in_plain_mode_nobody_is_told_and_nobody_believes_it() {
    let mut pair = Pair::new(stream(4, |_| ()), Path::delay(5));
    pair.run_for(Duration::from_millis(50));
    let mut forged = Vec::new();
    let close = Close {
        code: CloseCode::Done,
        reason: "",
    };
    Message::Close(close).encode(&mut forged, CLOUD, 20);
    pair.cloud
        .handle_datagram(pair.cloud_now(), &forged)
        .unwrap();
    assert_eq!(pair.cloud.ended(), None);
    assert_eq!(pair.cloud.stats().ignored, 1);

    pair.edge.close(pair.edge_now(), CloseCode::Done);
    let mut buffer = Vec::new();
    assert!(
        pair.edge
            .poll_transmit(pair.edge_now(), &mut buffer)
            .is_none()
    );
    assert_eq!(pair.edge.poll_timeout(), None);
}
