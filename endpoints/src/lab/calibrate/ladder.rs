//! What each way of coding takes in bytes and costs in accuracy: the ladder that a sender chooses from.

use anyhow::{Context as _, Result};
use ndarray::Array3;
use tensorwire_codec::{
    ClipRange, Coder, Decoded, Decoder, Encoder, Format, FormatError, Ladder, Map, Quantiser,
    Shape, Step,
};
use tensorwire_concealment::{CodingLadder, CodingStep, StepCoder};

use super::super::parallel::in_order;
use super::super::rising::rising;
use super::super::tally::{Accuracy, Tally};
use super::Source;
use super::hold_out::Images;
use crate::model::{CloudModel, ModelError, top_k};
use crate::options::{JPEG_LEVELS, LEVELS, QUALITIES};
use crate::statistics::Percentiles;

/// Bytes to reckon with are those that so many per cent of the tensors do not exceed.
const GREATEST: f64 = 95.0;

/// One step, as measured.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    pub(super) step: Step,
    /// Images that bytes were measured on.
    pub(super) images: usize,
    pub(super) mean_bytes: f64,
    pub(super) p95_bytes: f64,
    /// None where the images have no labels, or none are held out.
    pub(super) accuracy: Option<Accuracy>,
    /// After smoothing, points.
    pub(super) drop: f64,
}

/// What became of one image: the bytes of each step, and, if it was judged, whether its class is found
/// from the whole tensor and from that of each step.
struct Image {
    bytes: Vec<usize>,
    right: Option<(bool, Vec<bool>)>,
}

/// Measures the bytes of the steps on all images, and their accuracy on up to `judged` of them, those
/// held out first. Nothing but the clip range, two numbers, was made from the images, so that none is
/// unfit to be judged on.
pub(super) fn measure(
    source: &Source<'_>,
    images: &Images,
    clip: ClipRange,
    judged: usize,
) -> Result<Vec<Measured>> {
    let ladders = ladders(Shape::of(source.loaded.shape()?.as_tuple())?, clip)?;
    let judged = if images.held_out.is_empty() {
        0
    } else {
        judged
    };
    let cloud = source.loaded.model.cloud(&source.loaded.split)?;
    let order: Vec<usize> = images
        .held_out
        .iter()
        .chain(&images.training)
        .copied()
        .collect();
    let one = |coders: &mut Vec<Codec<'_>>, number: usize| {
        let index = *order.get(number).context("no such image")?;
        let sample = source.dataset.get(index)?;
        let label = sample.label.filter(|_| number < judged);
        let tensor = source.edge.run(sample)?;
        let judge = label.map(|label| Judge {
            cloud: &cloud,
            label: label as usize,
        });
        code(coders, &tensor, judge.as_ref())
    };
    let state = || Ok(ladders.iter().map(Codec::new).collect());
    let mut found = Vec::with_capacity(order.len());
    in_order("measuring bytes", order.len(), state, one, |image| {
        found.push(image);
        Ok(())
    })?;
    let formats = ladders.iter().flat_map(|ladder| ladder.formats());
    let steps: Vec<Step> = formats.map(Format::step).collect();
    Ok(summarise(&steps, &found))
}

/// The section for these steps; none if there are none.
pub(super) fn section(steps: &[Measured]) -> Result<Option<CodingLadder>> {
    let Some(first) = steps.first() else {
        return Ok(None);
    };
    let images = u32::try_from(first.images)?;
    let judged = first.accuracy.map_or(0, |accuracy| accuracy.samples);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bytes of a tensor and points of accuracy"
    )]
    let step = |measured: &Measured| CodingStep {
        coder: match measured.step.coder {
            Coder::Jpeg { quality } => StepCoder::Jpeg { quality },
            _ => StepCoder::Raw,
        },
        levels: measured.step.levels,
        mean_bytes: measured.mean_bytes as f32,
        p95_bytes: measured.p95_bytes as u32,
        drop: measured.drop as f32,
    };
    let steps = steps.iter().map(step).collect();
    Ok(Some(CodingLadder::new(
        images,
        u32::try_from(judged)?,
        steps,
    )?))
}

