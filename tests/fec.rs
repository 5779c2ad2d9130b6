//! Parity sent ahead: whatever is lost, up to as many packets as there are REPAIR packets, the tensor is
//! whole and exact, and what is counted is what happened.

use std::time::Duration;

use proptest::prelude::*;
use tensorwire_protocol::link::LinkConfig;
use tensorwire_protocol::wire::{Content, Message, open};
use tensorwire_protocol::{Config, Event, Redundancy, ReleaseReason, Session, Time};
use tensorwire_tests::{
    Packet, Pair, Path, arb_lengths, assert_exact, configs, everything, outgoing, packet, released,
    slices, slices_of, stream,
};

const fn fixed(ratio: f64) -> Redundancy {
    Redundancy::Fixed { ratio }
}

/// Both ends of a stream with so much parity.
fn sessions(slices: u16, ratio: f64, change: impl FnOnce(&mut Config)) -> (Session, Session) {
    let config = stream(slices, |c| {
        c.redundancy = fixed(ratio);
        change(c);
    });
    let (edge, cloud) = configs(config);
    let session = |config| Session::new(config, Time::ZERO).unwrap();
    (session(edge), session(cloud))
}

/// The packets of a tensor of `n` source packets of one slice each: two do not fit into 1,200 bytes.
fn one_each(edge: &mut Session, n: usize) -> Vec<Vec<u8>> {
    let sent = slices(&vec![1_000; n], 0);
    edge.send_tensor(Time::ZERO, outgoing(0, Time::ZERO, sent))
        .unwrap();
    everything(edge, Time::ZERO)
}

/// Positions of the whole slices in a source packet; none of a fragment.
fn positions(datagram: &[u8]) -> std::ops::Range<u32> {
    let (header, body) = open(datagram, None).unwrap();
    match Message::decode(&header, body) {
        Ok(Message::Data(data)) if matches!(data.content(), Content::Slices(_)) => data.positions(),
        _ => 0..0,
    }
}

/// What is to be counted of packets that arrive in this order: `sources` of them are all there are.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Expected {
    /// Source packets that arrived before the tensor was whole.
    received: usize,
    recovered: usize,
    unneeded: u64,
    duplicates: u64,
}

