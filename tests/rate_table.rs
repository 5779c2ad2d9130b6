//! Throughput and delay under loss and queue, as a table that is reviewed when it changes:
//! `UPDATE_SNAPSHOTS=1 cargo test -p tensorwire-tests --test rate_table` writes it anew.

use std::fmt::Write as _;
use std::time::Duration;

use tensorwire_protocol::link::{LinkConfig, LossModel};
use tensorwire_protocol::{AdaptiveRate, RateControl, Time};
use tensorwire_tests::{Dumbbell, SLICES, Source, stream};

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots/rate_control.txt");
const RATE: u64 = 10_000_000;
const END: Time = Time::from_millis(20_000);

fn table() -> String {
    let mut table = String::from(
        "An unlimited stream at 10 Mbit/s, 20 ms each way, for 20 s: share of the rate that arrives,\n\
         and milliseconds that half, 95 % and all of the packets queue at most.\n\n\
         \x20loss  queue ms  arrives   p50    p95   most\n",
    );
    for loss in [0.0, 0.01, 0.05, 0.1, 0.2] {
        for queue_ms in [10, 40, 200, 1_000] {
            let mut net = Dumbbell::new(LinkConfig {
                rate: Some(RATE),
                delay: Duration::from_millis(20),
                queue: queue_ms * 1_250,
                loss: LossModel::independent(loss).unwrap(),
                seed: 5,
                ..LinkConfig::default()
            });
            let config = stream(SLICES, |config| {
                config.rate = RateControl::Adaptive(AdaptiveRate::default());
            });
            let start = Time::from_millis(100);
            let flow = net.stream(config, Source::Unlimited { bytes: 12_000 }, start);
            net.run_until(END);
            let queued = net.queued(start, END);
            let at = |percent| queued[(queued.len() - 1) * percent / 100];
            writeln!(
                table,
                "{:4.0} % {queue_ms:9} {:8.3} {:5.1} {:6.1} {:6.1}",
                loss * 100.0,
                net.rate_of(flow, start, END) / RATE as f64,
                at(50),
                at(95),
                at(100),
            )
            .unwrap();
        }
    }
    table
}

#[test]
fn throughput_and_delay_are_as_reviewed() {
    let table = table();
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(TABLE, &table).unwrap();
    }
    let reviewed = std::fs::read_to_string(TABLE).unwrap();
    assert!(
        table == reviewed,
        "the table is now\n{table}\nreview it, and write it with UPDATE_SNAPSHOTS=1"
    );
}
