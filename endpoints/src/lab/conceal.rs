//! `tw-lab conceal`: what the fills are worth.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde::Serialize;
use tensorwire_concealment::{ClipRule, Distortion, Fill, UnknownFill};

use super::calibrate::ClipOptions;
use super::evaluate::{Evaluation, EvaluationOptions, Part, Subject};
use super::loss::LossMap;
use super::output::{check_folders, print, write_rows};
use super::table::{Table, count, figures, interval, percent, points, words};
use super::tally::{Accuracy, Tally};
use crate::statistics::Percentiles;

/// Measures the accuracy that the fills leave when entries are lost at the split.
///
/// No network and no coder: entries of the f32 tensor are lost at random, every fill repairs the same
/// ones, and the cloud's part of the model classifies the result.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    #[command(flatten)]
    evaluation: EvaluationOptions,
    /// Shares of the entries that are lost, 0 to 1
    #[arg(long, value_name = "SHARES", value_delimiter = ',', value_parser = parse_share,
        default_value = "0.05,0.1,0.2")]
    missing: Vec<f64>,
    /// Fills: all, or some of zero, channel-mean, dataset-mean, hybrid
    #[arg(long, value_name = "NAMES", default_value = "all")]
    fills: Fills,
    /// What is lost together
    #[arg(long, value_enum, default_value_t = LossMap::Elements)]
    map: LossMap,
    /// Losses drawn for each image and share
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..))]
    seeds: u16,
    /// First of the seeds
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
    /// Write the rows as JSON too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  tw-lab conceal
      the built-in model and images
  tw-lab conceal --images t10k-images-idx3-ubyte.gz --labels t10k-labels-idx1-ubyte.gz
      the built-in model on more images
  tw-lab conceal --model m.onnx --description m.toml --split add_4 --images photos --swap
      a model and images of your own, each half calibrated on the other

The interval is that of the paired drop, 95 %. NMSE is the squared error of the filled entries as a
share of their energy: 1 for zeros.";

#[derive(Clone, Debug)]
struct Fills(Vec<Fill>);

impl std::str::FromStr for Fills {
    type Err = UnknownFill;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "all" {
            return Ok(Self(Fill::ALL.to_vec()));
        }
        text.split(',')
            .map(|name| name.trim().parse())
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

fn parse_share(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("a share of 0 to 1 is needed, as 0.05 for 5 %".into()),
    }
}

/// A line of the table.
#[derive(Clone, Debug, Serialize)]
struct Row {
    model: String,
    split: String,
    map: &'static str,
    missing: f64,
    method: &'static str,
    #[serde(flatten)]
    accuracy: Accuracy,
    /// Of the missing entries of all images together; none if there are none.
    nmse: Option<f64>,
    /// Median time of the fill.
    us_per_tensor: f64,
}

/// What became of one image in one cell of the table.
#[derive(Debug)]
struct Repaired {
    right: Vec<bool>,
    distortion: Distortion,
    micros: f64,
}

/// Measures, prints a table, and writes the rows.
///
/// # Errors
/// If something cannot be read, run or written, or an image was calibrated on.
pub fn run(options: &Options) -> Result<()> {
    check_folders([&options.json])?;
    let evaluation = options
        .evaluation
        .load(ClipRule::Sigma(ClipOptions::SIGMA))?;
    for fill in &options.fills.0 {
        if fill.needs_side_information()
            && evaluation.parts().iter().any(|part| part.side.is_none())
        {
            bail!(
                "the fill `{fill}` needs a bundle: give --bundle (`tw-lab calibrate` makes one), or \
                 --swap"
            );
        }
    }
    let images = evaluation.each(
        || Ok(()),
        |(), subject| repair(options, &evaluation, subject),
    )?;
    let rows = rows(options, &evaluation, &images)?;
    let clean = rows.first().map_or(0.0, |row| row.accuracy.top1_clean);
    print(evaluation.heading(clean))?;
    print(table(&rows).to_string())?;
    options
        .json
        .as_ref()
        .map_or(Ok(()), |path| write_rows(path, &rows))
}

/// Every cell of one image: whether it is right without losses, and what becomes of it in each.
fn repair(
    options: &Options,
    evaluation: &Evaluation,
    subject: &Subject,
) -> Result<(bool, Vec<Repaired>)> {
    let bundle = evaluation.parts().get(subject.part).and_then(Part::bundle);
    let fills = &options.fills.0;
    let mut cells = Vec::with_capacity(options.missing.len() * fills.len());
    for missing in &options.missing {
        let seeds = (0..u64::from(options.seeds)).map(|number| options.seed.wrapping_add(number));
        let masks: Vec<_> = seeds
            .map(|seed| {
                options
                    .map
                    .mask(subject.tensor.dim(), *missing, &subject.digest, seed)
            })
            .collect();
        for fill in fills {
            let mut cell = Repaired {
                right: vec![],
                distortion: Distortion::default(),
                micros: 0.0,
            };
            for mask in &masks {
                let mut tensor = subject.tensor.clone();
                // No fill may profit from what a lost entry was.
                tensor.zip_mut_with(mask, |x, received| {
                    *x = if *received { *x } else { f32::NAN }
                });
                let start = Instant::now();
                fill.apply(tensor.view_mut(), mask.view(), bundle)?;
                cell.micros += start.elapsed().as_secs_f64() * 1e6;
                cell.distortion
                    .add(subject.tensor.view(), tensor.view(), mask.view())?;
                cell.right.push(evaluation.finds(subject.label, &tensor)?);
            }
            cell.micros /= masks.len() as f64;
            cells.push(cell);
        }
    }
    Ok((subject.right, cells))
}

fn rows(
    options: &Options,
    evaluation: &Evaluation,
    images: &[(bool, Vec<Repaired>)],
) -> Result<Vec<Row>> {
    let loaded = evaluation.loaded();
    let fills = &options.fills.0;
    let cells = options
        .missing
        .iter()
        .flat_map(|missing| fills.iter().map(move |fill| (missing, fill)));
    cells
        .enumerate()
        .map(|(number, (missing, fill))| {
            let mut tally = Tally::default();
            let mut sum = Distortion::default();
            let mut micros = Vec::with_capacity(images.len());
            for (right, cells) in images {
                let cell = cells.get(number).context("there is no such cell")?;
                tally.add(*right, &cell.right);
                sum.squared_error += cell.distortion.squared_error;
                sum.energy += cell.distortion.energy;
                sum.missing += cell.distortion.missing;
                micros.push(cell.micros);
            }
            Ok(Row {
                model: loaded.description.name.clone(),
                split: loaded.split.clone(),
                map: options.map.name(),
                missing: *missing,
                method: fill.name(),
                accuracy: tally.accuracy().context("there are no images")?,
                nmse: sum.nmse(),
                us_per_tensor: Percentiles::of(micros).at(50.0).unwrap_or_default(),
            })
        })
        .collect()
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(&[
        words("map"),
        figures("missing"),
        words("fill"),
        figures("samples"),
        figures("top-1"),
        figures("drop, points"),
        figures("95 % interval"),
        figures("NMSE"),
        figures("µs a tensor"),
    ]);
    for row in rows {
        table.row([
            row.map.into(),
            format!("{} %", 100.0 * row.missing),
            row.method.into(),
            count(row.accuracy.samples),
            percent(row.accuracy.top1),
            points(row.accuracy.drop),
            interval(row.accuracy.interval()),
            row.nmse
                .map_or_else(|| "–".into(), |nmse| format!("{nmse:.3}")),
            format!("{:.1}", row.us_per_tensor),
        ]);
    }
    table
}
