//! Versions of the control protocol, and which one two peers speak.

use minicbor::{Decode, Encode};

/// The versions that this implementation speaks.
pub const VERSIONS: Versions = Versions {
    lowest: 2,
    highest: 2,
};

/// A range of versions, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub struct Versions {
    /// The lowest version that its owner speaks.
    #[n(0)]
    pub lowest: u32,
    /// The highest version that its owner speaks.
    #[n(1)]
    pub highest: u32,
}

impl Versions {
    /// The versions from `lowest` to `highest`.
    #[must_use]
    pub const fn new(lowest: u32, highest: u32) -> Self {
        Self { lowest, highest }
    }

    /// The version that both speak: the highest that is in both ranges, if one is.
    #[must_use]
    pub fn common(self, other: Self) -> Option<u32> {
        let highest = self.highest.min(other.highest);
        (highest >= self.lowest.max(other.lowest)).then_some(highest)
    }
}

impl std::fmt::Display for Versions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.lowest == self.highest {
            write!(f, "{}", self.lowest)
        } else {
            write!(f, "{} to {}", self.lowest, self.highest)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_common_version_is_the_highest_of_both(a in 0..20_u32, b in 0..20_u32, c in 0..20_u32, d in 0..20_u32) {
            let (ours, theirs) = (Versions::new(a, b), Versions::new(c, d));
            let expected = (a..=b).rev().find(|version| (c..=d).contains(version));
            prop_assert_eq!(ours.common(theirs), expected);
            prop_assert_eq!(theirs.common(ours), expected);
        }
    }

    #[test]
    fn a_range_is_shown_as_one() {
        assert_eq!(Versions::new(2, 2).to_string(), "2");
        assert_eq!(Versions::new(2, 5).to_string(), "2 to 5");
    }
}
