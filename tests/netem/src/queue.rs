//! Watching the bottleneck: one `tc` that answers many times a second.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use serde_json::Value;

use crate::network::BOTTLENECK;
use crate::record::Sample;

/// Time between samples.
const EVERY: Duration = Duration::from_millis(20);

/// A watch on the bottleneck that goes on until it is told to end.
pub(crate) struct Watch {
    end: Arc<AtomicBool>,
    samples: JoinHandle<Result<Vec<Sample>>>,
}

impl Watch {
    /// Begins to watch. Starting a `tc` for each sample would cost more than what is measured, so one
    /// answers every time.
    pub(crate) fn start() -> Result<Self> {
        let (space, device) = BOTTLENECK;
        let mut tc = Command::new("tc")
            .args(["-n", space, "-s", "-j", "-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start tc")?;
        let end = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&end);
        let question = format!("qdisc show dev {device}\n");
        let samples = std::thread::spawn(move || {
            let watched = watch(&mut tc, &question, &ended);
            // Its input has ended, and so has it.
            let _ = tc.wait();
            watched
        });
        Ok(Self { end, samples })
    }

    /// Ends the watch.
    pub(crate) fn finish(self) -> Result<Vec<Sample>> {
        self.end.store(true, Ordering::Relaxed);
        self.samples
            .join()
            .map_err(|_| anyhow!("the watch on the queue failed"))?
    }
}

fn watch(tc: &mut Child, question: &str, end: &AtomicBool) -> Result<Vec<Sample>> {
    let mut questions = tc.stdin.take().context("tc has no input")?;
    let mut answers = BufReader::new(tc.stdout.take().context("tc has no output")?).lines();
    // What is cheap now is taken apart later.
    let mut lines = Vec::new();
    while !end.load(Ordering::Relaxed) {
        questions.write_all(question.as_bytes())?;
        let line = answers.next().context("tc has ended")??;
        lines.push((monotonic_us(), line));
        std::thread::sleep(EVERY);
    }
    lines
        .iter()
        .map(|(at_us, line)| sample(*at_us, line))
        .collect()
}

/// Microseconds of the clock that all programs of a run share.
pub(crate) fn monotonic_us() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let part = |value: i64| u64::try_from(value).unwrap_or(0);
    part(time.tv_sec) * 1_000_000 + part(time.tv_nsec) / 1_000
}

/// Reads what `tc -s -j qdisc show` says of a device: the root counts what its children count, too, but
/// only who marks counts marks.
pub(crate) fn sample(at_us: u64, line: &str) -> Result<Sample> {
    let disciplines: Vec<Value> = serde_json::from_str(line)
        .with_context(|| format!("tc says something that is no JSON: {line}"))?;
    let count =
        |value: &Value, name: &str| value.get(name).and_then(Value::as_u64).unwrap_or_default();
    let root = disciplines
        .iter()
        .find(|discipline| discipline.get("root").is_some());
    let root = root.context("the bottleneck has no queueing discipline")?;
    Ok(Sample {
        at_us,
        backlog: count(root, "backlog"),
        sent: count(root, "bytes"),
        packets: count(root, "packets"),
        dropped: count(root, "drops"),
        marked: disciplines
            .iter()
            .map(|discipline| count(discipline, "ecn_mark"))
            .sum(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tc_says_is_read() {
        let line = r#"[{"kind":"tbf","handle":"1:","root":true,"refcnt":2,"options":{"rate":1250000,
            "burst":1600,"lat":400000},"bytes":90,"packets":3,"drops":2,"overlimits":1,"requeues":0,
            "backlog":1242,"qlen":1},{"kind":"codel","handle":"10:","parent":"1:1","options":{"limit":334},
            "bytes":90,"packets":3,"drops":2,"overlimits":0,"requeues":0,"backlog":1242,"qlen":1,
            "count":1,"lastcount":1,"ldelay":1234,"drop_overlimit":0,"ecn_mark":7}]"#;
        let expected = Sample {
            at_us: 5,
            backlog: 1_242,
            sent: 90,
            packets: 3,
            dropped: 2,
            marked: 7,
        };
        assert_eq!(sample(5, line).unwrap(), expected);
        assert!(sample(5, "[]").is_err());
        assert!(sample(5, "Error: no such device").is_err());
    }
}
