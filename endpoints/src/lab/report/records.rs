//! Results files, read for plots and reports.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::lab::experiment::timings_of;

/// The results of one plan.
#[derive(Clone, Debug)]
pub(super) struct Results {
    /// Where they are from.
    pub(super) path: PathBuf,
    pub(super) header: Value,
    pub(super) records: Vec<Record>,
}

/// One cell.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) row: Value,
    /// The times of the cell; null where there are none.
    pub(super) timing: Value,
}

impl Results {
    /// Reads a file of results: of `tw-lab run`, with the times beside it if there are any, or of `tw-netem run`.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = read(path)?;
        if let Some(results) = Self::of_streams(path, &text) {
            return Ok(results);
        }
        let mut header = Value::Null;
        let mut records = vec![];
        let timings = timings_of(path);
        let timings = if timings.exists() {
            lines(&timings, &read(&timings)?)?
        } else {
            vec![]
        };
        for (key, row) in lines(path, &text)? {
            if key == "!plan" {
                header = row;
                continue;
            }
            let timing = timings.iter().find(|(other, _)| *other == key);
            let timing = timing.map_or(Value::Null, |(_, timing)| timing.clone());
            records.push(Record { row, timing });
        }
        if header.is_null() || records.is_empty() {
            bail!(
                "{}: no results of `tw-lab run` or `tw-netem run`",
                path.display()
            );
        }
        Ok(Self {
            path: path.to_owned(),
            header,
            records,
        })
    }

    /// The streams of the network laboratory, whose file is one JSON object; none if this is no such file.
    fn of_streams(path: &Path, text: &str) -> Option<Self> {
        let whole: Value = serde_json::from_str(text).ok()?;
        let rows = |key: &str| whole.get(key).and_then(Value::as_array);
        let streams = rows("rows")?
            .iter()
            .chain(rows("accuracy").into_iter().flatten());
        let records: Vec<Record> = streams
            .filter(|row| row.get("scenario").is_some_and(Value::is_string))
            .map(|row| Record {
                row: row.clone(),
                timing: Value::Null,
            })
            .collect();
        let kernel = records.first()?.text("kernel").to_owned();
        let mut results = Self {
            path: path.to_owned(),
            header: Value::Null,
            records,
        };
        let scenarios = results.texts("scenario").join(", ");
        results.header = json!({
            "experiment": "streams",
            "title": "Streams over a lossy network",
            "model": scenarios,
            "network": format!("netem of Linux {kernel}"),
        });
        Some(results)
    }

    /// Which experiment, as the section of the plan is called.
    pub(super) fn kind(&self) -> &str {
        self.said("experiment")
    }

    /// A text of the header.
    pub(super) fn said(&self, key: &str) -> &str {
        self.header
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// The different texts of a key, in the order in which they come first.
    pub(super) fn texts(&self, key: &str) -> Vec<String> {
        once_each(
            self.records
                .iter()
                .map(|record| record.text(key).to_owned()),
        )
    }

    /// The records of which `key` is `text`.
    pub(super) fn with<'r>(
        &'r self,
        key: &'r str,
        text: &'r str,
    ) -> impl Iterator<Item = &'r Record> {
        self.records
            .iter()
            .filter(move |record| record.text(key) == text)
    }
}

impl Record {
    /// A number of the row; NaN where there is none.
    pub(super) fn number(&self, key: &str) -> f64 {
        self.row
            .get(key)
            .and_then(Value::as_f64)
            .unwrap_or(f64::NAN)
    }

    /// A text of the row.
    pub(super) fn text(&self, key: &str) -> &str {
        self.row
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// An interval of the row.
    pub(super) fn interval(&self, key: &str) -> Option<[f64; 2]> {
        interval(self.row.get(key)?)
    }

    /// A share of the row, and its interval, as the network laboratory writes them.
    pub(super) fn share(&self, key: &str) -> Option<(f64, Option<[f64; 2]>)> {
        let share = self.row.get(key)?;
        let ends = share.get("interval").and_then(interval);
        Some((share.get("value")?.as_f64()?, ends))
    }

    /// The accuracy from whole tensors less the ends of the interval of the drop: an interval for the
    /// accuracy that is paired with it.
    pub(super) fn top1_interval(&self) -> Option<[f64; 2]> {
        let [low, high] = self.interval("ci95")?;
        let clean = self.number("top1_clean");
        Some([(clean - high).max(0.0), (clean - low).min(1.0)])
    }
}

/// Two numbers.
pub(super) fn interval(value: &Value) -> Option<[f64; 2]> {
    Some([value.get(0)?.as_f64()?, value.get(1)?.as_f64()?])
}

/// Items without those that came before.
pub(super) fn once_each<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    items.fold(vec![], |mut kept, item| {
        if !kept.contains(&item) {
            kept.push(item);
        }
        kept
    })
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Keys and rows, line by line.
fn lines(path: &Path, text: &str) -> Result<Vec<(String, Value)>> {
    let name = path.display();
    let mut lines = vec![];
    for (number, line) in (1..).zip(text.lines()) {
        let entry = serde_json::from_str::<Value>(line).ok();
        let entry = entry.and_then(|mut entry| {
            let row = entry.get_mut("row").map(Value::take)?;
            Some((entry.get("key")?.as_str()?.to_owned(), row))
        });
        lines.push(entry.with_context(|| format!("{name}, line {number}: not a finished cell"))?);
    }
    Ok(lines)
}
