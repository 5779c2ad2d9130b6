//! Parts of runs, by hand.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::record::{CloudFile, EdgeFile, OnWire, Session, Spread};
use crate::row::Row;
use crate::scenario::Scenario;

const TEXT: &str = "
about = 'x'
[path]
rate_mbps = 10
delay_ms = 20
queue_ms = 200
[stream]
fps = 30
seconds = 4
deadline_ms = 35
[[step]]
at_s = 2
rate_mbps = 5
[[flow]]
kind = 'tcp'
[[flow]]
kind = 'tsp'
start_s = 1
[[flow]]
kind = 'tcp'
start_s = 0
stop_s = 2
[[window]]
name = 'slow'
from_s = 2
to_s = 5
[[window]]
name = 'never'
from_s = 4
to_s = 5
";

fn edge(stream: &str) -> EdgeFile {
    EdgeFile {
        stream: stream.to_owned(),
        frames: 5,
        sent: 4,
        answered: 3,
        unanswered: 1,
        skipped: BTreeMap::from([("rate".to_owned(), 1)]),
        on_wire: OnWire {
            packets: 10,
            bytes: 12_080,
        },
        parity_ratio: 0.25,
        retransmitted_ratio: 0.0,
        path: serde_json::Value::Null,
        counters: None,
    }
}

fn session(stream: &str, releases: &[(u64, u64, u64)]) -> Session {
    let releases = releases.iter();
    Session {
        stream: stream.to_owned(),
        tensors: 3,
        whole: 3,
        released: BTreeMap::new(),
        lost: 1,
        superseded: 0,
        damaged: 0,
        latency_ms: Spread::default(),
        handed_ms: Spread::default(),
        goodput_mbps: 1.0,
        notices: BTreeMap::new(),
        counters: None,
        releases: releases
            .map(|&(at, latency, bytes)| (at, latency, bytes, 1, "complete".to_owned()))
            .collect(),
    }
}

fn record() -> Record {
    let second = 1_000_000;
    let sample = |at: u64, backlog, sent| Sample {
        at_us: 100 * second + at,
        backlog,
        sent,
        ..Sample::default()
    };
    let at = |moment: u64| 100 * second + moment;
    Record {
        started_us: at(0),
        ended_us: at(4 * second),
        cloud: CloudFile {
            sessions: vec![
                session("b", &[(at(2_500_000), 30_000, 125_000)]),
                session(
                    "a",
                    &[
                        (at(0), 25_000, 9_999),
                        (at(2_000_000), 25_000, 250_000),
                        (at(3_000_000), 35_000, 250_000),
                    ],
                ),
            ],
        },
        edges: vec![(None, edge("a")), (Some(1), edge("b"))],
        model: None,
        sinks: vec![
            (2, vec![(at(1_000_000), 99), (at(2_000_001), 99)]),
            (0, vec![(at(1_000_000), 9), (at(2_100_000), 250_000)]),
        ],
        queue: vec![
            sample(0, 12_500, 0),
            sample(second, 0, 1_250_000),
            sample(2 * second, 0, 1_250_000),
            sample(3 * second, 12_500, 1_562_500),
        ],
        line: (95, 5),
        kernel: "test".to_owned(),
    }
}

#[test]
fn a_run_and_its_parts_in_figures() {
    let cell = Scenario::parse("x", TEXT)
        .unwrap()
        .cells(&[], None)
        .remove(0);
    let row = Row::new(&cell, &record()).unwrap();
    // (12,080 + 10·42) bytes at 10 Mbit/s are 10 ms.
    assert!((row.limit_ms - 30.0).abs() < 1e-9);
    assert_eq!((row.tensors, row.released, row.frames), (4, 3, 5));
    let drops = [("lost".to_owned(), 1), ("rate".to_owned(), 1)];
    assert_eq!(row.drops, BTreeMap::from(drops));
    assert!((row.line_loss - 0.05).abs() < 1e-9);
    // 12,500 bytes are 10 ms at 10 Mbit/s and 20 ms at 5.
    assert_eq!(row.queue_max_ms, Some(20.0));
    // 12.5 of the 20 Mbit that the bottleneck could have sent in three seconds.
    assert!((row.utilisation - 12.5 / 20.0).abs() < 1e-9);
    let [part] = &row.windows[..] else { panic!() };
    assert_eq!((part.name.as_str(), part.released), ("slow", 2));
    assert_eq!((part.p50_ms, part.max_ms), (Some(25.0), Some(35.0)));
    // The stream, then the flows in the order of the file.
    assert_eq!(part.goodput_mbps, [2.0, 1.0, 0.5]);
    // The third flow has stopped before, whatever trickles in.
    assert!((part.utilisation - 0.5).abs() < 1e-9);
    assert!((part.jain - 3.5 * 3.5 / (3.0 * 5.25)).abs() < 1e-9);
}

#[test]
fn fairness_by_hand() {
    assert_eq!(jain(&[5.0, 5.0]), 1.0);
    assert_eq!(jain(&[1.0, 0.0, 0.0, 0.0]), 0.25);
    assert_eq!(jain(&[0.0, 0.0]), 1.0);
}

proptest! {
    #[test]
    fn a_percentile_is_the_least_that_so_many_do_not_exceed(
        values in proptest::collection::vec(-1e3..1e3_f64, 1..100),
        percent in 0.0..=100.0_f64,
    ) {
        let value = Sorted::of(values.clone()).at(percent).unwrap();
        let up_to = values.iter().filter(|x| **x <= value).count() as f64;
        prop_assert!(up_to / values.len() as f64 * 100.0 >= percent - 1e-9);
    }
}
