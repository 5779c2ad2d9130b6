//! One part of a model for many sessions, in runs of one tensor or of several.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use ndarray::{Array3, ArrayView3};

use super::batch::BatchModel;
use super::gain::{self, Gain};
use super::{CloudModel, Model, ModelError};

/// Sizes of runs that are tried.
pub const BATCH_SIZES: [usize; 3] = [2, 4, 8];
/// A size is used if it computes at least so many times the tensors of single runs in the same time:
/// below, what it gains is not worth that the first of them waits for the last.
pub const LEAST_GAIN: f64 = 1.1;
/// The share of a new sample in the mean time of a tensor, as one in so many.
const SMOOTHING: u64 = 8;

/// The second part of a split model, shared by all sessions of that split, and what it can compute several
/// tensors at once with, once that is [learnt](Self::learn).
#[derive(Debug)]
pub struct SharedModel {
    single: CloudModel,
    /// By falling size; only those that are used.
    batches: RwLock<Vec<BatchModel>>,
    /// Their sizes: bit n for n tensors.
    sizes: AtomicU32,
    /// Mean time of a tensor in all, microseconds; 0 while unknown.
    service: AtomicU64,
}

/// Which sizes of runs are kept.
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub enum Keep {
    /// Those that compute at least so many times the tensors of single runs in the same time.
    Gaining(f64),
    /// All that compute the same as single runs, for measurements.
    All,
}

/// What came of a size.
#[derive(Debug)]
#[non_exhaustive]
pub struct Learnt {
    /// How many tensors a run takes.
    pub size: usize,
    /// What it gains, or why it cannot be used.
    pub gain: Result<Gain, ModelError>,
    /// Whether it is used from now on.
    pub used: bool,
}

impl SharedModel {
    /// A part that computes one tensor at a time.
    pub const fn new(single: CloudModel) -> Self {
        Self {
            single,
            batches: RwLock::new(Vec::new()),
            sizes: AtomicU32::new(0),
            service: AtomicU64::new(0),
        }
    }

    /// The part for one tensor.
    pub const fn single(&self) -> &CloudModel {
        &self.single
    }

    /// Whether runs of so many tensors are used.
    pub fn uses(&self, size: usize) -> bool {
        let bit = u32::try_from(size)
            .ok()
            .and_then(|size| 1_u32.checked_shl(size));
        bit.is_some_and(|bit| self.sizes.load(Ordering::Acquire) & bit != 0)
    }

    /// Finds out which runs of up to `most` tensors are worth it, and uses them from then on: makes the
    /// part for each size, compares what it computes with single runs, and measures both in turns.
    /// `model` and `split` are those that the part was made of.
    ///
    /// Costs some tens of single runs and, where a size is used, its packed weights; the largest size goes
    /// first, and where that gains nothing, the others are not tried (unless all are kept). Sessions go on
    /// meanwhile.
    pub fn learn(&self, model: &Model, split: &str, most: usize, keep: Keep) -> Vec<Learnt> {
        let mut learnt = Vec::new();
        let sizes = BATCH_SIZES.iter().rev().copied();
        for size in sizes.filter(|size| *size <= most) {
            let made = model.cloud_batch(split, size);
            let tried = made.and_then(|batch| Ok((gain::measure(&self.single, &batch)?, batch)));
            let used = match &tried {
                Ok((gain, _)) => match keep {
                    Keep::Gaining(least) => gain.factor >= least,
                    Keep::All => true,
                },
                Err(_) => false,
            };
            let gain = tried.map(|(gain, batch)| {
                if used {
                    let batches = self.batches.write();
                    batches.unwrap_or_else(PoisonError::into_inner).push(batch);
                    self.sizes.fetch_or(1 << size, Ordering::Release);
                }
                gain
            });
            learnt.push(Learnt { size, gain, used });
            if !used && keep != Keep::All {
                break;
            }
        }
        learnt
    }

    /// Computes one logit per class of each of these tensors, C×H×W, in their order, in as few runs as the
    /// sizes allow. What fails, fails for its own tensor only: a run of several that does is repeated one
    /// by one.
    pub fn run_each(&self, tensors: &[ArrayView3<'_, f32>]) -> Vec<Result<Vec<f32>, ModelError>> {
        let batches = match tensors.len() {
            1 => Vec::new(),
            _ => self
                .batches
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        };
        let mut results = Vec::with_capacity(tensors.len());
        let mut rest = tensors;
        for batch in &batches {
            while let Some((some, others)) = rest.split_at_checked(batch.size()) {
                match batch.run(some) {
                    Ok(scores) => results.extend(scores),
                    Err(_) => results.extend(some.iter().map(|one| self.single.run(*one))),
                }
                rest = others;
            }
        }
        results.extend(rest.iter().map(|one| self.single.run(*one)));
        results
    }

    /// Computes a tensor of zeros twice. The first run of a part takes several times as long as those after
    /// it, since it touches its memory for the first time; the time of the second is what
    /// [`service`](Self::service) tells until there are tensors. A part that cannot compute it says so with
    /// the first tensor.
    pub fn warm_up(&self) {
        let zeros = Array3::zeros(self.single.input().as_tuple());
        let run = || {
            let begun = Instant::now();
            self.single.run(zeros.view()).map(|_| begun.elapsed())
        };
        if let Ok(time) = run().and_then(|_| run()) {
            self.took(time);
        }
    }

    /// Tells how long a tensor took in all, decoding and concealment included.
    pub fn took(&self, time: Duration) {
        let sample = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1);
        let smooth = |mean: u64| match mean {
            0 => sample,
            // Falls and rises by an eighth of the difference, and by at least 1.
            mean if sample < mean => mean - (mean - sample).div_ceil(SMOOTHING),
            mean => mean + (sample - mean).div_ceil(SMOOTHING),
        };
        let order = Ordering::Relaxed;
        // It never fails: there is always a next value.
        let _ = self
            .service
            .fetch_update(order, order, |mean| Some(smooth(mean)));
    }

    /// The mean time of a tensor, over all sessions; none before the first.
    pub fn service(&self) -> Option<Duration> {
        let micros = self.service.load(Ordering::Relaxed);
        (micros > 0).then(|| Duration::from_micros(micros))
    }
}
