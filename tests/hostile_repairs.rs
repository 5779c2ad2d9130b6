//! REPAIR packets that lie: what arrived of a tensor stays as it was sent, memory stays within its
//! limits, and every lie that shows is counted.

use std::collections::BTreeSet;

use proptest::prelude::*;
use tensorwire_protocol::wire::{Message, Repair, open};
use tensorwire_protocol::{Config, Event, Redundancy, ReleaseReason, Session, Slices, Stats, Time};
use tensorwire_tests::{
    CLOUD, Packet, assert_exact, configs, everything, numbered, outgoing, packet, released, slices,
    stream,
};

const SOURCES: usize = 10;

fn config(change: impl FnOnce(&mut Config)) -> (Config, Config) {
    configs(stream(10, |c| {
        c.redundancy = Redundancy::Fixed { ratio: 0.4 };
        change(c);
    }))
}

/// A tensor of ten source packets of one slice each, its packets, and its four REPAIR packets.
fn made() -> (Slices, Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let (edge, _) = config(|_| ());
    let mut edge = Session::new(edge, Time::ZERO).unwrap();
    let sent = slices(&[1_000; SOURCES], 0);
    edge.send_tensor(Time::ZERO, outgoing(0, Time::ZERO, sent.clone()))
        .unwrap();
    let all = everything(&mut edge, Time::ZERO);
    let (data, repairs): (Vec<_>, Vec<_>) = all.into_iter().partition(|p| packet(p).is_data());
    assert_eq!((data.len(), repairs.len()), (SOURCES, 4));
    (sent, data, repairs)
}

fn cloud() -> Session {
    let (_, cloud) = config(|_| ());
    Session::new(cloud, Time::ZERO).unwrap()
}

/// A REPAIR packet with some fields changed, under a number of its own.
fn lying<'a>(datagram: &'a [u8], number: u32, lie: impl FnOnce(&mut Repair<'a>)) -> Vec<u8> {
    let (header, body) = open(datagram, None).unwrap();
    let Ok(Message::Repair(mut repair)) = Message::decode(&header, body) else {
        panic!("no REPAIR")
    };
    lie(&mut repair);
    let mut out = Vec::new();
    Message::Repair(repair).encode(&mut out, CLOUD, number);
    let (header, body) = open(&out, Some(CLOUD)).unwrap();
    assert!(
        Message::decode(&header, body).is_ok(),
        "lying, and well formed"
    );
    out
}

/// Hands in all source packets but the first, then `lies`, then ends the tensor.
fn after(lies: &[Vec<u8>]) -> (Session, Vec<Event>) {
    let (_, data, _) = made();
    let mut cloud = cloud();
    for packet in data[1..].iter().chain(lies) {
        cloud.handle_datagram(Time::ZERO, packet).unwrap();
    }
    cloud.handle_timeout(Time::ZERO + cloud.config().deadline);
    let events = std::iter::from_fn(|| cloud.poll_event()).collect();
    (cloud, events)
}

/// Everything but the first slice is there, as it was sent.
fn assert_partial(events: Vec<Event>) {
    let (sent, ..) = made();
    let tensors = released(events);
    assert_eq!(tensors.len(), 1);
    assert_eq!(tensors[0].info().reason, ReleaseReason::Exhausted);
    assert_eq!(tensors[0].info().slices_received, 9);
    assert_eq!(tensors[0].slice(0), None);
    assert_exact(&tensors[0], &sent, false);
}

#[test]
fn a_block_with_packets_beyond_the_tensor_is_given_up() {
    let (_, _, repairs) = made();
    for (k, blocks) in [(11, 1), (64, 1), (6, 2), (3, 200)] {
        let lie = lying(&repairs[0], 500, |repair| {
            (repair.k, repair.block_count) = (k, blocks);
        });
        let (cloud, events) = after(&[lie]);
        assert_eq!(cloud.stats().conflicts, 1, "{k} of {blocks}");
        assert_partial(events);
    }
}

