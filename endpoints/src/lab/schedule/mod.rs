//! `tw-lab schedule`: what the workers of a cloud compute, with and without runs of several tensors.

mod measure;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use serde::Serialize;

use self::measure::{Bench, Measured};
use super::output::{check_folders, print, write_rows};
use super::table::{Table, figures, words};
use crate::model::{BATCH_SIZES, Keep, LEAST_GAIN};
use crate::options::{CodecOptions, ImageOptions, ModelOptions};
use crate::statistics::Percentiles;

/// Serves the tensors of many edges in this process, without a network: decoding, concealment, model. In
/// turns with each size of runs: as many as the workers can, and at light load.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    #[command(flatten)]
    model: ModelOptions,
    #[command(flatten)]
    images: ImageOptions,
    #[command(flatten)]
    codec: CodecOptions,
    /// Side-information bundle [default: the built-in one, if it fits]
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// Edges, 1 to 1,024
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    edges: u16,
    /// Threads that compute [default: one for each core]
    #[arg(long, value_name = "N")]
    workers: Option<NonZeroUsize>,
    /// Tensors in a run, at most, with commas between; the first is what the others are compared with
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [1, 8], value_parser = clap::value_parser!(u8).range(1..=8))]
    batch: Vec<u8>,
    /// Use every size of runs that computes the same, whether it gains or not, as a cloud would not
    #[arg(long)]
    force: bool,
    /// Tensors of an edge that wait or are at work, when as many are computed as can be
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=9))]
    in_flight: u8,
    /// Share of the workers' time that is asked for at light load, at most: no edge sends more than 100
    /// tensors a second then
    #[arg(long, value_name = "SHARE", default_value_t = 0.3)]
    light: f64,
    /// Time for each row, split in rounds that take turns, seconds
    #[arg(long, value_name = "S", default_value_t = 4.0)]
    seconds: f64,
    /// Rounds
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..))]
    rounds: u8,
    /// Write the rows as JSON too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  tw-lab schedule
      16 edges, the built-in model
  tw-lab schedule --split add_5 --clip=-4,4 --batch 1,2,4,8 --json rows.json
      a split after which little but a matrix product is left, which gains from running together

A run of several tensors is used where it computes at least 1.1 times as many in the same time as single
runs; the column `used` tells the sizes that are. `CPU` is what a tensor costs a worker in full runs, from a
run in one thread.";

/// A line of the table.
#[derive(Debug, Serialize)]
struct Row {
    split: String,
    edges: u16,
    workers: usize,
    /// Tensors in a run, at most, as asked for.
    batch: u8,
    /// Sizes that are used beyond 1.
    used: Vec<usize>,
    /// What the model alone gains with the sizes that were tried, in times.
    gains: Vec<(usize, f64)>,
    /// `saturated` or `light`.
    load: &'static str,
    tensors: usize,
    per_second: f64,
    /// Tensors a second beside those of the first row of the same load.
    ratio: f64,
    /// CPU time of a tensor in full runs, microseconds: the median, in one thread.
    cpu_us: f64,
    /// Tensors for the same CPU time beside those of the first row.
    cpu_ratio: f64,
    /// From handing over to the answer.
    p50_ms: f64,
    p99_ms: f64,
}

/// Measures, prints a table, and writes the rows.
///
/// # Errors
/// If the model cannot be used, or the file not be written.
pub fn run(options: &Options) -> Result<()> {
    check_folders([&options.json])?;
    ensure!(
        options.light > 0.0 && options.light <= 1.0,
        "--light: a share above 0, up to 1, is needed"
    );
    ensure!(options.seconds > 0.0, "--seconds: a time above 0 is needed");
    let bench = Bench::load(options)?;
    let keep = if options.force {
        Keep::All
    } else {
        Keep::Gaining(LEAST_GAIN)
    };
    let mut arms = Vec::new();
    for batch in &options.batch {
        arms.push(bench.arm(usize::from(*batch), keep)?);
    }
    let round = Duration::from_secs_f64(options.seconds / f64::from(options.rounds));
    let interval = bench.interval(&arms, options.light)?;
    let mut times = vec![Vec::new(); arms.len()];
    for _ in 0..options.rounds {
        for (arm, times) in arms.iter().zip(&mut times) {
            bench.compute(arm, round, times)?;
        }
    }
    let median = |times| Percentiles::of(times).at(50.0).unwrap_or(f64::NAN);
    let times: Vec<f64> = times.into_iter().map(median).collect();
    let mut rows = Vec::new();
    for (load, interval) in [("saturated", None), ("light", Some(interval))] {
        let mut measured: Vec<Measured> = arms.iter().map(|_| Measured::default()).collect();
        for _ in 0..options.rounds {
            for (arm, measured) in arms.iter().zip(&mut measured) {
                bench.round(arm, interval, round, measured)?;
            }
        }
        let mut first = None;
        let batches = options.batch.iter().zip(&times);
        for (((batch, cpu), arm), measured) in batches.zip(&arms).zip(measured) {
            let per_second = measured.per_second();
            let used = BATCH_SIZES.into_iter().filter(|size| arm.uses(*size));
            rows.push(Row {
                split: bench.split().to_owned(),
                edges: options.edges,
                workers: arm.workers(),
                batch: *batch,
                used: used.collect(),
                gains: arm.gains(),
                load,
                tensors: measured.tensors(),
                per_second,
                ratio: per_second / *first.get_or_insert(per_second),
                cpu_us: *cpu,
                cpu_ratio: times.first().unwrap_or(cpu) / cpu,
                p50_ms: measured.percentile(50.0),
                p99_ms: measured.percentile(99.0),
            });
        }
    }
    show(&rows)?;
    options
        .json
        .as_ref()
        .map_or(Ok(()), |path| write_rows(path, &rows))
}

fn show(rows: &[Row]) -> Result<()> {
    let mut table = Table::new(&[
        words("load"),
        figures("batch"),
        words("used"),
        figures("tensors"),
        figures("a second"),
        figures("ratio"),
        figures("CPU, µs"),
        figures("ratio"),
        figures("p50, ms"),
        figures("p99, ms"),
    ]);
    for row in rows {
        let used: Vec<String> = row.used.iter().map(ToString::to_string).collect();
        table.row([
            row.load.to_owned(),
            row.batch.to_string(),
            used.join(", "),
            row.tensors.to_string(),
            format!("{:.0}", row.per_second),
            format!("{:.2}", row.ratio),
            format!("{:.1}", row.cpu_us),
            format!("{:.2}", row.cpu_ratio),
            format!("{:.2}", row.p50_ms),
            format!("{:.2}", row.p99_ms),
        ]);
    }
    print(table.to_string())
}
