//! What the keys of a plan may hold. Each is checked where it is read, so that an error names its line.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Visitor};

/// Implements `Deserialize` for a number with limits.
macro_rules! limited {
    ($(#[$doc:meta])* $name:ident($inner:ty), $range:expr, $needed:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Deserialize)]
        #[serde(try_from = "f64")]
        pub(in crate::lab) struct $name(pub(in crate::lab) $inner);

        impl TryFrom<f64> for $name {
            type Error = &'static str;

            #[expect(
                clippy::allow_attributes,
                reason = "one macro for whole numbers and others"
            )]
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::unnecessary_cast,
                reason = "a whole number within the limits, or a number as it is"
            )]
            fn try_from(number: f64) -> Result<Self, Self::Error> {
                let value = number as $inner;
                if $range.contains(&number) && value as f64 == number {
                    Ok(Self(value))
                } else {
                    Err($needed)
                }
            }
        }
    };
}

limited!(
    /// A share of entries, packets, or units.
    Share(f64),
    (0.0..=1.0),
    "a share of 0 to 1 is needed, as 0.05 for 5 %"
);
limited!(
    /// Levels of a quantiser.
    Levels(u16),
    (2.0..=256.0),
    "a number of levels is 2 to 256"
);
limited!(
    /// Quality of a JPEG.
    Quality(u8),
    (1.0..=100.0),
    "a JPEG quality is 1 to 100"
);
limited!(
    /// How many times as short JPEG 2000 makes something.
    Ratio(u16),
    (1.0..=1_000.0),
    "a compression ratio is a whole number of 1 to 1,000"
);
limited!(
    /// A number of things that there has to be one of.
    Count(u32),
    (1.0..=1e9),
    "a whole number of at least 1 is needed"
);

/// Half the width of a clip range.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(in crate::lab) enum Width {
    /// In standard deviations.
    Sigma(f32),
    /// As wide as the values that were seen.
    MinMax,
}

impl fmt::Display for Width {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sigma(sigma) => write!(f, "{sigma}"),
            Self::MinMax => f.write_str("min-max"),
        }
    }
}

/// Units that are lost in a row.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(in crate::lab) enum Burst {
    /// Each is lost or not whatever the one before.
    Independent,
    /// So many on average.
    Mean(f64),
}

impl Burst {
    /// The mean, where losses are not independent.
    pub(in crate::lab) const fn mean(self) -> Option<f64> {
        match self {
            Self::Independent => None,
            Self::Mean(mean) => Some(mean),
        }
    }
}

/// A number, or one word in its place.
struct NumberOr<T> {
    needed: &'static str,
    word: (&'static str, T),
    number: fn(f64) -> Option<T>,
}

impl<T: Copy> NumberOr<T> {
    fn checked<E: de::Error>(&self, number: f64) -> Result<T, E> {
        (self.number)(number).ok_or_else(|| E::custom(self.needed))
    }
}

impl<T: Copy> Visitor<'_> for NumberOr<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.needed)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        self.checked(number as f64)
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        self.checked(number)
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<T, E> {
        if word == self.word.0 {
            Ok(self.word.1)
        } else {
            Err(E::custom(self.needed))
        }
    }
}

impl<'de> Deserialize<'de> for Width {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberOr {
            needed: "a width in standard deviations is needed, above 0, or \"min-max\"",
            word: ("min-max", Self::MinMax),
            #[expect(clippy::cast_possible_truncation, reason = "rounds a width to f32")]
            number: |sigma| (sigma > 0.0 && sigma <= 1e6).then_some(Self::Sigma(sigma as f32)),
        })
    }
}

impl<'de> Deserialize<'de> for Burst {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberOr {
            needed: "a mean of at least 1 lost in a row is needed, or \"independent\"",
            word: ("independent", Self::Independent),
            number: |mean| (1.0..=1e6).contains(&mean).then_some(Self::Mean(mean)),
        })
    }
}

/// Implements `Deserialize` by `FromStr`.
macro_rules! by_name {
    ($name:ty) => {
        impl TryFrom<String> for $name {
            type Error = <Self as std::str::FromStr>::Err;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }
    };
}
pub(in crate::lab) use by_name;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize, Debug)]
    struct Values {
        share: Vec<Share>,
        levels: Vec<Levels>,
        ratio: Vec<Ratio>,
        width: Vec<Width>,
        burst: Vec<Burst>,
    }

    const GOOD: &str = "share = [0, 0.05, 1]\nlevels = [2, 256]\nratio = [1, 30, 1000]\n\
                        width = [3, 1.5, 'min-max']\nburst = ['independent', 1, 4.5]\n";

    #[test]
    fn numbers_and_words() {
        let values: Values = toml::from_str(GOOD).unwrap();
        assert_eq!(values.share, [Share(0.0), Share(0.05), Share(1.0)]);
        assert_eq!(values.levels, [Levels(2), Levels(256)]);
        assert_eq!(values.ratio, [Ratio(1), Ratio(30), Ratio(1_000)]);
        let [three, _, all] = values.width[..] else {
            panic!("{values:?}")
        };
        assert_eq!((three, all), (Width::Sigma(3.0), Width::MinMax));
        assert_eq!(values.burst.map_means(), [None, Some(1.0), Some(4.5)]);
    }

    trait Means {
        fn map_means(&self) -> Vec<Option<f64>>;
    }

    impl Means for Vec<Burst> {
        fn map_means(&self) -> Vec<Option<f64>> {
            self.iter().map(|burst| burst.mean()).collect()
        }
    }

    #[test]
    fn errors_tell_the_line_and_what_is_needed() {
        for (from, to, line, needed) in [
            ("0.05", "1.5", "line 1", "share of 0 to 1"),
            ("0.05", "'x'", "line 1", "share"),
            ("256", "257", "line 2", "2 to 256"),
            ("256", "2.5", "line 2", "2 to 256"),
            ("1000", "1001", "line 3", "1 to 1,000"),
            ("30", "2.5", "line 3", "whole number"),
            ("min-max", "max", "line 4", "min-max"),
            ("1.5", "-1", "line 4", "above 0"),
            ("4.5", "0.5", "line 5", "at least 1"),
        ] {
            let error = toml::from_str::<Values>(&GOOD.replacen(from, to, 1)).unwrap_err();
            let text = error.to_string();
            assert!(text.contains(line) && text.contains(needed), "{to}: {text}");
        }
    }
}
