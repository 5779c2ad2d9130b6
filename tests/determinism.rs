//! The same calls with the same seeds give the same events, datagrams and counts.

use std::time::Duration;

use proptest::prelude::*;
use tensorwire_protocol::link::{LinkConfig, LossModel};
use tensorwire_protocol::wire::NoticeReason;
use tensorwire_tests::{Clock, Pair, Path, frame, outgoing, slices, stream};

/// Everything that can be seen of a run.
fn log(seed: u64) -> String {
    let link = LinkConfig {
        loss: LossModel::gilbert(0.15, 2.5).unwrap(),
        delay: Duration::from_millis(15),
        jitter: Duration::from_millis(10),
        rate: Some(10_000_000),
        queue: 30_000,
        seed,
        ..LinkConfig::default()
    };
    let path = Path {
        edge_clock: Clock::new(Duration::from_secs(seed % 10_000), 40),
        ..Path::symmetric(link)
    };
    let mut pair = Pair::new(stream(50, |_| ()), path);
    for i in 0..60 {
        if i % 7 == 3 {
            pair.edge
                .skip_frames(NoticeReason::FrameRate, frame(2 * i + 1), 1);
        }
        let tensor = outgoing(2 * i, pair.edge_now(), slices(&[120; 50], i));
        let _ = pair.edge.send_tensor(pair.edge_now(), tensor);
        pair.run_for(Duration::from_millis(12));
    }
    pair.run_for(Duration::from_secs(1));
    format!("{pair:#?}")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn a_seed_decides_everything(seed: u64) {
        let (first, second) = (log(seed), log(seed));
        prop_assert!(first == second);
        prop_assert!(first != log(seed ^ 1));
    }
}
