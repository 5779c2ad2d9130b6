//! Loss models in the words of `tc`, so that the kernel loses packets as the emulator does.

use super::LossModel;

/// The kernel holds a probability as a share of 2^32 − 1.
const RESOLUTION: f64 = 1.0 / u32::MAX as f64;

/// Why netem cannot lose packets so. The model is a good one for the simulator and the emulator.
#[derive(Clone, Copy, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetemError {
    /// Loss in netem is always drawn at random.
    #[error(
        "netem draws every loss at random and cannot lose the same packets of every {every}; use `tw-lab link`, or iid:{rate}"
    )]
    Periodic {
        /// Packets of a period.
        every: u32,
        /// The share lost.
        rate: f64,
    },
    /// Netem reads no recorded losses.
    #[error(
        "netem cannot replay a trace; use `tw-lab link`, or the model that `tw-lab trace fit` finds"
    )]
    Trace,
    /// The probability is below the kernel's smallest.
    #[error("netem holds no probability of {0}: it counts in steps of 2.3e-10")]
    TooSmall(f64),
}

impl LossModel {
    /// What follows `netem` on the command line of `tc`: `loss random 5%` or
    /// `loss gemodel P R 1-H 1-K`.
    ///
    /// By tc-netem(8), P and R are the probabilities of stepping from the good state to the bad one and
    /// back, 1−H is that of loss in the bad state and 1−K that of loss in the good one. Two things
    /// differ: the kernel draws a packet's loss in the state before its step and begins in the good
    /// state, which in the long run is the same; and the losses are other ones at every start, unless
    /// `seed N` is appended (Linux and iproute2 6.6 or newer), and never those of a [`super::LossProcess`].
    ///
    /// # Errors
    /// If netem has no such model, or holds no probability as small as one of the model's.
    pub fn netem(&self) -> Result<String, NetemError> {
        Ok(match *self {
            Self::None => "loss random 0%".to_owned(),
            Self::Independent { rate } => format!("loss random {}", percent(rate)?),
            Self::GilbertElliott {
                to_bad,
                to_good,
                loss_good,
                loss_bad,
            } => format!(
                "loss gemodel {} {} {} {}",
                percent(to_bad)?,
                percent(to_good)?,
                percent(loss_bad)?,
                percent(loss_good)?
            ),
            Self::Periodic { every, .. } => {
                let rate = self.rate();
                return Err(NetemError::Periodic { every, rate });
            }
            Self::Trace(_) => return Err(NetemError::Trace),
        })
    }
}

/// A probability in per cent, as finely as the kernel holds it.
fn percent(share: f64) -> Result<String, NetemError> {
    if share > 0.0 && share < RESOLUTION {
        return Err(NetemError::TooSmall(share));
    }
    let digits = format!("{:.8}", share * 100.0);
    let digits = digits.trim_end_matches('0').trim_end_matches('.');
    Ok(format!("{digits}%"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::LossTrace;
    use super::*;

    fn netem(model: &str) -> Result<String, NetemError> {
        model.parse::<LossModel>().unwrap().netem()
    }

    #[test]
    fn models_in_the_words_of_tc() {
        for (model, arguments) in [
            ("none", "loss random 0%"),
            ("iid:0.05", "loss random 5%"),
            ("iid:0.07", "loss random 7%"),
            ("iid:1", "loss random 100%"),
            ("iid:0.000001", "loss random 0.0001%"),
            // p = 0.05 / (4 · 0.95), r = 1/4: all is lost in the bad state and none in the good one.
            ("gilbert:0.05,4", "loss gemodel 1.31578947% 25% 100% 0%"),
            (
                "gilbert-elliott:0.02,0.2,0.005,0.6",
                "loss gemodel 2% 20% 60% 0.5%",
            ),
        ] {
            assert_eq!(netem(model).as_deref(), Ok(arguments), "{model}");
        }
    }

    #[test]
    fn what_netem_cannot_do_is_refused() {
        let error = netem("periodic:20,1").unwrap_err().to_string();
        assert!(
            error.contains("every 20") && error.contains("iid:0.05"),
            "{error}"
        );
        let trace = LossModel::Trace(Arc::new(LossTrace::new([true, false]).unwrap()));
        assert_eq!(trace.netem(), Err(NetemError::Trace));
        assert_eq!(netem("iid:1e-10"), Err(NetemError::TooSmall(1e-10)));
    }
}
