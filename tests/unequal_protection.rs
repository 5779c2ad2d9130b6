//! Slices that matter most are sent first and protected alone: what is lost of them is recovered, what
//! is lost of the others is not, and each slice comes out where it went in.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tensorwire_protocol::link::LinkConfig;
use tensorwire_protocol::wire::InterleaverKind;
use tensorwire_protocol::{
    Adaptive, Config, Event, ReceivedTensor, Redundancy, ReleaseReason, Session, Time,
};
use tensorwire_tests::{
    Packet, Pair, Path, assert_exact, configs, flood, outgoing, slices, stream,
};

/// Slices of a tensor, each in a packet of its own.
const SLICES: u16 = 32;
const FRAME: Duration = Duration::from_millis(33);
/// Tensors after which the loss is known, every tenth packet being lost so far.
const WARM: u64 = 150;

/// The slices that matter: every fourth, the last of them most.
fn importance() -> Arc<[f32]> {
    let of = |slice: u16| match slice % 4 {
        1 => 50.0 + f32::from(slice),
        _ => 0.01,
    };
    (0..SLICES).map(of).collect()
}

/// All slices, the most important first.
fn priority() -> Arc<[u16]> {
    let importance = importance();
    let mut order: Vec<u16> = (0..SLICES).collect();
    order.sort_by(|a, b| importance[usize::from(*b)].total_cmp(&importance[usize::from(*a)]));
    assert_eq!(order[..2], [29, 25]);
    order.into()
}

fn config(target: f64, change: impl FnOnce(&mut Config)) -> Config {
    stream(SLICES, |c| {
        c.importance = Some(importance());
        c.priority = Some(priority());
        c.interleaving.kind = InterleaverKind::Priority;
        let mut adaptive = Adaptive::default();
        (adaptive.most, adaptive.target) = (0.5, target);
        c.redundancy = Redundancy::Adaptive(adaptive);
        change(c);
    })
}

fn send(pair: &mut Pair, id: u64) {
    let tensor = outgoing(id, pair.edge_now(), slices(&[1_100; 32], id));
    pair.edge.send_tensor(pair.edge_now(), tensor).unwrap();
    pair.run_for(FRAME);
}

/// A pair whose edge knows of a loss of a tenth, and which loses nothing from now on.
fn warm(config: Config, delay: u64) -> Pair {
    let link = LinkConfig {
        delay: Duration::from_millis(delay),
        rate: Some(40_000_000),
        ..LinkConfig::default()
    };
    let mut pair = Pair::new(config, Path::symmetric(link));
    pair.run_until(Time::from_millis(500));
    let mut state = 3_u64;
    pair.up_tap.lose(move |_, _| {
        // xorshift64*
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32 < (1 << 32) / 10
    });
    for id in 0..WARM {
        send(&mut pair, id);
    }
    let rate = pair.edge.loss().rate;
    assert!((0.08..0.12).contains(&rate), "{rate}");
    pair.up_tap.lose(|_, _| false);
    // What was lost before has its end.
    pair.run_for(Duration::from_millis(300));
    pair.up_tap.record();
    pair
}

/// k of each REPAIR packet of a tensor.
fn protected(pair: &Pair, id: u64) -> Vec<u8> {
    let of_it = pair
        .up_tap
        .log()
        .iter()
        .filter_map(|(_, packet)| match *packet {
            Packet::Repair { tensor, k, .. } if u64::from(tensor) == id => Some(k),
            _ => None,
        });
    of_it.collect()
}

/// Sends a tensor that loses the packets at these places once; its end, and k of its REPAIR packets.
fn losing(pair: &mut Pair, id: u64, places: &'static [u16]) -> (ReceivedTensor, Vec<u8>) {
    let mut gone = BTreeSet::new();
    pair.up_tap.lose_behind(move |_, packet| match *packet {
        Packet::Data { tensor, index, .. } => {
            u64::from(tensor) == id && places.contains(&index) && gone.insert(index)
        }
        _ => false,
    });
    send(pair, id);
    pair.run_for(Duration::from_millis(100));
    let end = pair.cloud_events.iter().find_map(|(_, event)| match event {
        Event::Tensor(tensor) if tensor.info().id.0 == id => Some(tensor.clone()),
        _ => None,
    });
    (end.unwrap(), protected(pair, id))
}

