//! The ways in which the tensors of one stream can be coded.

use crate::format::{Coder, Format, FormatError};

/// What may change from tensor to tensor: how many levels there are, and how they become bytes.
///
/// Shape, clip range and map stay, and with them the slices and their entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_structs,
    reason = "made by the caller, field by field"
)]
pub struct Step {
    /// Levels of the quantiser, 2 to 256.
    pub levels: u16,
    /// How the levels of a slice become bytes.
    pub coder: Coder,
}

/// The formats of a stream, best first: a tensor is coded by one of them and says which.
///
/// An [`Encoder`](crate::Encoder) and a [`Decoder`](crate::Decoder) go from one to the other by
/// `switch`, so that a stream needs one of each whatever the length of its ladder.
#[derive(Clone, Debug, PartialEq)]
pub struct Ladder {
    /// At least one; equal in shape, clip range and map.
    formats: Vec<Format>,
}

impl Ladder {
    /// The most steps: a tensor names its step in 7 bits.
    pub const MAX_STEPS: usize = 128;

    /// The ladder whose step 0 is `best`, and whose others are `best` with each of `further`.
    ///
    /// Nothing says that they get smaller: whoever measured them knows.
    ///
    /// # Errors
    /// [`FormatError::Steps`] for more than [`Ladder::MAX_STEPS`] in all, or what is wrong with the
    /// first that is no format.
    pub fn new(best: Format, further: &[Step]) -> Result<Self, FormatError> {
        let steps = further.len() + 1;
        if steps > Self::MAX_STEPS {
            return Err(FormatError::Steps(steps));
        }
        let others = further.iter().map(|&step| best.with_step(step));
        Ok(Self {
            formats: std::iter::once(Ok(best))
                .chain(others)
                .collect::<Result<_, _>>()?,
        })
    }

    /// Step 0: the format of the tensors that say nothing else.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "there is always a first step")]
    pub fn best(&self) -> &Format {
        &self.formats[0]
    }

    /// The format of a step; none beyond the last.
    #[must_use]
    pub fn format(&self, step: u8) -> Option<&Format> {
        self.formats.get(usize::from(step))
    }

    /// The format of every step, in order.
    #[must_use]
    pub fn formats(&self) -> &[Format] {
        &self.formats
    }

    /// Number of steps, 1 to [`Ladder::MAX_STEPS`].
    #[must_use]
    #[expect(
        clippy::len_without_is_empty,
        reason = "a ladder has at least one step"
    )]
    #[expect(clippy::cast_possible_truncation, reason = "at most 128")]
    pub const fn len(&self) -> u8 {
        self.formats.len() as u8
    }

    /// The longest slice that a receiver accepts of any step, bytes, as of
    /// [`Format::max_slice_bytes`]. Costs as much as that, at most twice.
    #[must_use]
    pub fn max_slice_bytes(&self) -> usize {
        // The bound of JPEG depends on the map alone, and raw slices grow with the bits of a level.
        let (raw, jpeg): (Vec<&Format>, Vec<&Format>) = self
            .formats
            .iter()
            .partition(|format| format.coder() == Coder::Raw);
        let finest = raw
            .into_iter()
            .max_by_key(|format| format.quantiser().bits());
        let candidates = finest.into_iter().chain(jpeg.first().copied());
        candidates.map(Format::max_slice_bytes).max().unwrap_or(0)
    }
}

impl From<Format> for Ladder {
    /// The ladder of one step.
    fn from(format: Format) -> Self {
        Self {
            formats: vec![format],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClipRange, Map, Quantiser, Shape};

    fn best(map: Map, coder: Coder) -> Format {
        let range = ClipRange::new(-1.0, 1.0).unwrap();
        let shape = Shape::new(5, 10, 7).unwrap();
        Format::new(shape, Quantiser::new(range, 16).unwrap(), map, coder).unwrap()
    }

    const MOSAIC: Map = Map::Mosaic {
        columns: 3,
        blocks: 2,
    };
    const ROWS: Map = Map::ChannelRows { rows: 5 };

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
    fn steps_share_everything_but_levels_and_coder() {
        let ladder = Ladder::new(best(MOSAIC, Coder::Raw), &[jpeg(80), raw(4)]).unwrap();
        assert_eq!(ladder.len(), 3);
        let steps: Vec<Step> = ladder.formats().iter().map(Format::step).collect();
        assert_eq!(steps, [raw(16), jpeg(80), raw(4)]);
        for format in ladder.formats() {
            let first = ladder.best();
            assert_eq!(
                (format.shape(), format.map(), format.slice_count()),
                (first.shape(), first.map(), first.slice_count())
            );
            assert_eq!(format.quantiser().range(), first.quantiser().range());
            assert!(format.max_slice_bytes() <= ladder.max_slice_bytes());
        }
        assert_eq!(ladder.format(2).map(Format::step), Some(raw(4)));
        assert_eq!(ladder.format(3), None);
    }

    #[test]
    fn the_longest_slice_may_be_of_any_step() {
        let ladder = Ladder::new(best(ROWS, Coder::Raw), &[raw(4), raw(129), raw(2)]).unwrap();
        assert_eq!(ladder.max_slice_bytes(), 35);
        let alone = Ladder::from(best(ROWS, Coder::Raw));
        assert_eq!((alone.len(), alone.max_slice_bytes()), (1, 18));
    }

    #[test]
    fn what_is_no_format_is_no_step() {
        let new = |further: &[Step]| Ladder::new(best(ROWS, Coder::Raw), further);
        assert_eq!(new(&[raw(8), raw(1)]), Err(FormatError::Levels(1)));
        assert_eq!(new(&[jpeg(80)]), Err(FormatError::JpegNeedsMosaic));
        assert!(new(&[raw(8); 127]).is_ok());
        assert_eq!(new(&[raw(8); 128]), Err(FormatError::Steps(129)));
        let on_mosaic = Ladder::new(best(MOSAIC, Coder::Raw), &[jpeg(0)]);
        assert_eq!(on_mosaic, Err(FormatError::Quality(0)));
    }
}
