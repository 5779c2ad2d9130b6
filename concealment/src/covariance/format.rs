//! The section COVARIANCE of a bundle (`spec/bundle-format.md`).

#![deny(clippy::indexing_slicing)]

use super::{
    Covariance,
    factor::{Factor, MAX_ROW_SCALE, Row},
    window::{Layout, Reach},
};
use crate::{Section, SectionError};

impl Covariance {
    /// Appends the content of the section.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let neighbours = u16::try_from(self.reach.neighbours()).unwrap_or(0);
        out.extend(neighbours.to_be_bytes());
        out.extend(self.scales.iter().flat_map(|scale| scale.to_be_bytes()));
        for row in self.factors.iter().flat_map(|factor| &factor.rows) {
            out.extend(row.scale.to_be_bytes());
            let steps = row.window.iter().chain(&row.own);
            out.extend(steps.flat_map(|steps| steps.to_be_bytes()));
        }
    }

    /// Reads the content of the section, in a bundle of tensors of this shape.
    ///
    /// # Errors
    ///
    /// [`SectionError`] with the rule that the bytes break. No more is allocated than the bytes
    /// call for.
    pub(crate) fn decode(bytes: &[u8], shape: (usize, usize, usize)) -> Result<Self, SectionError> {
        if !Self::is_supported(shape) {
            return Err(broken("the tensor has more channels than a covariance may"));
        }
        let (channels, height, width) = shape;
        let mut cursor = Cursor(bytes);
        let neighbours = usize::from(u16::from_be_bytes(cursor.take()?));
        let reach = Reach::ALL
            .into_iter()
            .find(|reach| reach.neighbours() == neighbours)
            .ok_or_else(|| broken("a window has 4, 8 or 12 pixels"))?;
        let layout = Layout::new(height, width, reach);
        let pixels: Vec<usize> = layout.windows().iter().map(Vec::len).collect();
        if bytes.len() != length(channels, &pixels) {
            return Err(broken("the length does not fit the window and the shape"));
        }
        let scales = (0..channels)
            .map(|_| cursor.scale(f32::MAX))
            .collect::<Result<_, _>>()?;
        let factors = pixels
            .into_iter()
            .map(|pixels| {
                let rows = (0..channels).map(|channel| {
                    let scale = cursor.scale(MAX_ROW_SCALE)?;
                    let window = cursor.steps(pixels * channels)?;
                    let own = cursor.steps(channel + 1)?;
                    if own.last().is_none_or(|&last| last < 1) {
                        return Err(broken("an entry's own coefficient is positive"));
                    }
                    Ok(Row { scale, window, own })
                });
                Ok(Factor {
                    rows: rows.collect::<Result<_, _>>()?,
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            shape,
            reach,
            scales,
            factors,
        })
    }
}

/// Bytes of the section for windows of these numbers of pixels. Cannot overflow within the limits.
fn length(channels: usize, pixels: &[usize]) -> usize {
    let steps = |pixels: &usize| pixels * channels * channels + channels * (channels + 1) / 2;
    2 + 4 * channels
        + pixels
            .iter()
            .map(|pixels| 4 * channels + 2 * steps(pixels))
            .sum::<usize>()
}

const fn broken(rule: &'static str) -> SectionError {
    SectionError::new(Section::Covariance, rule)
}

/// What is left to read.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], SectionError> {
        let (taken, rest) = self
            .0
            .split_first_chunk()
            .ok_or_else(|| broken("the section ends early"))?;
        self.0 = rest;
        Ok(*taken)
    }

    /// A normal positive number of at most `most`.
    fn scale(&mut self, most: f32) -> Result<f32, SectionError> {
        let scale = f32::from_be_bytes(self.take()?);
        if (f32::MIN_POSITIVE..=most).contains(&scale) {
            Ok(scale)
        } else {
            Err(broken("a scale is a positive, normal number in its range"))
        }
    }

    fn steps(&mut self, number: usize) -> Result<Vec<i16>, SectionError> {
        let (taken, rest) = number
            .checked_mul(2)
            .and_then(|bytes| self.0.split_at_checked(bytes))
            .ok_or_else(|| broken("the section ends early"))?;
        self.0 = rest;
        let (steps, _) = taken.as_chunks();
        Ok(steps
            .iter()
            .map(|&steps| i16::from_be_bytes(steps))
            .collect())
    }
}
