//! `tw-lab run`: measures the cells of a plan.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::Value;

use super::bench::{Bench, Pictures};
use super::cache::Cache;
use super::cell::{Cell, Shared};
use super::plan::{Header, Kind, Plan};
use super::pool;
use super::shard::Shard;
use crate::lab::output::{check_folders, print};
use crate::lab::resume::Journal;

/// Measures the grid of cells that a plan file describes.
///
/// Finished cells are appended to FILE as JSON lines, and sorted by key at the end; times go to a file
/// beside it (FILE with .timings.jsonl for its extension). Interrupted, the same command goes on where it
/// was, and ends with the same bytes.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// Plan file
    #[arg(value_name = "PLAN.toml")]
    plan: PathBuf,
    /// Where the results go, JSON lines
    #[arg(long, value_name = "FILE", required_unless_present = "list")]
    out: Option<PathBuf>,
    /// Measure a part of the grid only: I/N, I from 1
    #[arg(long, value_name = "I/N", default_value_t = Shard::WHOLE)]
    shard: Shard,
    /// Keep the tensors of images in this folder, for further runs and other processes
    #[arg(long, value_name = "FOLDER")]
    cache: Option<PathBuf>,
    /// Threads [default: one a core; latency is always measured on one]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Print the keys of the cells instead of measuring them
    #[arg(long)]
    list: bool,
}

const EXAMPLES: &str = "\
Examples:
  tw-lab run docs/experiments/quantisation.toml --out quantisation.jsonl
      one experiment; `tw-lab report quantisation.jsonl --out report.html` shows it
  tw-lab run plan.toml --out 1.jsonl --shard 1/2
      the first half of the cells; a second machine does --shard 2/2
  cat 1.jsonl 2.jsonl > all.jsonl && tw-lab run plan.toml --out all.jsonl
      both halves as one run leaves them

Rows are the same for the same plan, images and kind of machine, whatever the number of threads.";

/// Runs the plan.
///
/// # Errors
/// If the plan or what it names cannot be read, the results cannot be written or are those of another
/// plan, or a cell fails. What was measured before is kept.
pub fn run(options: &Options) -> Result<()> {
    check_folders([&options.out])?;
    let plan = Plan::from_file(&options.plan)?;
    let loaded = plan.model_options(None).load()?;
    let cells = plan.cells(&loaded)?;
    if options.list {
        let keys: Vec<&str> = cells.iter().map(|cell| cell.key.as_str()).collect();
        return print(keys.join("\n"));
    }
    let out = options.out.as_deref().context("--out is needed")?;
    let mut rows = Journal::open(Some(out))?;
    let header = plan.header(&loaded)?;
    drop(loaded);
    check(&rows, &header, &cells, out)?;
    if !rows.has(Header::KEY) {
        rows.add(Header::KEY, &header)?;
    }
    let mut timings = Journal::open(Some(&timings_of(out)))?;
    let mine = cells.iter().enumerate();
    let mine = mine.filter(|(number, _)| options.shard.has(*number));
    let (mine, missing): (Vec<&Cell>, Vec<&Cell>) = {
        let mine: Vec<&Cell> = mine.map(|(_, cell)| cell).collect();
        let missing = mine.iter().filter(|cell| !rows.has(&cell.key)).copied();
        let missing = missing.collect();
        (mine, missing)
    };
    let splits: BTreeSet<&str> = missing.iter().map(|cell| cell.split.as_str()).collect();
    let cache = options.cache.as_deref().map(Cache::open).transpose()?;
    for split in splits {
        let of_split = missing.iter().filter(|cell| cell.split == split);
        let of_split: Vec<&Cell> = of_split.copied().collect();
        let shared = if split == Pictures::SPLIT {
            Shared::Whole(Pictures::load(&plan)?)
        } else {
            Shared::Split(Box::new(Bench::load(&plan, split, cache.clone())?))
        };
        let threads = match plan.kind {
            Kind::Latency(_) => Some(1),
            _ => options.threads.map(usize::from),
        };
        let measure = |cell: &&Cell| cell.measure(&plan, &shared);
        pool::measure("cells", threads, &of_split, measure, |cell, measured| {
            timings.add(&cell.key, &measured.timing)?;
            rows.add(&cell.key, &measured.row)
        })
        .with_context(|| format!("at the split `{split}`"))?;
    }
    let done = cells.iter().filter(|cell| rows.has(&cell.key)).count();
    rows.finish()?;
    timings.finish()?;
    let (all, measured, own) = (cells.len(), missing.len(), mine.len());
    print(format!(
        "{}: {done} of {all} cells ({measured} of {own} measured now)",
        out.display()
    ))
}

/// The file of times beside that of results.
pub(in crate::lab) fn timings_of(out: &Path) -> PathBuf {
    out.with_extension("timings.jsonl")
}

/// Refuses results of another plan.
fn check(rows: &Journal, header: &Header, cells: &[Cell], out: &Path) -> Result<()> {
    let out = out.display();
    if rows.has(Header::KEY) {
        let found: Value = rows.get(Header::KEY)?;
        let expected = serde_json::to_value(header)?;
        let differs = |key: &&str| found.get(key) != expected.get(key);
        let keys = expected.as_object().into_iter().flatten();
        let keys: Vec<&str> = keys.map(|(key, _)| key.as_str()).filter(differs).collect();
        if !keys.is_empty() {
            bail!(
                "{out} holds results of another plan (other {}); give another --out",
                keys.join(", ")
            );
        }
    }
    let known: BTreeSet<&str> = cells.iter().map(|cell| cell.key.as_str()).collect();
    let foreign = rows
        .keys()
        .find(|key| *key != Header::KEY && !known.contains(key));
    match foreign {
        Some(key) => {
            bail!("{out} holds the cell `{key}`, which the plan has not; give another --out")
        }
        None => Ok(()),
    }
}
