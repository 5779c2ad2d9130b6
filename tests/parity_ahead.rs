//! REPAIR packets that follow their tensor's last source packet are waited for on paths of any rate,
//! also where those of all earlier tensors were not needed; and nobody pings for them.

use std::time::Duration;

use tensorwire_protocol::link::LinkConfig;
use tensorwire_protocol::wire::MessageType;
use tensorwire_protocol::{Config, Event, ReceivedTensor, Redundancy, ReleaseReason, Time};
use tensorwire_tests::{Packet, Pair, Path, assert_exact, outgoing, slices, stream};

/// Source packets of a tensor, one slice each, and REPAIR packets after them.
const PACKETS: u16 = 8;
const REPAIRS: u64 = 2;
/// Bits of a packet of one slice of 1,100 bytes, 27 of its own and 28 of IP and UDP.
const PACKET_BITS: u64 = (1_100 + 27 + 28) * 8;
/// The tensor that loses packets.
const HIT: u64 = 25;

fn config(change: impl FnOnce(&mut Config)) -> Config {
    stream(PACKETS, |c| {
        c.redundancy = Redundancy::Fixed { ratio: 0.25 };
        change(c);
    })
}

/// A path whose bottleneck passes a source packet every `spacing`.
fn path(spacing: Duration) -> Path {
    let rate = u128::from(PACKET_BITS) * 1_000_000 / spacing.as_micros();
    Path::symmetric(LinkConfig {
        delay: Duration::from_millis(10),
        rate: Some(u64::try_from(rate).unwrap()),
        ..LinkConfig::default()
    })
}

fn send(pair: &mut Pair, id: u64) {
    let tensor = outgoing(id, pair.edge_now(), slices(&[1_100; 8], id));
    pair.edge.send_tensor(pair.edge_now(), tensor).unwrap();
}

/// Sends tensors that arrive whole, and after them one of which `lost` names the packets that are lost
/// behind the bottleneck; the pair, and the end of the latter.
fn run(
    spacing: Duration,
    followed: Option<Duration>,
    lost: impl Fn(&Packet) -> bool + 'static,
) -> (Pair, ReceivedTensor) {
    let mut pair = Pair::new(
        config(|c| c.deadline = Duration::from_millis(200)),
        path(spacing),
    );
    pair.run_until(Time::from_millis(500));
    for id in 0..HIT {
        send(&mut pair, id);
        pair.run_for(Duration::from_millis(100));
    }
    assert_eq!(pair.cloud.stats().tensors_complete, HIT);
    assert_eq!(pair.cloud.stats().repairs_unneeded, HIT * REPAIRS);
    pair.up_tap
        .lose_behind(move |_, packet| packet.tensor() == Some(HIT as u16) && lost(packet));
    send(&mut pair, HIT);
    if let Some(after) = followed {
        pair.run_for(after);
        send(&mut pair, HIT + 1);
    }
    pair.run_for(Duration::from_millis(300));
    let of_it = pair.cloud_events.iter().find_map(|(_, event)| match event {
        Event::Tensor(tensor) if tensor.info().id.0 == HIT => Some(tensor.clone()),
        _ => None,
    });
    (pair, of_it.unwrap())
}

const SPACINGS: [Duration; 5] = [
    Duration::from_micros(100),
    Duration::from_micros(500),
    Duration::from_micros(1_200),
    Duration::from_micros(2_400),
    Duration::from_micros(5_000),
];

#[test]
fn a_lost_last_packet_is_recovered_however_slow_the_path() {
    for spacing in SPACINGS {
        for tail in 1..=2 {
            let first = PACKETS - tail;
            let (pair, tensor) = run(
                spacing,
                None,
                move |packet| matches!(packet, Packet::Data { index, .. } if *index >= first),
            );
            let info = *tensor.info();
            let case = format!("the last {tail} at {spacing:?}");
            assert_eq!(info.reason, ReleaseReason::Recovered, "{case}");
            assert_exact(&tensor, &slices(&[1_100; 8], HIT), true);
            assert_eq!(info.packets_recovered, u32::from(tail), "{case}");
            // At once when as many REPAIR packets have come as packets are lost: nine or ten spacings
            // of packets, of which REPAIR packets are a little larger, after the first packet.
            let took = info.released - info.first_arrival;
            assert!(
                took <= spacing * 77 / 10 + spacing * u32::from(tail),
                "{case}: {took:?}"
            );
            assert_eq!(pair.cloud.stats().repairs_late, 0, "{case}");
        }
    }
}

/// The next tensor leaves at once after the REPAIR packets: they come before its first packet.
#[test]
fn a_lost_last_packet_is_recovered_with_another_tensor_behind() {
    for spacing in SPACINGS {
        let lost = |packet: &Packet| matches!(packet, Packet::Data { index: 7, .. });
        let (pair, tensor) = run(spacing, Some(Duration::ZERO), lost);
        assert_eq!(
            tensor.info().reason,
            ReleaseReason::Recovered,
            "{spacing:?}"
        );
        assert_eq!(pair.cloud.stats().tensors_complete, HIT + 1, "{spacing:?}");
        assert_eq!(pair.cloud.stats().repairs_late, 0);
    }
}

/// What is waited for does not come: the wait ends with the time that the packets take.
#[test]
fn parity_that_is_lost_as_well_is_not_waited_for_any_longer() {
    for spacing in SPACINGS {
        let lost = |packet: &Packet| match packet {
            Packet::Data { index, .. } => *index == 7,
            other => other.is_repair(),
        };
        let (_, tensor) = run(spacing, None, lost);
        let info = *tensor.info();
        assert_eq!(info.reason, ReleaseReason::Exhausted, "{spacing:?}");
        assert_eq!(info.slices_received, 7);
        assert_exact(&tensor, &slices(&[1_100; 8], HIT), false);
        // Six spacings to the last packet that came, three to the last that was lost, half a one for
        // its deviation and their size, and the reordering window of a millisecond.
        let took = info.released - info.first_arrival;
        let most = spacing * 19 / 2 + Duration::from_millis(1);
        assert!(took <= most, "{took:?} at {spacing:?}");
    }
}

/// A REPAIR packet that was sent ahead is no reason to ask how the path is.
#[test]
fn nobody_pings_for_parity_on_a_clean_path() {
    let pings = |retransmission: bool, ratio: f64| {
        let config = config(|c| {
            c.retransmission = retransmission;
            c.redundancy = Redundancy::Fixed { ratio };
        });
        let mut pair = Pair::new(config, path(Duration::from_micros(100)));
        pair.run_until(Time::from_millis(500));
        pair.up_tap.record();
        pair.down_tap.record();
        for id in 0..90 {
            send(&mut pair, id);
            pair.run_for(Duration::from_millis(33));
        }
        assert_eq!(pair.cloud.stats().tensors_complete, 90);
        assert_eq!(pair.edge.stats().packets_retransmitted, 0);
        let ping = Packet::Other(MessageType::Ping);
        let logs = [pair.up_tap.log(), pair.down_tap.log()];
        logs.map(|log| log.iter().filter(|(_, packet)| *packet == ping).count())
    };
    for retransmission in [false, true] {
        for ratio in [0.25, 1.0] {
            let [up, down] = pings(retransmission, ratio);
            // Three seconds.
            assert!(
                up <= 15 && down <= 15,
                "{up} and {down} with {ratio} of parity, retransmission {retransmission}"
            );
        }
    }
}
