//! `tw-lab calibrate`: makes a side-information bundle.
//!
//! Some of the images are held out. The statistics of the others conceal losses of the held-out ones by
//! every method, and what the model makes of them goes into the bundle as a policy, an accuracy curve
//! and the importance of channels. So no method is judged on images that it was made from. Where the
//! held-out images are too few for the accuracy curve, the others are held out too, part after part, each
//! concealed by the statistics of the rest. What the steps of the ladder take and cost is measured
//! on all. At the end all images are in the statistics and in the bundle's
//! list of images, and nobody tests on them. The bundle's statistics are thus from more images than any
//! that were measured with: what was measured errs, if anything, on the pessimistic side.

mod bench;
mod clip;
mod curve;
mod effort;
mod hold_out;
mod importance;
mod ladder;
mod policy;
mod report;
mod statistics;

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use tensorwire_codec::ClipRange;
use tensorwire_concealment::{Bundle, ClipRule};

use self::bench::Bench;
use self::hold_out::Images;
use self::report::Text;
use self::statistics::Statistics;
use super::evaluate::EdgePart;
use super::output::{check_folders, print, write_file, write_rows};
use super::table::count;
use crate::digest::Digest;
use crate::images::Dataset;
use crate::options::{ImageOptions, LoadedModel, ModelOptions};

pub use self::clip::ClipOptions;
pub(super) use self::effort::Effort;

/// Makes a side-information bundle: statistics of the tensors at the split, the clip range, what
/// tensors take at each quality, and, where the images have labels, which methods conceal losses best and what accuracy is lost then.
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
    /// Share of the images that methods are judged on, 0 to 0.9; 0 makes statistics only. Where they are
    /// few, other parts of this size take turns for the accuracy curve
    #[arg(long, value_name = "SHARE", default_value_t = HOLD_OUT, value_parser = parse_hold_out)]
    hold_out: f64,
    /// Measure on fewer images, at fewer shares, and without the low-rank methods
    #[arg(long)]
    quick: bool,
    /// Where the bundle goes; a file that is there already is replaced
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Write what was measured as JSON too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  tw-lab calibrate --images train-images-idx3-ubyte.gz --labels train-labels-idx1-ubyte.gz \\
      --rows 0..5000 --out fashion.twb
      the built-in model, 5,000 training images
  tw-lab calibrate --model m.onnx --description m.toml --split add_4 --images photos --rows even \\
      --out m.twb
      a model of your own, every other photograph; test on --rows odd

The same images give the same bundle, but for the times of the methods, which a clock measures.";

/// Multiplications for the weights of ALTeC where they are made only for a turn: those of the fewest images,
/// after which they hardly change.
const FEWEST: f64 = 0.0;

/// Share of the images that is held out, unless another is asked for.
const HOLD_OUT: f64 = 0.2;

fn parse_hold_out(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=0.9).contains(&share) => Ok(share),
        _ => Err("a share of 0 to 0.9 is needed, as 0.2 for a fifth".into()),
    }
}

/// Calibrates, writes the bundle, and prints what is in it.
///
/// # Errors
/// If something cannot be read, run or written, or the images give no clip range.
pub fn run(options: &Options) -> Result<()> {
    check_folders([&Some(options.out.clone()), &options.json])?;
    let loaded = options.model.load()?;
    let dataset = loaded.images(&options.images)?;
    let source = Source {
        edge: &EdgePart::new(&loaded)?,
        loaded: &loaded,
        dataset: &dataset,
    };
    let effort = if options.quick {
        Effort::QUICK
    } else {
        Effort::WHOLE
    };
    let made = source.calibrate(options.clip.rule(), effort, options.hold_out)?;
    let file = made.bundle.to_bytes();
    write_file(&options.out, &file)?;
    if let Some(path) = &options.json {
        write_rows(path, &report::rows(&made.measured))?;
    }
    print(format!(
        "model      {} ({})",
        loaded.description.name,
        loaded.model.digest()
    ))?;
    let (made, file) = (&made, &file[..]);
    print(Text { made, file }.to_string())?;
    print(format!(
        "\nbundle     {}, {} bytes ({})",
        options.out.display(),
        count(file.len()),
        Digest::of(file)
    ))
}