#[test]
fn a_symbol_that_is_none_of_the_tensor_is_dropped() {
    let (_, _, repairs) = made();
    // k too small: the block has only packets that arrived, or lacks the one that did not.
    let lie = lying(&repairs[0], 500, |repair| repair.k = 5);
    let (cloud, events) = after(&[lie]);
    assert_eq!(cloud.stats().conflicts, 1);
    assert_partial(events);
    // Another tensor's symbol.
    let other = slices(&[1_000; SOURCES], 9);
    let (edge, _) = config(|_| ());
    let mut edge = Session::new(edge, Time::ZERO).unwrap();
    edge.send_tensor(Time::ZERO, outgoing(0, Time::from_millis(1), other))
        .unwrap();
    let all = everything(&mut edge, Time::from_millis(1));
    let lie = numbered(&all[SOURCES], 500, |message| message);
    let (cloud, events) = after(&[lie]);
    assert_eq!(cloud.stats().conflicts, 1);
    assert_partial(events);
}

#[test]
fn a_symbol_shorter_than_a_source_packet_gives_its_block_up() {
    let (_, _, repairs) = made();
    let lie = lying(&repairs[0], 500, |repair| {
        repair.symbol = &repair.symbol[..700];
    });
    let (cloud, events) = after(&[lie]);
    assert_eq!(cloud.stats().conflicts, 1);
    assert_partial(events);
}

#[test]
fn lengths_that_differ_within_a_block_are_counted_and_harmless() {
    let (sent, data, repairs) = made();
    let mut cloud = cloud();
    // Two are lost, so that one symbol is not yet enough.
    for packet in &data[2..] {
        cloud.handle_datagram(Time::ZERO, packet).unwrap();
    }
    cloud.handle_datagram(Time::ZERO, &repairs[0]).unwrap();
    let longer = [repairs[1].clone(), vec![0; 8]].concat();
    let longer = lying(&repairs[1], 500, |repair| {
        repair.symbol = &longer[20..];
    });
    cloud.handle_datagram(Time::ZERO, &longer).unwrap();
    assert_eq!(cloud.stats().conflicts, 1);
    cloud.handle_datagram(Time::ZERO, &repairs[0]).unwrap_err();
    let again = lying(&repairs[0], 501, |_| ());
    cloud.handle_datagram(Time::ZERO, &again).unwrap();
    assert_eq!(cloud.stats().duplicates, 1);
    cloud.handle_datagram(Time::ZERO, &repairs[1]).unwrap();
    let tensors = released(std::iter::from_fn(|| cloud.poll_event()));
    assert_exact(&tensors[0], &sent, true);
    assert_eq!(tensors[0].info().packets_recovered, 2);
}

#[test]
fn a_span_that_no_block_of_the_stream_has_is_a_conflict() {
    let (_, _, repairs) = made();
    let counts = [0, 10];
    let lie = lying(&repairs[0], 500, |repair| {
        repair.span = 2;
        repair.source_counts = &counts;
    });
    let (cloud, events) = after(&[lie]);
    assert_eq!(cloud.stats().conflicts, 1);
    assert_partial(events);
}

#[test]
fn counts_of_repairs_that_never_come_delay_a_tensor_to_its_deadline_at_most() {
    let (_, data, repairs) = made();
    let mut cloud = cloud();
    for packet in &data[1..] {
        cloud.handle_datagram(Time::ZERO, packet).unwrap();
    }
    let lie = lying(&repairs[0], 500, |repair| {
        (repair.k, repair.repair_count) = (9, 246);
    });
    cloud.handle_datagram(Time::ZERO, &lie).unwrap();
    let (at, _) = cloud.poll_timeout().unwrap();
    assert!(at <= Time::ZERO + cloud.config().deadline);
    cloud.handle_timeout(Time::ZERO + cloud.config().deadline);
    assert_eq!(released(std::iter::from_fn(|| cloud.poll_event())).len(), 1);
}

