//! Pictures that move: the image before, for methods that look at the previous tensor.

use std::str::FromStr;

use ndarray::Array3;
use serde::Deserialize;

/// How far a picture moves from one image to the next, pixels of the model's input down and to the right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
#[non_exhaustive]
pub struct Motion {
    down: i16,
    right: i16,
}

impl Motion {
    /// The image before: everything where it was before it moved, edge pixels repeated.
    #[must_use]
    pub fn before(self, input: &Array3<f32>) -> Array3<f32> {
        let (_, height, width) = input.dim();
        let at = |place: usize, moved: i16, side: usize| {
            place
                .saturating_add_signed(moved.into())
                .min(side.saturating_sub(1))
        };
        Array3::from_shape_fn(input.dim(), |(c, y, x)| {
            let place = (c, at(y, self.down, height), at(x, self.right, width));
            input.get(place).copied().unwrap_or_default()
        })
    }
}

impl FromStr for Motion {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text.split_once(',').and_then(|(down, right)| {
            Some(Self {
                down: down.trim().parse().ok()?,
                right: right.trim().parse().ok()?,
            })
        });
        parsed.ok_or("two whole numbers are needed, as in 2,-1 for 2 pixels down and 1 to the left")
    }
}

impl TryFrom<String> for Motion {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moved_was_elsewhere_before() {
        let image = Array3::from_shape_fn((1, 3, 4), |(_, y, x)| (10 * y + x) as f32);
        let before = |text: &str| text.parse::<Motion>().unwrap().before(&image);
        assert_eq!(before("0,0"), image);
        // Two pixels down and one to the left: what is now at (2, 0) was at (0, 1).
        let moved = before("2,-1");
        assert_eq!(moved[[0, 0, 1]], image[[0, 2, 0]]);
        assert_eq!(moved[[0, 2, 0]], image[[0, 2, 0]]);
        assert!("2".parse::<Motion>().is_err() && "a,b".parse::<Motion>().is_err());
    }
}
