//! `tw-lab plot` and `tw-lab report`: figures and tables of results.

mod figures;
mod html;
mod published;
mod records;
mod tables;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;

use self::figures::figures;
use self::records::Results;
use super::figure::{Figure, stacked};
use super::output::{check_folders, print, write_file};

/// Draws the results of `tw-lab run` or `tw-netem run` as SVG.
#[derive(Args, Debug)]
#[command(after_help = PLOT_EXAMPLES)]
pub struct PlotOptions {
    /// Results, JSON lines of `tw-lab run` or JSON of `tw-netem run`
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Where the figures go, one below the other
    #[arg(long, value_name = "SVG", required_unless_present = "list")]
    out: Option<PathBuf>,
    /// Draw only the figures whose title has this in it
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// Print the titles of the figures instead of drawing them
    #[arg(long)]
    list: bool,
}

const PLOT_EXAMPLES: &str = "\
Examples:
  tw-lab plot size.jsonl --out size.svg
      all figures of an experiment
  tw-lab plot loss.jsonl --list
      what there is to draw
  tw-lab plot loss.jsonl --title 'elements: independent' --out elements.svg
      one of them";

/// Draws the figures.
///
/// # Errors
/// If the results cannot be read, there is nothing to draw, or the file cannot be written.
pub fn plot(options: &PlotOptions) -> Result<()> {
    check_folders([&options.out])?;
    let wanted = |figure: &Figure| {
        let part = options.title.as_ref();
        part.is_none_or(|part| figure.title.contains(part.as_str()))
    };
    let mut all = vec![];
    for results in read(&options.files)? {
        all.extend(figures(&results).into_iter().filter(wanted));
    }
    if options.list {
        let titles: Vec<&str> = all.iter().map(|figure| figure.title.as_str()).collect();
        return print(titles.join("\n"));
    }
    let out = options.out.as_ref().context("--out is needed")?;
    write_file(out, stacked(&all)?.as_bytes())
}

/// Makes one HTML page of the results of `tw-lab run` and `tw-netem run`: figures and tables, with nothing to load.
#[derive(Args, Debug)]
#[command(after_help = REPORT_EXAMPLES)]
pub struct ReportOptions {
    /// Results, JSON lines of `tw-lab run` or JSON of `tw-netem run`, in the order of the page
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Where the page goes
    #[arg(long, value_name = "HTML")]
    out: PathBuf,
    /// What stands above it
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "Split inference: experiments"
    )]
    title: String,
}

const REPORT_EXAMPLES: &str = "\
Examples:
  tw-lab report docs/results/experiments/*.jsonl docs/results/netem-*.json --out report.html
      every committed result, with what was published beside it";

/// Makes the page.
///
/// # Errors
/// If the results cannot be read, or the page not be written.
pub fn report(options: &ReportOptions) -> Result<()> {
    check_folders([&Some(options.out.clone())])?;
    let files = read(&options.files)?;
    let page = html::page(&options.title, &files)?;
    write_file(&options.out, page.as_bytes())
}

/// Reads results. Files of times are left out: they are read with the results that they belong to, and a
/// pattern such as `*.jsonl` names them too.
fn read(files: &[PathBuf]) -> Result<Vec<Results>> {
    let is_timings = |file: &Path| {
        let stem = file.file_stem().map(Path::new);
        stem.and_then(Path::extension)
            .is_some_and(|end| end == "timings")
    };
    let files = files.iter().filter(|file| !is_timings(file));
    files.map(|file| Results::read(file)).collect()
}