/// The ladder of each coder that there can be for tensors of this shape, cut as a stream is that does
/// not ask for anything else.
fn ladders(shape: Shape, clip: ClipRange) -> Result<Vec<Ladder>> {
    let quantiser = |levels| Quantiser::new(clip, levels);
    let [finest, coarser @ ..] = LEVELS;
    let map = Map::random_for(1, shape, finest, Map::SLICE_BYTES);
    let best = Format::new(shape, quantiser(finest)?, map, Coder::Raw)?;
    let raw = coarser.map(|levels| Step {
        levels,
        coder: Coder::Raw,
    });
    let [best_quality, qualities @ ..] = QUALITIES;
    let jpeg = |quality| Coder::Jpeg { quality };
    let map = Map::mosaic_for(
        shape,
        JPEG_LEVELS,
        jpeg(best_quality),
        Map::JPEG_SLICE_BYTES,
    );
    let on_mosaic = Format::new(shape, quantiser(JPEG_LEVELS)?, map, jpeg(best_quality));
    let further = qualities.map(|quality| Step {
        levels: JPEG_LEVELS,
        coder: jpeg(quality),
    });
    let mut ladders = vec![Ladder::new(best, &raw)?];
    match on_mosaic {
        Ok(best) => ladders.push(Ladder::new(best, &further)?),
        // Tensors of a shape that no mosaic takes go without JPEG.
        Err(FormatError::Mosaic { .. } | FormatError::Slices(_)) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(ladders)
}

/// What a thread needs for one ladder.
struct Codec<'a> {
    ladder: &'a Ladder,
    encoder: Encoder,
    decoder: Decoder,
    decoded: Decoded,
}

impl<'a> Codec<'a> {
    fn new(ladder: &'a Ladder) -> Self {
        Self {
            ladder,
            encoder: Encoder::new(ladder.best()),
            decoder: Decoder::new(ladder.best()),
            decoded: Decoded::new(ladder.best().shape()),
        }
    }
}

/// The rest of the model, and the class that it should find.
struct Judge<'a> {
    cloud: &'a CloudModel,
    label: usize,
}

