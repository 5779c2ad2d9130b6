//! Packets that overtake each other cost nothing as long as they arrive before the deadline; those
//! that do not are counted late.

use std::time::Duration;

use proptest::prelude::*;
use tensorwire_protocol::link::LinkConfig;
use tensorwire_protocol::{Event, ReleaseReason};
use tensorwire_tests::{Pair, Path, assert_exact, outgoing, slices, stream};

fn run(jitter: u64, deadline: u64, seed: u64) -> Pair {
    let path = Path::symmetric(LinkConfig {
        delay: Duration::from_millis(20),
        jitter: Duration::from_millis(jitter),
        seed,
        ..LinkConfig::default()
    });
    let config = stream(64, |c| c.deadline = Duration::from_millis(deadline));
    let mut pair = Pair::new(config, path);
    pair.run_for(Duration::from_secs(2));
    for frame in 0..100 {
        let tensor = outgoing(frame, pair.edge_now(), slices(&[130; 64], frame));
        pair.edge.send_tensor(pair.edge_now(), tensor).unwrap();
        pair.run_for(Duration::from_millis(5));
    }
    pair.run_for(Duration::from_secs(1));
    pair
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn within_the_deadline_every_tensor_is_whole(jitter in 1_u64..60, seed: u64) {
        let pair = run(jitter, 150, seed);
        prop_assert_eq!(pair.cloud.stats().tensors_complete, 100);
        prop_assert_eq!(pair.cloud.stats().late + pair.cloud.stats().refused.total(), 0);
        let mut ids = Vec::new();
        for (_, event) in &pair.cloud_events {
            let Event::Tensor(tensor) = event else { panic!("{event:?}") };
            assert_exact(tensor, &slices(&[130; 64], tensor.info().frame.0), true);
            ids.push(tensor.info().id.0);
        }
        prop_assert!(jitter < 40 || !ids.is_sorted(), "in order of completion, not of number");
        ids.sort_unstable();
        prop_assert!(ids.into_iter().eq(0..100));
    }

    #[test]
    fn beyond_it_every_packet_is_in_a_tensor_or_late(seed: u64) {
        let pair = run(40, 45, seed);
        let mut filed = 0;
        let mut early = 0;
        for (_, event) in &pair.cloud_events {
            if let Event::Tensor(tensor) = event {
                filed += u64::from(tensor.info().packets_received);
                early += u64::from(tensor.info().reason == ReleaseReason::Deadline);
            }
        }
        let stats = pair.cloud.stats();
        prop_assert!(stats.late > 0 && early > 0);
        // Eight packets of eight slices each.
        prop_assert_eq!(filed + stats.late, 800);
        prop_assert_eq!(stats.duplicates + stats.conflicts, 0);
    }
}