fn expected<'a>(arrivals: impl Iterator<Item = &'a Vec<u8>>, sources: usize) -> Expected {
    let (mut known, mut all) = (0, Expected::default());
    for datagram in arrivals {
        let data = packet(datagram).is_data();
        if known == sources {
            all.unneeded += u64::from(!data);
            all.duplicates += u64::from(data);
            continue;
        }
        known += 1;
        all.received += usize::from(data);
        if known == sources {
            all.recovered = sources - all.received;
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_k_packets_of_a_block_give_the_tensor(
        lengths in arb_lengths(120),
        percent in 0_u32..=120,
        fates in prop::collection::vec((0.0..1.0, any::<u32>()), 400),
        loss in 0.0..1.0,
    ) {
        let n = u16::try_from(lengths.len()).unwrap();
        let (mut edge, mut cloud) = sessions(n, f64::from(percent) / 100.0, |_| ());
        let sent = slices(&lengths, 7);
        edge.send_tensor(Time::ZERO, outgoing(0, Time::ZERO, sent.clone())).unwrap();
        let packets = everything(&mut edge, Time::ZERO);
        let sources = packets.iter().filter(|p| packet(p).is_data()).count();
        prop_assume!(sources <= 64);
        prop_assert_eq!(packets.len() - sources, sources * percent as usize / 100);
        prop_assert!(packets.iter().all(|p| p.len() + 12 <= 1_200), "room for a tag of 16 bytes");

        let mut arrivals: Vec<_> =
            packets.iter().zip(&fates).filter(|(_, (fate, _))| *fate >= loss).collect();
        arrivals.sort_by_key(|(_, (_, order))| *order);
        let arrivals = || arrivals.iter().map(|(packet, _)| *packet);
        for packet in arrivals() {
            prop_assert_eq!(cloud.handle_datagram(Time::ZERO, packet), Ok(()));
        }
        let expected = expected(arrivals(), sources);
        let whole = expected.received + expected.recovered == sources;
        let events: Vec<_> = std::iter::from_fn(|| cloud.poll_event()).collect();
        prop_assert_eq!(!events.is_empty(), whole, "released at once or not at all");

        cloud.handle_timeout(Time::ZERO + cloud.config().deadline);
        let later: Vec<_> = std::iter::from_fn(|| cloud.poll_event()).collect();
        let tensors = released(events.into_iter().chain(later));
        prop_assert_eq!(tensors.len(), usize::from(expected.received > 0 || whole));
        let stats = cloud.stats();
        prop_assert_eq!(stats.packets_recovered, expected.recovered as u64);
        prop_assert_eq!(stats.repairs_unneeded, expected.unneeded);
        prop_assert_eq!(stats.duplicates, expected.duplicates);
        let repairs = arrivals().filter(|p| packet(p).is_repair()).count();
        prop_assert_eq!(stats.repairs_received, repairs as u64);
        prop_assert_eq!(stats.conflicts + stats.late + stats.repairs_late + stats.over_limit, 0);
        prop_assert_eq!(cloud.buffered_bytes(), 0);

        let Some(tensor) = tensors.first() else { return Ok(()) };
        assert_exact(tensor, &sent, whole);
        let info = tensor.info();
        prop_assert_eq!(info.packets_received as usize, expected.received);
        prop_assert_eq!(info.packets_recovered as usize, expected.recovered);
        prop_assert_eq!(info.reason, match (whole, expected.recovered) {
            (true, 0) => ReleaseReason::Complete,
            (true, _) => ReleaseReason::Recovered,
            (false, _) => ReleaseReason::Exhausted,
        });
        if !whole {
            // Packets are in the order of the slices: what arrived, and nothing else, is there.
            for packet in arrivals() {
                for position in positions(packet) {
                    prop_assert!(tensor.slice(position as usize).is_some());
                }
            }
        }
    }

    /// Block b of B has every Bth packet, and every Bth REPAIR packet after the source packets: it is
    /// whole unless it lost more than it has of the latter.
    #[test]
    fn a_burst_costs_each_block_its_share(
        n in 65_usize..200,
        start in 0.0..1.0,
        burst in 1_usize..60,
    ) {
        let (mut edge, mut cloud) = sessions(u16::try_from(n).unwrap(), 0.25, |_| ());
        let packets = one_each(&mut edge, n);
        let (blocks, parity) = (n.div_ceil(64), n / 4);
        prop_assert_eq!(packets.len(), n + parity);
        let start = (start * packets.len() as f64) as usize;
        let lost = start..(start + burst).min(packets.len());
        let mut left = vec![0_usize; blocks];
        for (place, packet) in packets.iter().enumerate() {
            if !lost.contains(&place) {
                // What arrived of each block.
                left[if place < n { place } else { place - n } % blocks] += 1;
                cloud.handle_datagram(Time::ZERO, packet).unwrap();
            }
        }
        cloud.handle_timeout(Time::ZERO + cloud.config().deadline);
        let tensors = released(std::iter::from_fn(|| cloud.poll_event()));
        let slices_of_block = |block: usize| (block..n).step_by(blocks);
        for (block, left) in left.into_iter().enumerate() {
            let whole = left >= slices_of_block(block).count();
            for slice in slices_of_block(block) {
                let there = tensors[0].slice(slice).is_some();
                prop_assert_eq!(there, whole || !lost.contains(&slice), "slice {}", slice);
            }
        }
        assert_exact(&tensors[0], &slices(&vec![1_000; n], 0), false);
        // As many as all blocks can bear alike.
        let among_sources = lost.end <= n && lost.len() <= parity / blocks * blocks;
        prop_assert!(!among_sources || tensors[0].info().reason == ReleaseReason::Recovered);
    }

    /// Slices that fill packets to the last byte: their REPAIR packets have the longest symbols.
    #[test]
    fn no_repair_is_larger_than_the_mss(mss in 576_u16..3_000, span in 1_u8..=16, len in 1_usize..4_000) {
        let (mut edge, _) = sessions(12, 0.5, |c| (c.mss, c.span) = (mss, span));
        for id in 0..5 {
            let sent = slices(&[len; 12], id);
            edge.send_tensor(Time::ZERO, outgoing(id, Time::ZERO, sent)).unwrap();
            for packet in everything(&mut edge, Time::ZERO) {
                prop_assert!(packet.len() + 12 <= usize::from(mss), "room for a tag of 16 bytes");
            }
        }
    }
}

#[test]
fn the_number_of_repairs_is_the_ratio_rounded_down() {
    for (ratio, n, parity) in [
        (0.25, 3, 0),
        (0.25, 11, 2),
        (0.25, 32, 8),
        (0.3, 10, 3),
        (0.5, 1, 0),
        (1.0, 1, 1),
        (2.0, 64, 128),
        (0.25, 131, 32),
    ] {
        let (mut edge, _) = sessions(n, ratio, |_| ());
        let packets = one_each(&mut edge, usize::from(n));
        assert_eq!(packets.len(), usize::from(n) + parity, "{ratio} of {n}");
        assert_eq!(edge.stats().repairs_sent, parity as u64);
        // They follow the source packets, the first of each block before the second of any.
        let blocks = n.div_ceil(64);
        for (nth, datagram) in (0..).zip(packets.iter().skip(usize::from(n))) {
            let Packet::Repair { block, index, .. } = packet(datagram) else {
                panic!("{nth}: no REPAIR");
            };
            assert_eq!(u16::from(index) * blocks + u16::from(block), nth);
        }
    }
}

/// Every REPAIR packet comes half a millisecond after the one before, on a path of 20 Mbit/s.
#[test]
fn repairs_alone_make_a_tensor() {
    let link = LinkConfig {
        delay: Duration::from_millis(20),
        rate: Some(20_000_000),
        ..LinkConfig::default()
    };
    let config = stream(11, |c| c.redundancy = fixed(1.0));
    let mut pair = Pair::new(config, Path::symmetric(link));
    pair.up_tap.lose(|_, packet| packet.is_data());
    pair.run_until(Time::from_millis(200));
    for id in 0..4 {
        let sent = slices(&[1_000; 11], id);
        let tensor = outgoing(id, pair.edge_now(), sent.clone());
        pair.edge.send_tensor(pair.edge_now(), tensor).unwrap();
        pair.run_for(Duration::from_millis(33));
        let tensors = released(pair.cloud_events.drain(..).map(|(_, event)| event));
        assert_eq!(tensors.len(), 1, "tensor {id}");
        assert_exact(&tensors[0], &sent, true);
        let info = tensors[0].info();
        assert_eq!(info.reason, ReleaseReason::Recovered);
        assert_eq!((info.packets_received, info.packets_recovered), (0, 11));
    }
}

#[test]
fn repairs_of_a_tensor_that_was_released_are_late() {
    let (mut edge, mut cloud) = sessions(8, 0.5, |_| ());
    let packets = one_each(&mut edge, 8);
    let (first, others) = packets.split_first().unwrap();
    cloud.handle_datagram(Time::ZERO, first).unwrap();
    // One packet tells nothing of the spacing: the rest are overdue after 10 ms and the window.
    cloud.handle_timeout(Time::from_millis(11));
    let tensors = released(std::iter::from_fn(|| cloud.poll_event()));
    assert_eq!(tensors[0].info().reason, ReleaseReason::Exhausted);
    for packet in others {
        cloud
            .handle_datagram(Time::from_millis(11), packet)
            .unwrap();
    }
    let stats = cloud.stats();
    assert_eq!(
        (stats.late, stats.repairs_late, stats.repairs_unneeded),
        (7, 4, 0)
    );
    assert_eq!(stats.packets_recovered, 0);
    assert_eq!(cloud.poll_event(), None);
}

/// Packets that carry several slices, some of them parts of one: both forms are repaired.
#[test]
fn fragments_are_repaired() {
    let contents = [vec![1; 40], vec![2; 5_000], vec![3; 700], vec![4; 0]];
    let sent = slices_of(&contents);
    let (mut edge, _) = sessions(4, 1.0, |_| ());
    edge.send_tensor(Time::ZERO, outgoing(0, Time::ZERO, sent.clone()))
        .unwrap();
    let packets = everything(&mut edge, Time::ZERO);
    let sources = packets.iter().filter(|p| packet(p).is_data()).count();
    for lost in 0..sources {
        let (_, mut cloud) = sessions(4, 1.0, |_| ());
        for (place, packet) in packets.iter().enumerate() {
            if place != lost {
                cloud.handle_datagram(Time::ZERO, packet).unwrap();
            }
        }
        let event = cloud.poll_event();
        let Some(Event::Tensor(tensor)) = event else {
            panic!("without packet {lost}: {event:?}")
        };
        assert_exact(&tensor, &sent, true);
        assert_eq!(tensor.info().reason, ReleaseReason::Recovered);
    }
}

/// A caller that does not get its packets out in time: what is left of them is of no use.
#[test]
fn no_repair_is_sent_after_the_deadline() {
    for kept in 0..6 {
        let (mut edge, _) = sessions(8, 0.5, |_| ());
        let sent = slices(&[1_000; 8], 0);
        edge.send_tensor(Time::ZERO, outgoing(0, Time::ZERO, sent))
            .unwrap();
        let mut buffer = Vec::new();
        // A PING, eight source packets, and some of the four REPAIR packets.
        for _ in 0..(9 + kept).min(13) {
            assert!(edge.poll_transmit(Time::ZERO, &mut buffer).is_some());
        }
        let deadline = Time::ZERO + edge.config().deadline;
        assert_eq!(everything(&mut edge, deadline), Vec::<Vec<u8>>::new());
        assert_eq!(edge.stats().repairs_sent, kept.min(4));
    }
}
