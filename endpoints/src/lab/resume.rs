//! Finished cells of a long run, kept so that an interrupted one goes on.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::output::write_file;

/// Rows by the key of their cell, appended to a file of JSON lines as they are finished: `{"key": …,
/// "row": …}` each.
#[derive(Debug)]
pub struct Journal {
    path: Option<PathBuf>,
    file: Option<File>,
    /// The line of each cell: what was read is written again to the last digit.
    lines: BTreeMap<String, String>,
}

impl Journal {
    /// Reads what is in `path` already and appends to it; without a path, rows are kept in memory.
    ///
    /// A last line that was cut off by an interruption is dropped.
    ///
    /// # Errors
    /// If the file cannot be read or written, or holds something else.
    pub fn open(path: Option<&Path>) -> Result<Self> {
        let mut lines = BTreeMap::new();
        let Some(path) = path else {
            return Ok(Self {
                path: None,
                file: None,
                lines,
            });
        };
        let name = path.display();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {name}")),
        };
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        for (number, line) in (1..).zip(text.get(..whole).unwrap_or_default().lines()) {
            let entry = serde_json::from_str::<Value>(line).ok();
            let entry = entry.filter(|entry| entry.get("row").is_some());
            let key = entry.and_then(|entry| Some(entry.get("key")?.as_str()?.to_owned()));
            let Some(key) = key else {
                bail!("{name}, line {number}: not a finished cell; give another --out");
            };
            lines.insert(key, format!("{line}\n"));
        }
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.with_context(|| format!("cannot write {name}"))?;
        if whole < text.len() {
            file.set_len(whole as u64)
                .with_context(|| format!("cannot write {name}"))?;
        }
        Ok(Self {
            path: Some(path.to_owned()),
            file: Some(file),
            lines,
        })
    }

    /// Whether the cell is finished.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.lines.contains_key(key)
    }

    /// The keys of the finished cells, ascending.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.lines.keys().map(String::as_str)
    }

    /// Keeps the row of a finished cell.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn add(&mut self, key: &str, row: &impl Serialize) -> Result<()> {
        let line = serde_json::to_string(&serde_json::json!({ "key": key, "row": row }))?;
        let line = format!("{line}\n");
        if let Some(file) = &mut self.file {
            // One write a line, so that an interruption cuts a line at most.
            file.write_all(line.as_bytes())
                .context("cannot write a finished cell")?;
        }
        self.lines.insert(key.to_owned(), line);
        Ok(())
    }

    /// The row of a finished cell.
    ///
    /// # Errors
    /// If the cell is not finished, or was written by another version.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<T> {
        let line = self.lines.get(key).context("a cell is not finished")?;
        let mut entry: Value = serde_json::from_str(line)?;
        let row = entry.get_mut("row").map(Value::take).unwrap_or_default();
        serde_json::from_value(row)
            .context("a finished cell is of another version; give another --out")
    }

    /// Sorts the file by key, once all is done: however often it was interrupted, it ends the same.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(self) -> Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let text: String = self.lines.into_values().collect();
        write_file(path, text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_run_goes_on_and_ends_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let [whole, cut] = ["whole", "cut"].map(|name| folder.path().join(name));
        let run = |path: &Path, cells: &[u32]| {
            let mut journal = Journal::open(Some(path)).unwrap();
            for cell in cells {
                let key = format!("cell {cell}");
                if !journal.has(&key) {
                    journal.add(&key, &(cell * 10)).unwrap();
                }
            }
            journal
        };
        run(&whole, &[3, 1, 2]).finish().unwrap();
        drop(run(&cut, &[3, 1]));
        let mut text = std::fs::read_to_string(&cut).unwrap();
        text.truncate(text.len() - 5);
        std::fs::write(&cut, text).unwrap();
        let journal = run(&cut, &[3, 1, 2]);
        assert_eq!(journal.get::<u32>("cell 1").unwrap(), 10);
        journal.finish().unwrap();
        let [whole, cut] = [whole, cut].map(|path| std::fs::read_to_string(path).unwrap());
        assert_eq!(whole, cut);
    }

    #[test]
    fn what_is_no_journal_is_refused_by_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows");
        std::fs::write(&path, "{\"key\": \"a\", \"row\": 1}\nnonsense\n").unwrap();
        let error = Journal::open(Some(&path)).unwrap_err();
        assert!(format!("{error:#}").contains("line 2"), "{error:#}");
    }
}
