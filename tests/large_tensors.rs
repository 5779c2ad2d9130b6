//! Parity that follows the loss, of tensors of more packets than one block holds: interleaved blocks share
//! it, bursts are recovered, and every count agrees with what was on the wire.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use tensorwire_protocol::link::LinkConfig;
use tensorwire_protocol::{Adaptive, Event, ReceivedTensor, Redundancy, ReleaseReason, Time};
use tensorwire_tests::{Packet, Pair, Path, assert_exact, outgoing, slices, stream};

/// Most source packets of a block.
const BLOCK: usize = 64;
const FRAME: Duration = Duration::from_millis(33);
/// Tensors after which the loss is known.
const WARM: u64 = 40;

/// A stream of tensors of so many packets, one slice each, over a path that loses `rate` of them in
/// bursts of four until the loss is known, and then nothing.
fn warm(packets: u16, rate: f64, seed: u64) -> Pair {
    let config = stream(packets, |c| {
        let mut adaptive = Adaptive::default();
        (adaptive.most, adaptive.target) = (0.5, 0.1);
        c.redundancy = Redundancy::Adaptive(adaptive);
    });
    let link = LinkConfig {
        delay: Duration::from_millis(10),
        rate: Some(200_000_000),
        // A whole tensor with its parity.
        queue: 1 << 20,
        ..LinkConfig::default()
    };
    let mut pair = Pair::new(config, Path::symmetric(link));
    pair.run_until(Time::from_millis(500));
    pair.up_tap.record();
    let model = tensorwire_protocol::link::LossModel::gilbert(rate, 4.0).unwrap();
    let mut process = tensorwire_protocol::link::LossProcess::new(model, seed);
    pair.up_tap.lose(move |_, _| process.next_is_lost());
    for id in 0..WARM {
        send(&mut pair, id);
    }
    pair.up_tap.lose(|_, _| false);
    pair
}

fn lengths(pair: &Pair) -> Vec<usize> {
    vec![600; usize::from(pair.cloud.config().slices)]
}

/// One slice of 600 bytes a packet: a second one does not fit.
fn send(pair: &mut Pair, id: u64) {
    let tensor = outgoing(id, pair.edge_now(), slices(&lengths(pair), id));
    pair.edge.send_tensor(pair.edge_now(), tensor).unwrap();
    pair.run_for(FRAME);
}

/// Parity of a tensor as seen on the wire.
#[derive(Debug)]
struct Parity {
    /// Source packets of each block.
    members: Vec<usize>,
    /// REPAIR packets of each block.
    repairs: Vec<usize>,
}

/// Fails unless the numbers in the REPAIR packets of a tensor agree with each other.
fn parity(pair: &Pair, id: u64) -> Parity {
    let packets = usize::from(pair.cloud.config().slices);
    let blocks = packets.div_ceil(BLOCK);
    let mut parity = Parity {
        members: vec![0; blocks],
        repairs: vec![0; blocks],
    };
    let mut seen = BTreeSet::new();
    let mut counts = vec![0; blocks];
    for (_, packet) in pair.up_tap.log() {
        let Packet::Repair {
            tensor,
            span,
            block,
            k,
            index,
            count,
        } = *packet
        else {
            continue;
        };
        if u64::from(tensor) != id {
            continue;
        }
        assert_eq!(span, 1, "one block of several tensors holds no such tensor");
        assert!(index < count, "ahead of losses");
        assert!(seen.insert((block, index)), "{packet:?} twice");
        let block = usize::from(block);
        parity.members[block] = usize::from(k);
        parity.repairs[block] += 1;
        counts[block] = usize::from(count);
    }
    assert_eq!(parity.repairs, counts, "all that was told was sent");
    assert!(parity.members.iter().all(|k| *k <= BLOCK));
    parity
}

