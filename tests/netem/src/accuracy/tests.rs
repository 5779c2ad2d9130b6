//! Rows of runs with a model, by hand.

use serde_json::json;

use super::*;
use crate::frame::ModelRun;
use crate::frame::tests::{LINES, file};
use crate::record::{CloudFile, Sample};
use crate::scenario::Scenario;

const TEXT: &str = "
about = 'x'
[path]
rate_mbps = 10
delay_ms = 20
queue_ms = 200
loss = 'iid:5%'
[stream]
source = 'model'
fps = 2
seconds = 3
deadline_ms = 100
[[case]]
name = 'best'
options = ['--coder', 'jpeg']
[[step]]
at_s = 1.5
rate_mbps = 1
[[window]]
name = 'second'
from_s = 1
to_s = 2
";

fn cell() -> Cell {
    let cells = Scenario::parse("x", TEXT).unwrap().cells(&[], None);
    cells.into_iter().next().unwrap()
}

fn record() -> Record {
    let sample = |at_us, backlog, sent, dropped| Sample {
        at_us,
        backlog,
        sent,
        dropped,
        ..Sample::default()
    };
    Record {
        started_us: 5_000_000,
        ended_us: 8_000_000,
        cloud: CloudFile::default(),
        edges: Vec::new(),
        model: Some(ModelRun::new(file(), LINES).unwrap()),
        sinks: Vec::new(),
        queue: vec![
            sample(5_000_000, 12_500, 0, 0),
            sample(7_000_000, 12_500, 125_000, 7),
        ],
        line: (19, 1),
        kernel: "test".to_owned(),
    }
}

#[test]
fn what_is_right_in_time_of_what_was_captured() {
    let row = AccuracyRow::new(&cell(), &record()).unwrap();
    assert_eq!((row.case.as_str(), row.loss.as_str()), ("best", "iid:5%"));
    assert_eq!(row.options, ["--coder", "jpeg"]);
    let counts = [row.frames, row.sent, row.answered, row.whole, row.correct];
    assert_eq!(counts, [6, 5, 3, 2, 2]);
    assert_eq!(row.correct_late, 0);
    let mut hurried = cell();
    // The one of 99 ms is due at 70 + 20 + 5.
    hurried.stream.deadline_ms = 70;
    let row_of_hurried = AccuracyRow::new(&hurried, &record()).unwrap();
    assert_eq!(row_of_hurried.correct_late, 1);
    assert_eq!(row.accuracy_in_time, Share::of(2, 6).unwrap());
    assert_eq!(row.accuracy_of_answered, Share::of(2, 3));
    assert_eq!(row.bytes_mean, Some(4_900.0 / 5.0));
    assert_eq!(row.steps, BTreeMap::from([(0, 4), (1, 1)]));
    assert_eq!((row.p50_ms, row.p99_ms), (Some(31.0), Some(99.0)));
    let drops = [("lost", 1), ("rate", 1), ("unanswered", 1)].map(|(why, n)| (why.to_owned(), n));
    assert_eq!(row.drops, BTreeMap::from(drops));
    // 12,500 bytes are 10 ms at 10 Mbit/s and 100 ms at 1.
    assert_eq!(
        (row.queue_p50_ms, row.queue_max_ms),
        (Some(10.0), Some(100.0))
    );
    assert_eq!((row.queue_drops, row.line_loss), (7, 0.05));
}

#[test]
fn frames_are_told_apart_by_the_rate_of_their_time() {
    let row = AccuracyRow::new(&cell(), &record()).unwrap();
    let rates: Vec<_> = row
        .by_rate
        .iter()
        .map(|part| (part.rate_mbps, part.frames, part.sent, part.correct))
        .collect();
    // Frames 3, 4 and 5 are captured from 1.5 s on.
    assert_eq!(rates, [(1.0, 3, 2, 0), (10.0, 3, 3, 2)]);
    let mut even = cell();
    even.steps.clear();
    let row = AccuracyRow::new(&even, &record()).unwrap();
    assert!(row.by_rate.is_empty(), "one rate is no comparison");
}

#[test]
fn parts_of_a_run_have_their_answers() {
    let row = AccuracyRow::new(&cell(), &record()).unwrap();
    let [part] = &row.windows[..] else { panic!() };
    // Frames 2 and 3 are captured in it, and 2 is answered, 99 ms later.
    assert_eq!((part.released, part.whole), (1, 0));
    assert_eq!(part.max_ms, Some(99.0));
    assert_eq!(part.goodput_mbps, [0.008]);
}

#[test]
fn rows_are_written_without_their_frames() {
    let row = AccuracyRow::new(&cell(), &record()).unwrap();
    let json = serde_json::to_value(&row).unwrap();
    assert_eq!(json["accuracy_in_time"]["value"], json!(2.0 / 6.0));
    assert_eq!(json["steps"], json!({"0": 4, "1": 1}));
    assert_eq!(json.get("right"), None);
}

#[test]
fn a_record_of_stand_ins_is_no_model() {
    let mut record = record();
    record.model = None;
    let error = AccuracyRow::new(&cell(), &record).unwrap_err();
    assert!(error.to_string().contains("no model"));
}
