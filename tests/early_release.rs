//! An incomplete tensor is released as soon as nothing more can help it, not at its deadline.

use std::time::Duration;

use proptest::prelude::*;
use tensorwire_protocol::link::LinkConfig;
use tensorwire_protocol::{Config, Event, ReceivedTensor, Redundancy, ReleaseReason, Time};
use tensorwire_tests::{
    Packet, Pair, Path, assert_exact, configs, outgoing, released, slices, stream,
};

/// Source packets of a tensor, one slice each.
const PACKETS: u16 = 12;
const FRAME: Duration = Duration::from_millis(33);
/// The reordering window of a path that has not reordered anything.
const WINDOW: Duration = Duration::from_millis(1);
/// Packets of at most 1,200 bytes and 28 of IP and UDP, on a path of 20 Mbit/s.
const SPACING: Duration = Duration::from_micros(492);
/// Whole tensors before the one that is looked at, which has this number.
const WARM: u64 = 5;

fn path() -> Path {
    Path::symmetric(LinkConfig {
        delay: Duration::from_millis(20),
        rate: Some(20_000_000),
        ..LinkConfig::default()
    })
}

fn config(change: impl FnOnce(&mut Config)) -> Config {
    stream(PACKETS, change)
}

fn send(pair: &mut Pair, id: u64) {
    let tensor = outgoing(id, pair.edge_now(), slices(&[1_100; 12], id));
    pair.edge.send_tensor(pair.edge_now(), tensor).unwrap();
}

/// What is lost of the tensor after the warm ones.
fn loses(pair: &mut Pair, lost: impl Fn(usize) -> bool + 'static) {
    let mut sent = 0;
    pair.up_tap.lose(move |_, packet| {
        let of_it = packet.tensor() == Some(WARM as u16);
        sent += usize::from(of_it);
        of_it && lost(sent - 1)
    });
}

/// Sends some whole tensors, then one of which some packets are lost by their place; releases of the
/// latter, when its last packet that was not lost came, and when the last one that was would have.
fn run(
    config: Config,
    followed: Option<Duration>,
    lost: impl Fn(usize) -> bool + Clone + 'static,
) -> (Pair, Vec<(Time, ReceivedTensor)>, Time) {
    let mut pair = Pair::new(config, path());
    pair.run_until(Time::from_millis(300));
    for id in 0..WARM {
        send(&mut pair, id);
        pair.run_for(FRAME);
    }
    loses(&mut pair, lost);
    pair.up_tap.record();
    let captured = pair.now;
    send(&mut pair, WARM);
    match followed {
        Some(after) => {
            pair.run_for(after);
            send(&mut pair, WARM + 1);
            pair.run_for(Duration::from_millis(300));
        }
        None => pair.run_for(Duration::from_millis(300)),
    }
    let sent = pair.up_tap.log().iter();
    let sent = sent.filter(|(_, packet)| packet.tensor() == Some(WARM as u16));
    // The link counts what it takes itself: the lost ones take no time there, so the last of the
    // tensor comes at most when all of them had.
    let last =
        captured + SPACING * u32::try_from(sent.count()).unwrap() + Duration::from_millis(20);
    let events = std::mem::take(&mut pair.cloud_events);
    let of_it = events.into_iter().filter_map(|(at, event)| match event {
        Event::Tensor(tensor) if tensor.info().id.0 == WARM => Some((at, tensor)),
        _ => None,
    });
    let of_it = of_it.collect();
    (pair, of_it, last)
}

