//! `tw-lab conceal`: what the methods of concealment are worth.

mod compare;
mod pattern;
mod plan;
mod row;

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use serde::Serialize;
use tensorwire_concealment::ClipRule;

use self::compare::{MapLine, Verdict, map_table, maps, share, verdict_table, verdicts};
use self::pattern::{Methods, Patterns};
use self::plan::Plan;
use self::row::{Kept, Row};
use super::calibrate::ClipOptions;
use super::evaluate::{Evaluation, EvaluationOptions};
use super::experiment::loss::{Cell, Lost, Setting};
use super::experiment::pool;
use super::loss::PacketMap;
use super::motion::Motion;
use super::output::{check_folders, print, write_file};
use super::resume::Journal;
use super::table::{Table, count, figures, interval, percent, points, words};

/// Measures the accuracy that the methods of concealment leave when parts of the tensor are lost.
///
/// No network and no coder: parts of the f32 tensor are lost at random, every method repairs the same
/// losses, and the cloud's part of the model classifies the result.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    #[command(flatten)]
    evaluation: EvaluationOptions,
    /// What is lost together: elements, rows (a quarter of a channel), channels, blocks (of JPEG), or
    /// packets of one of the codec's maps: random-packets, row-packets, mosaic-packets; packets for
    /// these three, all for all of them; rows:N, or packets of what a coder makes: raw:LEVELS:MAP,
    /// jpeg:QUALITY [default: elements,rows,channels,blocks; with --full: all]
    #[arg(long, value_name = "LIST")]
    map: Option<Patterns>,
    /// Probabilities with which each of these parts is lost, 0 to 1 [default: 0.1,0.2; with --full:
    /// 0.05,0.1,0.2,0.3]
    #[arg(long, value_name = "SHARES", value_delimiter = ',', value_parser = parse_share)]
    missing: Option<Vec<f64>>,
    /// Methods: all, or some of zero, channel-mean, dataset-mean, hybrid, spatial, temporal, motion,
    /// altec, caltec, silrtc, halrtc, lmmse, auto [default: all that can work, but without --full not
    /// the low-rank ones, silrtc and halrtc]
    #[arg(long, value_name = "LIST")]
    methods: Option<Methods>,
    /// Images on which the low-rank methods are measured, the first of all
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    low_rank_images: u32,
    /// Packets of a tensor, where packets are lost
    #[arg(long, value_name = "N", default_value_t = PacketMap::COUNT, value_parser = clap::value_parser!(u16).range(1..))]
    packets: u16,
    /// Give the temporal methods a previous tensor: that of the image before everything in it moved so
    /// many input pixels down and to the right
    #[arg(long, value_name = "DOWN,RIGHT", allow_hyphen_values = true)]
    motion: Option<Motion>,
    /// Losses drawn for each image and cell
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..))]
    seeds: u16,
    /// First of the seeds
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
    /// The whole table: every map, share and method
    #[arg(long)]
    full: bool,
    /// Append each finished row to this file (JSON lines), and skip the rows that are in it already
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write the rows as JSON too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  tw-lab conceal
      the built-in model and images, in a minute
  tw-lab conceal --full --out conceal.jsonl
      everything; interrupted, the same command goes on where it was
  tw-lab conceal --map packets --missing 0.05,0.1,0.2
      which of the codec's maps loses least at equal packet loss
  tw-lab conceal --methods zero,hybrid,auto --map elements --missing 0.2 --seeds 4
      three methods, four losses an image
  tw-lab conceal --model m.onnx --description m.toml --split add_4 --images photos --swap
      a model and images of your own, each half calibrated on the other

The interval is that of the paired drop, 95 %, losses of one image counted together. NMSE is the squared
error of the missing entries as a share of their energy, 1 for zeros; \"variance\" the same as a share of
the squared distance from the dataset mean. p(true) is the mean probability of the right class. Times
are medians of one thread.";

/// Bytes of a packet of coded slices, at most.
const MSS: usize = 1_200;

fn parse_share(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("a share of 0 to 1 is needed, as 0.05 for 5 %".into()),
    }
}

/// Measures, prints the tables, and writes the rows.
///
/// # Errors
/// If something cannot be read, run or written, or an image was calibrated on.
pub fn run(options: &Options) -> Result<()> {
    check_folders([&options.json, &options.out])?;
    let mut journal = Journal::open(options.out.as_deref())?;
    let evaluation = options
        .evaluation
        .load(ClipRule::Sigma(ClipOptions::SIGMA))?;
    let plan = Plan::new(options, &evaluation)?;
    let wanted = plan.cells();
    measure(options, &evaluation, &wanted, &mut journal)?;
    let keys = wanted.iter().map(|cell| key(options, &evaluation, cell));
    let rows: Vec<Kept> = keys.map(|key| journal.get(&key)).collect::<Result<_>>()?;
    journal.finish()?;
    report(options, &evaluation, &plan, &rows)
}

