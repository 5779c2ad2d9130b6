//! Models of packet loss, one set for simulator, link emulator and kernel.
//!
//! [`LossModel`] is the value and [`LossProcess`] the model at work. `spec` is its textual form, `trace`
//! a recorded sequence of fates, `fit` the way back from a sequence to a model (by way of
//! `baum_welch`), `netem` the same model as arguments of `tc`.

mod baum_welch;
mod fit;
mod netem;
mod process;
mod spec;
mod trace;

use std::sync::Arc;

pub use fit::{Fit, Fitted, fit};
pub use netem::NetemError;
pub use process::{LossProcess, uniform};
pub use spec::LossSpecError;
pub use trace::{LossTrace, TraceError};

/// How packets are lost.
///
/// Made by its constructors, which check the figures, or parsed: `none`, `iid:RATE`,
/// `gilbert:RATE,BURST`, `gilbert-elliott:P,R,GOOD,BAD` and `periodic:EVERY,BURST[,OFFSET]`, where a
/// probability may be in per cent (`iid:5%`). Printed it parses again, to the same figures; a trace
/// alone has no such form.
///
/// ```
/// use tensorwire_protocol::link::{LossModel, LossProcess};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let model: LossModel = "gilbert:5%,4".parse()?;
/// assert_eq!(model.to_string(), "gilbert:0.05,4");
/// let mut process = LossProcess::new(model, 1);
/// let lost = (0..10_000).filter(|_| process.next_is_lost()).count();
/// assert!((300..700).contains(&lost));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum LossModel {
    /// None is lost.
    None,
    /// Each is lost on its own.
    Independent {
        /// Probability of loss, 0 to 1.
        rate: f64,
    },
    /// A chain of two states, after Gilbert (Bell System Technical Journal 39, 1960) and Elliott
    /// (same journal 42, 1963). The chain steps once a packet, before its loss is drawn.
    GilbertElliott {
        /// Probability of stepping from the good state to the bad one.
        to_bad: f64,
        /// Probability of stepping from the bad state to the good one.
        to_good: f64,
        /// Probability of loss in the good state.
        loss_good: f64,
        /// Probability of loss in the bad state.
        loss_bad: f64,
    },
    /// The same packets of every so many, whatever the seed: with packets counted from zero, `burst`
    /// in a row from packet `offset` on, and again every `every` packets.
    Periodic {
        /// Packets from the start of a burst to the start of the next, 1 or more.
        every: u32,
        /// Packets lost in a row, 1 to `every`.
        burst: u32,
        /// The first packet that is lost.
        offset: u32,
    },
    /// What was recorded, again and again. The seed decides at which packet it begins; seed 0 begins
    /// at the first.
    Trace(Arc<LossTrace>),
}

/// Why a loss model cannot be: the caller is at fault.
#[derive(Clone, Copy, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LossError {
    /// Not a probability.
    #[error("{name} of {value}; a probability is 0 to 1")]
    Probability {
        /// The parameter.
        name: &'static str,
        /// Its value.
        value: f64,
    },
    /// Bursts are at least one packet long, and so long that the rate can be reached.
    #[error(
        "bursts of {burst} packets at a loss of {rate}; they must be at least 1 long, and long enough for the chain to reach the rate (rate / (1 − rate))"
    )]
    Burst {
        /// Mean length of a burst, packets.
        burst: f64,
        /// Share of packets lost.
        rate: f64,
    },
    /// A period has at least one packet, and its burst fits into it.
    #[error("{burst} lost of every {every} packets; at least 1 and at most all of them can be")]
    Period {
        /// Packets of a period.
        every: u32,
        /// Packets lost of it.
        burst: u32,
    },
}

impl LossModel {
    /// Independent loss of a share `rate` of the packets.
    ///
    /// # Errors
    /// If the rate is not a probability.
    pub fn independent(rate: f64) -> Result<Self, LossError> {
        probability("rate", rate)?;
        Ok(if rate == 0.0 {
            Self::None
        } else {
            Self::Independent { rate }
        })
    }

