//! Cutting a row of sizes into consecutive parts whose sums are balanced.

/// Cuts `sizes` into `parts` non-empty runs whose sums differ by at most the largest size, and
/// returns the end of each run; none if there is no such cut (with empty sizes, say) or if there
/// are fewer sizes than parts.
///
/// Bárány and Grinberg ("Block partitions of sequences", Israel J. Math. 206, 2015) show that for
/// sizes of at most s there are parts whose sums all lie in some window [low, low + s]. For a given
/// `low` the ends that the first i parts can have form an interval, because no size is wider than
/// the window; both its ends grow with `low`, so the least `low` that serves is found by bisection.
///
/// Cost: O(parts · log(n) · log(total)).
pub(crate) fn balanced(sizes: &[u32], parts: usize) -> Option<Vec<usize>> {
    if parts == 0 || sizes.len() < parts {
        return None;
    }
    let sums: Vec<u64> = std::iter::once(0)
        .chain(sizes.iter().scan(0, |sum, size| {
            *sum += u64::from(*size);
            Some(*sum)
        }))
        .collect();
    let window = u64::from(sizes.iter().copied().max()?);
    let total = *sums.last()?;
    // The least window with which the parts reach the end: its greatest sum is the least, too.
    let (mut least, mut most) = (0, total / parts as u64);
    while least < most {
        let low = least.midpoint(most);
        let reaches_end = Search {
            sums: &sums,
            low,
            window,
        }
        .reach(parts)
        .last()?
        .1 == sizes.len();
        (least, most) = if reaches_end {
            (least, low)
        } else {
            (low + 1, most)
        };
    }
    let search = Search {
        sums: &sums,
        low: least,
        window,
    };
    search.ends(&search.reach(parts))
}

struct Search<'a> {
    /// Sum of the first i sizes, for i from 0.
    sums: &'a [u64],
    low: u64,
    window: u64,
}

impl Search<'_> {
    fn sum(&self, end: usize) -> u64 {
        self.sums.get(end).copied().unwrap_or(u64::MAX)
    }

    /// The ends that 1, 2, … parts can have, as intervals. An end beyond the sizes stands for none.
    fn reach(&self, parts: usize) -> Vec<(usize, usize)> {
        let mut reach = Vec::with_capacity(parts);
        let (mut first, mut last) = (0, 0);
        for _ in 0..parts {
            let enough = self.sum(first).saturating_add(self.low);
            first = (first + 1).max(self.sums.partition_point(|sum| *sum < enough));
            let too_much = self.sum(last).saturating_add(self.low + self.window);
            last = self.sums.partition_point(|sum| *sum <= too_much) - 1;
            reach.push((first, last));
        }
        reach
    }

    /// Chooses one end in each interval, from the last to the first.
    fn ends(&self, reach: &[(usize, usize)]) -> Option<Vec<usize>> {
        let mut ends = vec![self.sums.len() - 1];
        // Where a part may start is where the one before it may end; the first starts at 0.
        for &(first, last) in reach.iter().rev().skip(1) {
            let end = *ends.last()?;
            let latest = self.sum(end).checked_sub(self.low)?;
            let start = self
                .sums
                .partition_point(|sum| *sum <= latest)
                .checked_sub(1)?;
            let start = start.min(last).min(end.checked_sub(1)?);
            if start < first || self.sum(end) - self.sum(start) > self.low + self.window {
                return None;
            }
            ends.push(start);
        }
        ends.reverse();
        Some(ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sums(sizes: &[u32], ends: &[usize]) -> Vec<u32> {
        let starts = std::iter::once(0).chain(ends.iter().copied());
        starts
            .zip(ends)
            .map(|(start, end)| sizes[start..*end].iter().sum())
            .collect()
    }

    #[test]
    fn equal_sizes_are_shared_out_evenly() {
        let ends = balanced(&[144; 84], 11).unwrap();
        let sums = sums(&[144; 84], &ends);
        assert!(
            sums.iter().all(|s| [7 * 144, 8 * 144].contains(s)),
            "{sums:?}"
        );
    }

    #[test]
    fn more_parts_than_sizes_is_no_cut() {
        assert_eq!(balanced(&[1, 2], 3), None);
        assert_eq!(balanced(&[], 1), None);
    }

    proptest! {
        #[test]
        fn sums_differ_by_at_most_the_largest_size(
            sizes in prop::collection::vec(1_u32..200, 1..300),
            parts in 1_usize..40,
        ) {
            prop_assume!(parts <= sizes.len());
            let ends = balanced(&sizes, parts).expect("Bárány and Grinberg");
            prop_assert_eq!(ends.len(), parts);
            prop_assert_eq!(ends.last(), Some(&sizes.len()));
            prop_assert!(ends.is_sorted());
            let sums = sums(&sizes, &ends);
            prop_assert!(sums.iter().all(|s| *s > 0));
            let spread = sums.iter().max().unwrap() - sums.iter().min().unwrap();
            prop_assert!(spread <= *sizes.iter().max().unwrap(), "{:?}", sums);
        }
    }
}
