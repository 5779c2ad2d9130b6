//! Every tensor tells by which step of the ladder it is coded, whatever is lost; a step that the stream
//! does not have, or that packets of one tensor contradict each other in, is counted and harms nothing.

use proptest::prelude::*;
use tensorwire_protocol::wire::{Message, open, seal};
use tensorwire_protocol::{
    Config, ConfigError, OutgoingTensor, Redundancy, ReleaseReason, SendError, Session, Time,
};
use tensorwire_tests::{
    assert_exact, configs, everything, outgoing, packet, released, slices, stream,
};

const STEPS: u8 = 3;
/// Bytes of a narrow DATA packet before its coding byte.
const CODING_AT: usize = 9 + 10;

fn config(change: impl FnOnce(&mut Config)) -> (Config, Config) {
    configs(stream(10, |c| {
        c.steps = STEPS;
        change(c);
    }))
}

fn with_step(step: u8, tensor: OutgoingTensor) -> OutgoingTensor {
    OutgoingTensor { step, ..tensor }
}

/// The packets of a tensor of ten slices, one a packet.
fn packets(edge: &mut Session, frame: u64, step: u8) -> Vec<Vec<u8>> {
    let tensor = outgoing(frame, Time::ZERO, slices(&[1_000; 10], frame));
    edge.send_tensor(Time::ZERO, with_step(step, tensor))
        .unwrap();
    let all = everything(edge, Time::ZERO);
    let of_tensor = |p: &Vec<u8>| packet(p).is_data() || packet(p).is_repair();
    all.into_iter().filter(of_tensor).collect()
}

/// The packet with another coding byte, and a trailer that fits.
fn recoded(packet: &[u8], coding: u8) -> Vec<u8> {
    let mut changed = packet[..packet.len() - 4].to_vec();
    assert_eq!(changed[1] & 0x08, 0x08, "a coding byte is there");
    changed[CODING_AT] = coding;
    seal(&mut changed);
    let (header, body) = open(&changed, None).unwrap();
    assert!(Message::decode(&header, body).is_ok());
    changed
}

proptest! {
    #[test]
    fn a_released_tensor_is_of_the_step_that_it_was_sent_with(
        sent in prop::collection::vec((0..STEPS, prop::collection::vec(any::<bool>(), 14)), 1..6),
    ) {
        let (edge, cloud) = config(|c| c.redundancy = Redundancy::Fixed { ratio: 0.4 });
        let mss = usize::from(edge.mss);
        let mut edge = Session::new(edge, Time::ZERO).unwrap();
        let mut cloud = Session::new(cloud, Time::ZERO).unwrap();
        let mut some = Vec::new();
        for (frame, (step, lost)) in (0_u64..).zip(&sent) {
            for (packet, lost) in packets(&mut edge, frame, *step).iter().zip(lost) {
                prop_assert!(packet.len() <= mss);
                if !lost {
                    cloud.handle_datagram(Time::ZERO, packet).unwrap();
                }
            }
            some.push(lost.iter().any(|lost| !lost));
        }
        cloud.handle_timeout(Time::ZERO + cloud.config().deadline);
        let tensors = released(std::iter::from_fn(|| cloud.poll_event()));
        for tensor in &tensors {
            let frame = tensor.info().frame.0;
            let step = sent.get(usize::try_from(frame).unwrap()).map(|(step, _)| *step);
            prop_assert_eq!(Some(tensor.info().step), step);
            assert_exact(tensor, &slices(&[1_000; 10], frame), false);
        }
        prop_assert_eq!(cloud.stats().conflicts, 0);
        prop_assert!(tensors.len() <= some.iter().filter(|some| **some).count());
    }
}

#[test]
fn a_recovered_packet_counts_for_the_step_of_its_tensor() {
    let (edge, cloud) = config(|c| c.redundancy = Redundancy::Fixed { ratio: 0.4 });
    let mut edge = Session::new(edge, Time::ZERO).unwrap();
    let mut cloud = Session::new(cloud, Time::ZERO).unwrap();
    for packet in packets(&mut edge, 0, 2).iter().skip(4) {
        cloud.handle_datagram(Time::ZERO, packet).unwrap();
    }
    let tensors = released(std::iter::from_fn(|| cloud.poll_event()));
    let info = tensors[0].info();
    assert_eq!((info.reason, info.step), (ReleaseReason::Recovered, 2));
}

#[test]
fn a_step_that_the_stream_does_not_have_is_taken_for_nothing() {
    let (edge, cloud) = config(|_| ());
    let mut edge = Session::new(edge, Time::ZERO).unwrap();
    let mut cloud = Session::new(cloud, Time::ZERO).unwrap();
    let sent = packets(&mut edge, 0, 1);
    for (number, packet) in sent.iter().enumerate() {
        let step = u8::try_from(usize::from(STEPS) + number * 13).unwrap();
        cloud
            .handle_datagram(Time::ZERO, &recoded(packet, step.min(127)))
            .unwrap();
    }
    assert_eq!(cloud.stats().conflicts, sent.len() as u64);
    assert_eq!(cloud.tensors_in_progress(), 0);
    assert_eq!(cloud.buffered_bytes(), 0);
    // The tensor after it is the first that is known of.
    for packet in packets(&mut edge, 1, 2) {
        cloud.handle_datagram(Time::ZERO, &packet).unwrap();
    }
    let tensors = released(std::iter::from_fn(|| cloud.poll_event()));
    assert_eq!((tensors.len(), tensors[0].info().step), (1, 2));
}

#[test]
fn delta_is_ignored_and_a_contradicting_step_is_a_conflict() {
    let (edge, cloud) = config(|_| ());
    let mut edge = Session::new(edge, Time::ZERO).unwrap();
    let mut cloud = Session::new(cloud, Time::ZERO).unwrap();
    let sent = packets(&mut edge, 0, 1);
    let (first, rest) = sent.split_first().unwrap();
    let (last, between) = rest.split_last().unwrap();
    for packet in between {
        cloud.handle_datagram(Time::ZERO, packet).unwrap();
    }
    cloud
        .handle_datagram(Time::ZERO, &recoded(first, 0x81))
        .unwrap();
    assert_eq!((cloud.stats().ignored, cloud.stats().conflicts), (1, 0));
    cloud
        .handle_datagram(Time::ZERO, &recoded(last, 2))
        .unwrap();
    assert_eq!((cloud.stats().ignored, cloud.stats().conflicts), (1, 1));
    cloud.handle_timeout(Time::ZERO + cloud.config().deadline);
    let tensors = released(std::iter::from_fn(|| cloud.poll_event()));
    let info = tensors[0].info();
    assert_eq!((info.step, info.slices_received), (1, 8));
    assert_exact(&tensors[0], &slices(&[1_000; 10], 0), false);
}

#[test]
fn a_sender_is_held_to_the_ladder() {
    let (edge, _) = config(|_| ());
    let mut edge = Session::new(edge, Time::ZERO).unwrap();
    let tensor = outgoing(0, Time::ZERO, slices(&[10; 10], 0));
    let beyond = edge.send_tensor(Time::ZERO, with_step(STEPS, tensor));
    let error = SendError::Step {
        step: STEPS,
        steps: STEPS,
    };
    assert_eq!(beyond, Err(error));
    assert_eq!(edge.stats().tensors_sent, 0);
    for steps in [0, Config::MAX_STEPS + 1] {
        let (edge, _) = config(|c| c.steps = steps);
        let refused = Session::new(edge, Time::ZERO).map(|_| ());
        assert_eq!(refused, Err(ConfigError::Steps(steps)));
    }
}
