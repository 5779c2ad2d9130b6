//! Intervals for accuracies measured on a few hundred images, and percentiles of latencies.

/// Standard normal quantile of a two-sided 95 % interval.
const Z_95: f64 = 1.959_963_984_540_054;

/// What a two-sided 95 % interval leaves out on either side.
const TAIL: f64 = 0.025;

/// An interval that covers the true value in 95 of 100 experiments.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// The 95 % Wilson score interval of a proportion, `hits` of `trials`.
///
/// Unlike p ± z·√(p(1 − p)/n) it stays within 0..=1 and has a width where all or none hit. With p =
/// hits/trials and n = trials: (p + z²/2n ± z·√(p(1 − p)/n + z²/4n²)) / (1 + z²/n) (Wilson, JASA 22,
/// 1927). `None` if there are no trials or more hits than trials.
pub fn wilson_interval(hits: usize, trials: usize) -> Option<Interval> {
    if trials == 0 || hits > trials {
        return None;
    }
    let n = trials as f64;
    let p = hits as f64 / n;
    let z2 = Z_95 * Z_95;
    let centre = p + z2 / (2.0 * n);
    let spread = Z_95 * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z2 / n;
    let low = ((centre - spread) / scale).max(0.0);
    let high = ((centre + spread) / scale).min(1.0);
    Some(Interval { low, high })
}

/// How two accuracies on the same images differ.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct PairedDifference {
    /// Images compared.
    pub images: usize,
    /// Images that only the first got right.
    pub only_first: usize,
    /// Images that only the second got right.
    pub only_second: usize,
    /// Accuracy of the first less accuracy of the second, -1..=1.
    pub difference: f64,
    /// 95 % interval of that difference, within -1..=1.
    pub interval: Interval,
}

impl PairedDifference {
    /// Compares two runs; entry i of each says whether image i was classified rightly.
    ///
    /// Comparing image by image resolves much smaller differences than comparing two accuracies, as
    /// most images are right or wrong in both. With b images that only the first got right, c that
    /// only the second did and n in all, the interval is the adjusted Wald interval of Agresti and
    /// Min (Statistics in Medicine 24, 2005): half an image is added to each of the four cells, so
    /// m = n + 2, and (b − c)/m ± z·√(b + c + 1 − (b − c)²/m)/m. It keeps a width where the runs
    /// agree on every image.
    ///
    /// `None` if the runs differ in length or are empty.
    pub fn of(first: &[bool], second: &[bool]) -> Option<Self> {
        if first.len() != second.len() || first.is_empty() {
            return None;
        }
        let images = first.len();
        let count = |a: bool, b: bool| {
            first
                .iter()
                .zip(second)
                .filter(|(x, y)| (**x, **y) == (a, b))
                .count()
        };
        let (only_first, only_second) = (count(true, false), count(false, true));
        let (b, c) = (only_first as f64, only_second as f64);
        let difference = (b - c) / images as f64;
        let interval = adjusted_wald(images, b - c, b + c);
        Some(Self {
            images,
            only_first,
            only_second,
            difference,
            interval,
        })
    }
}

/// The 95 % interval of the mean of `differences`, each that of two scores of one image, -1..=1.
///
/// For scores of 0 and 1 it is the interval of [`PairedDifference`]; scores between are shares, such as
/// that of an image's losses which left it right. With s the sum of the differences, q that of their
/// squares and m = n + 2: s/m ± z·√(q + 1 − s²/m)/m. `None` without differences.
pub fn mean_interval(differences: &[f64]) -> Option<Interval> {
    if differences.is_empty() {
        return None;
    }
    let sum = differences.iter().sum();
    let squares = differences.iter().map(|d| d * d).sum();
    Some(adjusted_wald(differences.len(), sum, squares))
}