/// What a bundle is made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    pub(super) edge: &'a EdgePart,
    pub(super) loaded: &'a LoadedModel,
    pub(super) dataset: &'a Dataset,
}

/// A bundle, and how it came about.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) bundle: Bundle,
    measured: Measured,
    held_out: usize,
    /// Images that were in the set before.
    duplicates: usize,
    /// Why nothing was measured, if so.
    unmeasured: Option<&'static str>,
}

/// What was measured on the held-out images.
#[derive(Debug, Default)]
struct Measured {
    policy: Vec<policy::Judged>,
    curve: Vec<curve::Measured>,
    channels: Vec<importance::Measured>,
    ladder: Vec<ladder::Measured>,
}

impl Source<'_> {
    /// The means and the clip range, which are all that coders need.
    pub(super) fn means(&self, rule: ClipRule) -> Result<Bundle> {
        let images = Images::split(self.dataset, 0.0)?;
        let mut statistics = Statistics::new(self, None)?;
        statistics.add(self, &images.training)?;
        statistics.finish(self, rule)
    }

    /// Everything that methods of concealment need, measured with `effort` on this share of the images.
    pub(super) fn calibrate(&self, rule: ClipRule, effort: Effort, hold_out: f64) -> Result<Made> {
        let images = Images::split(self.dataset, hold_out)?;
        let mut statistics = Statistics::new(self, Some(effort.altec))?;
        statistics.add(self, &images.training)?;
        let effort = if images.held_out.is_empty() {
            effort.unmeasured()
        } else {
            effort
        };
        let mut measured = Measured::default();
        if effort.measures() {
            let side = statistics.clone().finish(self, rule)?;
            measured = self.measure(side, &images, effort, rule)?;
            statistics.add(self, &images.held_out)?;
        }
        let bundle = statistics.finish(self, rule)?;
        if let Some(judged) = effort.ladder {
            let clip = bundle.clip();
            let clip = ClipRange::new(clip.low, clip.high)?;
            measured.ladder = ladder::measure(self, &images, clip, judged)?;
        }
        let bundle = measured.put_into(bundle)?;
        Ok(Made {
            bundle,
            measured,
            held_out: images.held_out.len(),
            duplicates: images.duplicates,
            unmeasured: images.reason,
        })
    }

    /// Measures on the held-out images, with side information that was made from the others.
    fn measure(
        &self,
        side: Bundle,
        images: &Images,
        effort: Effort,
        rule: ClipRule,
    ) -> Result<Measured> {
        let mut measured = Measured::default();
        let mut bench = Bench::new(self, &images.held_out, side)?;
        if let Some(cells) = effort.policy {
            measured.policy = policy::judge(&bench, cells)?;
            // From here on `auto` does what it will do with the bundle.
            let side = Bundle::clone(bench.side());
            bench = bench.with_side(measured.put_into(side)?);
        }
        if let Some((wanted, seeds)) = effort.curve {
            let mut looked = curve::look(&bench, wanted, seeds)?;
            // A small part would say too little: every other one is held out in its turn.
            for turn in &images.turns {
                let left = wanted - looked.len();
                if left == 0 {
                    break;
                }
                let mut others = Statistics::new(self, Some(FEWEST))?;
                others.add(self, &images.without(turn))?;
                let side = measured.put_into(others.finish(self, rule)?)?;
                let bench = Bench::new(self, turn, side)?;
                looked.extend(curve::look(&bench, left, seeds)?);
            }
            measured.curve = curve::measure(&looked)?;
        }
        if let Some(images) = effort.importance {
            measured.channels = importance::measure(&bench, images)?;
        }
        Ok(measured)
    }
}

impl Measured {
    /// The bundle with a section for everything that was measured.
    fn put_into(&self, mut bundle: Bundle) -> Result<Bundle> {
        if !self.policy.is_empty() {
            bundle = bundle.with_policy(policy::policy(&self.policy)?)?;
        }
        if !self.curve.is_empty() {
            bundle = bundle.with_accuracy(curve::curve(&self.curve)?)?;
        }
        if !self.channels.is_empty() {
            bundle = bundle.with_importance(importance::section(&self.channels)?)?;
        }
        if let Some(ladder) = ladder::section(&self.ladder)? {
            bundle = bundle.with_ladder(ladder)?;
        }
        Ok(bundle)
    }
}
