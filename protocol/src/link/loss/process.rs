//! A loss model at work.

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::{LossModel, share_bad};

/// A loss model at work: the fate of packet after packet, the same for the same seed.
#[derive(Clone, Debug)]
pub struct LossProcess {
    model: LossModel,
    random: Xoshiro256PlusPlus,
    /// Whether the chain of two states is in the bad one.
    bad: bool,
    /// Packets so far; of a trace, the place in it.
    at: u64,
}

impl LossProcess {
    /// The process of `model` with this seed. The first state of a chain is drawn from the long-run
    /// shares, the first packet of a trace from all of them.
    ///
    /// With seed 0 a trace begins at its first packet. Periodic loss takes no notice of the seed.
    pub fn new(model: LossModel, seed: u64) -> Self {
        let mut process = Self {
            model,
            random: Xoshiro256PlusPlus::seed_from_u64(seed),
            bad: false,
            at: 0,
        };
        match &process.model {
            LossModel::GilbertElliott {
                to_bad, to_good, ..
            } => {
                let share = share_bad(*to_bad, *to_good);
                process.bad = process.draw(share);
            }
            LossModel::Trace(trace) if seed != 0 => {
                let start = uniform(&mut process.random) * trace.packets() as f64;
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "0 to the length of the trace"
                )]
                let start = start as u64;
                process.at = start;
            }
            _ => {}
        }
        process
    }

    /// Whether the next packet is lost.
    pub fn next_is_lost(&mut self) -> bool {
        match self.model {
            LossModel::None => false,
            LossModel::Independent { rate } => self.draw(rate),
            LossModel::GilbertElliott {
                to_bad,
                to_good,
                loss_good,
                loss_bad,
            } => {
                let step = self.draw(if self.bad { to_good } else { to_bad });
                self.bad ^= step;
                self.draw(if self.bad { loss_bad } else { loss_good })
            }
            LossModel::Periodic {
                every,
                burst,
                offset,
            } => {
                let since = self.at.checked_sub(u64::from(offset));
                self.at += 1;
                let phase = since.and_then(|since| since.checked_rem(u64::from(every)));
                phase.is_some_and(|phase| phase < u64::from(burst))
            }
            LossModel::Trace(ref trace) => {
                let lost = trace.is_lost(self.at);
                self.at += 1;
                lost
            }
        }
    }

    fn draw(&mut self, probability: f64) -> bool {
        uniform(&mut self.random) < probability
    }
}

/// A number of [0, 1) with 53 random bits.
pub fn uniform(random: &mut impl Rng) -> f64 {
    (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}
