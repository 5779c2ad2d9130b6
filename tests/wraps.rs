//! Numbers outgrow their bits on the wire, and neither side notices.

use std::time::Duration;

use tensorwire_protocol::link::{LinkConfig, LossModel};
use tensorwire_protocol::wire::{Message, Refusal, open};
use tensorwire_protocol::{Event, Session, Time};
use tensorwire_tests::{Pair, Path, configs, outgoing, slices, stream, tensor};

/// Two hours of ten tensors a second: tensor IDs and timestamps wrap once, frame numbers six times.
#[test]
fn seventy_thousand_tensors_keep_their_numbers() {
    let path = Path::symmetric(LinkConfig {
        loss: LossModel::gilbert(0.1, 3.0).unwrap(),
        delay: Duration::from_millis(10),
        seed: 3,
        ..LinkConfig::default()
    });
    let mut pair = Pair::new(stream(1, |_| ()), path);
    let frame_of = |id: u64| id * 6 + id % 5;
    let (mut next, mut complete) = (0, 0);
    for id in 0..70_000 {
        let tensor = outgoing(frame_of(id), pair.edge_now(), slices(&[9], id));
        let given = pair.edge.send_tensor(pair.edge_now(), tensor).unwrap();
        assert_eq!(given.0, id);
        pair.run_for(Duration::from_millis(100));
        for (_, event) in pair.cloud_events.drain(..) {
            match event {
                Event::Tensor(tensor) => {
                    let info = tensor.info();
                    assert_eq!(info.frame.0, frame_of(info.id.0));
                    assert_eq!(tensor.slice(0), slices(&[9], info.id.0).get(0));
                    complete += 1;
                }
                Event::Lost { first, count } => {
                    assert!(first.0 >= next && first.0 + count <= id);
                    next = first.0 + count;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(complete > 62_000, "{complete}");
    assert_eq!(pair.cloud.stats().late + pair.cloud.stats().conflicts, 0);
    assert_eq!(pair.cloud.stats().refused.total(), 0);
}

#[test]
fn packet_numbers_pass_once_and_within_the_window() {
    let (edge, cloud) = configs(stream(3_000, |c| c.mss = 576));
    let mut edge = Session::new(edge, Time::ZERO).unwrap();
    let mut cloud = Session::new(cloud, Time::ZERO).unwrap();
    let (_, packets) = tensor(&mut edge, Time::ZERO, 0, &[500; 3_000]);
    let number = |packet: &[u8]| open(packet, None).unwrap().0.packet_number as usize;
    let first = number(&packets[0]);
    let by_number = |n: usize| &packets[n - first];
    assert_eq!(cloud.handle_datagram(Time::ZERO, by_number(2_000)), Ok(()));
    // The 1,024 newest numbers are 977 to 2,000.
    assert_eq!(cloud.handle_datagram(Time::ZERO, by_number(977)), Ok(()));
    assert_eq!(
        cloud.handle_datagram(Time::ZERO, by_number(975)),
        Err(Refusal::Replay)
    );
    assert_eq!(
        cloud.handle_datagram(Time::ZERO, by_number(977)),
        Err(Refusal::Replay)
    );
    assert_eq!(
        cloud.handle_datagram(Time::ZERO, by_number(2_000)),
        Err(Refusal::Replay)
    );
    assert_eq!(cloud.handle_datagram(Time::ZERO, by_number(1_999)), Ok(()));
    assert_eq!(cloud.stats().refused.replay, 3);
}

#[test]
fn packet_numbers_wrap_at_32_bits() {
    let (_, cloud) = configs(stream(1, |_| ()));
    let connection = cloud.local_connection;
    let mut cloud = Session::new(cloud, Time::ZERO).unwrap();
    let mut padding = |number: u32| {
        let mut out = Vec::new();
        Message::Padding(3).encode(&mut out, connection, number);
        cloud.handle_datagram(Time::ZERO, &out)
    };
    for number in [u32::MAX - 2, u32::MAX, 1, 0, u32::MAX - 1, 5] {
        assert_eq!(padding(number), Ok(()), "{number}");
        assert_eq!(padding(number), Err(Refusal::Replay), "{number}");
    }
    assert_eq!(
        padding(u32::MAX - 2_000),
        Err(Refusal::Replay),
        "older than the window"
    );
}