impl Judge<'_> {
    fn is_right(&self, tensor: &Array3<f32>) -> Result<bool> {
        match self.cloud.run(tensor.view()) {
            Ok(logits) => {
                Ok(top_k(&logits, 1).first().map(|(class, _)| *class) == Some(self.label))
            }
            Err(ModelError::NotFinite) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

fn code(
    codecs: &mut [Codec<'_>],
    tensor: &Array3<f32>,
    judge: Option<&Judge<'_>>,
) -> Result<Image> {
    let (mut bytes, mut right) = (vec![], vec![]);
    for codec in codecs {
        for format in codec.ladder.formats() {
            codec.encoder.switch(format);
            let coded = codec.encoder.encode(tensor.view())?;
            bytes.push(coded.bytes().len());
            if let Some(judge) = judge {
                codec.decoder.switch(format);
                let slice = |slice| Some(coded.slice(slice));
                codec.decoder.decode_into(slice, &mut codec.decoded);
                right.push(judge.is_right(&codec.decoded.tensor)?);
            }
        }
    }
    let whole = judge.map(|judge| judge.is_right(tensor)).transpose()?;
    Ok(Image {
        bytes,
        right: whole.map(|whole| (whole, right)),
    })
}

/// The steps in order, those of a coder that help nobody left out.
fn summarise(steps: &[Step], images: &[Image]) -> Vec<Measured> {
    let mut found: Vec<Measured> = vec![];
    for (number, &step) in steps.iter().enumerate() {
        let bytes = images.iter().filter_map(|image| image.bytes.get(number));
        let bytes: Vec<f64> = bytes.map(|&bytes| bytes as f64).collect();
        let mean_bytes = bytes.iter().sum::<f64>() / bytes.len().max(1) as f64;
        let Some(p95_bytes) = Percentiles::of(bytes).at(GREATEST) else {
            continue;
        };
        // Small tensors do not get smaller by every step.
        let same_coder = |before: &&Measured| is_raw(before.step) == is_raw(step);
        let before = found.last().filter(same_coder);
        if p95_bytes < 1.0 || before.is_some_and(|before| before.p95_bytes <= p95_bytes) {
            continue;
        }
        let mut tally = Tally::default();
        for (whole, right) in images.iter().filter_map(|image| image.right.as_ref()) {
            tally.add(*whole, right.get(number..=number).unwrap_or_default());
        }
        found.push(Measured {
            step,
            images: images.len(),
            mean_bytes,
            p95_bytes,
            accuracy: tally.accuracy(),
            drop: 0.0,
        });
    }
    // Coarser never helps, and where it seems to, the measurement was too small to tell.
    for steps in found.chunk_by_mut(|a, b| is_raw(a.step) == is_raw(b.step)) {
        let drop = |step: &Measured| step.accuracy.map_or(0.0, |accuracy| 100.0 * accuracy.drop);
        let drops: Vec<(f64, f64)> = steps.iter().map(|step| (drop(step), 1.0)).collect();
        for (step, drop) in steps.iter_mut().zip(rising(&drops)) {
            step.drop = drop.min(100.0);
        }
    }
    found
}

fn is_raw(step: Step) -> bool {
    step.coder == Coder::Raw
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::evaluate::EdgePart;

    fn raw(levels: u16) -> Step {
        Step {
            levels,
            coder: Coder::Raw,
        }
    }

    fn jpeg(quality: u8) -> Step {
        Step {
            levels: 256,
            coder: Coder::Jpeg { quality },
        }
    }

    #[test]
    fn steps_get_smaller_and_no_better() {
        let steps = [raw(256), raw(129), raw(16), jpeg(95), jpeg(20)];
        let image = |jpeg: usize, right: [bool; 5]| Image {
            bytes: vec![100, 100, 50, 90 + jpeg, 10 + jpeg],
            right: Some((true, right.to_vec())),
        };
        let mut images = vec![
            image(0, [false, true, true, true, false]),
            image(5, [true, true, true, true, true]),
        ];
        images.extend((0..18).map(|_| image(3, [true; 5])));
        // Bytes alone.
        images.push(Image {
            right: None,
            ..image(70, [true; 5])
        });
        let found = summarise(&steps, &images);
        let kept: Vec<Step> = found.iter().map(|step| step.step).collect();
        assert_eq!(kept, [raw(256), raw(16), jpeg(95), jpeg(20)]);
        let drops: Vec<f64> = found.iter().map(|step| step.drop).collect();
        // 5 points and none are pooled, and JPEG begins anew.
        assert_eq!(drops, [2.5, 2.5, 0.0, 5.0]);
        assert_eq!(found[2].p95_bytes, 95.0);
        assert!((found[2].mean_bytes - (21.0 * 90.0 + 5.0 + 54.0 + 70.0) / 21.0).abs() < 1e-9);
        let section = section(&found).unwrap().unwrap();
        assert_eq!(
            (section.bytes_images(), section.accuracy_images()),
            (21, 20)
        );
        assert_eq!(section.steps()[3].coder, StepCoder::Jpeg { quality: 20 });
        assert_eq!(super::section(&[]).unwrap(), None);
    }

    #[test]
    fn coarser_levels_cost_accuracy_on_the_images_that_are_judged() {
        let options = crate::options::ModelOptions {
            model: None,
            description: None,
            split: None,
        };
        let loaded = options.load().unwrap();
        let dataset = crate::embedded::images().unwrap();
        let dataset = dataset.select(&"0..60".parse().unwrap()).unwrap();
        let source = Source {
            edge: &EdgePart::new(&loaded).unwrap(),
            loaded: &loaded,
            dataset: &dataset,
        };
        let side = loaded.bundle(None).unwrap().unwrap();
        let clip = ClipRange::new(side.bundle.clip().low, side.bundle.clip().high).unwrap();
        let found = |hold_out, judged| {
            let images = Images::split(&dataset, hold_out).unwrap();
            measure(&source, &images, clip, judged).unwrap()
        };
        let steps = found(0.5, 50);
        assert_eq!(steps.len(), LEVELS.len() + QUALITIES.len());
        assert!(steps.iter().all(|step| step.images == 60));
        let accuracy = |number: usize| steps[number].accuracy.unwrap();
        assert!((0..steps.len()).all(|number| accuracy(number).samples == 50));
        assert_eq!((accuracy(0).drop, steps[0].drop), (0.0, 0.0));
        assert!(accuracy(4).drop > 0.0 && steps[4].drop > 0.0, "two bits");
        let bytes_only = found(0.0, 50);
        assert!(bytes_only.iter().all(|step| step.accuracy.is_none()));
        let bytes =
            |steps: &[Measured]| steps.iter().map(|step| step.p95_bytes).collect::<Vec<_>>();
        assert_eq!(bytes(&bytes_only), bytes(&steps));
    }

    #[test]
    fn a_shape_that_no_mosaic_takes_goes_without_jpeg() {
        let clip = ClipRange::new(0.0, 1.0).unwrap();
        let of = |shape: (u32, u32, u32)| {
            let shape = Shape::new(shape.0, shape.1, shape.2).unwrap();
            let ladders = ladders(shape, clip).unwrap();
            ladders.iter().map(Ladder::len).collect::<Vec<_>>()
        };
        assert_eq!(of((48, 14, 14)), [5, 7]);
        assert_eq!(of((1, 1, 65_529)), [5]);
        assert_eq!(of((1, 1, 1)), [5, 7]);
    }
}
