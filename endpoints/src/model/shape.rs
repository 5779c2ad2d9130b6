//! The shape of an image or of a feature tensor.

use std::fmt;

/// Channels × height × width of one image or one feature tensor, batch left out.
///
/// A vector of `n` entries is `n`×1×1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Dimensions {
    /// Channels, at least 1.
    pub channels: usize,
    /// Rows of a channel, at least 1.
    pub height: usize,
    /// Columns of a channel, at least 1.
    pub width: usize,
}

impl Dimensions {
    /// Reads a model's tensor shape of batch 1: `[1, c, h, w]`, `[1, c, l]` (taken as c×1×l) or
    /// `[1, c]` (taken as c×1×1).
    ///
    /// `None` for any other rank or batch, an axis of length 0, or more than `isize::MAX` bytes of
    /// f32.
    pub(super) fn of_tensor(shape: &[usize]) -> Option<Self> {
        let (channels, height, width) = match *shape {
            [1, c, h, w] => (c, h, w),
            [1, c, l] => (c, 1, l),
            [1, c] => (c, 1, 1),
            _ => return None,
        };
        let bytes = channels
            .checked_mul(height)?
            .checked_mul(width)?
            .checked_mul(4)?;
        (bytes > 0 && isize::try_from(bytes).is_ok()).then_some(Self {
            channels,
            height,
            width,
        })
    }

    /// Number of entries.
    pub const fn elements(self) -> usize {
        self.channels * self.height * self.width
    }

    /// Bytes of the tensor as f32, uncompressed.
    pub const fn bytes_f32(self) -> usize {
        4 * self.elements()
    }

    /// The same as a tuple, in the order of `ndarray`'s axes.
    pub const fn as_tuple(self) -> (usize, usize, usize) {
        (self.channels, self.height, self.width)
    }
}

impl fmt::Display for Dimensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}×{}×{}", self.channels, self.height, self.width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensor_shapes() {
        let of = |shape: &[usize]| Dimensions::of_tensor(shape).map(Dimensions::as_tuple);
        assert_eq!(of(&[1, 80, 14, 13]), Some((80, 14, 13)));
        assert_eq!(of(&[1, 197, 768]), Some((197, 1, 768)));
        assert_eq!(of(&[1, 1280]), Some((1280, 1, 1)));
        assert_eq!(of(&[2, 80, 14, 14]), None);
        assert_eq!(of(&[1, 80, 0, 14]), None);
        assert_eq!(of(&[80]), None);
        assert_eq!(of(&[1, 2, 3, 4, 5]), None);
        assert_eq!(of(&[1, usize::MAX, 2, 2]), None);
    }

    #[test]
    fn sizes() {
        let shape = Dimensions {
            channels: 80,
            height: 14,
            width: 14,
        };
        assert_eq!(shape.elements(), 15_680);
        assert_eq!(shape.bytes_f32(), 62_720);
        assert_eq!(shape.to_string(), "80×14×14");
    }
}
