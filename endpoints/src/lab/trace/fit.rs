//! `tw-lab trace fit`: which model made these losses.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;
use serde::Serialize;
use tensorwire_protocol::link::{Fit, Fitted, LossTrace, fit};

use super::read::read_trace;
use super::{DEVICE, rounded, tc};
use crate::lab::output::{check_folders, print, write_rows};
use crate::lab::table::{Table, count, figures, percent, words};
use crate::statistics::wilson_interval;

/// Fits loss models to recorded losses.
///
/// Independent losses, Gilbert's model (by counting runs) and Gilbert and Elliott's (by Baum and Welch's
/// method); Schwarz's criterion chooses (BIC, less is better), in that every further figure of a model
/// has to pay for itself.
#[derive(Args, Debug)]
#[command(after_help = NOTES)]
pub(super) struct Options {
    /// The losses, CSV or npy, of which 1 is a lost packet, or a capture
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// 1 is a received packet, as in the loss maps of DFTS2
    #[arg(long)]
    received: bool,
    /// Write the rows as JSON too; - writes them instead of the table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

const NOTES: &str = "\
Examples:
  tw-lab trace fit losses.csv
      one packet a line, 1 or `lost` for a lost one
  tw-lab trace fit map.npy --received --json -
      a loss map that says what arrived, fitted for programs

The interval takes the losses as independent. For losses in bursts it ought to be wider, by about the
square root of twice the mean burst less one.";

/// A line of the table, and what all lines share.
#[derive(Debug, Serialize)]
struct Row<'a> {
    file: &'a Path,
    packets: usize,
    lost: usize,
    loss: f64,
    ci95: [f64; 2],
    bursts: usize,
    mean_burst: f64,
    model: &'static str,
    loss_model: String,
    model_loss: f64,
    /// Absent if everything is lost.
    model_burst: f64,
    parameters: u32,
    log_likelihood: f64,
    bic: f64,
    chosen: bool,
    /// Absent if netem has no such model.
    netem: Option<String>,
}

/// Reads, fits, prints and writes.
pub(super) fn run(options: &Options) -> Result<()> {
    let json = options.json.as_deref();
    let to_stdout = json == Some(Path::new("-"));
    if !to_stdout {
        check_folders([&options.json])?;
    }
    let trace = read_trace(&options.file, !options.received)?;
    let fit = fit(&trace);
    let rows = rows(&options.file, &trace, &fit)?;
    if to_stdout {
        let rows = serde_json::json!({ "rows": rows });
        return print(serde_json::to_string_pretty(&rows)?);
    }
    print(summary(&rows)?)?;
    print(table(&rows).to_string())?;
    print(advice(&fit))?;
    json.map_or(Ok(()), |path| write_rows(path, &rows))
}

fn rows<'a>(file: &'a Path, trace: &LossTrace, fit: &Fit) -> Result<Vec<Row<'a>>> {
    let interval = wilson_interval(fit.lost, fit.packets).context("no packets")?;
    let models = [
        ("iid", Some(&fit.independent)),
        ("gilbert", fit.gilbert.as_ref()),
        ("gilbert-elliott", fit.gilbert_elliott.as_ref()),
    ];
    let row = |(name, fitted): (&'static str, &Fitted)| Row {
        file,
        packets: fit.packets,
        lost: fit.lost,
        loss: trace.rate(),
        ci95: [interval.low, interval.high],
        bursts: fit.bursts,
        mean_burst: fit.mean_burst(),
        model: name,
        loss_model: fitted.model.to_string(),
        model_loss: fitted.model.rate(),
        model_burst: fitted.model.mean_burst(),
        parameters: fitted.parameters,
        log_likelihood: fitted.log_likelihood,
        bic: fitted.bic,
        chosen: fitted == fit.chosen(),
        netem: fitted.model.netem().ok(),
    };
    let fitted = models
        .into_iter()
        .filter_map(|(name, fitted)| Some((name, fitted?)));
    Ok(fitted.map(row).collect())
}

/// What was observed.
fn summary(rows: &[Row<'_>]) -> Result<String> {
    let row = rows.first().context("no model")?;
    let [low, high] = row.ci95.map(percent);
    Ok(format!(
        "packets  {}\nlost     {}, {} ({low} to {high})\nbursts   {}, {:.2} packets on average\n",
        count(row.packets),
        count(row.lost),
        percent(row.loss),
        count(row.bursts),
        row.mean_burst
    ))
}

fn table(rows: &[Row<'_>]) -> Table {
    let mut table = Table::new(&[
        words("model"),
        figures("loss"),
        figures("burst"),
        figures("parameters"),
        figures("log-likelihood"),
        figures("BIC"),
        words(""),
    ]);
    for row in rows {
        table.row([
            row.model.to_owned(),
            percent(row.model_loss),
            format!("{:.2}", row.model_burst),
            row.parameters.to_string(),
            format!("{:.1}", row.log_likelihood + 0.0),
            format!("{:.1}", row.bic),
            if row.chosen { "chosen" } else { "" }.to_owned(),
        ]);
    }
    table
}

/// How to lose packets as the chosen model does.
fn advice(fit: &Fit) -> String {
    let model = rounded(&fit.chosen().model);
    let netem = match model.netem() {
        Ok(arguments) => tc(DEVICE, &arguments),
        Err(error) => error.to_string(),
    };
    format!("\nemulator  tw-lab link --loss-model {model}\nkernel    {netem}")
}
