//! How many tensors a run may take.

/// Sizes of runs beyond one tensor, each 2 to 31; one tensor at a time is always possible.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Sizes(u32);

impl Sizes {
    /// The largest that there can be.
    pub const LARGEST: usize = 31;

    /// One tensor at a time.
    pub const NONE: Self = Self(0);

    /// Allows runs of this size too. One tensor is allowed already, and sizes beyond
    /// [`LARGEST`](Self::LARGEST) are not.
    #[must_use]
    pub const fn with(self, size: usize) -> Self {
        if size >= 2 && size <= Self::LARGEST {
            Self(self.0 | 1 << size)
        } else {
            self
        }
    }

    /// The largest of them that is at most `count`; 1 where there is none.
    #[must_use]
    pub fn largest_within(self, count: usize) -> usize {
        let sizes = (2..=count.min(Self::LARGEST)).rev();
        { sizes }
            .find(|size| self.0 & (1 << size) != 0)
            .unwrap_or(1)
    }

    /// The largest; 1 where there is none.
    #[must_use]
    pub fn largest(self) -> usize {
        self.largest_within(Self::LARGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_that_fits() {
        let sizes = Sizes::NONE.with(2).with(8).with(0).with(32);
        let found: Vec<usize> = (0..10).map(|count| sizes.largest_within(count)).collect();
        assert_eq!(found, [1, 1, 2, 2, 2, 2, 2, 2, 8, 8]);
        assert_eq!((sizes.largest(), Sizes::NONE.largest()), (8, 1));
    }
}
