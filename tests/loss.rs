//! Under loss every tensor meets exactly one end, and exactly the slices of lost packets are missing.

use std::time::Duration;

use proptest::prelude::*;
use tensorwire_protocol::link::{LinkConfig, LossModel, LossProcess};
use tensorwire_protocol::wire::{Message, open};
use tensorwire_protocol::{Event, Session, Time};
use tensorwire_tests::{Pair, Path, configs, outgoing, released, slices, stream, tensor};

fn arb_loss() -> impl Strategy<Value = LossModel> {
    prop_oneof![
        (0.0..0.6).prop_map(|rate| LossModel::independent(rate).unwrap()),
        (0.01..0.4, 1.5..8.0).prop_map(|(rate, burst)| LossModel::gilbert(rate, burst).unwrap()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_tensor_meets_one_end(loss in arb_loss(), seed: u64, n in 1_u16..60) {
        let path = Path::symmetric(LinkConfig {
            loss,
            delay: Duration::from_millis(15),
            jitter: Duration::from_millis(8),
            seed,
            ..LinkConfig::default()
        });
        let mut pair = Pair::new(stream(n, |c| c.deadline = Duration::from_millis(60)), path);
        for frame in 0..200 {
            let sent = slices(&vec![140; usize::from(n)], frame);
            pair.edge.send_tensor(pair.edge_now(), outgoing(frame, pair.edge_now(), sent)).unwrap();
            pair.run_for(Duration::from_millis(25));
        }
        pair.run_for(Duration::from_secs(1));

        let mut ends = vec![0; 200];
        for (_, event) in &pair.cloud_events {
            match event {
                Event::Tensor(tensor) => ends[tensor.info().id.0 as usize] += 1,
                Event::Lost { first, count } => {
                    (first.0..first.0 + count).for_each(|id| ends[id as usize] += 1);
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
        // Of tensors after the last packet that arrived, the cloud cannot know.
        let known = ends.iter().rposition(|n| *n > 0).map_or(0, |last| last + 1);
        prop_assert!(ends[..known].iter().all(|n| *n == 1), "{:?}", ends);
        let stats = pair.cloud.stats();
        let incomplete = stats.tensors_exhausted + stats.tensors_deadline + stats.tensors_lost;
        let counted = stats.tensors_complete + incomplete;
        prop_assert_eq!(counted, known as u64);
        prop_assert_eq!((stats.tensors_evicted, stats.tensors_superseded), (0, 0));
        prop_assert_eq!((stats.tensors_recovered, stats.packets_recovered), (0, 0));
        prop_assert_eq!(stats.refused.total() + stats.conflicts + stats.duplicates, 0);
        prop_assert_eq!(stats.datagrams_received, pair.up.stats().delivered);
    }

    #[test]
    fn the_slices_of_lost_packets_are_missing_and_no_others(loss in arb_loss(), seed: u64) {
        let (edge, cloud) = configs(stream(120, |_| ()));
        let mut edge = Session::new(edge, Time::ZERO).unwrap();
        let mut cloud = Session::new(cloud, Time::ZERO).unwrap();
        let mut fate = LossProcess::new(loss, seed);
        for frame in 0..30 {
            let now = Time::from_millis(200 * frame);
            let (_, packets) = tensor(&mut edge, now, frame, &[140; 120]);
            let mut expected = vec![false; 120];
            let survivors = packets.iter().filter(|_| !fate.next_is_lost());
            for packet in survivors {
                let (header, body) = open(packet, None).unwrap();
                let Ok(Message::Data(data)) = Message::decode(&header, body) else { panic!() };
                expected[data.positions().start as usize..data.positions().end as usize].fill(true);
                cloud.handle_datagram(now, packet).unwrap();
            }
            cloud.handle_timeout(now + cloud.config().deadline);
            let tensors = released(std::iter::from_fn(|| cloud.poll_event()));
            let got: Vec<bool> = match tensors.first() {
                Some(tensor) => tensor.slices().map(|slice| slice.is_some()).collect(),
                None => vec![false; 120],
            };
            prop_assert_eq!(got, expected);
        }
    }
}
