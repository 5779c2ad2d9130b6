//! `tw-lab plan-split`: where to split for a path.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use serde::Serialize;
use tensorwire_codec::ClipRange;
use tensorwire_concealment::ClipRule;

use super::calibrate::ClipOptions;
use super::evaluate::EvaluationOptions;
use super::experiment::Coding;
use super::experiment::latency::{
    Circumstances, Pictures, Terms, fastest, regions, time_split, time_whole,
};
use super::output::{check_folders, print, write_rows};
use super::parallel::progress;
use super::table::{Table, figures, words};
use crate::model::SplitPoint;
use crate::options::{ImageOptions, ModelOptions, parse_rate};

/// Says where to split a model for a path of this bandwidth and round-trip time.
///
/// Measures every term of I = I_c + E_c + D/B + RTT + E_s + I_s on this machine, for the whole model at
/// the edge, the whole in the cloud, and each split, and prints the fastest way with the bandwidths at
/// which another takes over.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    #[command(flatten)]
    model: ModelOptions,
    #[command(flatten)]
    images: ImageOptions,
    /// Bandwidth of the path, as in 20mbit
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    rate: u64,
    /// Round-trip time of the path, milliseconds
    #[arg(long, value_name = "MS", value_parser = parse_ms)]
    rtt: f64,
    /// Coder of the tensors: raw:LEVELS:random, raw:LEVELS:rows, raw:LEVELS:mosaic or jpeg:QUALITY
    #[arg(long, value_name = "CODER", default_value = "raw:256:random")]
    coder: Coding,
    /// JPEG quality of the image where the cloud does everything
    #[arg(long, value_name = "QUALITY", default_value_t = 90,
        value_parser = clap::value_parser!(u8).range(1..=100))]
    input_quality: u8,
    /// Splits to compare [default: those whose tensor has fewer entries than all before]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    splits: Vec<String>,
    /// How many times as long everything takes at the edge as on this machine
    #[arg(long, value_name = "TIMES", default_value_t = 1.0, value_parser = parse_factor)]
    edge_slowdown: f64,
    /// How many times as fast the cloud is as this machine
    #[arg(long, value_name = "TIMES", default_value_t = 1.0, value_parser = parse_factor)]
    server_speedup: f64,
    /// Images to time
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..))]
    timed: u16,
    /// Write the rows as JSON too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  tw-lab plan-split --rate 20mbit --rtt 40
      the built-in model
  tw-lab plan-split --rate 5mbit --rtt 60 --edge-slowdown 8 --coder jpeg:80 \\
      --model m.onnx --description m.toml --images photos
      a model of your own, on an edge that is eight times slower than this machine

Times are medians on one thread. What a coder costs in accuracy is another matter: `tw-lab quality`.";

fn parse_ms(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(ms) if (0.0..=60_000.0).contains(&ms) => Ok(ms),
        _ => Err("a time of 0 to 60000 ms is needed".to_owned()),
    }
}

fn parse_factor(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(factor) if (0.001..=1_000.0).contains(&factor) => Ok(factor),
        _ => Err("a factor of 0.001 to 1000 is needed".to_owned()),
    }
}

/// A way to answer.
#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    terms: Terms,
    total_ms: f64,
    fastest: bool,
}

/// Measures, and prints the fastest way.
///
/// # Errors
/// If something cannot be read or run, or the file not be written.
pub fn run(options: &Options) -> Result<()> {
    check_folders([&options.json])?;
    let ways = measure(options)?;
    let at = Circumstances {
        rtt_ms: options.rtt,
        edge_slowdown: options.edge_slowdown,
        server_speedup: options.server_speedup,
    };
    let rate = options.rate as f64;
    let best = fastest(&ways, rate, at).context("there is no way to answer")?;
    print(table(&ways, rate, at, best).to_string())?;
    let name = ways.get(best).map_or("", |way| way.name.as_str());
    let mut text = format!("\nfastest    {name}\n");
    for (from, way) in regions(&ways, at) {
        let name = ways.get(way).map_or("", |way| way.name.as_str());
        text.push_str(&format!("\nfrom {:>9.3} Mbit/s on: {name}", from / 1e6));
    }
    print(text)?;
    let Some(path) = &options.json else {
        return Ok(());
    };
    let rows = ways.into_iter().enumerate().map(|(number, terms)| Row {
        total_ms: terms.total_ms(rate, at),
        fastest: number == best,
        terms,
    });
    write_rows(path, &rows.collect::<Vec<_>>())
}

/// The terms of every way.
fn measure(options: &Options) -> Result<Vec<Terms>> {
    let loaded = options.model.load()?;
    let splits = if options.splits.is_empty() {
        narrowing(loaded.model.split_points())
    } else {
        options.splits.clone()
    };
    let timed = usize::from(options.timed);
    let pictures = Pictures::new(&loaded, &options.images, timed)?;
    let bar = progress("splits", splits.len() + 2);
    let mut ways = vec![time_whole(&pictures, None, timed)?];
    bar.inc(1);
    for split in splits {
        let model = ModelOptions {
            split: Some(split),
            ..options.model.clone()
        };
        let limit = Some(u32::from(options.timed));
        let evaluation = EvaluationOptions::new(model, options.images.clone(), None, false, limit);
        let evaluation = evaluation.load_for_coders(ClipRule::Sigma(ClipOptions::SIGMA))?;
        // What is clipped does not matter for times, and hardly for sizes.
        let first = evaluation.input(evaluation.labelled(0)?.sample)?;
        let tensor = evaluation.run_edge(&first)?;
        let range = ClipRange::sigma_of(tensor.view(), ClipOptions::SIGMA)?;
        let images = timed.min(evaluation.len());
        ways.push(time_split(&evaluation, options.coder, range, images)?);
        bar.inc(1);
    }
    ways.push(time_whole(&pictures, Some(options.input_quality), timed)?);
    bar.finish_and_clear();
    Ok(ways)
}

/// The splits at which less has to be sent than at any before: at another the edge would do more to send
/// as much.
fn narrowing(points: &[SplitPoint]) -> Vec<String> {
    let mut fewest = usize::MAX;
    let mut names = vec![];
    for point in points {
        if point.elements() < fewest {
            fewest = point.elements();
            names.push(point.name.clone());
        }
    }
    names
}

fn table(ways: &[Terms], rate: f64, at: Circumstances, best: usize) -> Table {
    let mut table = Table::new(&[
        words("way"),
        figures("bytes"),
        figures("edge, ms"),
        figures("coding"),
        figures("on the way"),
        figures("decoding"),
        figures("cloud"),
        figures("whole, ms"),
        words(""),
    ]);
    let ms = |value: f64| format!("{value:.2}");
    for (number, way) in ways.iter().enumerate() {
        let sent = way.bytes.map(|bytes| bytes * 8e3 / rate + at.rtt_ms);
        table.row([
            way.name.clone(),
            way.bytes
                .map_or_else(|| "–".to_owned(), |bytes| format!("{bytes:.0}")),
            ms(way.client_ms * at.edge_slowdown),
            ms(way.encode_ms * at.edge_slowdown),
            sent.map_or_else(|| "–".to_owned(), ms),
            ms(way.decode_ms / at.server_speedup),
            ms(way.server_ms / at.server_speedup),
            ms(way.total_ms(rate, at)),
            if number == best { "fastest" } else { "" }.to_owned(),
        ]);
    }
    table
}