#[test]
fn a_loss_in_the_protected_prefix_is_recovered_and_no_other() {
    let mut pair = warm(config(0.3, |_| ()), 20);
    let inside: [&[u16]; 3] = [&[0], &[7], &[2, 5]];
    let outside: [&[u16]; 3] = [&[31], &[20, 24], &[25, 26, 27, 28, 29, 30, 31]];
    let mut id = WARM;
    for places in inside {
        let (tensor, ks) = losing(&mut pair, id, places);
        assert!(ks.len() >= places.len(), "{ks:?}");
        assert!(ks.iter().all(|k| (8..25).contains(k)), "{ks:?}");
        assert_exact(&tensor, &slices(&[1_100; 32], id), true);
        assert_eq!(tensor.info().reason, ReleaseReason::Recovered, "{places:?}");
        assert_eq!(tensor.info().packets_recovered as usize, places.len());
        id += 1;
    }
    for places in outside {
        let (tensor, ks) = losing(&mut pair, id, places);
        assert!(ks.iter().all(|k| u16::from(*k) <= places[0]), "{ks:?}");
        assert_exact(&tensor, &slices(&[1_100; 32], id), false);
        assert_eq!(tensor.info().reason, ReleaseReason::Exhausted, "{places:?}");
        let order = priority();
        let expected: BTreeSet<usize> = places
            .iter()
            .map(|p| usize::from(order[usize::from(*p)]))
            .collect();
        let missing = (0..32).filter(|slice| tensor.slice(*slice).is_none());
        assert_eq!(missing.collect::<BTreeSet<_>>(), expected, "{places:?}");
        id += 1;
    }
    // One of each: what can be recovered is, although the tensor stays incomplete.
    let (tensor, _) = losing(&mut pair, id, &[1, 30]);
    assert_eq!(tensor.info().packets_recovered, 1);
    assert_eq!(tensor.info().slices_received, 31);
    assert!(tensor.slice(usize::from(priority()[1])).is_some());
    assert_exact(&tensor, &slices(&[1_100; 32], id), false);
}

#[test]
fn with_retransmission_the_others_are_sent_again() {
    // A round trip of 40 ms: one retransmission has time, and may be lost as well.
    let config = config(0.01, |c| {
        c.retransmission = true;
        c.deadline = Duration::from_millis(120);
    });
    let mut pair = warm(config, 20);
    let cases: [&[u16]; 4] = [&[0], &[31], &[3, 20], &[12, 18, 24, 29, 30, 31]];
    for (id, places) in (WARM..).zip(cases) {
        let again = pair.edge.stats().packets_retransmitted;
        let (tensor, ks) = losing(&mut pair, id, places);
        assert_exact(&tensor, &slices(&[1_100; 32], id), true);
        let prefix = ks[0];
        assert!((8..25).contains(&prefix), "{ks:?}");
        let others = places
            .iter()
            .filter(|place| **place >= u16::from(prefix))
            .count() as u64;
        // In the last round that has time, parity of all packets may go with what is sent again, and
        // then counts for a loss that shows later.
        let on_demand = ks.iter().filter(|k| **k == 32).count();
        assert!(on_demand == 0 || others > 0, "{ks:?}");
        assert!(ks.iter().all(|k| *k == prefix || *k == 32), "{ks:?}");
        let again = pair.edge.stats().packets_retransmitted - again;
        let range = others.saturating_sub(on_demand as u64)..=others;
        assert!(
            range.contains(&again),
            "{places:?}: {again} of {others}, and {ks:?}"
        );
        assert_eq!(
            u64::from(tensor.info().packets_recovered) + again,
            places.len() as u64
        );
    }
}

#[test]
fn slices_come_out_where_they_went_in() {
    let (edge, cloud) = configs(config(0.3, |_| ()));
    let mut edge = Session::new(edge, Time::ZERO).unwrap();
    let mut cloud = Session::new(cloud, Time::ZERO).unwrap();
    // Slices of unequal lengths, one of them larger than a packet: several share one, in their order.
    let lengths: Vec<usize> = (0..32)
        .map(|slice| slice * 53 % 400 + slice / 31 * 2_000)
        .collect();
    let sent = slices(&lengths, 0);
    let tensor = outgoing(0, Time::ZERO, sent.clone());
    edge.send_tensor(Time::ZERO, tensor).unwrap();
    for packet in flood(&mut edge, Time::ZERO) {
        cloud.handle_datagram(Time::ZERO, &packet).unwrap();
    }
    let Some(Event::Tensor(tensor)) = cloud.poll_event() else {
        panic!("no tensor")
    };
    assert_exact(&tensor, &sent, true);
}

#[test]
fn without_the_permutation_its_packets_are_dropped() {
    let (edge, mut cloud) = configs(config(0.3, |_| ()));
    cloud.priority = None;
    cloud.interleaving.kind = InterleaverKind::Sequential;
    let mut edge = Session::new(edge, Time::ZERO).unwrap();
    let mut cloud = Session::new(cloud, Time::ZERO).unwrap();
    let tensor = outgoing(0, Time::ZERO, slices(&[1_100; 32], 0));
    edge.send_tensor(Time::ZERO, tensor).unwrap();
    for packet in flood(&mut edge, Time::ZERO) {
        cloud.handle_datagram(Time::ZERO, &packet).unwrap();
    }
    assert_eq!(cloud.stats().conflicts, 32);
    assert_eq!(cloud.tensors_in_progress(), 0);
    assert_eq!(cloud.buffered_bytes(), 0);
    cloud.handle_timeout(Time::from_millis(200));
    assert_eq!(cloud.poll_event(), None);
}