    /// Gilbert's model by share of packets lost and mean length of a burst: everything is lost in
    /// the bad state, nothing in the good one. p(bad→good) = 1/burst and
    /// p(good→bad) = rate / (burst · (1 − rate)).
    ///
    /// # Errors
    /// If the rate is not a probability below 1, or no such chain exists.
    pub fn gilbert(rate: f64, burst: f64) -> Result<Self, LossError> {
        probability("rate", rate)?;
        let to_bad = rate / (burst * (1.0 - rate));
        if !burst.is_finite() || burst < 1.0 || !(0.0..=1.0).contains(&to_bad) {
            return Err(LossError::Burst { burst, rate });
        }
        Self::gilbert_elliott(to_bad, 1.0 / burst, 0.0, 1.0)
    }

    /// The general model by its four probabilities.
    ///
    /// # Errors
    /// If one of them is not a probability.
    pub fn gilbert_elliott(
        to_bad: f64,
        to_good: f64,
        loss_good: f64,
        loss_bad: f64,
    ) -> Result<Self, LossError> {
        probability("p(good→bad)", to_bad)?;
        probability("p(bad→good)", to_good)?;
        probability("loss in the good state", loss_good)?;
        probability("loss in the bad state", loss_bad)?;
        Ok(Self::GilbertElliott {
            to_bad,
            to_good,
            loss_good,
            loss_bad,
        })
    }

    /// Of every `every` packets, `burst` in a row; the first to be lost is packet `offset`, counted
    /// from zero.
    ///
    /// # Errors
    /// If `burst` is not 1 to `every`.
    pub const fn periodic(every: u32, burst: u32, offset: u32) -> Result<Self, LossError> {
        if burst == 0 || burst > every {
            return Err(LossError::Period { every, burst });
        }
        Ok(Self::Periodic {
            every,
            burst,
            offset,
        })
    }

    /// The share of packets lost in the long run.
    pub fn rate(&self) -> f64 {
        match *self {
            Self::None => 0.0,
            Self::Independent { rate } => rate,
            Self::GilbertElliott {
                to_bad,
                to_good,
                loss_good,
                loss_bad,
            } => {
                let bad = share_bad(to_bad, to_good);
                bad * loss_bad + (1.0 - bad) * loss_good
            }
            Self::Periodic { every, burst, .. } => f64::from(burst) / f64::from(every.max(1)),
            Self::Trace(ref trace) => trace.rate(),
        }
    }

    /// Packets lost in a row, on average in the long run: the share lost over the share that is lost
    /// and followed by one that is not. 0 if none is ever lost, infinite if all are.
    pub fn mean_burst(&self) -> f64 {
        let rate = self.rate();
        if rate == 0.0 {
            return 0.0;
        }
        let ending = match *self {
            Self::None => 1.0,
            Self::Independent { rate } => rate * (1.0 - rate),
            Self::GilbertElliott {
                to_bad,
                to_good,
                loss_good,
                loss_bad,
            } => {
                let bad = share_bad(to_bad, to_good);
                let (kept_good, kept_bad) = (1.0 - loss_good, 1.0 - loss_bad);
                let after_good = (1.0 - to_bad) * kept_good + to_bad * kept_bad;
                let after_bad = to_good * kept_good + (1.0 - to_good) * kept_bad;
                (1.0 - bad) * loss_good * after_good + bad * loss_bad * after_bad
            }
            Self::Periodic { every, burst, .. } => {
                f64::from(u8::from(burst < every)) / f64::from(every.max(1))
            }
            Self::Trace(ref trace) => trace.endings() as f64 / trace.packets() as f64,
        };
        rate / ending
    }
}

/// The share of its time that the chain is in the bad state in the long run.
fn share_bad(to_bad: f64, to_good: f64) -> f64 {
    if to_bad == 0.0 {
        0.0
    } else {
        to_bad / (to_bad + to_good)
    }
}

fn probability(name: &'static str, value: f64) -> Result<(), LossError> {
    if (0.0..=1.0).contains(&value) {
        Ok(())
    } else {
        Err(LossError::Probability { name, value })
    }
}

#[cfg(test)]
mod tests;
