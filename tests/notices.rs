//! What the edge skipped and abandoned is told to the cloud, once each, under loss too.

use std::time::Duration;

use proptest::prelude::*;
use tensorwire_protocol::link::{LinkConfig, LossModel};
use tensorwire_protocol::wire::NoticeReason;
use tensorwire_protocol::{Event, Session, Time};
use tensorwire_tests::{Pair, Path, configs, flood, frame, outgoing, slices, stream};

/// Told frames: reason, first, count.
fn skips<'e>(events: impl Iterator<Item = &'e Event>) -> Vec<(NoticeReason, u64, u8)> {
    let skipped = |event: &Event| match event {
        Event::FramesSkipped {
            reason,
            first,
            count,
        } => Some((*reason, first.0, *count)),
        _ => None,
    };
    events.filter_map(skipped).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn each_is_told_once_with_its_numbers(seed: u64, loss in prop_oneof![Just(0.0), 0.0..0.3]) {
        let path = Path::symmetric(LinkConfig {
            loss: LossModel::independent(loss).unwrap(),
            delay: Duration::from_millis(20),
            jitter: Duration::from_millis(10),
            seed,
            ..LinkConfig::default()
        });
        let mut pair = Pair::new(stream(30, |_| ()), path);
        let reasons = [NoticeReason::FrameRate, NoticeReason::FrameBusy, NoticeReason::Other(0x40)];
        let (mut next, mut expected) = (0, Vec::new());
        for i in 0..80_usize {
            // Far enough to wrap the frame number, and further than one notice counts.
            let count = if i % 20 == 7 { 1_100 } else { 1 + i as u64 % 3 };
            let reason = reasons[i % reasons.len()];
            pair.edge.skip_frames(reason, frame(next), count);
            let mut first = next;
            while first < next + count {
                let part = (next + count - first).min(255);
                expected.push((reason, first, u8::try_from(part).unwrap()));
                first += part;
            }
            next += count;
            let tensor = outgoing(next, pair.edge_now(), slices(&[200; 30], next));
            pair.edge.send_tensor(pair.edge_now(), tensor).unwrap();
            next += 1;
            pair.run_for(Duration::from_millis(40));
        }
        pair.run_for(Duration::from_secs(1));
        let mut told = skips(pair.cloud_events.iter().map(|(_, event)| event));
        told.sort_by_key(|(_, first, _)| *first);
        let all = told.len();
        told.dedup();
        prop_assert_eq!(told.len(), all, "told twice");
        prop_assert!(told.iter().all(|notice| expected.contains(notice)), "{:?}", told);
        if loss == 0.0 {
            prop_assert_eq!(told, expected);
        } else {
            // Three packets carry each; all are lost with a probability below 3 %.
            prop_assert!(all * 10 >= expected.len() * 8, "{} of {}", all, expected.len());
        }
    }
}

#[test]
fn an_abandoned_tensor_is_told_by_the_next() {
    let (edge, cloud) = configs(stream(4, |_| ()));
    let mut edge = Session::new(edge, Time::ZERO).unwrap();
    let mut cloud = Session::new(cloud, Time::ZERO).unwrap();
    let send = |edge: &mut Session, now, id| {
        edge.send_tensor(now, outgoing(id, now, slices(&[700; 4], id)))
            .unwrap();
    };
    send(&mut edge, Time::ZERO, 0);
    send(&mut edge, Time::ZERO, 1);
    let mut buffer = Vec::new();
    // The PING and one packet get out before the deadline of both.
    assert!(edge.poll_transmit(Time::ZERO, &mut buffer).is_some());
    assert!(edge.poll_transmit(Time::ZERO, &mut buffer).is_some());
    let late = Time::from_millis(100);
    assert!(flood(&mut edge, late).is_empty());
    assert_eq!(edge.stats().tensors_abandoned, 2);
    send(&mut edge, late, 2);
    let packets = flood(&mut edge, late);
    packets
        .iter()
        .for_each(|packet| cloud.handle_datagram(late, packet).unwrap());
    let told = std::iter::from_fn(|| cloud.poll_event()).find_map(|event| match event {
        Event::TensorsAbandoned {
            reason,
            first,
            count,
        } => Some((reason, first.0, count)),
        _ => None,
    });
    assert_eq!(told, Some((NoticeReason::TensorDeadline, 0, 2)));
}

/// An edge that skipped three frames before its tensor of four packets, and that tensor's packets; and a
/// cloud.
fn told_in_packets(now: Time) -> (Vec<Vec<u8>>, Session) {
    let (edge, cloud) = configs(stream(4, |_| ()));
    let mut edge = Session::new(edge, Time::ZERO).unwrap();
    let cloud = Session::new(cloud, Time::ZERO).unwrap();
    let _ping = flood(&mut edge, Time::ZERO);
    edge.skip_frames(NoticeReason::FrameBusy, frame(0), 3);
    edge.send_tensor(now, outgoing(3, now, slices(&[700; 4], 3)))
        .unwrap();
    (flood(&mut edge, now), cloud)
}

/// What a cloud tells of skipped frames.
fn skips_of(cloud: &mut Session) -> Vec<(NoticeReason, u64, u8)> {
    let events: Vec<Event> = std::iter::from_fn(|| cloud.poll_event()).collect();
    skips(events.iter())
}

#[test]
fn a_late_packet_tells_its_notice_all_the_same() {
    let told = vec![(NoticeReason::FrameBusy, 0, 3)];
    let (packets, mut cloud) = told_in_packets(Time::from_millis(10));
    // Only the last packet arrives in time, which carries none; its tensor ends without the others.
    let (last, first) = packets.split_last().unwrap();
    cloud.handle_datagram(Time::from_millis(11), last).unwrap();
    assert_eq!(skips_of(&mut cloud), vec![]);
    let late = Time::from_millis(1_000);
    cloud.handle_timeout(late);
    for packet in first {
        cloud.handle_datagram(late, packet).unwrap();
    }
    assert_eq!(cloud.stats().late, first.len() as u64);
    assert_eq!(skips_of(&mut cloud), told);

    // In time and late: once.
    let (packets, mut cloud) = told_in_packets(Time::from_millis(10));
    let (first, others) = packets.split_first().unwrap();
    cloud.handle_datagram(Time::from_millis(11), first).unwrap();
    assert_eq!(skips_of(&mut cloud), told);
    cloud.handle_timeout(late);
    for packet in others {
        cloud.handle_datagram(late, packet).unwrap();
    }
    assert_eq!(skips_of(&mut cloud), vec![]);
}
