//! The section LADDER: what each way of coding takes in bytes, and costs in accuracy.

use super::{
    BundleError, Section, SectionError,
    bytes::{size, word32, wrong_length},
};
use crate::limits;

/// How the levels of a coded tensor become bytes (`spec/payload-format.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum StepCoder {
    /// Packed levels.
    Raw,
    /// Restart intervals of a JPEG of this quality, 1 to 100.
    Jpeg {
        /// Scales the quantisation table.
        quality: u8,
    },
}

/// One way of coding, as measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CodingStep {
    /// How levels become bytes.
    pub coder: StepCoder,
    /// Levels of the quantiser, 2 to 256.
    pub levels: u16,
    /// Bytes of a coded tensor, all slices together, on average; above 0.
    pub mean_bytes: f32,
    /// Bytes that 95 % of the tensors do not exceed; at least 1.
    pub p95_bytes: u32,
    /// Points of accuracy lost against the tensor as it was, 0 to 100; 0 where no accuracy was
    /// measured.
    pub drop: f32,
}

/// Ways of coding the tensors of a split, for a sender that has to choose one for each tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct CodingLadder {
    bytes_images: u32,
    accuracy_images: u32,
    steps: Vec<CodingStep>,
}

impl StepCoder {
    /// Code of the coder and quality, as on file.
    const fn codes(self) -> (u8, u8) {
        match self {
            Self::Raw => (0, 0),
            Self::Jpeg { quality } => (1, quality),
        }
    }

    /// `None` for a coder that this version does not know.
    fn from_codes(coder: u8, quality: u8) -> Option<Self> {
        match coder {
            0 => Some(Self::Raw),
            1 => Some(Self::Jpeg { quality }),
            _ => None,
        }
    }
}

impl CodingLadder {
    /// Steps whose bytes were measured on `bytes_images` images, and whose accuracy on
    /// `accuracy_images`: those of one coder together and best first, raw before JPEG.
    ///
    /// # Errors
    ///
    /// [`SectionError`] unless bytes were measured on an image, there are 1 to
    /// [`MAX_LADDER_STEPS`](limits::MAX_LADDER_STEPS) steps, levels and qualities are in range, and
    /// from step to step of a coder `p95_bytes` gets smaller and `drop` does not.
    pub fn new(
        bytes_images: u32,
        accuracy_images: u32,
        steps: Vec<CodingStep>,
    ) -> Result<Self, SectionError> {
        let broken = |rule| Err(SectionError::new(Section::Ladder, rule));
        if bytes_images == 0 {
            return broken("bytes are measured on at least one image");
        }
        if steps.is_empty() || steps.len() > limits::MAX_LADDER_STEPS {
            return broken("there is at least one step, and no more than the limit");
        }
        let settings_fit = |step: &CodingStep| {
            let quality_fits = match step.coder {
                StepCoder::Raw => true,
                StepCoder::Jpeg { quality } => (1..=100).contains(&quality),
            };
            quality_fits && (2..=256).contains(&step.levels)
        };
        if !steps.iter().all(settings_fit) {
            return broken("levels are 2 to 256, and qualities 1 to 100");
        }
        let bytes_fit = |step: &CodingStep| {
            step.mean_bytes.is_finite() && step.mean_bytes > 0.0 && step.p95_bytes > 0
        };
        if !steps.iter().all(bytes_fit) {
            return broken("a tensor takes bytes");
        }
        let drop_fits = |step: &CodingStep| {
            (0.0..=100.0).contains(&step.drop) && (accuracy_images > 0 || step.drop == 0.0)
        };
        if !steps.iter().all(drop_fits) {
            return broken("a drop is between 0 and 100 points, and 0 where none was measured");
        }
        let order = |a: &CodingStep, b: &CodingStep| {
            let (first, second) = (a.coder.codes().0, b.coder.codes().0);
            first < second || (first == second && a.p95_bytes > b.p95_bytes && a.drop <= b.drop)
        };
        if !steps.is_sorted_by(order) {
            return broken("steps are by coder, and then get smaller and no better");
        }
        Ok(Self {
            bytes_images,
            accuracy_images,
            steps,
        })
    }

    /// Images that bytes were measured on.
    #[must_use]
    pub const fn bytes_images(&self) -> u32 {
        self.bytes_images
    }

    /// Images that accuracy was measured on; with 0 the drops say nothing.
    #[must_use]
    pub const fn accuracy_images(&self) -> u32 {
        self.accuracy_images
    }

    /// All steps: raw before JPEG, each coder's best first.
    #[must_use]
    pub fn steps(&self) -> &[CodingStep] {
        &self.steps
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = word32(self.steps.len()).to_vec();
        bytes.extend(self.bytes_images.to_be_bytes());
        bytes.extend(self.accuracy_images.to_be_bytes());
        for step in &self.steps {
            let (coder, quality) = step.coder.codes();
            bytes.extend([coder, quality]);
            bytes.extend(step.levels.to_be_bytes());
            bytes.extend(step.mean_bytes.to_be_bytes());
            bytes.extend(step.p95_bytes.to_be_bytes());
            bytes.extend(step.drop.to_be_bytes());
        }
        bytes
    }

    /// Steps of a coder that this version does not know are left out; none if no other is there.
    pub(super) fn decode(content: &[u8]) -> Result<Option<Self>, BundleError> {
        let section = Section::Ladder;
        let wrong = || wrong_length(section, content);
        let (&[count, on_bytes, on_accuracy], rows) = content
            .split_at_checked(12)
            .and_then(|(head, rows)| Some((head.as_chunks().0.first_chunk()?, rows)))
            .ok_or_else(wrong)?;
        let (rows, []) = rows.as_chunks::<16>() else {
            return Err(wrong());
        };
        if rows.len() != size(count) {
            return Err(wrong());
        }
        let coders_ascend = rows.is_sorted_by_key(|[coder, ..]| *coder);
        if !coders_ascend || !(1..=limits::MAX_LADDER_STEPS).contains(&rows.len()) {
            return Err(BundleError::Value { section });
        }
        let mut steps = Vec::with_capacity(rows.len());
        for &[
            coder,
            quality,
            l0,
            l1,
            m0,
            m1,
            m2,
            m3,
            p0,
            p1,
            p2,
            p3,
            d0,
            d1,
            d2,
            d3,
        ] in rows
        {
            let Some(coder) = StepCoder::from_codes(coder, quality) else {
                continue;
            };
            if coder == StepCoder::Raw && quality != 0 {
                return Err(BundleError::Value { section });
            }
            steps.push(CodingStep {
                coder,
                levels: u16::from_be_bytes([l0, l1]),
                mean_bytes: f32::from_be_bytes([m0, m1, m2, m3]),
                p95_bytes: u32::from_be_bytes([p0, p1, p2, p3]),
                drop: f32::from_be_bytes([d0, d1, d2, d3]),
            });
        }
        if steps.is_empty() {
            return Ok(None);
        }
        let images = [on_bytes, on_accuracy].map(u32::from_be_bytes);
        Ok(Some(Self::new(images[0], images[1], steps)?))
    }
}
