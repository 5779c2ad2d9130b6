//! `tw-lab calibrate`: makes a side-information bundle.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use tensorwire_codec::ClipRange;
use tensorwire_concealment::{Bundle, ClipRule};

use super::evaluate::EdgePart;
use super::output::{check_folders, print, write_file};
use super::table::count;
use crate::digest::Digest;
use crate::options::{ImageOptions, ModelOptions, parse_clip};

/// Makes a side-information bundle: the mean of every entry at the split, and the clip range.
///
/// The bundle remembers its images, and no command evaluates on them.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    #[command(flatten)]
    model: ModelOptions,
    #[command(flatten)]
    images: ImageOptions,
    #[command(flatten)]
    clip: ClipOptions,
    /// Where the bundle goes; a file that is there already is replaced
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  tw-lab calibrate --images train-images-idx3-ubyte.gz --rows 0..5000 --out fashion.twb
      the built-in model, 5,000 training images
  tw-lab calibrate --model m.onnx --description m.toml --split add_4 --images photos --rows even \\
      --out m.twb
      a model of your own, every other photograph; test on --rows odd";

/// How the clip range is chosen.
#[derive(Args, Clone, Copy, Debug)]
#[group(multiple = false)]
pub struct ClipOptions {
    /// Clip at the mean ± N standard deviations of all entries [default: 4]
    #[arg(long, value_name = "N", value_parser = parse_sigma)]
    sigma: Option<f32>,
    /// Clip at the smallest and the largest value seen
    #[arg(long)]
    min_max: bool,
    /// Clip range LOW,HIGH
    #[arg(long, value_name = "LOW,HIGH", value_parser = parse_clip, allow_hyphen_values = true)]
    clip: Option<ClipRange>,
}

impl ClipOptions {
    /// Standard deviations to either side, unless something else is asked for: costs 256 levels less
    /// than a tenth of a point of accuracy, and is narrow enough for 8 (docs/results.md).
    pub const SIGMA: f32 = 4.0;

    /// The rule for a calibration.
    #[must_use]
    pub fn rule(self) -> ClipRule {
        match (self.clip, self.min_max) {
            (Some(range), _) => ClipRule::Given {
                low: range.low(),
                high: range.high(),
            },
            (None, true) => ClipRule::MinMax,
            (None, false) => ClipRule::Sigma(self.sigma.unwrap_or(Self::SIGMA)),
        }
    }

    /// The range where it is given outright.
    #[must_use]
    pub const fn given(self) -> Option<ClipRange> {
        self.clip
    }

    /// Whether the range has to be measured.
    #[must_use]
    pub const fn measured(self) -> bool {
        self.sigma.is_some() || self.min_max
    }
}

fn parse_sigma(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(sigma) if sigma.is_finite() && sigma > 0.0 => Ok(sigma),
        _ => Err("a number above 0 is needed".into()),
    }
}

/// Calibrates, writes the bundle, and prints what is in it.
///
/// # Errors
/// If something cannot be read, run or written, or the images give no clip range.
pub fn run(options: &Options) -> Result<()> {
    check_folders([&Some(options.out.clone())])?;
    let loaded = options.model.load()?;
    let dataset = loaded.images(&options.images)?;
    let edge = EdgePart::new(&loaded)?;
    let (bundle, duplicates) = edge.calibrate(&loaded, &dataset, options.clip.rule())?;
    let bytes = bundle.to_bytes();
    write_file(&options.out, &bytes)?;
    let out = options.out.display();
    print(format!(
        "model      {} ({})",
        loaded.description.name,
        loaded.model.digest()
    ))?;
    print(format!("{}", Text(&bundle, duplicates)))?;
    print(format!(
        "bundle     {out}, {} bytes ({})",
        count(bytes.len()),
        Digest::of(&bytes)
    ))
}

/// What is in a bundle, and the number of duplicates that are not.
struct Text<'a>(&'a Bundle, usize);

impl std::fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(bundle, duplicates) = self;
        let (channels, height, width) = bundle.shape();
        let (summary, clip) = (bundle.summary(), bundle.clip());
        writeln!(
            f,
            "split      {} {channels}×{height}×{width}",
            bundle.split()
        )?;
        write!(f, "images     {}", count(bundle.images().len()))?;
        if *duplicates > 0 {
            write!(f, "; {} duplicates left out", count(*duplicates))?;
        }
        writeln!(
            f,
            "\nvalues     {:.4} to {:.4}, mean {:.4}, standard deviation {:.4}",
            summary.min, summary.max, summary.mean, summary.std
        )?;
        write!(f, "clip range {:.4} to {:.4}", clip.low, clip.high)
    }
}
