//! On a path of 20 Mbit/s and 20 ms, every tensor is whole once its bytes have had time to arrive:
//! after D/B and the delay, and not later.

use std::time::Duration;

use tensorwire_protocol::link::LinkConfig;
use tensorwire_protocol::{Event, ReleaseReason, Time};
use tensorwire_tests::{Clock, Pair, Path, outgoing, slices, stream};

const RATE: u64 = 20_000_000;
const DELAY: Duration = Duration::from_millis(20);

#[test]
fn a_tensor_is_whole_after_its_bytes_over_the_rate_and_the_delay() {
    let link = LinkConfig {
        delay: DELAY,
        rate: Some(RATE),
        ..LinkConfig::default()
    };
    let path = Path {
        cloud_clock: Clock::new(Duration::from_secs(3_600), 0),
        ..Path::symmetric(link)
    };
    let mut pair = Pair::new(stream(80, |_| ()), path);
    pair.run_until(Time::from_millis(200));
    for frame in 0..150 {
        // Twelve kilobytes in slices of an eighth of a packet, thirty times a second.
        let before = *pair.edge.stats();
        let tensor = outgoing(frame, pair.edge_now(), slices(&[144; 80], frame));
        pair.edge.send_tensor(pair.edge_now(), tensor).unwrap();
        let captured = pair.now;
        pair.drain();
        let after = *pair.edge.stats();
        let datagrams = after.datagrams_sent - before.datagrams_sent;
        let bytes = after.bytes_sent - before.bytes_sent + datagrams * 28;
        pair.run_for(Duration::from_micros(33_333));

        let (at, tensor) = pair
            .cloud_events
            .drain(..)
            .find_map(|(at, event)| match event {
                Event::Tensor(tensor) => Some((at, tensor)),
                _ => None,
            })
            .expect("whole within the frame");
        assert_eq!(tensor.info().reason, ReleaseReason::Complete);
        let took = at - captured;
        let limit = Duration::from_micros(bytes * 8_000_000 / RATE) + DELAY;
        // The link counts whole microseconds, rounded up for every packet.
        let rounding = Duration::from_micros(datagrams);
        assert!(took <= limit + rounding, "{took:?}, {limit:?} would do");
        assert!(
            took >= limit.saturating_sub(Duration::from_micros(40)),
            "{took:?} {limit:?}"
        );
    }
    assert_eq!(pair.cloud.stats().tensors_complete, 150);
}
