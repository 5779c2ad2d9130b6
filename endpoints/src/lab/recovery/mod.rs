//! `tw-lab recovery`: what parity and retransmission are worth.

mod bench;
mod cell;
mod closed_form;
mod measure;
mod plan;
mod prepared;
mod simulate;
mod table;
mod thrift;

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;
use tensorwire_concealment::{ClipRule, Method};

use cell::{Asked, Losses, Strategy};
use measure::Row;
use thrift::Thrift;

pub(in crate::lab) use bench::Bench;
pub(in crate::lab) use cell::Cell;
pub(in crate::lab) use plan::RecoveryPlan;

use super::calibrate::ClipOptions;
use super::evaluate::EvaluationOptions;
use super::experiment::pool;
use super::output::{check_folders, print, write_file};
use super::resume::Journal;
use crate::options::ParityOptions;

/// Measures how many tensors are whole at their deadline, at what cost, and what the others lose.
///
/// The protocol's two ends stream over an emulated path in virtual time: the same losses for the same
/// seed, whatever the machine. Losses hit both directions. Incomplete tensors are concealed and
/// classified; a tensor of which nothing arrives counts as wrong. The first tensors of a run, from
/// which the edge learns the path, do not count.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    #[command(flatten)]
    evaluation: EvaluationOptions,
    /// Shares of datagrams lost each way; 1%>10%>1% changes within the run
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "1%,5%,10%,20%"
    )]
    loss: Vec<Losses>,
    /// Mean datagrams lost in a row; 1: independent losses
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "1,4"
    )]
    burst: Vec<f64>,
    /// Repair: off, fixed:RATIO, adaptive, retransmission, or one of the first three with
    /// +retransmission; every: each number of repair packets up to --most-parity, as fixed ratios
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = Strategy::DEFAULT)]
    fec: Vec<Asked>,
    /// Round-trip times of the path, milliseconds
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "10,80"
    )]
    rtt: Vec<u32>,
    /// Longest time from capture to release, milliseconds
    #[arg(long, value_name = "MS", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    deadline_ms: u32,
    /// Source packets of a tensor
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "11",
        value_parser = clap::value_parser!(u16).range(1..=256))]
    k: Vec<u16>,
    /// Tensors that count, in each cell
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    tensors: u32,
    /// Tensors that are concealed and classified, the first of those that count [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    classify: Option<u32>,
    /// Tensors before those that count
    #[arg(long, value_name = "N", default_value_t = 150)]
    warm_up: u32,
    /// Tensors a second
    #[arg(long, value_name = "FPS", default_value_t = 30.0, value_parser = parse_rate)]
    fps: f64,
    /// Rate of the path, Mbit/s
    #[arg(long, value_name = "MBIT", default_value_t = 20.0, value_parser = parse_rate)]
    rate_mbit: f64,
    #[command(flatten)]
    goal: ParityOptions,
    /// How missing entries are concealed
    #[arg(long, value_name = "METHOD", default_value = "auto")]
    method: Method,
    /// Seed of the losses
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
    /// The whole table: k of 6, 11 and 32, and fixed parity from 1 packet to a half
    #[arg(long, conflicts_with_all = ["k", "fec"])]
    full: bool,
    /// Append each finished cell to this file (JSON lines), and skip the cells that are in it already
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write the rows as JSON too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  tw-lab recovery
      the built-in model: FEC off, a quarter, adaptive, and adaptive with retransmission
  tw-lab recovery --k 32 --fec fixed:25% --rtt 80 --tensors 10000
      forward error correction alone, ten thousand tensors a cell
  tw-lab recovery --loss '1%>10%>1%' --fec every,adaptive --most-parity 50%
      a path that changes: adaptive parity beside every fixed ratio
  tw-lab recovery --fec every,adaptive --rtt 80 --tensors 50000 --classify 1000
      the same in full: many tensors tell how often so much is missing, and some of them what that costs
  tw-lab recovery --full --out recovery.jsonl
      everything; interrupted, the same command goes on where it was

`expected` is the whole share in closed form for independent losses without retransmission, and `in`
says whether it lies within the 99.9 % interval of the measured one. `parity` and `again` are REPAIR
packets and source packets sent again, for each source packet.

Where there are both, adaptive parity is put beside the smallest fixed ratio that loses no more. The drops
there are what tensors lose that miss as many packets, whichever cell they are of: more even than the hits
of one cell. `unclear`: too few tensors to tell which of the two loses less.";

/// The ways of repair that the whole table compares.
const SWEEP: [&str; 9] = [
    "off",
    "fixed:5%",
    "fixed:10%",
    "fixed:15%",
    "fixed:20%",
    "fixed:25%",
    "fixed:50%",
    "adaptive",
    "adaptive+retransmission",
];

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.001..=100_000.0).contains(&rate) => Ok(rate),
        _ => Err("a number of 0.001 to 100000 is needed".to_owned()),
    }
}

