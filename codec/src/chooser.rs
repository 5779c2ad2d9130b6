//! Which step of a ladder fits a budget of bytes, without going to and fro.

use thiserror::Error;

/// Chooses, tensor after tensor, the best step of a ladder that its budget has room for.
///
/// It goes down at once, to the best step that fits. It goes up only when the budget has had room for
/// better steps by [`MARGIN`](Self::MARGIN) for [`PATIENCE`](Self::PATIENCE) tensors one after
/// another, and then to the best of those that all of them had room for. So a budget that wobbles by
/// less than the margin never makes it turn round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chooser {
    /// Bytes that a tensor of each step takes, strictly descending.
    bytes: Vec<usize>,
    current: usize,
    /// Tensors one after another whose budget had room for a better step, and the best step that all
    /// of them had room for.
    room: (u32, usize),
}

/// Why steps are not a ladder to choose from: our caller is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
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
}

impl Chooser {
    /// A step is gone up to when it would take at most 1/1.15 of the budget. Rates that a path is
    /// measured to have vary by about a tenth although nothing changes.
    pub const MARGIN: f64 = 0.15;

    /// Tensors that have to have had room before it goes up: a third of a second at 30 a second.
    pub const PATIENCE: u32 = 10;

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
            current: 0,
            room: (0, 0),
        })
    }

    /// The step for the next tensor, which may have `budget` bytes; none: as many as it likes.
    ///
    /// It fits the budget, unless no step does: then it is the last.
    pub fn choose(&mut self, budget: Option<usize>) -> u8 {
        let budget = budget.unwrap_or(usize::MAX);
        let fits = self.first(|bytes| bytes <= budget);
        #[expect(
            clippy::cast_precision_loss,
            reason = "bytes of a tensor; beyond 2^53 nothing depends on the last of them"
        )]
        let roomy = self.first(|bytes| bytes as f64 * (1.0 + Self::MARGIN) <= budget as f64);
        if fits > self.current {
            self.go(fits);
        } else if roomy < self.current {
            let (tensors, best) = self.room;
            self.room = (tensors + 1, best.max(roomy));
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

    /// The first step whose bytes are `small` enough, or the last.
    fn first(&self, small: impl Fn(usize) -> bool) -> usize {
        let larger = self.bytes.iter().take_while(|bytes| !small(**bytes));
        larger.count().min(self.bytes.len() - 1)
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
    fn steps_that_help_nobody_are_refused() {
        assert_eq!(Chooser::new(vec![]), Err(ChooserError::Steps(0)));
        let long = (0..129).rev().collect();
        assert_eq!(Chooser::new(long), Err(ChooserError::Steps(129)));
        assert!(matches!(
            Chooser::new(vec![5, 3, 3]),
            Err(ChooserError::NotSmaller { step: 2, .. })
        ));
    }

    fn ladders() -> impl Strategy<Value = Vec<usize>> {
        prop::collection::btree_set(1_usize..20_000, 1..12)
            .prop_map(|sizes| sizes.into_iter().rev().collect())
    }

    proptest! {
        #[test]
        fn the_budget_is_kept_unless_nothing_fits(
            bytes in ladders(),
            budgets in prop::collection::vec(prop::option::of(0_usize..25_000), 1..200),
        ) {
            let mut chooser = Chooser::new(bytes.clone()).unwrap();
            let last = bytes.len() - 1;
            for budget in budgets {
                let step = usize::from(chooser.choose(budget));
                prop_assert!(bytes[step] <= budget.unwrap_or(usize::MAX) || step == last);
                prop_assert_eq!(bytes[step], chooser.bytes());
            }
        }

        #[test]
        fn a_wobble_within_the_margin_never_makes_it_turn_round(
            bytes in ladders(),
            base in 1_usize..25_000,
            before in 0_usize..25_000,
            wobbles in prop::collection::vec(0.0..Chooser::MARGIN, 1..200),
        ) {
            let mut chooser = Chooser::new(bytes).unwrap();
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
