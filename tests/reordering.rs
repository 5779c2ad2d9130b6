//! Packets that overtake each other cost nothing as long as they arrive before the deadline, or within
//! the window that the receiver has learnt; those that do not are counted late.

use std::time::Duration;

use proptest::prelude::*;
use tensorwire_protocol::link::LinkConfig;
use tensorwire_protocol::{Config, Event, ReleaseReason};
use tensorwire_tests::{Pair, Path, assert_exact, outgoing, slices, stream};

/// A hundred tensors of eight packets, one every 5 ms, `earlier` aside. What the cloud waits for is
/// `new`'s choice.
fn run(
    new: fn(Config, Path) -> Pair,
    earlier: u64,
    (jitter, deadline): (u64, u64),
    seed: u64,
) -> Pair {
    let path = Path::symmetric(LinkConfig {
        delay: Duration::from_millis(20),
        jitter: Duration::from_millis(jitter),
        seed,
        ..LinkConfig::default()
    });
    let config = stream(64, |c| c.deadline = Duration::from_millis(deadline));
    let mut pair = new(config, path);
    pair.run_for(Duration::from_secs(2));
    for frame in 0..earlier + 100 {
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
        let pair = run(Pair::waiting, 0, (jitter, 400), seed);
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
        let pair = run(Pair::waiting, 0, (40, 45), seed);
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

    /// The latest of some hundred packets that may each come up to `jitter` late comes nearly that
    /// late, and the window is a quarter longer. 20 ms and a quarter are the longest window there is.
    #[test]
    fn within_the_window_every_tensor_is_whole(jitter in 1_u64..=18, seed: u64) {
        let pair = run(Pair::new, 100, (jitter, 150), seed);
        let late = pair.cloud_events.iter().filter_map(|(_, event)| match event {
            Event::Tensor(tensor) if tensor.info().reason != ReleaseReason::Complete => {
                Some(tensor.info().id.0)
            }
            Event::Lost { first, .. } => Some(first.0),
            _ => None,
        });
        prop_assert!(late.clone().all(|id| id < 100), "{:?}", late.collect::<Vec<_>>());
        let stats = pair.cloud.stats();
        prop_assert_eq!(stats.tensors_deadline, 0);
        prop_assert_eq!(stats.tensors_complete + stats.tensors_exhausted + stats.tensors_lost, 200);
    }

    #[test]
    fn beyond_the_longest_window_packets_are_late(seed: u64) {
        let pair = run(Pair::new, 0, (60, 150), seed);
        let stats = pair.cloud.stats();
        prop_assert!(stats.tensors_exhausted > 0 && stats.late > 0);
        prop_assert_eq!(stats.tensors_deadline, 0);
        let filed = pair.cloud_events.iter().map(|(_, event)| match event {
            Event::Tensor(tensor) => u64::from(tensor.info().packets_received),
            _ => 0,
        });
        prop_assert_eq!(filed.sum::<u64>() + stats.late, 800);
    }
}
