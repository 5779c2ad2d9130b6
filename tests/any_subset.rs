//! Of any subset of packets, in any order, some twice: the slices of those packets are exact, the
//! others reported missing, and every tensor is released once.

use proptest::prelude::*;
use tensorwire_protocol::wire::{Content, InterleaverKind, Message, open};
use tensorwire_protocol::{Config, Event, Interleaving, ReleaseReason, Session, Time};
use tensorwire_tests::{arb_lengths, assert_exact, configs, released, stream, tensor};

/// Positions of the whole slices in a packet; none for a fragment.
fn positions(packet: &[u8]) -> std::ops::Range<u32> {
    let (header, body) = open(packet, None).unwrap();
    match Message::decode(&header, body) {
        Ok(Message::Data(data)) if matches!(data.content(), Content::Slices(_)) => data.positions(),
        _ => 0..0,
    }
}

proptest! {
    #[test]
    fn slices_are_exact_or_missing(
        lengths in arb_lengths(200),
        fates in prop::collection::vec((0_u8..4, any::<u32>()), 400),
        seed: u64,
    ) {
        let n = u16::try_from(lengths.len()).unwrap();
        let kind = InterleaverKind::Random;
        let interleaving = Interleaving { kind, stride: 1, seed };
        let (edge, cloud) = configs(stream(n, |c| (c.mss, c.interleaving) = (576, interleaving)));
        let now = Time::from_millis(1_000);
        let mut edge = Session::new(edge, now).unwrap();
        let mut cloud = Session::new(cloud, now).unwrap();
        let (sent, packets) = tensor(&mut edge, now, 0, &lengths);

        // Each packet is lost, or arrives once, twice or thrice, at a random place.
        let mut arrivals: Vec<(u32, &Vec<u8>)> = Vec::new();
        for (packet, (copies, order)) in packets.iter().zip(&fates) {
            arrivals.extend((0..*copies).map(|i| (order.rotate_left(9 * u32::from(i)), packet)));
        }
        arrivals.sort_by_key(|(order, _)| *order);
        let mut events = Vec::new();
        for (_, packet) in &arrivals {
            let _ = cloud.handle_datagram(now, packet);
            events.extend(std::iter::from_fn(|| cloud.poll_event()));
        }
        let distinct = packets.iter().filter(|p| arrivals.iter().any(|(_, a)| a == p)).count();
        prop_assert_eq!(cloud.stats().refused.replay as usize, arrivals.len() - distinct);
        cloud.handle_timeout(now + cloud.config().deadline);
        events.extend(std::iter::from_fn(|| cloud.poll_event()));

        let tensors = released(events);
        prop_assert_eq!(tensors.len(), usize::from(distinct > 0), "released once");
        let Some(tensor) = tensors.first() else { return Ok(()) };
        assert_exact(tensor, &sent, distinct == packets.len());
        let whole: usize = packets
            .iter()
            .filter(|p| arrivals.iter().any(|(_, a)| a == p))
            .map(|p| positions(p).len())
            .sum();
        let fragmented = lengths.iter().filter(|len| **len > 500).count();
        let received = usize::from(tensor.info().slices_received);
        prop_assert!((whole..=whole + fragmented).contains(&received));
        prop_assert_eq!(tensor.slices().flatten().count(), received);
    }
}

#[test]
fn a_packet_sent_again_under_a_new_number_is_a_duplicate() {
    let (edge, cloud) = configs(Config::new(40));
    let mut edge = Session::new(edge, Time::ZERO).unwrap();
    let mut cloud = Session::new(cloud, Time::ZERO).unwrap();
    let (_, packets) = tensor(&mut edge, Time::ZERO, 0, &[100; 40]);
    let again = |packet: &[u8], number| {
        let (header, body) = open(packet, None).unwrap();
        let message = Message::decode(&header, body).unwrap();
        let mut out = Vec::new();
        message.encode(&mut out, header.connection, number);
        out
    };
    for (number, packet) in (1_000..).zip(&packets) {
        assert_eq!(cloud.handle_datagram(Time::ZERO, packet), Ok(()));
        assert_eq!(
            cloud.handle_datagram(Time::ZERO, &again(packet, number)),
            Ok(())
        );
    }
    assert_eq!(cloud.stats().duplicates as usize, packets.len());
    assert_eq!(cloud.stats().tensors_complete, 1);
    let events: Vec<_> = std::iter::from_fn(|| cloud.poll_event()).collect();
    assert!(
        matches!(&events[..], [Event::Tensor(t)] if t.info().reason == ReleaseReason::Complete)
    );
}
