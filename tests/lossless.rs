//! Without loss, every tensor arrives whole and exact, whatever its slices, MSS and interleaver.

use proptest::prelude::*;
use tensorwire_protocol::wire::InterleaverKind;
use tensorwire_protocol::{Config, Interleaving, ReleaseReason, Session, Time};
use tensorwire_tests::{
    arb_lengths, assert_exact, configs, flood, outgoing, released, slices, stream, tensor,
};

fn arb_interleaving() -> impl Strategy<Value = Interleaving> {
    let kinds = [
        InterleaverKind::Sequential,
        InterleaverKind::Stride,
        InterleaverKind::Random,
    ];
    (
        prop::sample::select(kinds.to_vec()),
        1_u16..100,
        any::<u64>(),
    )
        .prop_map(|(kind, stride, seed)| Interleaving { kind, stride, seed })
}

fn arb_mss() -> impl Strategy<Value = u16> {
    prop_oneof![Just(576), Just(1_200), 576_u16..2_000, 576_u16..=65_000]
}

proptest! {
    #[test]
    fn a_tensor_arrives_whole_and_exact(
        lengths in arb_lengths(300),
        mss in arb_mss(),
        mut interleaving in arb_interleaving(),
    ) {
        let n = u16::try_from(lengths.len()).unwrap();
        interleaving.stride = interleaving.stride.min(n);
        let (edge, cloud) = configs(stream(n, |c| (c.mss, c.interleaving) = (mss, interleaving)));
        let mut edge = Session::new(edge, Time::ZERO).unwrap();
        let mut cloud = Session::new(cloud, Time::ZERO).unwrap();
        let (sent, packets) = tensor(&mut edge, Time::ZERO, 0, &lengths);
        for packet in &packets {
            prop_assert!(packet.len() + 12 <= usize::from(mss), "room for a tag of 16 bytes");
            prop_assert_eq!(cloud.handle_datagram(Time::ZERO, packet), Ok(()));
        }
        let tensors = released(std::iter::from_fn(|| cloud.poll_event()));
        prop_assert_eq!(tensors.len(), 1);
        prop_assert_eq!(tensors[0].info().reason, ReleaseReason::Complete);
        prop_assert_eq!(tensors[0].info().packets as usize, packets.len());
        assert_exact(&tensors[0], &sent, true);
    }
}

#[test]
fn the_most_slices_arrive() {
    let (edge, cloud) = configs(Config::new(u16::MAX));
    let mut edge = Session::new(edge, Time::ZERO).unwrap();
    let mut cloud = Session::new(cloud, Time::ZERO).unwrap();
    for (frame, len) in [0, 1, 20].into_iter().enumerate() {
        let (sent, packets) = tensor(
            &mut edge,
            Time::ZERO,
            frame as u64,
            &[len; u16::MAX as usize],
        );
        for packet in &packets {
            assert_eq!(cloud.handle_datagram(Time::ZERO, packet), Ok(()));
        }
        let tensors = released(std::iter::from_fn(|| cloud.poll_event()));
        assert_exact(&tensors[0], &sent, true);
    }
}

#[test]
fn a_tensor_of_more_than_256_packets_arrives() {
    let (edge, cloud) = configs(stream(2_000, |c| c.mss = 576));
    let mut edge = Session::new(edge, Time::ZERO).unwrap();
    let mut cloud = Session::new(cloud, Time::ZERO).unwrap();
    let sent = slices(&[140; 2_000], 1);
    edge.send_tensor(Time::ZERO, outgoing(0, Time::ZERO, sent.clone()))
        .unwrap();
    let packets = flood(&mut edge, Time::ZERO);
    assert!(packets.len() > 256);
    for packet in packets.iter().rev() {
        assert_eq!(cloud.handle_datagram(Time::ZERO, packet), Ok(()));
    }
    assert_exact(
        &released(std::iter::from_fn(|| cloud.poll_event()))[0],
        &sent,
        true,
    );
}
