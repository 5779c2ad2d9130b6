//! What was lost is sent again where it can still arrive in time, and only there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use tensorwire_protocol::link::{LinkConfig, LossModel};
use tensorwire_protocol::{Config, Event, Redundancy, ReleaseReason, Time};
use tensorwire_tests::{Packet, Pair, Path, assert_exact, outgoing, released, slices, stream};

/// Source packets of a tensor, one slice each.
const PACKETS: u16 = 12;
const FRAME: Duration = Duration::from_millis(33);

fn config(deadline: u64, change: impl FnOnce(&mut Config)) -> Config {
    stream(PACKETS, |c| {
        c.retransmission = true;
        c.deadline = Duration::from_millis(deadline);
        change(c);
    })
}

fn send(pair: &mut Pair, id: u64) {
    let tensor = outgoing(id, pair.edge_now(), slices(&[1_100; 12], id));
    pair.edge.send_tensor(pair.edge_now(), tensor).unwrap();
}

/// Sends so many tensors, thirty a second, and waits until all have met their end.
fn stream_of(pair: &mut Pair, tensors: std::ops::Range<u64>) {
    for id in tensors {
        send(pair, id);
        pair.run_for(FRAME);
    }
    pair.run_for(pair.edge.config().deadline);
}

/// A pair whose sides know the round trip by now.
fn warm(config: Config, path: Path) -> Pair {
    let mut pair = Pair::new(config, path);
    pair.run_until(Time::from_millis(500));
    pair
}

