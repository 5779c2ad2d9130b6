//! Results reach the edge once each, although either direction loses packets; what is never
//! acknowledged is counted.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use tensorwire_protocol::link::{LinkConfig, LossModel};
use tensorwire_protocol::wire::{Message, MessageType, ResultStatus, open};
use tensorwire_protocol::{Event, OutgoingResult, ResultError, Session, TensorInfo, Time};
use tensorwire_tests::{Pair, Path, configs, outgoing, released, slices, stream, tensor};

fn result(tensor: TensorInfo, payload: usize) -> OutgoingResult {
    let text = format!("{:04}", tensor.id.0).repeat(payload.div_ceil(4));
    OutgoingResult {
        tensor,
        status: ResultStatus::Done,
        compute: Duration::from_micros(tensor.id.0 * 10),
        payload: Bytes::from(text[..payload].to_owned()),
    }
}

/// Streams tensors, answers each as soon as it is released, and tells how often each result came.
fn run(loss: f64, payload: usize, seed: u64) -> (Pair, u64, BTreeMap<u64, u32>) {
    let path = Path::symmetric(LinkConfig {
        loss: LossModel::independent(loss).unwrap(),
        delay: Duration::from_millis(20),
        jitter: Duration::from_millis(3),
        seed,
        ..LinkConfig::default()
    });
    let mut pair = Pair::new(stream(10, |_| ()), path);
    let (mut answered, mut came) = (0, BTreeMap::new());
    for ms in 0..8_000 {
        if ms % 33 == 0 && ms < 6_000 {
            let frame = ms / 33 * 2;
            let tensor = outgoing(frame, pair.edge_now(), slices(&[130; 10], frame));
            pair.edge.send_tensor(pair.edge_now(), tensor).unwrap();
        }
        pair.run_for(Duration::from_millis(1));
        let events = pair.cloud_events.drain(..).map(|(_, event)| event);
        for tensor in released(events) {
            let (now, result) = (pair.cloud_now(), result(*tensor.info(), payload));
            pair.cloud.send_result(now, result).unwrap();
            answered += 1;
        }
        for (_, event) in pair.edge_events.drain(..) {
            let Event::Result(result) = event else {
                continue;
            };
            let id = result.tensor.0;
            assert_eq!(result.frame.0, id * 2);
            assert_eq!(result.compute, Duration::from_micros(id * 10));
            assert!(result.payload.starts_with(format!("{id:04}").as_bytes()));
            *came.entry(id).or_default() += 1;
        }
    }
    (pair, answered, came)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn under_loss_each_comes_once_or_is_counted(seed: u64, payload in 4_usize..=1_024) {
        let (pair, answered, came) = run(0.3, payload, seed);
        prop_assert!(came.values().all(|times| *times == 1));
        prop_assert_eq!(pair.edge.stats().results_received, came.len() as u64);
        // Expired ones may have come: their acknowledgements were lost.
        let expired = pair.cloud.stats().results_expired;
        prop_assert!(came.len() as u64 + expired >= answered);
        // Five times in all: 0.3^5 is 0.24 %.
        prop_assert!(came.len() as u64 * 100 >= answered * 96, "{} of {answered}", came.len());
    }
}

#[test]
fn without_loss_every_result_comes_and_none_expires() {
    let (pair, answered, came) = run(0.0, 100, 1);
    assert_eq!((answered, came.len()), (182, 182));
    assert_eq!(pair.cloud.stats().results_expired, 0);
}

/// A cloud that has released this many tensors.
fn cloud_with(tensors: u64) -> (Session, Vec<TensorInfo>) {
    let (edge, cloud) = configs(stream(2, |_| ()));
    let mut edge = Session::new(edge, Time::ZERO).unwrap();
    let mut cloud = Session::new(cloud, Time::ZERO).unwrap();
    for id in 0..tensors {
        let (_, packets) = tensor(&mut edge, Time::ZERO, id, &[10; 2]);
        packets
            .iter()
            .for_each(|p| cloud.handle_datagram(Time::ZERO, p).unwrap());
    }
    let tensors = released(std::iter::from_fn(|| cloud.poll_event()));
    (cloud, tensors.iter().map(|tensor| *tensor.info()).collect())
}

fn result_datagrams(cloud: &mut Session, now: Time) -> usize {
    let mut buffer = Vec::new();
    std::iter::from_fn(|| cloud.poll_transmit(now, &mut buffer))
        .filter(|transmit| transmit.kind == MessageType::Result)
        .count()
}

#[test]
fn results_that_fill_a_packet_each_are_sent_once_until_their_timeout() {
    let (mut cloud, tensors) = cloud_with(3);
    for info in &tensors {
        cloud.send_result(Time::ZERO, result(*info, 1_000)).unwrap();
    }
    assert_eq!(result_datagrams(&mut cloud, Time::ZERO), 3);
    assert_eq!(result_datagrams(&mut cloud, Time::from_millis(199)), 0);
    assert_eq!(result_datagrams(&mut cloud, Time::from_millis(200)), 3);
}

#[test]
fn nobody_answers_and_results_expire_after_five_times() {
    let (mut cloud, tensors) = cloud_with(1);
    cloud
        .send_result(Time::ZERO, result(tensors[0], 8))
        .unwrap();
    let mut sent = 0;
    for ms in 0..2_000 {
        let now = Time::from_millis(ms);
        cloud.handle_timeout(now);
        sent += result_datagrams(&mut cloud, now);
    }
    assert_eq!((sent, cloud.stats().results_expired), (5, 1));
}

#[test]
fn newer_results_push_the_oldest_out_and_long_ones_are_refused() {
    let (mut cloud, tensors) = cloud_with(1);
    for _ in 0..70 {
        cloud
            .send_result(Time::ZERO, result(tensors[0], 8))
            .unwrap();
    }
    assert_eq!(cloud.stats().results_expired, 6, "64 are kept");
    let refused = cloud.send_result(Time::ZERO, result(tensors[0], 1_025));
    let (found, most) = (1_025, 1_024);
    assert_eq!(refused, Err(ResultError::TooLong { found, most }));
}

#[test]
fn a_packet_lists_the_newest_first() {
    let (mut cloud, tensors) = cloud_with(3);
    for info in &tensors {
        cloud.send_result(Time::ZERO, result(*info, 8)).unwrap();
    }
    let mut buffer = Vec::new();
    while let Some(transmit) = cloud.poll_transmit(Time::ZERO, &mut buffer) {
        if transmit.kind == MessageType::Result {
            let (header, body) = open(&buffer, None).unwrap();
            let Ok(Message::Result(results)) = Message::decode(&header, body) else {
                panic!("not a RESULT")
            };
            let ids: Vec<_> = results.iter().map(|result| result.tensor_id).collect();
            assert_eq!(ids, [2, 1, 0]);
            return;
        }
    }
    panic!("no RESULT");
}