fn end_of(pair: &Pair, id: u64) -> ReceivedTensor {
    let end = pair.cloud_events.iter().find_map(|(_, event)| match event {
        Event::Tensor(tensor) if tensor.info().id.0 == id => Some(tensor.clone()),
        _ => None,
    });
    end.unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// A burst anywhere in the protected part costs each block its share. Behind it all REPAIR packets
    /// arrive: the tensor is whole if no block lost more than it has of them.
    #[test]
    fn bursts_are_recovered(
        packets in 65_u16..=260,
        rate in 0.05..0.15,
        seed: u64,
        bursts in prop::collection::vec((0.0..1.0, 0.0..1.0), 6),
    ) {
        let mut pair = warm(packets, rate, seed);
        send(&mut pair, WARM);
        let plan = parity(&pair, WARM);
        let protected: usize = plan.members.iter().sum();
        let each = *plan.repairs.iter().min().unwrap();
        prop_assert!(each > 0, "{:?} at {:?}", plan, pair.edge.loss());
        prop_assert!(plan.repairs.iter().all(|repairs| *repairs == each));
        let blocks = plan.members.len();
        for (id, (start, len)) in (WARM + 1..).zip(bursts) {
            // The plan changes as the loss is forgotten: what is on the wire counts.
            let len = 1 + (len * (each * blocks) as f64) as usize;
            let start = (start * (protected.saturating_sub(len)) as f64) as usize;
            let lost = start..start + len;
            pair.up_tap.lose_behind(move |_, packet| matches!(packet, Packet::Data { tensor, index, .. }
                if u64::from(*tensor) == id && lost.contains(&usize::from(*index))));
            let before = *pair.cloud.stats();
            send(&mut pair, id);
            let plan = parity(&pair, id);
            let covered = |place: usize| place / blocks < plan.members[place % blocks];
            let lost = start..start + len;
            let mut gone = vec![0; blocks];
            lost.clone().for_each(|place| gone[place % blocks] += 1);
            let whole = lost.clone().all(covered)
                && gone.iter().zip(&plan.repairs).all(|(gone, repairs)| gone <= repairs);

            let tensor = end_of(&pair, id);
            let info = *tensor.info();
            assert_exact(&tensor, &slices(&lengths(&pair), id), whole);
            let expected = if whole { ReleaseReason::Recovered } else { ReleaseReason::Exhausted };
            prop_assert_eq!(info.reason, expected, "{:?} of {:?}", lost, plan);
            prop_assert_eq!(info.packets, u32::from(packets));
            prop_assert_eq!(info.packets_received as usize, usize::from(packets) - len, "{:?} of {:?}, {:?}", lost, plan, info);
            prop_assert!(!whole || info.packets_recovered as usize == len);
            let stats = *pair.cloud.stats();
            prop_assert_eq!(
                stats.packets_recovered - before.packets_recovered,
                u64::from(info.packets_recovered)
            );
            prop_assert_eq!(
                stats.repairs_received - before.repairs_received,
                plan.repairs.iter().sum::<usize>() as u64
            );
        }
        prop_assert_eq!(pair.cloud.stats().conflicts, 0);
        prop_assert_eq!(pair.cloud.buffered_bytes(), 0);
    }
}

#[test]
fn a_burst_of_most_of_the_parity_is_recovered() {
    for (packets, rate) in [(65, 0.1), (130, 0.1), (200, 0.15)] {
        let mut pair = warm(packets, rate, 1);
        send(&mut pair, WARM);
        let plan = parity(&pair, WARM);
        let (blocks, all) = (plan.members.len(), plan.repairs.iter().sum::<usize>());
        assert_eq!(blocks, usize::from(packets).div_ceil(BLOCK));
        // The plan of the next tensor may have some packets less: nothing was lost meanwhile.
        let burst = all * 3 / 4;
        assert!(burst > 6, "{plan:?}");
        pair.up_tap.lose_behind(move |_, packet| {
            matches!(packet, Packet::Data { tensor, index, .. }
                if u64::from(*tensor) == WARM + 1 && usize::from(*index) < burst)
        });
        send(&mut pair, WARM + 1);
        let tensor = end_of(&pair, WARM + 1);
        let now = parity(&pair, WARM + 1);
        let case = format!("{burst} of {packets}, {plan:?}, then {now:?}");
        assert_eq!(tensor.info().reason, ReleaseReason::Recovered, "{case}");
        assert_eq!(tensor.info().packets_recovered as usize, burst, "{case}");
        assert_exact(&tensor, &slices(&lengths(&pair), WARM + 1), true);
    }
}

/// What the edge counts as sent is what was on the wire, and the cloud accounts for all that arrived.
#[test]
fn every_packet_is_accounted_for() {
    let pair = warm(150, 0.1, 9);
    let ahead: usize = (0..WARM)
        .map(|id| parity(&pair, id).repairs.iter().sum::<usize>())
        .sum();
    let edge = *pair.edge.stats();
    assert_eq!(edge.repairs_sent, ahead as u64);
    assert_eq!(edge.packets_retransmitted, 0);
    let stats = *pair.cloud.stats();
    let whole = stats.tensors_complete + stats.tensors_recovered;
    assert_eq!(whole + stats.tensors_exhausted + stats.tensors_lost, WARM);
    assert!(stats.tensors_recovered > WARM / 2, "{stats:?}");
    let (mut received, mut recovered) = (0, 0);
    for (_, event) in &pair.cloud_events {
        if let Event::Tensor(tensor) = event {
            let info = *tensor.info();
            assert_exact(
                tensor,
                &slices(&lengths(&pair), info.id.0),
                info.slices_received == 150,
            );
            assert_eq!(
                u32::from(info.slices_received),
                info.packets_received + info.packets_recovered
            );
            received += info.packets_received;
            recovered += info.packets_recovered;
        }
    }
    assert_eq!(stats.packets_recovered, u64::from(recovered));
    let sources = 150 * WARM;
    let lost = pair
        .up_tap
        .log()
        .iter()
        .filter(|(_, packet)| packet.is_data())
        .count() as u64;
    assert_eq!(lost, sources, "each is sent once");
    assert!(u64::from(received) + stats.late + stats.duplicates < sources);
    assert_eq!(
        stats.conflicts + stats.over_limit + stats.refused.total(),
        0
    );
}
