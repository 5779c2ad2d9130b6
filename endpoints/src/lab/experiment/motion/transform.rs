//! How a picture moves, and how its tensor should then.

use std::fmt;
use std::str::FromStr;

use ndarray::Array3;
use serde::Deserialize;

use crate::lab::experiment::values::by_name;

/// A movement of the whole picture, written `shift DOWN,RIGHT` (pixels of the input), `rotate DEGREES`
/// (anticlockwise) or `scale FACTOR` (above 1: nearer), the last two about the middle.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub(super) enum Transform {
    Shift { down: f64, right: f64 },
    Rotate { degrees: f64 },
    Scale { factor: f64 },
}

by_name!(Transform);

impl Transform {
    /// Where what is now at (y, x) was before, in an array of `height` × `width` whose entries each stand
    /// for `stride` pixels.
    fn before(self, (y, x): (f64, f64), (height, width): (f64, f64), stride: f64) -> (f64, f64) {
        let (middle_y, middle_x) = ((height - 1.0) / 2.0, (width - 1.0) / 2.0);
        let (from_y, from_x) = (y - middle_y, x - middle_x);
        let (from_y, from_x) = match self {
            Self::Shift { down, right } => (from_y - down / stride, from_x - right / stride),
            Self::Rotate { degrees } => {
                let (sin, cos) = degrees.to_radians().sin_cos();
                (cos * from_y + sin * from_x, cos * from_x - sin * from_y)
            }
            Self::Scale { factor } => (from_y / factor, from_x / factor),
        };
        (from_y + middle_y, from_x + middle_x)
    }

    /// The picture after it has moved: interpolated linearly, edges repeated.
    pub(super) fn apply(self, picture: &Array3<f32>) -> Array3<f32> {
        let (_, height, width) = picture.dim();
        let sides = (height as f64, width as f64);
        Array3::from_shape_fn(picture.dim(), |(c, y, x)| {
            let place = self.before((y as f64, x as f64), sides, 1.0);
            interpolated(picture, c, place)
        })
    }

    /// What the tensor before predicts for the tensor after, and where it does: entries that were within
    /// `margin` entries of an edge before, or are now, are left out.
    pub(super) fn compensate(
        self,
        before: &Array3<f32>,
        stride: f64,
        margin: f64,
    ) -> (Array3<f32>, Array3<bool>) {
        let (_, height, width) = before.dim();
        let sides = (height as f64, width as f64);
        let inside = |(y, x): (f64, f64)| {
            // An entry of rounding, so that whole shifts are exact.
            let room = margin - 1e-9;
            y >= room && x >= room && y <= sides.0 - 1.0 - room && x <= sides.1 - 1.0 - room
        };
        let place = |y: usize, x: usize| self.before((y as f64, x as f64), sides, stride);
        let covered = Array3::from_shape_fn(before.dim(), |(_, y, x)| {
            inside((y as f64, x as f64)) && inside(place(y, x))
        });
        let predicted = Array3::from_shape_fn(before.dim(), |(c, y, x)| {
            interpolated(before, c, place(y, x))
        });
        (predicted, covered)
    }
}

/// The value at a place between entries, by the four around it; edges are repeated.
pub(super) fn interpolated(array: &Array3<f32>, c: usize, (y, x): (f64, f64)) -> f32 {
    let (_, height, width) = array.dim();
    let (y, x) = (
        y.clamp(0.0, height.saturating_sub(1) as f64),
        x.clamp(0.0, width.saturating_sub(1) as f64),
    );
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to the array"
    )]
    let (row, column) = (y.floor() as usize, x.floor() as usize);
    let (down, right) = (y - y.floor(), x - x.floor());
    let at = |dy: usize, dx: usize| {
        let place = (c, (row + dy).min(height - 1), (column + dx).min(width - 1));
        f64::from(array.get(place).copied().unwrap_or_default())
    };
    let above = at(0, 0) * (1.0 - right) + at(0, 1) * right;
    let below = at(1, 0) * (1.0 - right) + at(1, 1) * right;
    #[expect(clippy::cast_possible_truncation, reason = "a mean of such values")]
    let value = (above * (1.0 - down) + below * down) as f32;
    value
}

impl fmt::Display for Transform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shift { down, right } => write!(f, "shift {down},{right}"),
            Self::Rotate { degrees } => write!(f, "rotate {degrees}"),
            Self::Scale { factor } => write!(f, "scale {factor}"),
        }
    }
}

impl FromStr for Transform {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str| {
            text.trim()
                .parse::<f64>()
                .ok()
                .filter(|x| x.abs() <= 4096.0)
        };
        let parsed = text.split_once(' ').and_then(|(name, figures)| match name {
            "shift" => {
                let (down, right) = figures.split_once(',')?;
                Some(Self::Shift {
                    down: number(down)?,
                    right: number(right)?,
                })
            }
            "rotate" => number(figures).map(|degrees| Self::Rotate { degrees }),
            "scale" => {
                let factor = number(figures).filter(|factor| *factor >= 0.01);
                factor.map(|factor| Self::Scale { factor })
            }
            _ => None,
        });
        parsed.ok_or(
            "a movement is `shift DOWN,RIGHT` in pixels, `rotate DEGREES` or `scale FACTOR`, as in \
             `shift 16,-16`",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture() -> Array3<f32> {
        Array3::from_shape_fn((2, 9, 9), |(c, y, x)| {
            ((c + 3 * y * y + 7 * x) as f32).sin()
        })
    }

    #[test]
    fn movements_are_written_as_they_are_read() {
        for text in ["shift 16,-16", "shift 0.5,0", "rotate -5", "scale 1.1"] {
            assert_eq!(text.parse::<Transform>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "shift 3",
            "shift a,b",
            "rotate",
            "scale 0",
            "scale -1",
            "zoom 2",
        ] {
            assert!(text.parse::<Transform>().is_err(), "{text}");
        }
    }

    #[test]
    fn whole_shifts_move_entries() {
        let picture = picture();
        let shift = Transform::Shift {
            down: 2.0,
            right: -1.0,
        };
        let moved = shift.apply(&picture);
        assert_eq!(moved[[1, 5, 3]], picture[[1, 3, 4]]);
        // Pixels of stride 2 make half the shift of entries.
        let shift = Transform::Shift {
            down: 4.0,
            right: -2.0,
        };
        let (predicted, covered) = shift.compensate(&picture, 2.0, 0.0);
        for ((place, predicted), covered) in predicted.indexed_iter().zip(&covered) {
            let (c, y, x) = place;
            assert_eq!(*covered, y >= 2 && x <= 7);
            assert!(!covered || *predicted == picture[[c, y - 2, x + 1]]);
        }
        let (_, inner) = shift.compensate(&picture, 2.0, 1.0);
        assert!(!inner[[0, 2, 4]] && inner[[0, 3, 4]]);
        assert!(!inner[[0, 8, 4]] && inner[[0, 7, 4]]);
    }

    #[test]
    fn a_quarter_turn_moves_corners() {
        let picture = picture();
        let turned = Transform::Rotate { degrees: 90.0 }.apply(&picture);
        // Anticlockwise: what was at the right is at the top.
        assert!((turned[[0, 0, 4]] - picture[[0, 4, 8]]).abs() < 1e-5);
        let nearer = Transform::Scale { factor: 2.0 }.apply(&picture);
        assert_eq!(nearer[[0, 4, 4]], picture[[0, 4, 4]]);
        assert_eq!(nearer[[0, 6, 2]], picture[[0, 5, 3]]);
    }
}
