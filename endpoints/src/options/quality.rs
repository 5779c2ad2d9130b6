//! Whether and how the quality of tensors adapts: options.

use anyhow::{Context as _, Result, bail};
use clap::Args;
use tensorwire_codec::{Coder, Format, Ladder, Step};
use tensorwire_concealment::{CodingStep, StepCoder};

use super::codec::{CodecOptions, CoderName};
use crate::classifier::SideInformation;
use crate::model::Dimensions;
use crate::quality::Quality;

/// Levels before the JPEG coder.
pub(crate) const JPEG_LEVELS: u16 = 256;
/// Qualities that a calibration measures: each takes half to three quarters of the bytes of the one
/// before it.
pub(crate) const QUALITIES: [u8; 7] = [95, 80, 60, 40, 20, 10, 5];
/// Levels that a calibration measures, and that serve without one: 8, 6, 4, 3 and 2 bits.
pub(crate) const LEVELS: [u16; 5] = [256, 64, 16, 8, 4];

/// Whether and how the quality of tensors adapts to the path.
#[derive(Args, Clone, Debug, Default)]
pub struct QualityOptions {
    /// Choose the quality of each tensor by the bytes that the path has room for: JPEG quality with
    /// --coder jpeg, levels with raw
    #[arg(long, conflicts_with_all = ["quality", "levels"])]
    pub adaptive_quality: bool,
    /// Qualities or levels to choose from, best first [default: those that the bundle has measured; for
    /// raw without a bundle 256,64,16,8,4]
    #[arg(long, value_name = "LIST", value_delimiter = ',', requires = "adaptive_quality",
        value_parser = clap::value_parser!(u16).range(1..=256))]
    pub ladder: Vec<u16>,
}

impl QualityOptions {
    /// What codes the tensors of `shape`: by one format, or by the steps of a ladder.
    ///
    /// # Errors
    /// If the options do not go together, neither they nor the bundle give a clip range, or the bundle
    /// does not know how many bytes a step takes.
    pub fn quality(
        &self,
        codec: &CodecOptions,
        shape: Dimensions,
        side: Option<&SideInformation>,
    ) -> Result<Quality> {
        if !self.adaptive_quality {
            return Ok(Quality::fixed(&codec.format(shape, side)?));
        }
        let steps = if self.ladder.is_empty() {
            measured(codec.coder, side)
        } else {
            self.ladder.clone()
        };
        let Some(&best) = steps.first() else {
            bail!(
                "--adaptive-quality with --coder jpeg needs a bundle that knows what each quality takes: \
                 `tw-lab calibrate` makes one"
            );
        };
        let ladder = ladder(codec, best, &steps, shape, side)?;
        let costs = ladder
            .formats()
            .iter()
            .map(|format| cost(format, side))
            .collect::<Result<Vec<_>>>()?;
        let named = !self.ladder.is_empty();
        let (ladder, costs) = if named {
            (ladder, costs)
        } else {
            shrinking(&ladder, &costs)?
        };
        let drops = costs.iter().map(|cost| cost.drop).collect();
        Quality::adaptive(ladder, costs.iter().map(|cost| cost.bytes).collect(), drops)
            .context("the steps of --ladder go from the best to the smallest")
    }
}

/// Qualities or levels that the bundle has measured, best first.
fn measured(coder: CoderName, side: Option<&SideInformation>) -> Vec<u16> {
    let steps = side.and_then(|side| side.bundle.ladder());
    let steps = steps.map(|ladder| ladder.steps()).unwrap_or_default();
    let parameter = |step: &CodingStep| match (coder, step.coder) {
        (CoderName::Raw, StepCoder::Raw) => Some(step.levels),
        (CoderName::Jpeg, StepCoder::Jpeg { quality }) if step.levels == JPEG_LEVELS => {
            Some(u16::from(quality))
        }
        _ => None,
    };
    let found: Vec<u16> = steps.iter().filter_map(parameter).collect();
    if found.is_empty() && coder == CoderName::Raw {
        LEVELS.to_vec()
    } else {
        found
    }
}

