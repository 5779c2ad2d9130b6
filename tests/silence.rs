//! A sender of which the peer says nothing stops sending tensors, says so, asks on, and goes on with the
//! first report.

use std::time::Duration;

use tensorwire_protocol::link::{LinkConfig, LossModel};
use tensorwire_protocol::wire::MessageType;
use tensorwire_protocol::{AdaptiveRate, Event, RateControl, Time};
use tensorwire_tests::{Packet, Pair, Path, outgoing, slices, stream};

const MS: Duration = Duration::from_millis(1);

fn pair(rate: RateControl) -> Pair {
    let path = Path::symmetric(LinkConfig {
        delay: 20 * MS,
        rate: Some(20_000_000),
        ..LinkConfig::default()
    });
    Pair::new(stream(80, |config| config.rate = rate), path)
}

/// Thirty tensors a second up to a moment.
fn run(pair: &mut Pair, frame: &mut u64, until: Time) {
    while pair.now < until {
        let tensor = outgoing(*frame, pair.now, slices(&[150; 80], *frame));
        *frame += 1;
        pair.edge.send_tensor(pair.now, tensor).unwrap();
        pair.run_for(Duration::from_micros(33_333));
    }
}

#[test]
fn it_stops_half_a_second_after_the_peer_was_heard_of_and_resumes_with_a_report() {
    let fixed = RateControl::Fixed {
        bits_per_second: 10_000_000,
    };
    for rate in [fixed, RateControl::Adaptive(AdaptiveRate::default())] {
        let mut pair = pair(rate);
        let mut frame = 0;
        run(&mut pair, &mut frame, Time::from_millis(2_000));
        assert!(pair.edge_events.iter().all(|(_, event)| is_delivery(event)));

        pair.down.set_loss(LossModel::independent(1.0).unwrap(), 1);
        pair.up_tap.record();
        let cut = pair.now;
        run(&mut pair, &mut frame, Time::from_millis(5_000));
        let path = pair.edge.path(pair.now);
        assert!(path.silent && !path.ready && path.completion(1).is_none());
        assert_eq!(pair.edge.stats().circuit_breaks, 1);
        let last = |pair: &Pair, wanted: fn(&Packet) -> bool| {
            let log = pair.up_tap.log().iter();
            log.filter(|(_, packet)| wanted(packet))
                .map(|(at, _)| *at)
                .max()
                .unwrap()
        };
        let stopped = last(&pair, Packet::is_data) - cut;
        // A window fills before the circuit breaker opens.
        assert!(
            stopped < 600 * MS && (rate != fixed || stopped > 400 * MS),
            "{stopped:?}"
        );
        let log = pair.up_tap.log().iter();
        let pings = log.filter(|(at, packet)| {
            *at > cut + 600 * MS && *packet == Packet::Other(MessageType::Ping)
        });
        let pings = pings.count();
        assert!((15..=30).contains(&pings), "{pings} in 2.4 s");

        pair.down.set_loss(LossModel::None, 1);
        let back = pair.now;
        run(&mut pair, &mut frame, Time::from_millis(6_000));
        let events: Vec<_> = pair
            .edge_events
            .iter()
            .filter(|(_, event)| !is_delivery(event))
            .collect();
        let [(_, opened), (closed_at, closed)] = events[..] else {
            panic!("{events:?}");
        };
        assert!(
            matches!(opened, Event::CircuitOpened { silence } if *silence >= 500 * MS),
            "{opened:?}"
        );
        assert_eq!(*closed, Event::CircuitClosed);
        assert!(*closed_at - back < 200 * MS);
        assert!(last(&pair, Packet::is_data) > back);
        let newest = pair
            .cloud_events
            .iter()
            .rev()
            .find_map(|(at, event)| match event {
                Event::Tensor(tensor) => Some((*at, tensor.info().reason)),
                _ => None,
            });
        let (at, reason) = newest.unwrap();
        assert!(reason.name() == "complete" && at > back + 900 * MS);
    }
}

const fn is_delivery(event: &Event) -> bool {
    matches!(event, Event::Delivery { .. })
}

#[test]
fn a_sender_without_rate_control_never_stops() {
    let mut pair = pair(RateControl::Off);
    pair.down.set_loss(LossModel::independent(1.0).unwrap(), 1);
    let mut frame = 0;
    run(&mut pair, &mut frame, Time::from_millis(3_000));
    assert_eq!(pair.edge.stats().tensors_abandoned, 0);
    assert_eq!(pair.edge.stats().circuit_breaks, 0);
}
