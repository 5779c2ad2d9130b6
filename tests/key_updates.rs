//! Keys change in mid-stream, under loss and reordering, and nothing is lost for it.

use std::time::Duration;

use proptest::prelude::*;
use tensorwire_protocol::link::{LinkConfig, LossModel};
use tensorwire_protocol::wire::ResultStatus;
use tensorwire_protocol::{Cipher, Config, Event, OutgoingResult, Slices};
use tensorwire_tests::{
    Pair, Path, assert_exact, configs, outgoing, protected, released, slices, stream,
};

const TENSORS: u64 = 300;

/// What came of a stream of tensors, each answered.
struct Run {
    pair: Pair,
    released: u64,
    whole: u64,
    results: u64,
}

fn run(config: Config, cipher: Cipher, link: LinkConfig) -> Run {
    let (edge, cloud) = protected(configs(config), cipher);
    let mut pair = Pair::of(edge, cloud, Path::symmetric(link));
    let mut sent: Vec<Slices> = Vec::new();
    let (mut released_count, mut whole, mut results) = (0, 0, 0);
    for frame in 0..TENSORS + 10 {
        if frame < TENSORS {
            let slices = slices(&[290; 20], frame);
            sent.push(slices.clone());
            let tensor = outgoing(frame, pair.edge_now(), slices);
            pair.edge.send_tensor(pair.edge_now(), tensor).unwrap();
        }
        for _ in 0..3 {
            pair.run_for(Duration::from_millis(11));
            for tensor in released(pair.cloud_events.drain(..).map(|(_, event)| event)) {
                let info = *tensor.info();
                assert_exact(&tensor, &sent[usize::try_from(info.id.0).unwrap()], false);
                released_count += 1;
                whole += u64::from(info.slices_received == info.slices);
                let result = OutgoingResult {
                    tensor: info,
                    status: ResultStatus::Done,
                    compute: Duration::ZERO,
                    payload: sent[usize::try_from(info.id.0).unwrap()]
                        .get(0)
                        .unwrap()
                        .to_vec()
                        .into(),
                };
                pair.cloud.send_result(pair.cloud_now(), result).unwrap();
            }
            for (_, event) in pair.edge_events.drain(..) {
                if let Event::Result(result) = event {
                    let slices = &sent[usize::try_from(result.tensor.0).unwrap()];
                    assert_eq!(Some(&result.payload[..]), slices.get(0));
                    results += 1;
                }
            }
        }
    }
    Run {
        pair,
        released: released_count,
        whole,
        results,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn many_updates_under_loss_and_reordering_lose_nothing(
        seed: u64,
        key_packets in 1_u64..200,
        loss in 0.0..0.1_f64,
        chacha: bool,
    ) {
        let cipher = if chacha { Cipher::ChaCha20Poly1305 } else { Cipher::Aes128Gcm };
        let config = stream(20, |config| {
            config.retransmission = true;
            config.key_packets = key_packets;
            config.deadline = Duration::from_millis(200);
        });
        let link = LinkConfig {
            loss: LossModel::independent(loss).unwrap(),
            delay: Duration::from_millis(10),
            jitter: Duration::from_millis(8),
            seed,
            ..LinkConfig::default()
        };
        let run = run(config, cipher, link);
        let (edge, cloud) = (run.pair.edge.stats(), run.pair.cloud.stats());
        prop_assert_eq!(run.released, TENSORS);
        prop_assert!(run.whole * 100 >= TENSORS * 99, "{}", run.whole);
        prop_assert!(run.results * 100 >= TENSORS * 99, "{}", run.results);
        // What a sender seals, its peer opens: nothing is refused for a key.
        for stats in [edge, cloud] {
            prop_assert_eq!(stats.refused.total(), 0, "{:?}", stats.refused);
        }
        // An update needs a round trip and a report, or as many packets as a key seals.
        let least = |sent: u64| sent / (key_packets + 60);
        prop_assert!(edge.key_updates >= least(edge.datagrams_sent), "{edge:?}");
        prop_assert!(edge.key_updates >= 6 && cloud.key_updates >= 1);
        prop_assert!(edge.key_updates - cloud.peer_key_updates <= 1);
        prop_assert!(cloud.key_updates - edge.peer_key_updates <= 1);
    }
}

#[test]
fn an_update_waits_until_the_peer_has_confirmed_the_one_before() {
    let config = stream(4, |_| ());
    let (edge, cloud) = protected(configs(config), Cipher::Aes128Gcm);
    let mut pair = Pair::of(edge, cloud, Path::delay(20));
    assert!(!pair.edge.update_keys(), "no packet was confirmed");
    pair.run_for(Duration::from_millis(100));
    assert!(pair.edge.update_keys());
    assert!(
        !pair.edge.update_keys(),
        "no packet of the new key was sent"
    );
    pair.run_for(Duration::from_secs(2));
    assert!(pair.edge.update_keys());
    pair.run_for(Duration::from_secs(2));
    assert_eq!(pair.edge.stats().key_updates, 2);
    assert_eq!(pair.cloud.stats().peer_key_updates, 2);
    assert_eq!(pair.cloud.stats().refused.total(), 0);
}

#[test]
fn in_plain_mode_there_are_no_keys_to_update() {
    let mut pair = Pair::new(stream(4, |_| ()), Path::delay(5));
    pair.run_for(Duration::from_millis(100));
    assert!(!pair.edge.update_keys());
}