/// The 95 % interval of Σ `numerators` / Σ `denominators`, pair by pair (Fieller, JRSS B 16, 1954).
///
/// With a and b the means, s_aa, s_bb and s_ab the variances and the covariance of these means, and q =
/// b² − z²·s_bb, it holds the ratios r at which |a − r·b| ≤ z·√(s_aa − 2·r·s_ab + r²·s_bb): (ab −
/// z²·s_ab ± √((ab − z²·s_ab)² − (a² − z²·s_aa)·q)) / q.
///
/// `None` where these are no interval, because b is not told from zero (q ≤ 0), if there are fewer than
/// two pairs, or if there are not as many of both.
pub fn ratio_interval(numerators: &[f64], denominators: &[f64]) -> Option<Interval> {
    let n = numerators.len() as f64;
    if numerators.len() != denominators.len() || numerators.len() < 2 {
        return None;
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / n;
    let (a, b) = (mean(numerators), mean(denominators));
    let of_means = |x: &[f64], x_mean: f64, y: &[f64], y_mean: f64| {
        let products = x.iter().zip(y).map(|(x, y)| (x - x_mean) * (y - y_mean));
        products.sum::<f64>() / (n - 1.0) / n
    };
    let z2 = Z_95 * Z_95;
    let aa = a * a - z2 * of_means(numerators, a, numerators, a);
    let ab = a * b - z2 * of_means(numerators, a, denominators, b);
    let bb = b * b - z2 * of_means(denominators, b, denominators, b);
    // Rounding may leave a little less than the 0 of exact proportion.
    let root = (ab * ab - aa * bb).max(0.0).sqrt();
    (bb > 0.0).then(|| Interval {
        low: (ab - root) / bb,
        high: (ab + root) / bb,
    })
}

/// The interval of the mean of `n` differences with this sum and sum of squares.
fn adjusted_wald(n: usize, sum: f64, squares: f64) -> Interval {
    let m = n as f64 + 2.0;
    let centre = sum / m;
    let spread = Z_95 * (squares + 1.0 - sum * sum / m).sqrt() / m;
    Interval {
        low: (centre - spread).max(-1.0),
        high: (centre + spread).min(1.0),
    }
}

/// Measurements in rising order, of which percentiles are read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Percentiles {
    sorted: Vec<f64>,
}

impl Percentiles {
    /// Sorts the measurements; NaN comes last.
    pub fn of(mut measurements: Vec<f64>) -> Self {
        measurements.sort_by(f64::total_cmp);
        Self {
            sorted: measurements,
        }
    }