/// Measures, prints a table, and writes the rows.
///
/// # Errors
/// If something cannot be read, run or written, or an image was calibrated on.
pub fn run(options: &Options) -> Result<()> {
    check_folders([&options.json, &options.out])?;
    let mut journal = Journal::open(options.out.as_deref())?;
    if options.evaluation.swap() {
        bail!("one bundle is needed for all images: give --bundle instead of --swap");
    }
    let evaluation = options
        .evaluation
        .load(ClipRule::Sigma(ClipOptions::SIGMA))?;
    let cells = cells(options)?;
    let missing = cells
        .iter()
        .filter(|cell| !journal.has(&key(options, cell)));
    let missing: Vec<&Cell> = missing.collect();
    if !missing.is_empty() {
        let subjects = evaluation.subjects(None)?;
        let bench = Bench::new(options, &evaluation, &subjects, missing.iter().copied())?;
        let one = |cell: &&Cell| bench.measure(options, &evaluation, cell);
        pool::measure("cells", None, &missing, one, |cell, row| {
            journal.add(&key(options, cell), &row)
        })?;
    }
    let rows: Vec<Row> = cells
        .iter()
        .map(|cell| journal.get(&key(options, cell)))
        .collect::<Result<_>>()?;
    journal.finish()?;
    let clean = rows.first().map_or(0.0, |row| row.top1_clean);
    print(evaluation.heading(clean))?;
    print(table::table(&rows).to_string())?;
    let thrift = thrift::thrift(&rows);
    if !thrift.is_empty() {
        print(format!(
            "\nAdaptive parity beside the smallest fixed ratio that loses no more. Drops in points, from \
             what was missing:\n\n{}",
            thrift::table(&thrift)
        ))?;
    }
    let Some(path) = &options.json else {
        return Ok(());
    };
    let mut text = serde_json::to_string_pretty(&Report { rows, thrift })?;
    text.push('\n');
    write_file(path, text.as_bytes())
}

/// The JSON file.
#[derive(Serialize)]
struct Report {
    rows: Vec<Row>,
    thrift: Vec<Thrift>,
}

/// The cells that the options ask for. The round-trip time means nothing to a stream without
/// retransmission but for what is left of its deadline, so only the longest is measured there.
fn cells(options: &Options) -> Result<Vec<Cell>> {
    let (ks, asked) = if options.full {
        let parse = |text: &&str| text.parse::<Asked>().map_err(anyhow::Error::msg);
        let sweep = SWEEP.iter().map(parse).collect::<Result<Vec<_>>>()?;
        (vec![6, 11, 32], sweep)
    } else {
        (options.k.clone(), options.fec.clone())
    };
    let longest = options.rtt.iter().copied().max().unwrap_or(0);
    let mut cells = vec![];
    for &k in &ks {
        let most = options.goal.most_parity;
        let strategies: Vec<Strategy> = asked.iter().flat_map(|asked| asked.of(k, most)).collect();
        for &burst in &options.burst {
            if !burst.is_finite() || burst < 1.0 {
                bail!("--burst {burst}: a mean of at least 1 packet is needed");
            }
            for losses in &options.loss {
                let mut losses = losses.clone();
                losses.burst = (burst > 1.0).then_some(burst);
                (0..losses.rates.len()).try_for_each(|phase| losses.model(phase).map(drop))?;
                for &strategy in &strategies {
                    for &rtt_ms in &options.rtt {
                        if strategy.retransmission || rtt_ms == longest {
                            cells.push(Cell {
                                losses: losses.clone(),
                                strategy,
                                rtt_ms,
                                deadline_ms: options.deadline_ms,
                                k,
                            });
                        }
                    }
                }
            }
        }
    }
    Ok(cells)
}

/// Everything that decides a row.
fn key(options: &Options, cell: &Cell) -> String {
    let Cell {
        losses,
        strategy,
        rtt_ms,
        deadline_ms,
        k,
    } = cell;
    format!(
        "{:?} loss {:?} burst {:?} {strategy} rtt {rtt_ms} deadline {deadline_ms} k {k} tensors {}+{} \
         classified {:?} fps {} \
         rate {} most {} target {} span {} {} seed {}",
        options.evaluation,
        losses.rates,
        losses.burst,
        options.warm_up,
        options.tensors,
        options.classify,
        options.fps,
        options.rate_mbit,
        options.goal.most_parity,
        options.goal.accuracy_target,
        options.goal.span,
        options.method,
        options.seed,
    )
}