fn assert_all_whole(pair: &mut Pair, tensors: u64) {
    let got = released(pair.cloud_events.drain(..).map(|(_, event)| event));
    assert_eq!(got.len() as u64, tensors);
    for tensor in got {
        let info = tensor.info();
        assert_exact(&tensor, &slices(&[1_100; 12], info.id.0), true);
        assert!(info.released - info.captured <= pair.cloud.config().deadline);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// A round trip of 10 ms, reports every 10 ms at most: 200 ms are at least eight rounds, all of
    /// which a packet fails with a probability of at most 1e-8.
    #[test]
    fn on_a_short_path_every_tensor_is_whole(rate in 0.0..0.1, seed: u64) {
        let link = LinkConfig {
            loss: LossModel::independent(rate).unwrap(),
            delay: Duration::from_millis(5),
            seed,
            ..LinkConfig::default()
        };
        let mut pair = warm(config(200, |_| ()), Path::symmetric(link));
        stream_of(&mut pair, 0..60);
        assert_all_whole(&mut pair, 60);
        prop_assert_eq!(pair.cloud.stats().tensors_complete, 60, "without parity none is recovered");
        let again = pair.edge.stats().packets_retransmitted;
        prop_assert!(again <= pair.edge.stats().packets_lost);
    }

    /// Nothing is sent of a tensor of which the edge knows that it has ended, and nothing is sent again
    /// that arrives after the deadline.
    #[test]
    fn nothing_is_sent_again_in_vain(
        rate in 0.05..0.4,
        seed: u64,
        delay in 1_u64..45,
        ratio in prop_oneof![Just(0.0), Just(0.25)],
    ) {
        let link = LinkConfig {
            loss: LossModel::independent(rate).unwrap(),
            delay: Duration::from_millis(delay),
            seed,
            ..LinkConfig::default()
        };
        let config = config(100, |c| c.redundancy = Redundancy::Fixed { ratio });
        let mut pair = warm(config, Path::symmetric(link));
        pair.up_tap.record();
        let mut captured = Vec::new();
        for id in 0..60 {
            captured.push(pair.now);
            send(&mut pair, id);
            pair.run_for(FRAME);
        }
        pair.run_for(Duration::from_millis(500));
        let mut ended = BTreeMap::new();
        for (at, event) in &pair.edge_events {
            if let Event::Delivery { tensor, .. } = event {
                ended.insert(u16::try_from(tensor.0).unwrap(), *at);
            }
        }
        let (mut seen, mut again) = (BTreeSet::new(), 0);
        for (at, packet) in pair.up_tap.log() {
            let Some(tensor) = packet.tensor() else { continue };
            if let Some(end) = ended.get(&tensor) {
                prop_assert!(at <= end, "{:?} after the report", packet);
            }
            let first = match *packet {
                Packet::Data { tensor, index, .. } => seen.insert((tensor, index)),
                Packet::Repair { index, count, .. } => index < count,
                Packet::Other(_) => true,
            };
            if !first {
                again += 1;
                let arrives = *at + Duration::from_millis(delay);
                let deadline = captured[usize::from(tensor)] + Duration::from_millis(100);
                prop_assert!(arrives <= deadline, "{:?} at {:?}", packet, at);
            }
        }
        let stats = pair.edge.stats();
        let ahead = 60 * (12.0 * ratio) as u64;
        prop_assert_eq!(stats.packets_retransmitted + stats.repairs_sent - ahead, again);
        // The first report of a loss comes back within a round trip, and the answer in half of one. Parity
        // may have repaired every loss before that.
        prop_assert!(delay > 25 || ratio > 0.0 || again > 0);
    }

    /// Packets of 462 µs on the link, each up to 0.6 ms late: none is overtaken by three, and two thirds of
    /// the sender's patience of 0.9 ms are not used up, its mean of the spacing being a little off.
    #[test]
    fn reordering_by_less_than_three_is_no_loss(seed: u64) {
        let link = LinkConfig {
            delay: Duration::from_millis(10),
            jitter: Duration::from_micros(600),
            rate: Some(20_000_000),
            seed,
            ..LinkConfig::default()
        };
        let mut pair = warm(config(100, |_| ()), Path::symmetric(link));
        stream_of(&mut pair, 0..60);
        assert_all_whole(&mut pair, 60);
        prop_assert_eq!(pair.edge.stats().packets_retransmitted, 0);
        prop_assert_eq!(pair.edge.stats().packets_lost, 0);
    }
}

/// Loses the first `copies` of each source packet that `lost` names.
fn loses(pair: &mut Pair, copies: u32, lost: impl Fn(u16, u16) -> bool + 'static) {
    let mut gone: BTreeMap<(u16, u16), u32> = BTreeMap::new();
    pair.up_tap.lose(move |_, packet| {
        let Packet::Data { tensor, index, .. } = *packet else {
            return false;
        };
        let before = gone.entry((tensor, index)).or_default();
        *before += 1;
        lost(tensor, index) && *before <= copies
    });
}

#[test]
fn a_retransmission_that_is_lost_is_sent_again() {
    for copies in 1..=4 {
        let mut pair = warm(config(200, |_| ()), Path::delay(5));
        loses(&mut pair, copies, |tensor, index| tensor == 3 && index == 6);
        stream_of(&mut pair, 0..6);
        assert_all_whole(&mut pair, 6);
        assert_eq!(pair.edge.stats().packets_retransmitted, u64::from(copies));
        assert_eq!(pair.cloud.stats().duplicates, 0);
    }
}

#[test]
fn a_lost_tail_is_sent_again() {
    // The last three packets of a tensor in the stream, of its last one, and all of its last one.
    let cases: [fn(u16, u16) -> bool; 3] = [
        |tensor, index| tensor == 2 && index >= 9,
        |tensor, index| tensor == 5 && index >= 9,
        |tensor, _| tensor == 5,
    ];
    for (case, lost) in cases.into_iter().enumerate() {
        let mut pair = warm(config(100, |_| ()), Path::delay(5));
        loses(&mut pair, 1, lost);
        stream_of(&mut pair, 0..6);
        assert_all_whole(&mut pair, 6);
        let gone = (0..6).flat_map(|t| (0..PACKETS).map(move |i| (t, i)));
        let gone = gone.filter(|(tensor, index)| lost(*tensor, *index)).count() as u64;
        assert_eq!(pair.edge.stats().packets_retransmitted, gone, "case {case}");
        assert_eq!(pair.cloud.stats().duplicates, 0, "case {case}");
    }
}

#[test]
fn on_a_long_path_nothing_is_sent_again() {
    let mut pair = warm(config(100, |_| ()), Path::delay(60));
    loses(&mut pair, 1, |_, index| index == 4);
    stream_of(&mut pair, 0..20);
    assert_eq!(pair.edge.stats().packets_retransmitted, 0);
    assert!(pair.edge.stats().packets_lost >= 15, "known, and too late");
    assert_eq!(pair.cloud.stats().tensors_complete, 0);
}

#[test]
fn what_parity_repairs_is_not_sent_again() {
    let parity = Redundancy::Fixed { ratio: 0.25 };
    let mut pair = warm(config(100, |c| c.redundancy = parity), Path::delay(5));
    loses(&mut pair, 1, |tensor, index| index < tensor % 5);
    stream_of(&mut pair, 0..20);
    assert_all_whole(&mut pair, 20);
    // Of every five tensors one loses four packets, of which three REPAIR packets repair three.
    assert_eq!(pair.cloud.stats().tensors_complete, 4);
    assert_eq!(pair.cloud.stats().tensors_recovered, 16);
    assert_eq!(pair.edge.stats().packets_retransmitted, 4);
}

#[test]
fn without_reports_each_packet_is_sent_again_twice_at_most() {
    let mut pair = warm(config(200, |_| ()), Path::delay(5));
    stream_of(&mut pair, 0..5);
    let silent = pair.now..pair.now + Duration::from_millis(400);
    pair.down_tap.lose(move |now, _| silent.contains(&now));
    loses(&mut pair, 1, |tensor, index| tensor < 15 && index == 6);
    stream_of(&mut pair, 5..40);
    assert_all_whole(&mut pair, 40);
    let stats = *pair.edge.stats();
    let in_silence = stats.packets_retransmitted;
    // No report tells of the thirteen tensors of those 400 ms, nor in time of the one before.
    assert!((10..=2 * 14 * 12).contains(&in_silence), "{in_silence}");
    // The reports are back: nothing more is sent in vain.
    stream_of(&mut pair, 40..60);
    assert_all_whole(&mut pair, 20);
    assert_eq!(pair.edge.stats().packets_retransmitted, in_silence);
    for (_, event) in &pair.edge_events {
        if let Event::Delivery { reason, .. } = event {
            assert_eq!(*reason, ReleaseReason::Complete);
        }
    }
}

/// Before the first report that measures the round trip nothing can be known to arrive in time.
#[test]
fn a_loss_before_the_first_round_trip_is_known_is_repaired_after_it() {
    for silent in [0, 100, 400, 900] {
        let mut pair = Pair::new(config(5_000, |_| ()), Path::delay(5));
        let until = Time::from_millis(silent);
        pair.down_tap.lose(move |now, _| now < until);
        loses(&mut pair, 1, |tensor, index| tensor == 0 && index == 4);
        for id in 0..30 {
            send(&mut pair, id);
            pair.run_for(Duration::from_millis(100));
        }
        let first = pair
            .cloud_events
            .iter()
            .find_map(|(at, event)| match event {
                Event::Tensor(tensor) if tensor.info().id.0 == 0 => {
                    Some((*at, tensor.info().reason))
                }
                _ => None,
            });
        let (at, reason) = first.expect("long before the deadline of five seconds");
        assert_eq!(reason, ReleaseReason::Complete);
        // The next report, of which each tensor causes one, and what it asks for.
        assert!(
            at <= until + Duration::from_millis(150),
            "{at:?} after {until:?}"
        );
        pair.run_for(Duration::from_secs(5));
        assert_all_whole(&mut pair, 30);
    }
}

/// No later tensor tells of the losses of the last one, for as long as it has time.
#[test]
fn the_last_tensor_is_sent_again_until_its_deadline() {
    for copies in 1..=5 {
        let mut pair = warm(config(200, |_| ()), Path::delay(5));
        loses(&mut pair, copies, |tensor, index| tensor == 5 && index == 6);
        stream_of(&mut pair, 0..6);
        let again = pair.edge.stats().packets_retransmitted;
        assert_eq!(again, u64::from(copies), "each that is lost");
        assert_all_whole(&mut pair, 6);
    }
}