/// The ladder whose map is that of its best step.
fn ladder(
    codec: &CodecOptions,
    best: u16,
    steps: &[u16],
    shape: Dimensions,
    side: Option<&SideInformation>,
) -> Result<Ladder> {
    let mut codec = codec.clone();
    match codec.coder {
        CoderName::Raw => codec.levels = best,
        CoderName::Jpeg => codec.quality = quality_of(best)?,
    }
    let best = codec.format(shape, side)?;
    let step = |&parameter: &u16| -> Result<Step> {
        Ok(match codec.coder {
            CoderName::Raw => Step {
                levels: parameter,
                ..best.step()
            },
            CoderName::Jpeg => Step {
                coder: Coder::Jpeg {
                    quality: quality_of(parameter)?,
                },
                ..best.step()
            },
        })
    };
    let further = steps.iter().skip(1).map(step);
    Ok(Ladder::new(best, &further.collect::<Result<Vec<_>>>()?)?)
}

fn quality_of(parameter: u16) -> Result<u8> {
    match u8::try_from(parameter) {
        Ok(quality) if quality <= 100 => Ok(quality),
        _ => bail!("JPEG quality is 1 to 100, not {parameter}"),
    }
}

/// What a step of a ladder costs.
#[derive(Clone, Copy, Debug)]
struct Cost {
    /// Bytes to reckon with for a tensor.
    bytes: usize,
    /// Points of accuracy that it loses; none where that was not measured.
    drop: Option<f64>,
}

/// What a format costs, by its own nature or by what the bundle measured.
fn cost(format: &Format, side: Option<&SideInformation>) -> Result<Cost> {
    let Step { levels, coder } = format.step();
    let ladder = side.and_then(|side| side.bundle.ladder());
    let steps = ladder.map(|ladder| ladder.steps()).unwrap_or_default();
    let found = steps.iter().find(|step| {
        let same = match (step.coder, coder) {
            (StepCoder::Jpeg { quality }, Coder::Jpeg { quality: asked }) => quality == asked,
            (StepCoder::Raw, Coder::Raw) => true,
            _ => false,
        };
        same && step.levels == levels
    });
    let labelled = ladder.is_some_and(|ladder| ladder.accuracy_images() > 0);
    let drop = found.filter(|_| labelled).map(|step| f64::from(step.drop));
    let bytes = match (format.tensor_bytes(), found) {
        (Some(exact), _) => exact,
        (None, Some(step)) => usize::try_from(step.p95_bytes)?,
        (None, None) => bail!(
            "no bundle knows how many bytes {coder:?} takes; those that it knows are the default of \
             --ladder, and `tw-lab calibrate` measures them"
        ),
    };
    Ok(Cost { bytes, drop })
}

/// The steps that take fewer bytes than all before them: small tensors do not get smaller at each.
fn shrinking(ladder: &Ladder, costs: &[Cost]) -> Result<(Ladder, Vec<Cost>)> {
    let mut kept: Vec<(Step, Cost)> = vec![];
    for (format, &cost) in ladder.formats().iter().zip(costs) {
        let shrinks = kept
            .last()
            .is_none_or(|(_, before)| cost.bytes < before.bytes);
        if shrinks && kept.len() < Ladder::MAX_STEPS {
            kept.push((format.step(), cost));
        }
    }
    let further: Vec<Step> = kept.iter().skip(1).map(|(step, _)| *step).collect();
    let costs = kept.into_iter().map(|(_, cost)| cost).collect();
    Ok((Ladder::new(*ladder.best(), &further)?, costs))
}

/// The steps of a ladder in words: what people get to read when a stream begins.
#[must_use]
pub fn describe(ladder: &Ladder) -> String {
    let step = |(number, format): (usize, &Format)| match format.coder() {
        Coder::Jpeg { quality } => format!("{number}: JPEG {quality}"),
        _ => format!("{number}: {} levels", format.quantiser().levels()),
    };
    let steps: Vec<String> = ladder.formats().iter().enumerate().map(step).collect();
    steps.join(", ")
}
