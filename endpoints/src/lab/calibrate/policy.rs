//! Which method conceals which loss best: the policy of a bundle.

use anyhow::{Context as _, Result};
use tensorwire_concealment::{Concealer, Method, Policy, PolicyRow};

use super::super::loss::LossMap;
use super::bench::{Bench, Mean, Outcome, Summary, Whole};
use super::effort::{Cells, SLOW};

/// The policy keeps methods of a cell apart by at least so many points.
const STEP: f64 = 1e-3;

const SEED: u64 = 1;

/// One method in one cell, as measured.
#[derive(Clone, Debug)]
pub(super) struct Judged {
    pub(super) map: LossMap,
    pub(super) share: f32,
    pub(super) method: Method,
    /// 1 for the best of the cell.
    pub(super) rank: usize,
    pub(super) images: usize,
    pub(super) summary: Summary,
    /// What the policy says, points.
    pub(super) drop: f64,
}

impl Judged {
    fn row(&self) -> PolicyRow {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "points of accuracy, and microseconds that saturate"
        )]
        let (cost_us, drop) = (self.summary.micros.ceil() as u32, self.drop as f32);
        PolicyRow {
            kind: self.map.kind(),
            share: self.share,
            method: self.method,
            cost_us,
            drop: drop.clamp(-100.0, 100.0),
        }
    }
}

/// The policy of rows that were judged.
pub(super) fn policy(judged: &[Judged]) -> Result<Policy> {
    Ok(Policy::new(judged.iter().map(Judged::row).collect())?)
}

/// Judges every method that can run in every cell: cell after cell, the best method first.
pub(super) fn judge(bench: &Bench<'_>, cells: Cells) -> Result<Vec<Judged>> {
    let possible = |&method: &Method| bench.concealer(method).is_ok();
    let mut methods: Vec<Method> = cells.methods.iter().copied().filter(possible).collect();
    if cells.slow_images == 0 {
        methods.retain(|method| !SLOW.contains(method));
    }
    let grid: Vec<(LossMap, f32)> = LossMap::ALL
        .into_iter()
        .flat_map(|map| cells.shares.iter().map(move |&share| (map, share)))
        .collect();
    let concealers = || -> Result<Vec<Concealer>> {
        let concealers = methods.iter().map(|&method| bench.concealer(method));
        concealers.collect()
    };
    // Of each image: cell after cell, the outcome of each method, or none of one that is too slow.
    let work = |concealers: &mut Vec<Concealer>, number: usize, whole: &Whole| {
        let mut outcomes = Vec::with_capacity(grid.len() * methods.len());
        for &(map, share) in &grid {
            let mask = map.mask(bench.shape(), f64::from(share), &whole.digest, SEED);
            for (concealer, method) in concealers.iter_mut().zip(&methods) {
                let skip = SLOW.contains(method) && number >= cells.slow_images;
                let outcome = (!skip).then(|| bench.trial(whole, &mask, concealer));
                outcomes.push(outcome.transpose()?);
            }
        }
        Ok(outcomes)
    };
    let images = bench.each("judging methods", cells.images, concealers, work)?;
    let mut judged = Vec::with_capacity(grid.len() * methods.len());
    for (cell, &(map, share)) in grid.iter().enumerate() {
        let contender = |(number, &method): (usize, &Method)| {
            let place = cell * methods.len() + number;
            let of_image = |image: &Vec<Option<Outcome>>| image.get(place).copied().flatten();
            Contender {
                method,
                outcomes: images.iter().map_while(of_image).collect(),
            }
        };
        let contenders = methods.iter().enumerate().map(contender).collect();
        judged.extend(rank(map, share, contenders)?);
    }
    Ok(judged)
}

/// A method in one cell.
#[derive(Clone, Debug)]
struct Contender {
    method: Method,
    /// One of each image; those of a slow method are of the first images only.
    outcomes: Vec<Outcome>,
}

impl Contender {
    /// By how much its figure exceeds the other's, over the images that both have.
    fn excess(&self, other: &Self, figure: fn(&Outcome) -> f64) -> Mean {
        let pairs = self.outcomes.iter().zip(&other.outcomes);
        Mean::of(pairs.map(move |(one, other)| figure(one) - figure(other)))
    }
}

/// Orders the methods of a cell, best first, which the policy has to do by their drops.
///
/// Accuracy itself is too coarse to tell methods apart, so the best is found in steps, each of which only
/// lets pass what is not significantly worse (95 %, paired by image) than the best by the step's
/// measure: the probability of the true class; how far the prediction moves; the squared error, which
/// says least about accuracy but is known best where images are few. Of what is left the simplest wins.
/// The next is the best of the others, and so on. Where the measured drops are in another order, those
/// of worse methods are raised: a policy has no room for errors of measurement.
fn rank(map: LossMap, share: f32, contenders: Vec<Contender>) -> Result<Vec<Judged>> {
    let mut left = contenders;
    let mut judged: Vec<Judged> = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let in_probability = not_worse(&left, left.iter().collect(), |one| one.probability_drop);
        let in_shift = not_worse(&left, in_probability, |one| one.shift);
        let in_error = not_worse(&left, in_shift, Outcome::relative_error);
        let simplest = in_error.first().map(|contender| contender.method);
        let at = left
            .iter()
            .position(|contender| Some(contender.method) == simplest)
            .context("one of several is the best")?;
        let Contender { method, outcomes } = left.remove(at);
        let images: Vec<&[Outcome]> = outcomes.chunks(1).collect();
        let summary = Summary::of(&images)?;
        let measured = 100.0 * summary.accuracy.drop;
        let least = judged
            .last()
            .map_or(f64::NEG_INFINITY, |better| better.drop + STEP);
        judged.push(Judged {
            map,
            share,
            method,
            rank: judged.len() + 1,
            images: images.len(),
            summary,
            drop: measured.max(least),
        });
    }
    Ok(judged)
}

