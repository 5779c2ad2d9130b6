//! Which step of a ladder fits a budget of bytes, without going to and fro.

use thiserror::Error;

/// Chooses, tensor after tensor, the step of a ladder that is worth most in its budget.
///
/// A tensor that fills its budget is worth less than its accuracy: when the path slows down, what is on it
/// comes late, and the more of it there is the longer that lasts. So a step is worth its accuracy less
/// [`RISK`](Self::RISK) times the share of the budget that it takes. Where no accuracy is known, each step
/// is taken to be worth more than all after it.
///
/// It goes down at once where a step does not fit any more, or is worth less than a smaller one even in a
/// budget that is larger by [`MARGIN`](Self::MARGIN). It goes up only when better steps have been worth
/// more in a budget that is smaller by as much for [`PATIENCE`](Self::PATIENCE) tensors one after another,
/// and then to the best of those that were for all of them. So a budget that wobbles by less than the
/// margin never makes it turn round.
#[derive(Clone, Debug, PartialEq)]
pub struct Chooser {
    /// Bytes that a tensor of each step takes, strictly descending.
    bytes: Vec<usize>,
    /// Points of accuracy that each step loses; none where that is not known.
    drops: Option<Vec<f64>>,
    current: usize,
    /// Tensors one after another whose budget had room for a better step, and the best step that all
    /// of them had room for.
    room: (u32, usize),
}

/// Why steps are not a ladder to choose from: our caller is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum ChooserError {
    /// There is nothing to choose from, or too much.
    #[error("a ladder has 1 to 128 steps, not {0}")]
    Steps(usize),
    /// A step takes as many bytes as the one before it, or more, and so helps nobody: leave it out.
    #[error("step {step} takes {bytes} bytes, and the better one before it {before}")]
    NotSmaller {
        /// The step.
        step: usize,
        /// Bytes that its tensors take.
        bytes: usize,
        /// Bytes that those of the step before take.
        before: usize,
    },
    /// What is known of the steps' accuracy is not known of each, or is no number.
    #[error("{steps} steps need as many finite losses of accuracy, in points")]
    Drops {
        /// Steps that there are.
        steps: usize,
    },
}

impl Chooser {
    /// A step is gone up to when it would take at most 1/1.15 of the budget. Rates that a path is
    /// measured to have vary by about a tenth although nothing changes.
    pub const MARGIN: f64 = 0.15;

    /// Tensors that have to have had room before it goes up: a third of a second at 30 a second.
    pub const PATIENCE: u32 = 10;

    /// Points of accuracy that filling the budget is reckoned to cost: what is lost with the frames that
    /// come late, or not at all, whenever the path slows down.
    pub const RISK: f64 = 1.0;

    /// A chooser among steps whose tensors take so many bytes each, best first. It starts with step 0.
    ///
    /// # Errors
    /// [`ChooserError`] unless there are 1 to 128 and each takes fewer bytes than the one before.
    pub fn new(bytes: Vec<usize>) -> Result<Self, ChooserError> {
        if bytes.is_empty() || bytes.len() > crate::Ladder::MAX_STEPS {
            return Err(ChooserError::Steps(bytes.len()));
        }
        for (step, (&before, &bytes)) in (1..).zip(bytes.iter().zip(bytes.iter().skip(1))) {
            if bytes >= before {
                return Err(ChooserError::NotSmaller {
                    step,
                    bytes,
                    before,
                });
            }
        }
        Ok(Self {
            bytes,
            drops: None,
            current: 0,
            room: (0, 0),
        })
    }

    /// The same, knowing how many points of accuracy each step loses.
    ///
    /// # Errors
    /// [`ChooserError::Drops`] unless there is a finite number for each step.
    pub fn with_drops(mut self, drops: Vec<f64>) -> Result<Self, ChooserError> {
        let steps = self.bytes.len();
        if drops.len() != steps || !drops.iter().all(|drop| drop.is_finite()) {
            return Err(ChooserError::Drops { steps });
        }
        self.drops = Some(drops);
        Ok(self)
    }

