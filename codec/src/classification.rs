//! The result of a classifier, as a RESULT message carries it (payload format, section 8).

use thiserror::Error;

/// The most classes of one result.
pub const MAX_CLASSES: usize = 16;

/// Bytes of one class: index and score.
const CLASS_BYTES: usize = 8;

/// The best classes of one tensor, best first.
///
/// On the wire: u8 count, then for each class u32 index and f32 score, all big-endian.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Classification {
    /// Class index and score, in descending order of score, at most [`MAX_CLASSES`]. What a score
    /// is (logit or probability) is for the two endpoints to agree.
    pub classes: Vec<(u32, f32)>,
}

/// Why a classification does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ClassificationError {
    /// More than [`MAX_CLASSES`] classes; the fault of whoever wrote it.
    #[error("{0} classes are more than {MAX_CLASSES}")]
    Count(usize),
    /// The peer's bytes are not of the length that their count asks for.
    #[error("{actual} bytes instead of {expected}")]
    Length {
        /// Bytes that so many classes take.
        expected: usize,
        /// Bytes that there are.
        actual: usize,
    },
    /// A score is NaN or infinite; the fault of whoever wrote it.
    #[error("the score of class {0} in order is not finite")]
    NotFinite(usize),
    /// A score is above the one before it; the fault of whoever wrote it.
    #[error("the score of class {0} in order is above the one before it")]
    Order(usize),
}

impl Classification {
    /// The `count` highest of the scores of classes 0, 1, 2, …, best first; of equal scores the
    /// lower index comes first. Scores that are not finite are left out. `count` is at most
    /// [`MAX_CLASSES`].
    #[must_use]
    pub fn top(scores: &[f32], count: usize) -> Self {
        let mut classes: Vec<(u32, f32)> = (0..=u32::MAX)
            .zip(scores.iter().copied())
            .filter(|(_, score)| score.is_finite())
            .collect();
        classes.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        classes.truncate(count.min(MAX_CLASSES));
        Self { classes }
    }

    /// The bytes of this result.
    ///
    /// # Errors
    /// [`ClassificationError`] for too many classes, a score that is not finite, or scores out of
    /// order.
    pub fn encode(&self) -> Result<Vec<u8>, ClassificationError> {
        self.check()?;
        let count = u8::try_from(self.classes.len())
            .map_err(|_| ClassificationError::Count(self.classes.len()))?;
        let mut bytes = Vec::with_capacity(1 + self.classes.len() * CLASS_BYTES);
        bytes.push(count);
        for (index, score) in &self.classes {
            bytes.extend_from_slice(&index.to_be_bytes());
            bytes.extend_from_slice(&score.to_be_bytes());
        }
        Ok(bytes)
    }

    /// The result that `bytes` are.
    ///
    /// # Errors
    /// [`ClassificationError`] unless [`Classification::encode`] could have made them.
    pub fn decode(bytes: &[u8]) -> Result<Self, ClassificationError> {
        let Some((&count, classes)) = bytes.split_first() else {
            return Err(ClassificationError::Length {
                expected: 1,
                actual: 0,
            });
        };
        let count = usize::from(count);
        if count > MAX_CLASSES {
            return Err(ClassificationError::Count(count));
        }
        let (classes, rest) = classes.as_chunks::<CLASS_BYTES>();
        if classes.len() != count || !rest.is_empty() {
            let expected = 1 + count * CLASS_BYTES;
            return Err(ClassificationError::Length {
                expected,
                actual: bytes.len(),
            });
        }
        let classes = classes
            .iter()
            .map(|&[a, b, c, d, e, f, g, h]| {
                (
                    u32::from_be_bytes([a, b, c, d]),
                    f32::from_be_bytes([e, f, g, h]),
                )
            })
            .collect();
        let classification = Self { classes };
        classification.check()?;
        Ok(classification)
    }

    fn check(&self) -> Result<(), ClassificationError> {
        if self.classes.len() > MAX_CLASSES {
            return Err(ClassificationError::Count(self.classes.len()));
        }
        let mut before = f32::INFINITY;
        for (place, &(_, score)) in self.classes.iter().enumerate() {
            if !score.is_finite() {
                return Err(ClassificationError::NotFinite(place));
            }
            if score > before {
                return Err(ClassificationError::Order(place));
            }
            before = score;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bytes_are_big_endian() {
        let result = Classification {
            classes: vec![(258, 1.5), (3, -2.0)],
        };
        let bytes = [2, 0, 0, 1, 2, 0x3F, 0xC0, 0, 0, 0, 0, 0, 3, 0xC0, 0, 0, 0];
        assert_eq!(result.encode().unwrap(), bytes);
        assert_eq!(Classification::decode(&bytes), Ok(result));
        assert_eq!(Classification::decode(&[0]), Ok(Classification::default()));
    }

    #[test]
    fn the_best_come_first() {
        let top = Classification::top(&[0.5, f32::NAN, 2.0, 0.5, -1.0], 3);
        assert_eq!(top.classes, [(2, 2.0), (0, 0.5), (3, 0.5)]);
        assert_eq!(
            Classification::top(&[1.0; 40], 40).classes.len(),
            MAX_CLASSES
        );
        assert_eq!(Classification::top(&[], 3).classes, []);
    }

    #[test]
    fn results_that_do_not_exist_are_refused_both_ways() {
        for (classes, error) in [
            (vec![(0, 1.0); 17], ClassificationError::Count(17)),
            (
                vec![(0, 1.0), (1, f32::NAN)],
                ClassificationError::NotFinite(1),
            ),
            (vec![(0, f32::INFINITY)], ClassificationError::NotFinite(0)),
            (
                vec![(0, 1.0), (1, 1.0), (2, 1.5)],
                ClassificationError::Order(2),
            ),
        ] {
            let result = Classification { classes };
            assert_eq!(result.encode(), Err(error));
            let count = u8::try_from(result.classes.len()).unwrap();
            let classes = result.classes.iter().flat_map(|(index, score)| {
                index.to_be_bytes().into_iter().chain(score.to_be_bytes())
            });
            let bytes: Vec<u8> = std::iter::once(count).chain(classes).collect();
            assert_eq!(Classification::decode(&bytes), Err(error));
        }
    }

    #[test]
    fn every_other_length_is_refused() {
        let bytes = Classification {
            classes: vec![(1, 1.0), (2, 0.5)],
        }
        .encode()
        .unwrap();
        for end in 0..bytes.len() {
            let error = Classification::decode(&bytes[..end]).unwrap_err();
            assert!(
                matches!(error, ClassificationError::Length { .. }),
                "{end}: {error}"
            );
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        let error = ClassificationError::Length {
            expected: 17,
            actual: 18,
        };
        assert_eq!(Classification::decode(&longer), Err(error));
    }

    proptest! {
        #[test]
        fn whatever_decodes_encodes_to_the_same(
            bytes in prop::collection::vec(any::<u8>(), 0..40), count in 0u8..4,
        ) {
            let bytes = [&[count], bytes.as_slice()].concat();
            if let Ok(result) = Classification::decode(&bytes) {
                prop_assert_eq!(result.encode().unwrap(), bytes);
            }
        }

        #[test]
        fn top_is_always_encodable(scores in prop::collection::vec(any::<f32>(), 0..50)) {
            let result = Classification::top(&scores, 5);
            prop_assert_eq!(Classification::decode(&result.encode().unwrap()), Ok(result));
        }
    }
}