/// A REPAIR packet written by hand.
#[derive(Clone, Debug)]
struct Lie {
    tensor: u16,
    counts: Vec<u8>,
    block: u8,
    blocks: u16,
    k: u8,
    index: u8,
    ahead: u8,
    symbol: Vec<u8>,
}

impl Lie {
    /// It, `like` being any REPAIR packet.
    fn datagram(&self, like: &[u8], number: u32) -> Vec<u8> {
        let spans = self.counts.len() > 1;
        let k = if spans {
            self.counts.iter().sum()
        } else {
            self.k
        };
        let last = u8::try_from(self.blocks - 1).unwrap();
        lying(like, number, |repair| {
            repair.tensor_id = self.tensor;
            repair.span = u8::try_from(self.counts.len().max(1)).unwrap();
            repair.block_count = if spans { 1 } else { self.blocks };
            repair.block_index = if spans { 0 } else { self.block.min(last) };
            repair.k = k;
            // Rows that a block can have (wire-format.md, section 4.2).
            let rows = if spans { 190 / repair.span } else { 255 - k };
            repair.repair_index = self.index.min(rows - 1);
            repair.repair_count = self.ahead.min(rows);
            repair.source_counts = &self.counts;
            repair.symbol = &self.symbol;
        })
    }
}

fn arb_lie() -> impl Strategy<Value = Lie> {
    let counts = prop_oneof![
        3 => Just(vec![]),
        1 => prop::collection::vec(0_u8..4, 1..5).prop_map(|mut counts| {
            counts.push(10);
            counts
        }),
        1 => (2_usize..6).prop_map(|span| vec![10; span]),
    ];
    (
        0_u16..6,
        counts,
        any::<u8>(),
        prop_oneof![3 => Just(1_u16), 1 => 1_u16..=256],
        prop_oneof![3 => Just(10_u8), 1 => 1_u8..=64],
        prop_oneof![3 => 0_u8..5, 1 => any::<u8>()],
        prop_oneof![3 => Just(4_u8), 1 => any::<u8>()],
        prop_oneof![
            prop::collection::vec(any::<u8>(), 4..1_100),
            prop::collection::vec(any::<u8>(), 1_030),
        ],
    )
        .prop_map(
            |(tensor, counts, block, blocks, k, index, ahead, symbol)| Lie {
                tensor,
                counts,
                block,
                blocks,
                k,
                index,
                ahead,
                symbol,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Lies among the packets of four tensors, of which some are lost: no slice of a packet that was
    /// accepted is other than it was sent, and memory is bounded.
    #[test]
    fn what_arrived_is_never_corrupted(
        lies in prop::collection::vec((arb_lie(), 0.0..1.0), 1..40),
        lost in prop::collection::vec(any::<bool>(), 64),
        span in prop_oneof![Just(1_u8), 1_u8..=5],
    ) {
        let (edge, mut cloud) = config(|c| c.span = span);
        cloud.limits.bytes_in_progress = 60_000;
        cloud.limits.tensor_bytes = 30_000;
        let mut edge = Session::new(edge, Time::ZERO).unwrap();
        let mut cloud = Session::new(cloud, Time::ZERO).unwrap();
        let mut all = Vec::new();
        for id in 0..4 {
            let sent = slices(&[1_000; SOURCES], id);
            edge.send_tensor(Time::ZERO, outgoing(id, Time::ZERO, sent)).unwrap();
            all.extend(everything(&mut edge, Time::ZERO));
        }
        let like = made().2.remove(0);
        let mut fates = lost.iter().cycle();
        all.retain(|_| *fates.next().unwrap());
        let mut lies: Vec<_> = lies
            .iter()
            .map(|(lie, place)| (lie, (place * (all.len() + 1) as f64) as usize))
            .collect();
        lies.sort_by_key(|(_, place)| *place);
        let (mut number, mut events) = (1_000, Vec::new());
        // A source packet that was computed from a lie before it arrived is a duplicate.
        let mut kept = BTreeSet::new();
        for place in 0..=all.len() {
            for (lie, _) in lies.iter().filter(|(_, at)| *at == place) {
                number += 1;
                cloud.handle_datagram(Time::ZERO, &lie.datagram(&like, number)).unwrap();
                prop_assert!(cloud.buffered_bytes() <= 60_000);
            }
            let Some(datagram) = all.get(place) else { break };
            let before = *cloud.stats();
            cloud.handle_datagram(Time::ZERO, datagram).unwrap();
            let after = cloud.stats();
            let dropped = |s: &Stats| {
                s.duplicates + s.conflicts + s.late + s.over_limit
            };
            if let Packet::Data { tensor, index, .. } = packet(datagram)
                && dropped(&before) == dropped(after)
            {
                kept.insert((tensor, index));
            }
            prop_assert!(cloud.buffered_bytes() <= 60_000);
            events.extend(std::iter::from_fn(|| cloud.poll_event()));
        }
        cloud.handle_timeout(Time::from_millis(10_000));
        events.extend(std::iter::from_fn(|| cloud.poll_event()));
        for tensor in released(events) {
            let id = tensor.info().id.0;
            let sent = slices(&[1_000; SOURCES], id);
            for index in 0..SOURCES {
                if kept.contains(&(id as u16, index as u16)) {
                    prop_assert_eq!(tensor.slice(index), sent.get(index));
                }
            }
        }
        prop_assert_eq!(cloud.tensors_in_progress(), 0);
    }
}

/// Blocks without end, each of a kind of its own.
#[test]
fn a_flood_of_blocks_stays_within_the_limits() {
    for span in [1, 5] {
        let (edge, mut cloud) = config(|c| c.span = span);
        cloud.limits.bytes_in_progress = 100_000;
        cloud.limits.tensor_bytes = 50_000;
        cloud.limits.tensors_in_progress = 16;
        let mut edge = Session::new(edge, Time::ZERO).unwrap();
        let mut cloud = Session::new(cloud, Time::ZERO).unwrap();
        let like = made().2.remove(0);
        let mut most = 0;
        for number in 0..6_000_u32 {
            let lie = Lie {
                tensor: 3 + (number / 3_000) as u16,
                counts: vec![],
                block: (number % 200) as u8,
                blocks: 200 + (number / 200 % 56) as u16,
                k: 1 + (number / 1_000) as u8,
                index: 0,
                ahead: 250,
                // Short ones are many, long ones fill the memory.
                symbol: vec![7; if number % 3 == 0 { 4 } else { 1_100 }],
            };
            let datagram = lie.datagram(&like, number + 1_000);
            cloud.handle_datagram(Time::ZERO, &datagram).unwrap();
            most = most.max(cloud.buffered_bytes());
            assert!(cloud.buffered_bytes() <= 100_000, "{number}");
            assert!(cloud.tensors_in_progress() <= 16);
            while cloud.poll_event().is_some() {}
        }
        assert!(most > 90_000, "{most}");
        assert!(cloud.stats().over_limit > 0);
        // DATA never yields: an honest tensor is whole all the same.
        for id in 0..6 {
            let sent = slices(&[1_000; SOURCES], id);
            edge.send_tensor(Time::ZERO, outgoing(id, Time::ZERO, sent.clone()))
                .unwrap();
            let data = everything(&mut edge, Time::ZERO);
            for (number, datagram) in (10_000 + 100 * id as u32..).zip(&data[..SOURCES]) {
                let datagram = numbered(datagram, number, |message| message);
                cloud.handle_datagram(Time::ZERO, &datagram).unwrap();
            }
            if id == 5 {
                let tensors = released(std::iter::from_fn(|| cloud.poll_event()));
                assert_exact(tensors.last().unwrap(), &sent, true);
            }
        }
        cloud.handle_timeout(Time::from_millis(10_000));
        while cloud.poll_event().is_some() {}
        assert_eq!(cloud.tensors_in_progress(), 0);
        if span == 1 {
            assert_eq!(cloud.buffered_bytes(), 0);
        }
    }
}