fn ratio(ratio: f64) -> Config {
    config(|c| c.redundancy = Redundancy::Fixed { ratio })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whichever packets are lost, with parity or without: the release comes one reordering window, and
    /// the packets' own time, after the last of them.
    #[test]
    fn a_tensor_is_released_when_its_packets_have_passed(
        lost in prop::collection::vec(prop::bool::weighted(0.4), 16),
        parity in prop_oneof![Just(0.0), Just(0.25)],
        followed in prop_oneof![Just(None), Just(Some(FRAME))],
    ) {
        let fates = lost.clone();
        let (pair, releases, last) = run(ratio(parity), followed, move |place| fates[place]);
        let repairs = (12.0 * parity) as usize;
        let arrived = lost[..12 + repairs].iter().filter(|lost| !**lost).count();
        let sources = lost[..12].iter().filter(|lost| !**lost).count();
        prop_assume!(sources > 0);
        prop_assert_eq!(releases.len(), 1);
        let (at, tensor) = &releases[0];
        let whole = arrived >= 12;
        assert_exact(tensor, &slices(&[1_100; 12], WARM), whole);
        let reason = tensor.info().reason;
        if whole {
            prop_assert!(*at <= last);
            let all = sources == 12;
            let expected = if all { ReleaseReason::Complete } else { ReleaseReason::Recovered };
            prop_assert_eq!(reason, expected);
        } else {
            // Half a spacing for what its deviation is worth.
            prop_assert!(*at <= last + WINDOW + SPACING / 2, "{:?} after {:?}", *at - last, last);
            prop_assert_eq!(reason, ReleaseReason::Exhausted);
            prop_assert_eq!(usize::from(tensor.info().slices_received), sources);
        }
        prop_assert_eq!(pair.cloud.stats().tensors_deadline, 0);
        let others = WARM + u64::from(followed.is_some());
        prop_assert_eq!(pair.cloud.stats().tensors_complete, others + u64::from(whole && sources == 12));
        prop_assert_eq!(pair.cloud.stats().tensors_exhausted, u64::from(!whole));
    }
}

/// Whether a packet of a tensor is lost, by its place.
type Lost = fn(usize) -> bool;

/// Each of the ways in which packets pass, on its own, and how it is told.
#[test]
fn the_reason_is_told_at_both_ends() {
    let cases: [(&str, Lost); 4] = [
        ("the first", |place| place == 0),
        ("one in the middle", |place| place == 5),
        ("the tail", |place| place > 8),
        ("all but one", |place| place != 6),
    ];
    for (name, lost) in cases {
        let (pair, releases, last) = run(config(|_| ()), None, lost);
        let (at, tensor) = &releases[0];
        assert_eq!(tensor.info().reason, ReleaseReason::Exhausted, "{name}");
        assert_eq!(tensor.info().released, *at);
        assert!(
            *at <= last + WINDOW + SPACING / 2,
            "{name}: {:?}",
            *at - last
        );
        let told: Vec<_> = pair
            .edge_events
            .iter()
            .filter_map(|(_, event)| match event {
                Event::Delivery {
                    tensor,
                    reason,
                    missing_share,
                } if tensor.0 == WARM => Some((*reason, *missing_share)),
                _ => None,
            })
            .collect();
        let missing = (0..12).filter(|place| lost(*place)).count() as f32 / 12.0;
        assert_eq!(told.len(), 1, "{name}");
        assert_eq!(told[0].0, ReleaseReason::Exhausted);
        assert!((told[0].1 - missing).abs() < 1.0 / 4_095.0, "{name}");
    }
}

/// The next tensor follows at once: its first packet says that what is missing was lost.
#[test]
fn a_later_tensor_tells_sooner_than_the_timer() {
    // All but the first packet are lost: eleven spacings to go by the timer.
    let (_, releases, _) = run(config(|_| ()), Some(Duration::from_micros(1)), |place| {
        place > 0
    });
    let (at, tensor) = &releases[0];
    let first = tensor.info().first_arrival;
    // The packets that the tap loses take no time on the link.
    assert_eq!(*at - first, EXACT_SPACING + WINDOW);
}

/// Of packets of one slice of 1,100 bytes, 27 of their own and 28 of IP and UDP, at 20 Mbit/s.
const EXACT_SPACING: Duration = Duration::from_micros(462);

