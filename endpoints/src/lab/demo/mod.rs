//! `tw-lab demo`: an edge and a cloud in one process over real sockets and an emulated bad link.

mod keep;
mod report;
mod run;
mod tally;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use tensorwire_protocol::link::LossModel;

use super::link::PathOptions;
use super::output::{check_folders, print, write_file, write_rows};
use super::trace::LossSource;
use crate::options::{
    CodecOptions, ImageOptions, ModelOptions, RecoveryOptions, StreamOptions, parse_fps,
};

/// Stream tensors from an edge to a cloud at several shares of loss, and show what it costs.
///
/// Edge, link emulator and cloud run in this process, over real UDP sockets of this machine. Each frame
/// is classified from what arrived, once with each simple fill and with `auto`, and compared with the
/// same model in one piece.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Shares of datagrams lost each way, 0 to 1
    #[arg(long, value_delimiter = ',', default_value = "0,0.05,0.1,0.2")]
    losses: Vec<f64>,
    /// Loss models instead, each way: iid:5%, gilbert:RATE,BURST, gilbert-elliott:P,R,GOOD,BAD,
    /// periodic:EVERY,BURST[,OFFSET], trace:FILE or received:FILE; once for each row
    #[arg(long, value_name = "MODEL", conflicts_with_all = ["losses", "burst"])]
    loss_model: Vec<LossSource>,
    /// Tensors to stream at each
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    tensors: u32,
    /// Frames a second
    #[arg(long, default_value_t = 60.0, value_parser = parse_fps)]
    fps: f64,
    #[command(flatten)]
    path: PathOptions,
    #[command(flatten)]
    model: ModelOptions,
    #[command(flatten)]
    images: ImageOptions,
    /// Side-information bundle [default: the built-in one, if it fits]
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    #[command(flatten)]
    codec: CodecOptions,
    #[command(flatten)]
    stream: StreamOptions,
    #[command(flatten)]
    recovery: RecoveryOptions,
    /// Write the figures as CSV
    #[arg(long, value_name = "FILE", default_value = "tw-demo.csv")]
    csv: PathBuf,
    /// Plot accuracy against loss
    #[arg(long, value_name = "FILE", default_value = "tw-demo.svg")]
    svg: PathBuf,
    /// Write the figures as JSON, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the datagrams at the cloud as pcapng, a session for each row, replacing the file
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
}

impl Options {
    /// The share lost in each row, and how.
    fn models(&self) -> Result<Vec<(f64, LossModel)>> {
        if self.loss_model.is_empty() {
            let losses = self.losses.iter();
            losses
                .map(|loss| Ok((*loss, self.path.losses(*loss)?)))
                .collect()
        } else {
            let models = self.loss_model.iter().map(LossSource::load);
            models.map(|model| model.map(|m| (m.rate(), m))).collect()
        }
    }
}

/// Runs the demonstration.
///
/// # Errors
/// If an option is out of range, a file cannot be read or written, or a session fails.
pub fn run(options: &Options) -> Result<()> {
    let models = options.models()?;
    let files = [
        Some(options.csv.clone()),
        Some(options.svg.clone()),
        options.json.clone(),
    ];
    check_folders(&files)?;
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let rows = runtime.block_on(run::all(options, &models))?;
    print(report::table(&rows).to_string())?;
    print(format!("\n{}", report::stages(&rows)))?;
    write_file(&options.csv, report::csv(&rows)?.as_bytes())?;
    write_file(&options.svg, report::plot(&rows)?.as_bytes())?;
    if let Some(path) = &options.json {
        write_rows(path, &rows)?;
    }
    eprintln!(
        "wrote {} and {}",
        options.csv.display(),
        options.svg.display()
    );
    Ok(())
}
