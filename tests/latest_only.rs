//! Where only the latest tensor matters, the release of one gives up every older one, and says so.

use std::time::Duration;

use proptest::prelude::*;
use tensorwire_protocol::link::{LinkConfig, LossModel};
use tensorwire_protocol::{Event, ReleaseReason};
use tensorwire_tests::{Pair, Path, outgoing, slices, stream};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn nothing_older_follows_a_release(seed: u64, rate in 0.0..0.3) {
        let path = Path::symmetric(LinkConfig {
            loss: LossModel::independent(rate).unwrap(),
            delay: Duration::from_millis(20),
            jitter: Duration::from_millis(30),
            seed,
            ..LinkConfig::default()
        });
        let mut pair = Pair::new(stream(12, |c| c.latest_only = true), path);
        for frame in 0..300 {
            let tensor = outgoing(frame, pair.edge_now(), slices(&[400; 12], frame));
            pair.edge.send_tensor(pair.edge_now(), tensor).unwrap();
            pair.run_for(Duration::from_millis(10));
        }
        pair.run_for(Duration::from_secs(1));

        let (mut released, mut ends) = (None, vec![0; 300]);
        for (_, event) in &pair.cloud_events {
            match event {
                Event::Tensor(tensor) => {
                    let id = tensor.info().id;
                    prop_assert!(released < Some(id), "{} after {:?}", id, released);
                    released = Some(id);
                    ends[id.0 as usize] += 1;
                }
                Event::Superseded(info) => {
                    prop_assert_eq!(info.reason, ReleaseReason::Superseded);
                    prop_assert!(Some(info.id) < released);
                    prop_assert!(info.slices_received < info.slices);
                    ends[info.id.0 as usize] += 1;
                }
                Event::Lost { first, count } => {
                    (first.0..first.0 + count).for_each(|id| ends[id as usize] += 1);
                }
                other => panic!("{other:?}"),
            }
        }
        let known = ends.iter().rposition(|n| *n > 0).map_or(0, |last| last + 1);
        prop_assert!(ends[..known].iter().all(|n| *n == 1), "{:?}", ends);
        prop_assert!(pair.cloud.stats().tensors_superseded > 0);
    }
}
