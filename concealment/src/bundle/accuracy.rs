//! The section ACCURACY: what a missing share of the tensor costs.

use super::{
    BundleError, Section, SectionError,
    bytes::{word32, wrong_length},
};
use crate::{kind::LossKind, limits};

/// One measured point of an [`AccuracyCurve`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AccuracyPoint {
    /// Share of the entries that were missing, 0 to 1.
    pub share: f32,
    /// Points of accuracy lost against the whole tensor, −100 to 100; a point is one per cent of
    /// the images. Negative where the measurement came out so.
    pub drop: f32,
}

/// How many points of accuracy a missing share costs, after concealment, as measured with one kind
/// of loss.
#[derive(Debug, Clone, PartialEq)]
pub struct AccuracyCurve {
    kind: LossKind,
    points: Vec<AccuracyPoint>,
}

impl AccuracyCurve {
    /// A curve through these points, measured with losses of this kind.
    ///
    /// # Errors
    ///
    /// [`SectionError`] unless there are 1 to [`MAX_ACCURACY_POINTS`](limits::MAX_ACCURACY_POINTS)
    /// points, the first at a share of 0, the shares strictly ascending up to at most 1, and every
    /// drop between −100 and 100.
    pub fn new(kind: LossKind, points: Vec<AccuracyPoint>) -> Result<Self, SectionError> {
        let broken = |rule| Err(SectionError::new(Section::Accuracy, rule));
        if points.len() > limits::MAX_ACCURACY_POINTS {
            return broken("more points than the limit");
        }
        if points.first().is_none_or(|point| point.share != 0.0) {
            return broken("the first point is at a missing share of 0");
        }
        let shares_fit = points.is_sorted_by(|a, b| a.share < b.share)
            && points.iter().all(|point| point.share <= 1.0);
        if !shares_fit {
            return broken("missing shares are strictly ascending and at most 1");
        }
        if !points.iter().all(|point| point.drop.abs() <= 100.0) {
            return broken("a drop is between -100 and 100 points");
        }
        Ok(Self { kind, points })
    }

    /// The kind of loss it was measured with.
    #[must_use]
    pub const fn kind(&self) -> LossKind {
        self.kind
    }

    /// The measured points, shares strictly ascending from 0.
    #[must_use]
    pub fn points(&self) -> &[AccuracyPoint] {
        &self.points
    }

    /// The drop in points at a missing share (0 to 1): between two points on the line through them,
    /// beyond the last one on the line through the last two, and never more than 100.
    #[must_use]
    pub fn drop_at(&self, share: f32) -> f32 {
        let at = self.points.partition_point(|point| point.share < share);
        let last = self.points.len().saturating_sub(1);
        let (Some(low), Some(high)) = (
            self.points.get(at.min(last).saturating_sub(1)),
            self.points.get(at.min(last)),
        ) else {
            return 0.0;
        };
        let run = high.share - low.share;
        if run <= 0.0 {
            return high.drop;
        }
        let slope = (high.drop - low.drop) / run;
        (low.drop + slope * (share - low.share)).clamp(-100.0, 100.0)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![self.kind.code()];
        bytes.extend(word32(self.points.len()));
        for point in &self.points {
            bytes.extend(point.share.to_be_bytes());
            bytes.extend(point.drop.to_be_bytes());
        }
        bytes
    }

    pub(super) fn decode(content: &[u8]) -> Result<Self, BundleError> {
        let section = Section::Accuracy;
        let (&code, rows) = content
            .split_first()
            .ok_or_else(|| wrong_length(section, content))?;
        let rows = super::bytes::read_rows::<8>(section, rows)?;
        let kind = LossKind::from_code(code).ok_or(BundleError::Value { section })?;
        let points = rows.iter().map(|&[a, b, c, d, e, f, g, h]| AccuracyPoint {
            share: f32::from_be_bytes([a, b, c, d]),
            drop: f32::from_be_bytes([e, f, g, h]),
        });
        Ok(Self::new(kind, points.collect())?)
    }
}
