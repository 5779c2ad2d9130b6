//! The shape of a tensor, and how many entries one may have.

use std::fmt;

use crate::format::FormatError;

/// The largest number of entries of a tensor: 4 Mi, 16 MiB of `f32`.
///
/// Five times the largest residual tensor of common image classifiers (256×56×56). Together with
/// [`MAX_MOSAIC_SAMPLES`](crate::MAX_MOSAIC_SAMPLES) and [`MAX_SLICES`](crate::MAX_SLICES) it
/// bounds all memory that a peer's stream description can make an [`Encoder`](crate::Encoder) or
/// a [`Decoder`](crate::Decoder) allocate.
pub const MAX_ENTRIES: usize = 1 << 22;

/// Channels, rows and columns of a tensor, C×H×W.
///
/// No side is zero and the entries are at most [`MAX_ENTRIES`], so every index of an entry fits
/// into a `u32`. Entries are numbered in row-major order: `(c × height + y) × width + x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    channels: u32,
    height: u32,
    width: u32,
}

impl Shape {
    /// A tensor of `channels` channels of `height` rows and `width` columns each.
    ///
    /// # Errors
    /// [`FormatError::Shape`] for a side of zero, or for more than [`MAX_ENTRIES`] entries.
    pub fn new(channels: u32, height: u32, width: u32) -> Result<Self, FormatError> {
        let entries = u64::from(channels)
            .checked_mul(u64::from(height))
            .and_then(|plane| plane.checked_mul(u64::from(width)));
        match entries {
            Some(entries) if entries > 0 && entries <= MAX_ENTRIES as u64 => Ok(Self {
                channels,
                height,
                width,
            }),
            _ => Err(FormatError::Shape {
                channels,
                height,
                width,
            }),
        }
    }

    /// The shape of an array, from [`ndarray::ArrayBase::dim`].
    ///
    /// # Errors
    /// As [`Shape::new`]; sides beyond `u32` are reported as `u32::MAX`.
    pub fn of((channels, height, width): (usize, usize, usize)) -> Result<Self, FormatError> {
        let side = |side: usize| u32::try_from(side).unwrap_or(u32::MAX);
        Self::new(side(channels), side(height), side(width))
    }

    /// Number of channels.
    #[must_use]
    pub const fn channels(self) -> u32 {
        self.channels
    }

    /// Rows of a channel.
    #[must_use]
    pub const fn height(self) -> u32 {
        self.height
    }

    /// Columns of a channel.
    #[must_use]
    pub const fn width(self) -> u32 {
        self.width
    }

    /// The sides as `ndarray` takes them: (channels, height, width).
    #[must_use]
    pub const fn dim(self) -> (usize, usize, usize) {
        (
            self.channels as usize,
            self.height as usize,
            self.width as usize,
        )
    }

    /// Number of entries, 1 to [`MAX_ENTRIES`].
    #[must_use]
    pub const fn entries(self) -> usize {
        self.channels as usize * self.height as usize * self.width as usize
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}×{}×{}", self.channels, self.height, self.width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_kept_and_shown() {
        let shape = Shape::new(40, 28, 14).unwrap();
        assert_eq!(shape.dim(), (40, 28, 14));
        assert_eq!(shape.entries(), 15_680);
        assert_eq!(shape.to_string(), "40×28×14");
        assert_eq!(Shape::of((40, 28, 14)), Ok(shape));
    }

    #[test]
    fn empty_and_oversized_tensors_are_refused() {
        for (c, h, w) in [
            (0, 1, 1),
            (1, 0, 1),
            (1, 1, 0),
            (u32::MAX, u32::MAX, u32::MAX),
        ] {
            let expected = FormatError::Shape {
                channels: c,
                height: h,
                width: w,
            };
            assert_eq!(Shape::new(c, h, w), Err(expected));
        }
        assert!(Shape::new(1, 2048, 2048).is_ok());
        assert!(Shape::new(1, 2048, 2049).is_err());
        assert!(Shape::of((usize::MAX, 1, 1)).is_err());
    }
}