    /// The step for the next tensor, which may have `budget` bytes; none: as many as it likes.
    ///
    /// It fits the budget, unless no step does: then it is the last.
    #[expect(
        clippy::cast_precision_loss,
        reason = "bytes of a tensor; beyond 2^53 nothing depends on the last of them"
    )]
    pub fn choose(&mut self, budget: Option<usize>) -> u8 {
        let budget = budget.map_or(f64::INFINITY, |bytes| bytes as f64);
        let smaller = self.best(budget * (1.0 + Self::MARGIN));
        let better = self.best(budget / (1.0 + Self::MARGIN));
        if self.bytes() as f64 > budget {
            self.go(self.best(budget));
        } else if smaller > self.current {
            self.go(smaller);
        } else if better < self.current {
            let (tensors, best) = self.room;
            self.room = (tensors + 1, best.max(better));
            if self.room.0 >= Self::PATIENCE {
                self.go(self.room.1);
            }
        } else {
            self.room = (0, 0);
        }
        self.current()
    }

    /// One step down, because a tensor came out larger than the ladder said. False at the last step.
    pub fn lower(&mut self) -> bool {
        let lower = self.current + 1;
        let exists = lower < self.bytes.len();
        if exists {
            self.go(lower);
        }
        exists
    }

    /// The step that was chosen last.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "at most 127")]
    pub const fn current(&self) -> u8 {
        self.current as u8
    }

    /// Bytes that a tensor of the last step takes, the smallest.
    #[must_use]
    pub fn least(&self) -> usize {
        self.bytes.last().copied().unwrap_or(0)
    }

    /// Bytes that a tensor of the step that was chosen last takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.get(self.current).copied().unwrap_or(0)
    }

    const fn go(&mut self, step: usize) {
        self.current = step;
        self.room = (0, 0);
    }

    /// The step that is worth most in so many bytes, of those that fit; the last if none does. With more
    /// bytes it is never a smaller one.
    #[expect(clippy::cast_precision_loss, reason = "as above")]
    fn best(&self, budget: f64) -> usize {
        let last = self.bytes.len() - 1;
        let larger = self
            .bytes
            .iter()
            .take_while(|bytes| **bytes as f64 > budget);
        let first = larger.count().min(last);
        let Some(drops) = &self.drops else {
            return first;
        };
        let costs = drops.iter().zip(&self.bytes).map(|(drop, bytes)| {
            let share = if budget > 0.0 {
                *bytes as f64 / budget
            } else {
                1.0
            };
            drop + Self::RISK * share
        });
        let fitting = costs.enumerate().skip(first);
        fitting
            .min_by(|(_, one), (_, other)| one.total_cmp(other))
            .map_or(last, |(step, _)| step)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chooser() -> Chooser {
        Chooser::new(vec![8_000, 4_000, 2_000, 1_000]).unwrap()
    }

    #[test]
    fn down_at_once_and_up_with_patience() {
        let mut chooser = chooser();
        assert_eq!(chooser.choose(None), 0);
        assert_eq!(chooser.choose(Some(8_000)), 0);
        assert_eq!(chooser.choose(Some(7_999)), 1);
        assert_eq!(chooser.choose(Some(10)), 3);
        for _ in 1..Chooser::PATIENCE {
            assert_eq!(chooser.choose(Some(5_000)), 3);
        }
        assert_eq!(chooser.choose(Some(5_000)), 1);
        // Room for the best, but not by the margin.
        for _ in 0..3 * Chooser::PATIENCE {
            assert_eq!(chooser.choose(Some(9_199)), 1);
        }
        for _ in 1..Chooser::PATIENCE {
            assert_eq!(chooser.choose(Some(9_200)), 1);
        }
        assert_eq!(chooser.choose(Some(9_200)), 0);
    }

    #[test]
    fn a_tensor_without_room_starts_the_count_again() {
        let mut chooser = chooser();
        chooser.choose(Some(1_000));
        for _ in 0..5 {
            for _ in 1..Chooser::PATIENCE {
                assert_eq!(chooser.choose(Some(100_000)), 3);
            }
            assert_eq!(chooser.choose(Some(2_100)), 3);
        }
    }

    #[test]
    fn it_goes_up_to_what_all_had_room_for() {
        let mut chooser = chooser();
        chooser.choose(Some(1_000));
        for _ in 1..Chooser::PATIENCE {
            assert_eq!(chooser.choose(Some(100_000)), 3);
        }
        assert_eq!(chooser.choose(Some(2_500)), 2);
    }

    #[test]
    fn a_tensor_that_came_out_too_large_lowers_it() {
        let mut chooser = chooser();
        assert!(chooser.lower());
        assert_eq!((chooser.current(), chooser.bytes()), (1, 4_000));
        chooser.choose(Some(0));
        assert!(!chooser.lower());
        assert_eq!(chooser.current(), 3);
    }

    #[test]
    fn a_step_has_to_be_worth_what_it_takes_of_the_budget() {
        let settled = |drops: [f64; 4], budget: usize| {
            let mut chooser = chooser().with_drops(drops.to_vec()).unwrap();
            (0..2 * Chooser::PATIENCE).for_each(|_| _ = chooser.choose(Some(budget)));
            chooser.bytes()
        };
        let flat = [0.0, 0.1, 0.2, 0.3];
        // All of 8,000 bytes would cost seven eighths of a point more than an eighth of them.
        assert_eq!(settled(flat, 8_000), 1_000);
        assert_eq!(settled(flat, 10_500), 2_000);
        assert_eq!(settled(flat, 200_000), 8_000);
        let steep = [0.0, 5.0, 20.0, 60.0];
        assert_eq!(settled(steep, 10_000), 8_000);
        assert_eq!(settled(steep, 5_000), 4_000);
        let unlimited = chooser().with_drops(flat.to_vec());
        assert_eq!(unlimited.unwrap().choose(None), 0);
    }

    #[test]
    fn steps_that_help_nobody_are_refused() {
        assert_eq!(Chooser::new(vec![]), Err(ChooserError::Steps(0)));
        let long = (0..129).rev().collect();
        assert_eq!(Chooser::new(long), Err(ChooserError::Steps(129)));
        assert!(matches!(
            Chooser::new(vec![5, 3, 3]),
            Err(ChooserError::NotSmaller { step: 2, .. })
        ));
        for drops in [vec![], vec![0.0; 3], vec![0.0, f64::NAN, 1.0, 2.0]] {
            let refused = chooser().with_drops(drops);
            assert_eq!(refused, Err(ChooserError::Drops { steps: 4 }));
        }
    }

    fn ladders() -> impl Strategy<Value = Vec<usize>> {
        prop::collection::btree_set(1_usize..20_000, 1..12)
            .prop_map(|sizes| sizes.into_iter().rev().collect())
    }

    /// Choosers among the steps of a ladder, whether or not their accuracy is known.
    fn choosers() -> impl Strategy<Value = (Vec<usize>, Chooser)> {
        let drops = prop::collection::vec(0.0..20.0, 12);
        (ladders(), prop::option::of(drops)).prop_map(|(bytes, drops)| {
            let chooser = Chooser::new(bytes.clone()).unwrap();
            let chooser = match drops {
                None => chooser,
                Some(drops) => chooser.with_drops(drops[..bytes.len()].to_vec()).unwrap(),
            };
            (bytes, chooser)
        })
    }

    proptest! {
        #[test]
        fn the_budget_is_kept_unless_nothing_fits(
            (bytes, mut chooser) in choosers(),
            budgets in prop::collection::vec(prop::option::of(0_usize..25_000), 1..200),
        ) {
            let last = bytes.len() - 1;
            for budget in budgets {
                let step = usize::from(chooser.choose(budget));
                prop_assert!(bytes[step] <= budget.unwrap_or(usize::MAX) || step == last);
                prop_assert_eq!(bytes[step], chooser.bytes());
            }
        }

        #[test]
        fn a_wobble_within_the_margin_never_makes_it_turn_round(
            (_, mut chooser) in choosers(),
            base in 1_usize..25_000,
            before in 0_usize..25_000,
            wobbles in prop::collection::vec(0.0..Chooser::MARGIN, 1..200),
        ) {
            let mut steps = vec![chooser.choose(Some(before))];
            for wobble in wobbles {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a test")]
                let budget = (base as f64 * (1.0 + wobble)) as usize;
                steps.push(chooser.choose(Some(budget)));
            }
            let ways: Vec<bool> = steps.windows(2).filter(|w| w[0] != w[1]).map(|w| w[0] < w[1]).collect();
            prop_assert!(ways.iter().all(|way| *way == ways[0]), "{:?}", steps);
        }

        #[test]
        fn a_steady_budget_is_used_within_the_margin(
            bytes in ladders(),
            budgets in prop::collection::vec(0_usize..25_000, 0..50),
            last in 0_usize..25_000,
        ) {
            let mut chooser = Chooser::new(bytes.clone()).unwrap();
            for budget in budgets {
                chooser.choose(Some(budget));
            }
            let mut step = 0;
            for _ in 0..2 * Chooser::PATIENCE {
                step = usize::from(chooser.choose(Some(last)));
            }
            let better = step.checked_sub(1).map(|better| bytes[better]);
            prop_assert!(better.is_none_or(|bytes| bytes as f64 * (1.0 + Chooser::MARGIN) > last as f64));
        }
    }
}
