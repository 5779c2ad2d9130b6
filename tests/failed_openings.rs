//! A session ends before more datagrams have failed to open than its cipher bears, and says so to its
//! caller and to its peer.

use std::time::Duration;

use tensorwire_protocol::wire::{CloseCode, MessageType, Refusal};
use tensorwire_protocol::{Cipher, EndReason, Event, SendError, Session, Time};
use tensorwire_tests::{configs, outgoing, protected, slices, stream};

const NOW: Time = Time::from_millis(50);

fn sessions(most: u64) -> (Session, Session) {
    let config = stream(4, |config| config.failed_openings = Some(most));
    let (edge, cloud) = protected(configs(config), Cipher::Aes128Gcm);
    let session = |config| Session::new(config, Time::ZERO).unwrap();
    (session(edge), session(cloud))
}

/// A datagram to the cloud that only looks like one of the edge's.
fn forged(number: u8) -> Vec<u8> {
    let mut datagram = vec![0x94, 0, 0xC1, 0x00, 0x02, 0, 0, 0, number];
    datagram.extend([number; 30]);
    datagram
}

fn sent(session: &mut Session, now: Time) -> Vec<(MessageType, Vec<u8>)> {
    let (mut sent, mut buffer) = (Vec::new(), Vec::new());
    while let Some(transmit) = session.poll_transmit(now, &mut buffer) {
        sent.push((transmit.kind, buffer.clone()));
    }
    sent
}

#[test]
fn the_last_failure_that_is_allowed_ends_the_session_on_both_sides() {
    let (mut edge, mut cloud) = sessions(5);
    let genuine = sent(&mut edge, NOW);
    for number in 0..5 {
        assert_eq!(cloud.ended(), None);
        let taken = cloud.handle_datagram(NOW, &forged(number));
        assert_eq!(taken, Err(Refusal::Integrity));
    }
    let ended = Event::Ended(EndReason::FailedOpenings);
    assert_eq!(cloud.poll_event(), Some(ended));
    assert_eq!(cloud.poll_event(), None);
    let closes = sent(&mut cloud, NOW);
    let [(MessageType::Close, close)] = &closes[..] else {
        panic!("{closes:?}")
    };

    // Nothing is tried any more, genuine or not.
    for datagram in [&genuine[0].1, &forged(9)] {
        assert_eq!(cloud.handle_datagram(NOW, datagram), Err(Refusal::Ended));
    }
    let refused = cloud.stats().refused;
    assert_eq!((refused.integrity, refused.ended), (5, 2));

    edge.handle_datagram(NOW, close).unwrap();
    let ended = Event::Ended(EndReason::Peer(CloseCode::LimitsExceeded));
    assert_eq!(edge.poll_event(), Some(ended));
    let tensor = outgoing(0, NOW, slices(&[9; 4], 0));
    assert_eq!(edge.send_tensor(NOW, tensor), Err(SendError::Ended));
    assert!(sent(&mut edge, NOW).is_empty());
    assert_eq!(edge.poll_timeout(), None);
}

#[test]
fn replays_and_what_names_another_session_cost_nothing() {
    let (mut edge, mut cloud) = sessions(3);
    for (_, datagram) in sent(&mut edge, NOW) {
        cloud.handle_datagram(NOW, &datagram).unwrap();
        for _ in 0..10 {
            let again = cloud.handle_datagram(NOW, &datagram);
            assert_eq!(again, Err(Refusal::Replay));
        }
    }
    let mut other = forged(3);
    other[4] ^= 1;
    for _ in 0..10 {
        assert_eq!(cloud.handle_datagram(NOW, &other), Err(Refusal::Connection));
        assert_eq!(
            cloud.handle_datagram(NOW, &[0x94; 24]),
            Err(Refusal::Length)
        );
    }
    assert_eq!(cloud.ended(), None);
}

#[test]
fn failures_count_over_all_keys() {
    let (mut edge, mut cloud) = sessions(4);
    let mut now = NOW;
    for round in 0..3 {
        for (_, datagram) in sent(&mut edge, now) {
            cloud.handle_datagram(now, &datagram).unwrap();
        }
        now = now + Duration::from_millis(20);
        cloud.handle_timeout(now);
        for (_, datagram) in sent(&mut cloud, now) {
            edge.handle_datagram(now, &datagram).unwrap();
        }
        assert!(edge.update_keys(), "round {round}");
        let refused = cloud.handle_datagram(now, &forged(100 + round));
        assert_eq!(refused, Err(Refusal::Integrity));
        now = now + Duration::from_secs(2);
        edge.handle_timeout(now);
    }
    assert_eq!(cloud.ended(), None);
    let _ = cloud.handle_datagram(now, &forged(110));
    assert_eq!(cloud.ended(), Some(EndReason::FailedOpenings));
}