    /// Number of measurements.
    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// The nearest-rank percentile: the smallest measurement that at least `percent` of 100 do not
    /// exceed, number ⌈percent/100 · n⌉ of the sorted n. Always one of the measurements; 0 gives the
    /// smallest.
    ///
    /// `None` if there are no measurements or `percent` is not in 0..=100.
    pub fn at(&self, percent: f64) -> Option<f64> {
        if !(0.0..=100.0).contains(&percent) {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "a rank is at most n")]
        let rank = (percent * self.sorted.len() as f64 / 100.0).ceil() as usize;
        self.sorted.get(rank.saturating_sub(1)).copied()
    }

    /// A 95 % interval of the population's percentile, between two of the measurements; an end is `None`
    /// where there are too few of them to bound that side.
    ///
    /// Of n independent measurements, the number below the percentile is binomial with q = percent/100,
    /// whatever the distribution (David and Nagaraja, Order Statistics, section 7.1). The interval goes
    /// from measurement l to measurement u in rising order, counted from 1, with P(fewer than l below) ≤
    /// 2.5 % and P(u or more below) ≤ 2.5 %. Latencies of one stream are not independent where they share
    /// a queue; then the interval is too narrow. Costs O(n).
    ///
    /// `None` if there are no measurements or `percent` is not between 0 and 100.
    pub fn bounds(&self, percent: f64) -> Option<(Option<f64>, Option<f64>)> {
        let between = percent > 0.0 && percent < 100.0;
        if self.sorted.is_empty() || !between {
            return None;
        }
        let (n, q) = (self.sorted.len(), percent / 100.0);
        // From the probability of none below, factor by factor; logarithms, as it may underflow.
        let mut log = n as f64 * (1.0 - q).ln();
        let step = q.ln() - (1.0 - q).ln();
        let (mut below, mut low, mut high) = (0.0, None, None);
        for count in 0..n {
            // `below` is P(fewer than `count`), which measurement number `count` needs to be a lower end.
            if below <= TAIL {
                low = count.checked_sub(1);
            }
            below += log.exp();
            if high.is_none() && below >= 1.0 - TAIL {
                high = Some(count);
            }
            log += step + ((n - count) as f64).ln() - ((count + 1) as f64).ln();
        }
        if below <= TAIL {
            low = n.checked_sub(1);
        }
        let value = |index: Option<usize>| self.sorted.get(index?).copied();
        Some((value(low), value(high)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(interval: Interval, low: f64, high: f64) {
        let Interval { low: l, high: h } = interval;
        assert!(
            (l - low).abs() < 5e-5 && (h - high).abs() < 5e-5,
            "{interval:?}"
        );
    }

    #[test]
    fn wilson_by_hand() {
        // z² = 3.841459. 8 of 10: centre 0.992073, spread 1.96·√(0.016 + 0.00960365) = 0.313615,
        // scale 1.384146.
        close(wilson_interval(8, 10).unwrap(), 0.490_16, 0.943_32);
        // 0 of 20: high = (z²/40 + z²/40) / (1 + z²/20) = z²/(20 + z²).
        close(wilson_interval(0, 20).unwrap(), 0.0, 0.161_13);
        assert_eq!(wilson_interval(20, 20).unwrap().high, 1.0);
        assert_eq!(wilson_interval(0, 0), None);
        assert_eq!(wilson_interval(2, 1), None);
    }

    #[test]
    fn paired_difference_by_hand() {
        // b = 6, c = 2, n = 98, m = 100: centre 0.04, spread 1.96·√(9 − 0.16)/100 = 0.058274.
        let mut first = vec![true; 96];
        first.extend([false; 2]);
        let mut second = vec![true; 98];
        second[..6].fill(false);
        let found = PairedDifference::of(&first, &second).unwrap();
        assert_eq!(
            (found.images, found.only_first, found.only_second),
            (98, 6, 2)
        );
        assert!((found.difference - 4.0 / 98.0).abs() < 1e-12);
        close(found.interval, -0.018_27, 0.098_27);
    }

    #[test]
    fn agreement_keeps_a_width() {
        // b = c = 0, n = 98: ±1.96/100.
        let found = PairedDifference::of(&[true; 98], &[true; 98]).unwrap();
        close(found.interval, -0.019_6, 0.019_6);
        assert_eq!(found.difference, 0.0);
    }

    #[test]
    fn ratio_by_hand() {
        // a = 2, b = 4, s_aa = s_bb = 1/3, s_ab = 1/6; z² = 3.841459. ab = 8 − 0.640243, aa = 4 −
        // 1.280486, bb = 16 − 1.280486: (7.359757 ± √(54.166 − 40.030)) / 14.719514.
        let found = ratio_interval(&[1.0, 2.0, 3.0], &[4.0, 3.0, 5.0]).unwrap();
        close(found, 0.244_58, 0.755_41);
        // Exact proportion has no width.
        close(ratio_interval(&[1.0, 2.0], &[2.0, 4.0]).unwrap(), 0.5, 0.5);
        assert_eq!(ratio_interval(&[1.0, 2.0, 1.0], &[1.0, -1.0, 0.5]), None);
        assert_eq!(ratio_interval(&[1.0], &[1.0]), None);
        assert_eq!(ratio_interval(&[1.0, 2.0], &[1.0]), None);
    }

    #[test]
    fn runs_have_to_pair() {
        assert_eq!(mean_interval(&[]), None);
        assert_eq!(PairedDifference::of(&[], &[]), None);
        assert_eq!(PairedDifference::of(&[true], &[true, false]), None);
    }

    #[test]
    fn nearest_rank_by_hand() {
        // The textbook example: 15, 20, 35, 40, 50.
        let five = Percentiles::of(vec![50.0, 15.0, 40.0, 20.0, 35.0]);
        let at = |percent| five.at(percent).unwrap();
        assert_eq!(
            [at(0.0), at(5.0), at(30.0), at(40.0)],
            [15.0, 15.0, 20.0, 20.0]
        );
        assert_eq!([at(50.0), at(80.1), at(100.0)], [35.0, 50.0, 50.0]);
        assert_eq!(five.at(100.1), None);
        assert_eq!(five.at(f64::NAN), None);
        assert_eq!(Percentiles::default().at(50.0), None);
        // 99 % of 300 is the 297th.
        let many = Percentiles::of((1..=300).map(f64::from).collect());
        assert_eq!(many.at(99.0), Some(297.0));
    }

    #[test]
    fn bounds_of_percentiles_by_hand() {
        let of = |n: u16| Percentiles::of((1..=n).map(f64::from).collect());
        // Binomial(10, 1/2): P(B < 2) = 11/1024 = 1.07 %, P(B < 3) = 5.47 %.
        assert_eq!(of(10).bounds(50.0), Some((Some(2.0), Some(9.0))));
        // Of five, even the least exceeds the median in 1 of 32 cases, which is more than 2.5 %.
        assert_eq!(of(5).bounds(50.0), Some((None, None)));
        assert_eq!(of(6).bounds(50.0), Some((Some(1.0), Some(6.0))));
        // The largest of 100 is below the 99th percentile in 36.6 % of cases.
        assert_eq!(of(100).bounds(99.0), Some((Some(97.0), None)));
        // Binomial(3000, 0.99): 95 % of its weight is from 2,959 to 2,980.
        let (low, high) = of(3_000).bounds(99.0).unwrap();
        assert_eq!((low, high), (Some(2_959.0), Some(2_981.0)));
        assert_eq!(of(0).bounds(50.0), None);
        assert_eq!([0.0, 100.0, f64::NAN].map(|p| of(9).bounds(p)), [None; 3]);
    }

    proptest! {
        #[test]
        fn bounds_hold_the_percentile(
            values in proptest::collection::vec(-1e6..1e6_f64, 1..2_000),
            percent in 0.1..=99.9_f64,
        ) {
            let percentiles = Percentiles::of(values);
            let value = percentiles.at(percent).unwrap();
            let (low, high) = percentiles.bounds(percent).unwrap();
            prop_assert!(low.is_none_or(|low| low <= value), "{low:?} {value}");
            prop_assert!(high.is_none_or(|high| high >= value), "{value} {high:?}");
        }

        #[test]
        fn wilson_holds_the_proportion(trials in 1_usize..10_000, misses in 0_usize..10_000) {
            let hits = trials.saturating_sub(misses);
            let Interval { low, high } = wilson_interval(hits, trials).unwrap();
            let p = hits as f64 / trials as f64;
            prop_assert!(0.0 <= low && low <= p + 1e-12 && p <= high + 1e-12 && high <= 1.0);
        }

        #[test]
        fn swapping_the_runs_mirrors_the_interval(
            runs in proptest::collection::vec(any::<(bool, bool)>(), 1..200),
        ) {
            let (first, second): (Vec<_>, Vec<_>) = runs.into_iter().unzip();
            let one = PairedDifference::of(&first, &second).unwrap();
            let other = PairedDifference::of(&second, &first).unwrap();
            prop_assert!((one.interval.low + other.interval.high).abs() < 1e-12);
            prop_assert!((one.difference + other.difference).abs() < 1e-12);
        }

        #[test]
        fn scores_of_0_and_1_give_the_paired_interval(
            runs in proptest::collection::vec(any::<(bool, bool)>(), 1..200),
        ) {
            let (first, second): (Vec<_>, Vec<_>) = runs.iter().copied().unzip();
            let paired = PairedDifference::of(&first, &second).unwrap().interval;
            let score = |right: bool| f64::from(u8::from(right));
            let differences: Vec<f64> = runs.iter().map(|(a, b)| score(*a) - score(*b)).collect();
            let mean = mean_interval(&differences).unwrap();
            prop_assert!((mean.low - paired.low).abs() < 1e-12);
            prop_assert!((mean.high - paired.high).abs() < 1e-12);
        }

        #[test]
        fn a_percentile_splits_as_defined(
            values in proptest::collection::vec(-1e6..1e6_f64, 1..100),
            percent in 0.0..=100.0_f64,
        ) {
            let value = Percentiles::of(values.clone()).at(percent).unwrap();
            let up_to = values.iter().filter(|x| **x <= value).count() as f64;
            prop_assert!(up_to / values.len() as f64 * 100.0 >= percent - 1e-9);
        }
    }
}