#[test]
fn a_packet_that_would_come_too_late_again_is_not_waited_for() {
    // 60 ms each way: what is missed at 60 ms and later comes again at 180 at the earliest.
    let path = Path::delay(60);
    let (edge, cloud) = configs(config(|c| c.retransmission = true));
    let mut pair = Pair::of(edge, cloud, path);
    pair.run_until(Time::from_millis(1_000));
    for id in 0..WARM {
        send(&mut pair, id);
        pair.run_for(FRAME);
    }
    // No report before the loss may have caused an answer that is still on its way.
    pair.run_for(Duration::from_millis(500));
    loses(&mut pair, |place| place == 5);
    let captured = pair.now;
    send(&mut pair, WARM);
    pair.run_for(Duration::from_millis(300));
    let (at, tensor) = pair
        .cloud_events
        .iter()
        .find_map(|(at, event)| match event {
            Event::Tensor(tensor) if tensor.info().id.0 == WARM => Some((*at, tensor.clone())),
            _ => None,
        })
        .unwrap();
    assert_eq!(tensor.info().reason, ReleaseReason::Exhausted);
    let arrived = captured + Duration::from_millis(60);
    assert_eq!(at, arrived + WINDOW, "all come at one moment");
    assert_eq!(pair.edge.stats().packets_retransmitted, 0);
}

#[test]
fn a_packet_that_can_come_again_is_waited_for() {
    // 10 ms each way, and an edge that does not send again although the cloud expects it.
    let mut pair = Pair::waiting(config(|_| ()), Path::delay(10));
    pair.run_until(Time::from_millis(1_000));
    loses(&mut pair, |place| place == 5);
    for id in 0..=WARM {
        send(&mut pair, id);
        pair.run_for(Duration::from_millis(150));
    }
    let tensors = released(pair.cloud_events.drain(..).map(|(_, event)| event));
    let info = *tensors.last().unwrap().info();
    assert_eq!((info.id.0, info.reason), (WARM, ReleaseReason::Deadline));
    let took = info.released - info.captured;
    assert_eq!(took, Duration::from_millis(100));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Every packet may be overtaken by up to `jitter`. The window that follows from what was seen
    /// keeps each tensor open long enough, and an incomplete one no longer than a window of 25 ms.
    #[test]
    fn the_window_grows_with_the_reordering(jitter in 2_u64..=60, seed: u64) {
        let link = LinkConfig {
            delay: Duration::from_millis(20),
            jitter: Duration::from_millis(jitter),
            seed,
            ..LinkConfig::default()
        };
        let mut pair = Pair::new(config(|c| c.deadline = Duration::from_millis(400)), Path::symmetric(link));
        pair.run_until(Time::from_millis(500));
        // Each second tensor loses its packet 7, once there was time to learn.
        pair.up_tap.lose(|_, packet| {
            matches!(packet, Packet::Data { tensor, index: 7, .. } if *tensor >= 60 && tensor % 2 == 1)
        });
        for id in 0..120 {
            send(&mut pair, id);
            pair.run_for(FRAME);
        }
        pair.run_for(Duration::from_secs(1));
        let stats = *pair.cloud.stats();
        prop_assert_eq!(stats.tensors_deadline + stats.tensors_lost, 0);
        let late = stats.late;
        for tensor in released(pair.cloud_events.drain(..).map(|(_, event)| event)) {
            let info = tensor.info();
            let id = info.id.0;
            assert_exact(&tensor, &slices(&[1_100; 12], id), info.reason == ReleaseReason::Complete);
            if id < 60 || jitter > 18 {
                continue;
            }
            prop_assert_eq!(info.slices_received, if id % 2 == 1 { 11 } else { 12 }, "{}", id);
            // Its packets, the next tensor's first at the latest, and the longest window.
            let most = FRAME + Duration::from_millis(20 + jitter + 25);
            prop_assert!(info.released - info.captured <= most);
        }
        prop_assert!(late == 0 || jitter > 18 || stats.tensors_exhausted > 30);
    }
}
