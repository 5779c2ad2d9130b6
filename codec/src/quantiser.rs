//! Uniform quantisation of entries to levels.

use crate::format::FormatError;
use crate::range::ClipRange;

/// A uniform quantiser: `levels` values spread evenly over a clip range, both ends included.
///
/// Level k stands for low + (high − low) × k / (levels − 1). An entry inside the range is off by at
/// most half a [`step`](Quantiser::step) after quantisation; one outside is clipped first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantiser {
    range: ClipRange,
    levels: u16,
}

impl Quantiser {
    /// A quantiser of 2 to 256 levels.
    ///
    /// 7 levels over ±3σ cost ResNet-34 no top-1 accuracy in the thesis this project starts from;
    /// 256 levels are below the noise of `f32` inference in practice.
    ///
    /// # Errors
    /// [`FormatError::Levels`] beyond 2 to 256.
    pub fn new(range: ClipRange, levels: u16) -> Result<Self, FormatError> {
        if (2..=256).contains(&levels) {
            Ok(Self { range, levels })
        } else {
            Err(FormatError::Levels(levels))
        }
    }

    /// The clip range.
    #[must_use]
    pub const fn range(self) -> ClipRange {
        self.range
    }

    /// Number of levels, 2 to 256.
    #[must_use]
    pub const fn levels(self) -> u16 {
        self.levels
    }

    /// The highest level, levels − 1.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "levels are at most 256")]
    pub const fn top(self) -> u8 {
        (self.levels - 1) as u8
    }

    /// Bits that one level takes in raw packing: ⌈log₂ levels⌉, 1 to 8.
    #[must_use]
    pub const fn bits(self) -> u32 {
        bits_for(self.levels)
    }

    /// The distance of two neighbouring levels.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "rounding to the entries' own precision"
    )]
    pub fn step(self) -> f32 {
        (self.span() / f64::from(self.top())) as f32
    }

    /// The level nearest to `x`, after clipping. NaN becomes level 0: an
    /// [`Encoder`](crate::Encoder) refuses it before.
    #[must_use]
    pub fn quantise(self, x: f32) -> u8 {
        self.kernel().level(x)
    }

    /// The value that `level` stands for; a level that does not exist counts as the highest.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "rounding to the entries' own precision"
    )]
    pub fn dequantise(self, level: u8) -> f32 {
        let level = level.min(self.top());
        (f64::from(self.range.low()) + self.span() * f64::from(level) / f64::from(self.top()))
            as f32
    }

    /// The constants of [`Quantiser::quantise`], computed once for many entries.
    pub(crate) fn kernel(self) -> Kernel {
        let top = f64::from(self.top());
        Kernel {
            low: f64::from(self.range.low()),
            scale: top / self.span(),
            top,
        }
    }

    /// The value of every level, as a table.
    pub(crate) fn values(self) -> [f32; 256] {
        std::array::from_fn(|level| self.dequantise(u8::try_from(level).unwrap_or(u8::MAX)))
    }

    /// The JPEG sample of every level: level × 255 / top, rounded to nearest.
    pub(crate) fn samples(self) -> [u8; 256] {
        let top = usize::from(self.top());
        std::array::from_fn(|level| {
            let sample = (level.min(top) * 510 + top) / (2 * top);
            u8::try_from(sample).unwrap_or(u8::MAX)
        })
    }

    /// The value of every JPEG sample: low + (high − low) × sample / 255.
    pub(crate) fn sample_values(self) -> [f32; 256] {
        Self {
            levels: 256,
            ..self
        }
        .values()
    }

    fn span(self) -> f64 {
        f64::from(self.range.high()) - f64::from(self.range.low())
    }
}

/// ⌈log₂ levels⌉, at least 1 and at most 8, whatever was asked for.
pub(crate) const fn bits_for(levels: u16) -> u32 {
    match levels {
        0..=2 => 1,
        3..=256 => (levels - 1).ilog2() + 1,
        _ => 8,
    }
}

/// What the loop over entries needs of a [`Quantiser`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernel {
    low: f64,
    scale: f64,
    top: f64,
}