/// Those of `some` whose figure is not significantly above that of the least of them.
///
/// A method that was measured on fewer images is put in its place by its difference, on these images,
/// from the least of those that were measured on all.
fn not_worse<'a>(
    all: &'a [Contender],
    some: Vec<&'a Contender>,
    figure: fn(&Outcome) -> f64,
) -> Vec<&'a Contender> {
    let most = all.iter().map(|one| one.outcomes.len()).max().unwrap_or(0);
    let mean = |contender: &Contender| Mean::of(contender.outcomes.iter().map(figure)).mean;
    let least_of = |whole: bool| {
        some.iter()
            .copied()
            .filter(|contender| !whole || contender.outcomes.len() == most)
            .min_by(|a, b| mean(a).total_cmp(&mean(b)))
    };
    let Some(reference) = least_of(true).or_else(|| least_of(false)) else {
        return some;
    };
    let excess = |contender: &Contender| contender.excess(reference, figure);
    // Better than the reference by chance is no reason to oust it.
    let least = some
        .iter()
        .copied()
        .filter(|contender| reference.excess(contender, figure).is_above_zero())
        .min_by(|a, b| excess(a).mean.total_cmp(&excess(b).mean))
        .unwrap_or(reference);
    some.into_iter()
        .filter(|contender| {
            let is_least = contender.method == least.method;
            is_least || !contender.excess(least, figure).is_above_zero()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use tensorwire_concealment::Distortion;

    use super::*;

    /// A method whose images lose these probabilities and move by these shares.
    fn contender(method: Method, drops: &[f64], shifts: &[f64]) -> Contender {
        let outcome = |(&probability_drop, &shift): (&f64, &f64)| Outcome {
            right_whole: true,
            right: true,
            margin_whole: 1.0,
            margin: 1.0,
            probability_drop,
            shift,
            distortion: Distortion::default(),
            micros: 10.2,
        };
        Contender {
            method,
            outcomes: drops.iter().zip(shifts).map(outcome).collect(),
        }
    }

    fn order(contenders: Vec<Contender>) -> Vec<Method> {
        let judged = rank(LossMap::Rows, 0.1, contenders).unwrap();
        judged.iter().map(|judged| judged.method).collect()
    }

    /// Values around a mean that differ from image to image.
    fn around(mean: f64) -> Vec<f64> {
        let spread = |index: i32| mean + 0.01 * f64::from(index % 5 - 2);
        (0..60).map(spread).collect()
    }

    #[test]
    fn probability_then_shift_then_error_then_simplicity() {
        let wild: Vec<f64> = (0..60).map(|i| f64::from(i % 2) - 0.5).collect();
        let methods = vec![
            contender(Method::Zero, &around(0.5), &around(0.1)),
            contender(Method::Hybrid, &wild, &around(0.3)),
            contender(Method::Spatial, &around(0.01), &around(0.21)),
            contender(Method::Lmmse, &around(0.0), &around(0.2)),
        ];
        // Zero loses most although its predictions move least; hybrid's probabilities say nothing, so
        // that its shift decides.
        let expected = [Method::Lmmse, Method::Spatial, Method::Hybrid, Method::Zero];
        assert_eq!(order(methods), expected);
        let equal = vec![
            contender(Method::Hybrid, &around(0.0), &around(0.2)),
            contender(Method::Lmmse, &around(0.0), &around(0.2)),
        ];
        assert_eq!(order(equal.clone()), [Method::Hybrid, Method::Lmmse]);
        let mut less_error = equal;
        for (contender, squared_error) in less_error.iter_mut().zip([0.9, 0.3]) {
            for outcome in &mut contender.outcomes {
                outcome.distortion.squared_error = squared_error;
                outcome.distortion.energy = 1.0;
            }
        }
        assert_eq!(order(less_error), [Method::Lmmse, Method::Hybrid]);
    }

    #[test]
    fn few_images_are_compared_with_the_same_of_others() {
        // The first images are hard; of them the slow method makes less than LMMSE.
        let mut hard = around(0.1);
        hard[..10].fill(0.9);
        let methods = vec![
            contender(Method::Lmmse, &hard, &hard),
            contender(Method::Silrtc, &[0.7; 10], &[0.7; 10]),
        ];
        assert_eq!(order(methods), [Method::Silrtc, Method::Lmmse]);
    }

    #[test]
    fn the_policy_keeps_the_order_at_any_cost() {
        let methods = vec![
            contender(Method::Zero, &around(0.5), &around(0.1)),
            contender(Method::Lmmse, &around(0.0), &around(0.2)),
        ];
        let judged = rank(LossMap::Rows, 0.1, methods).unwrap();
        let policy = policy(&judged).unwrap();
        let [zero, lmmse] = policy.rows() else {
            panic!("{policy:?}")
        };
        assert_eq!((zero.method, lmmse.method), (Method::Zero, Method::Lmmse));
        // Both measured no drop at all.
        assert!(lmmse.drop == 0.0 && zero.drop > 0.0);
        assert_eq!((zero.kind, zero.cost_us), (LossMap::Rows.kind(), 11));
    }
}
