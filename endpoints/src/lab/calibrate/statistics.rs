//! What the tensors of images look like: the statistics of a bundle.

use anyhow::{Context as _, Result};
use tensorwire_concealment::{
    AltecTable, Bundle, Calibration, CalibrationError, ClipRule, ImageDigest, Section,
};

use super::super::loss::LossMap;
use super::super::parallel::in_order;
use super::Source;

/// Fewest and most images that the weights of ALTeC are the mean of. They settle after some tens of
/// images, and each costs hundreds of times what the other statistics do.
const ALTEC_IMAGES: (usize, usize) = (20, 200);

/// Statistics that grow image by image.
#[derive(Clone, Debug)]
pub(super) struct Statistics {
    calibration: Calibration,
    altec: Option<Altec>,
}

/// The sum of the weights of single images.
#[derive(Clone, Debug)]
struct Altec {
    rows: usize,
    most: usize,
    images: usize,
    sums: Vec<f64>,
}

impl Statistics {
    /// Starts with nothing. With `altec` multiplications for the weights of ALTeC, or only the means
    /// and no covariance either.
    pub(super) fn new(source: &Source<'_>, altec: Option<f64>) -> Result<Self> {
        let shape = source.loaded.shape()?.as_tuple();
        let plain = Calibration::new(shape)?;
        let Some(multiplications) = altec else {
            return Ok(Self {
                calibration: plain,
                altec: None,
            });
        };
        let rows = LossMap::rows_of(shape.1);
        let trained = plain.clone().with_altec(rows);
        let calibration = match plain.clone().with_covariance() {
            // Without the section where there can be none; the report lists what there is.
            Err(CalibrationError::Unsupported { .. }) => plain,
            calibration => calibration?,
        };
        let altec = trained.is_ok().then(|| Altec {
            rows,
            most: altec_images(shape, rows, multiplications),
            images: 0,
            sums: vec![],
        });
        Ok(Self { calibration, altec })
    }

    /// Adds images of the source, in this order.
    pub(super) fn add(&mut self, source: &Source<'_>, images: &[usize]) -> Result<()> {
        let tensor = |index: usize| {
            let sample = source
                .dataset
                .get(*images.get(index).context("no such image")?)?;
            let digest = ImageDigest::from_sha256(sample.digest.as_bytes());
            Ok((source.edge.run(sample)?, digest))
        };
        // In order, as rounding makes sums depend on it.
        in_order(
            "calibrating",
            images.len(),
            || Ok(()),
            |(): &mut (), index| tensor(index),
            |(tensor, digest)| {
                self.calibration.add(tensor.view(), digest)?;
                Ok(())
            },
        )?;
        let Some(altec) = &mut self.altec else {
            return Ok(());
        };
        let shape = source.loaded.shape()?.as_tuple();
        let (rows, wanted) = (altec.rows, altec.most.saturating_sub(altec.images));
        // An image at a time, so that all cores take part: the table is the mean of single weights.
        let train = |(): &mut (), index: usize| {
            let (tensor, digest) = tensor(index)?;
            let mut one = Calibration::new(shape)?.with_altec(rows)?;
            one.add(tensor.view(), digest)?;
            let range = ClipRule::Given {
                low: 0.0,
                high: 1.0,
            };
            let bundle = one.finish("altec", [0; 32], range)?;
            Ok(bundle.altec().map(|table| table.weights().to_vec()))
        };
        in_order(
            "training ALTeC",
            images.len().min(wanted),
            || Ok(()),
            train,
            |weights| {
                altec.add(&weights.context("a table was asked for")?);
                Ok(())
            },
        )
    }

    /// The bundle of the images so far.
    pub(super) fn finish(self, source: &Source<'_>, rule: ClipRule) -> Result<Bundle> {
        let digest = *source.loaded.model.digest().as_bytes();
        let bundle = self
            .calibration
            .finish(&source.loaded.split, digest, rule)?;
        let channels = bundle.shape().0;
        match self.altec {
            Some(altec) => Ok(bundle.with_altec(altec.finish(channels)?)?),
            None => Ok(bundle),
        }
    }
}

impl Altec {
    fn add(&mut self, weights: &[f32]) {
        self.sums.resize(weights.len(), 0.0);
        for (sum, &weight) in self.sums.iter_mut().zip(weights) {
            *sum += f64::from(weight);
        }
        self.images += 1;
    }

    fn finish(self, channels: usize) -> Result<AltecTable> {
        let images = self.images.max(1) as f64;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a mean of numbers of this type"
        )]
        let weights = self.sums.iter().map(|sum| (sum / images) as f32).collect();
        Ok(AltecTable::new(self.rows, channels, weights)?)
    }
}

/// How many images so many multiplications are enough for: an image takes, for each packet, an
/// eigendecomposition of a matrix whose side is the smaller of channels + 1 and the packet's entries.
fn altec_images((channels, height, width): Shape, rows: usize, multiplications: f64) -> usize {
    let packets = channels * height.div_ceil(rows);
    let side = (channels + 1).min(rows * width) as f64;
    let images = multiplications / (packets as f64 * side.powi(3));
    let (fewest, most) = ALTEC_IMAGES;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "saturates, and the clamp follows"
    )]
    (images as usize).clamp(fewest, most)
}

type Shape = (usize, usize, usize);

/// The sections of a bundle file with their lengths in bytes, in the order of the file
/// (`spec/bundle-format.md` sections 3 and 4).
pub(super) fn sections(file: &[u8]) -> Vec<(Section, usize)> {
    const ALL: [Section; 13] = [
        Section::Origin,
        Section::Shape,
        Section::Summary,
        Section::Clip,
        Section::Mean,
        Section::ChannelStd,
        Section::Images,
        Section::Covariance,
        Section::Altec,
        Section::Accuracy,
        Section::Importance,
        Section::Policy,
        Section::Ladder,
    ];
    const HEADER: usize = 12;
    let mut found = vec![];
    let mut rest = file.get(HEADER..).unwrap_or_default();
    while let Some((&[k0, k1, l0, l1, l2, l3], content)) = rest.split_first_chunk() {
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        let kind = u16::from_be_bytes([k0, k1]);
        let Some(after) = content.get(length..) else {
            break;
        };
        let section = ALL.into_iter().find(|section| section.kind() == kind);
        found.extend(section.map(|section| (section, length)));
        rest = after;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded;

    #[test]
    fn altec_takes_fewer_images_of_larger_tensors() {
        let images = |shape: Shape| altec_images(shape, LossMap::rows_of(shape.1), 8e9);
        assert_eq!(images((48, 14, 14)), 200);
        assert_eq!(images((512, 28, 28)), 20);
        assert!((20..100).contains(&images((128, 28, 28))));
    }

    #[test]
    fn sections_fill_the_file() {
        let file = embedded::bundle();
        let found = sections(file);
        let content: usize = found.iter().map(|(_, length)| length + 6).sum();
        assert_eq!(12 + content + 4, file.len());
        assert!(found.contains(&(Section::Mean, 48 * 14 * 14 * 4)));
        assert_eq!(sections(&[]), []);
    }
}
