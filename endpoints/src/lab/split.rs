//! `tw-lab split`: where a model can be split.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::output::{check_folders, print, write_rows};
use super::table::{Table, count, figures, words};
use crate::embedded;
use crate::model::{Model, SplitPoint};

/// Lists the tensors at which a model can be split, in the order of computation.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// ONNX classifier [default: the built-in Fashion-MNIST model]
    #[arg(value_name = "MODEL.onnx")]
    model: Option<PathBuf>,
    /// Write the rows as JSON too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  tw-lab split
      the built-in model
  tw-lab split m.onnx --json splits.json
      a model of your own

Work is the share of the model's multiply-accumulates that the edge does.";

/// A line of the table.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    operator: String,
    channels: usize,
    height: usize,
    width: usize,
    entries: usize,
    bytes_f32: usize,
    bytes_8bit: usize,
    work_share: f64,
}

impl Row {
    fn of(point: &SplitPoint) -> Self {
        Self {
            name: point.name.clone(),
            operator: point.operator.clone(),
            channels: point.shape.channels,
            height: point.shape.height,
            width: point.shape.width,
            entries: point.elements(),
            bytes_f32: point.bytes_f32(),
            bytes_8bit: point.elements(),
            work_share: point.work_share,
        }
    }
}

/// Reads the model, prints a table, and writes the rows.
///
/// # Errors
/// If the model cannot be used, or the file not be written.
pub fn run(options: &Options) -> Result<()> {
    check_folders([&options.json])?;
    let model = match &options.model {
        Some(path) => Model::from_file(path)?,
        None => embedded::model()?,
    };
    let rows: Vec<Row> = model.split_points().iter().map(Row::of).collect();
    let mut table = Table::new(&[
        words("name"),
        words("operator"),
        figures("C×H×W"),
        figures("entries"),
        figures("f32, bytes"),
        figures("8-bit, bytes"),
        figures("work"),
    ]);
    for (row, point) in rows.iter().zip(model.split_points()) {
        table.row([
            row.name.clone(),
            row.operator.clone(),
            point.shape.to_string(),
            count(row.entries),
            count(row.bytes_f32),
            count(row.bytes_8bit),
            format!("{:.1} %", 100.0 * row.work_share),
        ]);
    }
    print(table.to_string())?;
    options
        .json
        .as_ref()
        .map_or(Ok(()), |path| write_rows(path, &rows))
}
