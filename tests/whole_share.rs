//! Over a link that loses packets independently, the share of whole tensors is what the binomial
//! distribution says: those of which at most as many packets are lost as are REPAIR packets, or none at
//! all of the source packets. A ratio between two numbers of REPAIR packets gives some tensors the one and
//! some the other.

use std::time::Duration;

use tensorwire_protocol::link::{LinkConfig, LossModel};
use tensorwire_protocol::{Redundancy, Stats};
use tensorwire_tests::{Pair, Path, outgoing, slices, stream};

/// A 99.9 % interval of a normal distribution reaches so many standard deviations to either side.
const SIGMAS: f64 = 3.29;

/// Σ_{i ≤ m} C(n + m, i) p^i (1 − p)^(n + m − i).
fn closed_form(n: u32, m: u32, p: f64) -> f64 {
    let all = f64::from(n + m);
    let (mut term, mut sum) = ((1.0 - p).powf(all), 0.0);
    for i in 0..=m {
        sum += term;
        term *= (all - f64::from(i)) / (f64::from(i) + 1.0) * p / (1.0 - p);
    }
    sum
}

/// Sends so many tensors of `n` packets at 10 ms from one to the next, so that none waits for another.
fn measure(n: u16, ratio: f64, p: f64, tensors: u64, seed: u64) -> Stats {
    let up = LinkConfig {
        loss: LossModel::independent(p).unwrap(),
        seed,
        ..LinkConfig::default()
    };
    let path = Path {
        up,
        ..Path::default()
    };
    let config = stream(n, |c| {
        c.mss = 576;
        c.redundancy = Redundancy::Fixed { ratio };
    });
    let mut pair = Pair::new(config, path);
    pair.run_for(Duration::from_millis(500));
    // Two slices of 300 bytes do not fit into a packet.
    let sent = slices(&vec![300; usize::from(n)], seed);
    for frame in 0..tensors {
        let tensor = outgoing(frame, pair.edge_now(), sent.clone());
        pair.edge.send_tensor(pair.edge_now(), tensor).unwrap();
        pair.run_for(Duration::from_millis(10));
        pair.cloud_events.clear();
        pair.edge_events.clear();
    }
    pair.run_for(Duration::from_secs(1));
    *pair.cloud.stats()
}

fn assert_share(n: u16, ratio: f64, seed: u64) {
    const TENSORS: u64 = 2_500;
    let repairs = f64::from(n) * ratio;
    let more = repairs.fract();
    for p in [0.01, 0.05, 0.1, 0.2] {
        let stats = measure(n, ratio, p, TENSORS, seed);
        let whole = stats.tensors_complete + stats.tensors_recovered;
        let others = stats.tensors_exhausted + stats.tensors_lost + stats.tensors_deadline;
        // The last ones may be lost without a trace.
        assert!((TENSORS - 3..=TENSORS).contains(&(whole + others)));
        let [fewer, another] = [0, 1].map(|i| closed_form(u32::from(n), repairs as u32 + i, p));
        let expected = fewer * (1.0 - more) + another * more;
        let measured = whole as f64 / TENSORS as f64;
        let reach = SIGMAS * (expected * (1.0 - expected) / TENSORS as f64).sqrt();
        // Where nearly all are whole, the normal distribution is none: a tensor or two more.
        let reach = reach + 2.0 / TENSORS as f64;
        let off = (measured - expected).abs();
        let cell = format!("n {n}, {repairs} REPAIR packets, p {p}, seed {seed}");
        assert!(off <= reach, "{cell}: {measured} of {expected} ± {reach}");
        // Those without a lost source packet are complete, whatever became of their parity.
        let complete = stats.tensors_complete as f64 / TENSORS as f64;
        let expected = closed_form(u32::from(n), 0, p);
        let reach = SIGMAS * (expected * (1.0 - expected) / TENSORS as f64).sqrt();
        let off = (complete - expected).abs();
        assert!(
            off <= reach,
            "{cell}: {complete} of {expected} ± {reach} complete"
        );
    }
}

#[test]
fn eleven_packets_without_parity() {
    assert_share(11, 0.0, 11);
}

#[test]
fn eleven_packets_with_a_quarter() {
    assert_share(11, 0.25, 12);
}

#[test]
fn thirty_two_packets_without_parity() {
    assert_share(32, 0.0, 13);
}

#[test]
fn thirty_two_packets_with_a_quarter() {
    assert_share(32, 0.25, 14);
}

#[test]
fn the_closed_form_is_the_binomial_distribution() {
    assert!((closed_form(2, 0, 0.1) - 0.81).abs() < 1e-12);
    assert!((closed_form(1, 1, 0.1) - 0.99).abs() < 1e-12);
    assert!((closed_form(2, 1, 0.5) - 0.5).abs() < 1e-12);
}