/// Measures what is not in the journal yet.
fn measure(
    options: &Options,
    evaluation: &Evaluation,
    wanted: &[Cell],
    journal: &mut Journal,
) -> Result<()> {
    let unfinished = |cell: &&Cell| !journal.has(&key(options, evaluation, cell));
    let cells: Vec<Cell> = wanted.iter().filter(unfinished).copied().collect();
    if cells.is_empty() {
        return Ok(());
    }
    let subjects = evaluation.subjects(options.motion)?;
    let setting = Setting {
        evaluation,
        subjects: &subjects,
        seed: options.seed,
        seeds: options.seeds,
        packets: options.packets.into(),
        mss: MSS,
    };
    let one = |cell: &Cell| setting.measure(cell);
    pool::measure("cells", None, &cells, one, |cell, measured| {
        let kept = Kept::new(measured, options.seeds);
        journal.add(&key(options, evaluation, cell), &kept)
    })
}

/// Everything that decides a row.
fn key(options: &Options, evaluation: &Evaluation, cell: &Cell) -> String {
    let loaded = evaluation.loaded();
    let sides = evaluation.parts().iter().map(|part| {
        let side = part.side.as_ref().map(|side| side.digest.to_string());
        side.unwrap_or_else(|| "none".to_owned())
    });
    let packets = match cell.lost {
        Lost::Packets(_) => format!(" of {}", options.packets),
        _ => String::new(),
    };
    format!(
        "{} {}{packets} {:.4} {} images {} seeds {}+{} motion {:?} model {} bundles {} {:?}",
        loaded.split,
        cell.lost,
        cell.missing,
        cell.fill,
        cell.images,
        options.seed,
        options.seeds,
        options.motion,
        loaded.model.digest(),
        sides.collect::<Vec<_>>().join(","),
        options.evaluation,
    )
}

/// Prints the tables and writes the rows.
fn report(options: &Options, evaluation: &Evaluation, plan: &Plan, rows: &[Kept]) -> Result<()> {
    #[derive(Serialize)]
    struct File<'a> {
        rows: Vec<&'a Row>,
        auto: &'a [Verdict],
        maps: &'a [MapLine],
    }
    let most = rows.iter().max_by_key(|kept| kept.row.figures.images);
    let clean = most.map_or(0.0, |kept| kept.row.figures.accuracy.top1_clean);
    let (verdicts, maps) = (verdicts(rows), maps(rows));
    let mut text = evaluation.heading(clean);
    for note in &plan.notes {
        writeln!(text, "{note}")?;
    }
    if !plan.notes.is_empty() {
        text.push('\n');
    }
    write!(text, "{}", table(rows))?;
    if !verdicts.is_empty() {
        write!(
            text,
            "\n\nauto, and the others on the same losses (drops in points)\n\n"
        )?;
        write!(text, "{}", verdict_table(&verdicts))?;
    }
    if !maps.is_empty() {
        let packets = options.packets;
        write!(
            text,
            "\n\nThe codec's maps at equal packet loss, {packets} packets a tensor, with the best method \
             and with auto\n\n{}",
            map_table(&maps)
        )?;
    }
    print(text)?;
    let Some(path) = &options.json else {
        return Ok(());
    };
    let file = File {
        rows: rows.iter().map(|kept| &kept.row).collect(),
        auto: &verdicts,
        maps: &maps,
    };
    let mut text = serde_json::to_string_pretty(&file).context("the rows are no JSON")?;
    text.push('\n');
    write_file(path, text.as_bytes())
}

fn table(rows: &[Kept]) -> Table {
    let mut table = Table::new(&[
        words("map"),
        figures("missing"),
        words("method"),
        figures("samples"),
        figures("top-1"),
        figures("drop, points"),
        figures("95 % interval"),
        figures("p(true)"),
        figures("NMSE"),
        figures("variance"),
        figures("µs a tensor"),
    ]);
    let figure =
        |value: Option<f64>| value.map_or_else(|| "–".into(), |value| format!("{value:.3}"));
    for Kept { row, .. } in rows {
        let us = row.us_per_tensor;
        let row = &row.figures;
        let took = match row.took.as_slice() {
            [] => String::new(),
            [(took, _)] => format!(" ({took})"),
            [(took, share), ..] => format!(" ({took} {:.0} %)", 100.0 * share),
        };
        table.row([
            row.map.clone(),
            share(row.missing),
            format!("{}{took}", row.method),
            count(row.accuracy.samples),
            percent(row.accuracy.top1),
            points(row.accuracy.drop),
            interval(row.accuracy.interval()),
            format!("{:.3}", row.p_true),
            figure(row.nmse),
            figure(row.variance_share),
            format!("{us:.1}"),
        ]);
    }
    table
}