impl Kernel {
    /// 2⁵²: a double at or above it holds no fraction, so adding it rounds to nearest and leaves
    /// the integer in the low bits. Unlike `round() as u8`, compilers turn this into vector code.
    const ROUND: f64 = 4_503_599_627_370_496.0;

    /// The level nearest to `x`.
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "clamped to 0 to 255 before"
    )]
    pub(crate) fn level(self, x: f32) -> u8 {
        let position = (f64::from(x) - self.low) * self.scale;
        (position.max(0.0).min(self.top) + Self::ROUND).to_bits() as u8
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quantiser(low: f32, high: f32, levels: u16) -> Quantiser {
        Quantiser::new(ClipRange::new(low, high).unwrap(), levels).unwrap()
    }

    #[test]
    fn levels_are_2_to_256() {
        let range = ClipRange::new(0.0, 1.0).unwrap();
        for levels in [0, 1, 257, u16::MAX] {
            assert_eq!(
                Quantiser::new(range, levels),
                Err(FormatError::Levels(levels))
            );
        }
    }

    #[test]
    fn bits_hold_every_level() {
        let expected = [
            (2, 1),
            (3, 2),
            (4, 2),
            (5, 3),
            (7, 3),
            (8, 3),
            (9, 4),
            (128, 7),
        ];
        for (levels, bits) in expected {
            assert_eq!(quantiser(0.0, 1.0, levels).bits(), bits, "{levels} levels");
        }
        assert_eq!(quantiser(0.0, 1.0, 129).bits(), 8);
        assert_eq!(quantiser(0.0, 1.0, 256).bits(), 8);
    }

    #[test]
    fn ends_and_middle_are_levels() {
        let q = quantiser(-3.0, 3.0, 7);
        for (x, level) in [
            (-9.0, 0),
            (-3.0, 0),
            (-1.6, 1),
            (0.0, 3),
            (0.4, 3),
            (3.0, 6),
            (9.9, 6),
        ] {
            assert_eq!(q.quantise(x), level, "{x}");
        }
        assert_eq!(q.dequantise(0), -3.0);
        assert_eq!(q.dequantise(3), 0.0);
        assert_eq!(q.dequantise(6), 3.0);
        assert_eq!(q.dequantise(255), 3.0);
        assert_eq!(q.quantise(f32::NAN), 0);
    }

    #[test]
    fn samples_stretch_levels_over_a_byte() {
        let samples = quantiser(0.0, 1.0, 7).samples();
        assert_eq!(samples[..7], [0, 43, 85, 128, 170, 213, 255]);
        let samples = quantiser(0.0, 1.0, 256).samples();
        assert!((0..=255).all(|k| samples[usize::from(k)] == k));
        let values = quantiser(-1.0, 1.0, 2).sample_values();
        assert_eq!((values[0], values[255]), (-1.0, 1.0));
    }

    proptest! {
        #[test]
        fn an_entry_is_off_by_at_most_half_a_step(
            low in -1e6f32..1e6, width in 1e-3f32..1e6, at in -0.5f32..1.5, levels in 2u16..=256,
        ) {
            let high = low + width;
            prop_assume!(low < high);
            let q = quantiser(low, high, levels);
            let x = low + at * width;
            let back = q.dequantise(q.quantise(x));
            let step = (f64::from(high) - f64::from(low)) / f64::from(levels - 1);
            // Besides half a step, only the rounding of the result to f32.
            let rounding = f64::from(low.abs().max(high.abs()).next_up() - low.abs().max(high.abs()));
            let error = (f64::from(back) - f64::from(q.range().clip(x))).abs();
            prop_assert!(error <= 0.5 * step * (1.0 + 1e-9) + rounding, "{error} of step {step}");
        }

        #[test]
        fn every_level_survives(low in -1e3f32..1e3, width in 1.0f32..1e3, levels in 2u16..=256) {
            let q = quantiser(low, low + width, levels);
            for level in 0..=q.top() {
                prop_assert_eq!(q.quantise(q.dequantise(level)), level);
            }
        }
    }
}
