//! The textual form of a loss model.

use std::fmt;
use std::str::FromStr;

use super::{LossError, LossModel};

/// Why a text is no loss model: whoever wrote it is at fault.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LossSpecError {
    /// No model of this name.
    #[error(
        "no loss model `{0}`; write none, iid:RATE, gilbert:RATE,BURST, gilbert-elliott:P,R,GOOD,BAD or periodic:EVERY,BURST[,OFFSET]"
    )]
    Name(String),
    /// Too many figures or too few.
    #[error("{given} figures in `{text}`; write {form}")]
    Figures {
        /// What was to be parsed.
        text: String,
        /// Figures it has.
        given: usize,
        /// The form of this model.
        form: &'static str,
    },
    /// Something is no number, or no count.
    #[error("`{figure}` in `{text}` is no {expected}")]
    Number {
        /// What was to be parsed.
        text: String,
        /// The part of it.
        figure: String,
        /// What it ought to be.
        expected: &'static str,
    },
    /// The figures make no model.
    #[error(transparent)]
    Model(#[from] LossError),
    /// A trace is a file, and files are read elsewhere.
    #[error("a recorded trace has to be read from its file first")]
    Trace,
}

impl FromStr for LossModel {
    type Err = LossSpecError;

    fn from_str(text: &str) -> Result<Self, LossSpecError> {
        let (name, figures) = match text.split_once(':') {
            Some((name, figures)) => (name, figures.split(',').map(str::trim).collect()),
            None => (text, vec![]),
        };
        let figure = |expected, figure: &str| LossSpecError::Number {
            text: text.to_owned(),
            figure: figure.to_owned(),
            expected,
        };
        let share = |given: &str| share(given).ok_or_else(|| figure("probability", given));
        let length = |given: &str| given.parse().map_err(|_| figure("number", given));
        let count = |given: &str| given.parse().map_err(|_| figure("count of packets", given));
        let wrong = |form| LossSpecError::Figures {
            text: text.to_owned(),
            given: figures.len(),
            form,
        };
        Ok(match (name.trim(), figures.as_slice()) {
            ("none", []) => Self::None,
            ("none", _) => return Err(wrong("none")),
            ("iid", [rate]) => Self::independent(share(rate)?)?,
            ("iid", _) => return Err(wrong("iid:RATE")),
            ("gilbert", [rate, burst]) => Self::gilbert(share(rate)?, length(burst)?)?,
            ("gilbert", _) => return Err(wrong("gilbert:RATE,BURST")),
            ("gilbert-elliott", [to_bad, to_good, good, bad]) => {
                Self::gilbert_elliott(share(to_bad)?, share(to_good)?, share(good)?, share(bad)?)?
            }
            ("gilbert-elliott", _) => return Err(wrong("gilbert-elliott:P,R,GOOD,BAD")),
            ("periodic", [every, burst]) => Self::periodic(count(every)?, count(burst)?, 0)?,
            ("periodic", [every, burst, offset]) => {
                Self::periodic(count(every)?, count(burst)?, count(offset)?)?
            }
            ("periodic", _) => return Err(wrong("periodic:EVERY,BURST[,OFFSET]")),
            ("trace", _) => return Err(LossSpecError::Trace),
            (name, _) => return Err(LossSpecError::Name(name.to_owned())),
        })
    }
}

/// A share, in per cent if it says so.
fn share(text: &str) -> Option<f64> {
    match text.strip_suffix('%') {
        Some(percent) => Some(percent.trim_end().parse::<f64>().ok()? / 100.0),
        None => text.parse().ok(),
    }
}

impl fmt::Display for LossModel {
    /// The form that parses; of a trace what it is, for its file is not known here.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Independent { rate } => write!(f, "iid:{rate}"),
            Self::GilbertElliott {
                to_bad,
                to_good,
                loss_good,
                loss_bad,
            } => match self.as_gilbert() {
                Some((rate, burst)) => write!(f, "gilbert:{rate},{burst}"),
                None => write!(
                    f,
                    "gilbert-elliott:{to_bad},{to_good},{loss_good},{loss_bad}"
                ),
            },
            Self::Periodic {
                every,
                burst,
                offset: 0,
            } => write!(f, "periodic:{every},{burst}"),
            Self::Periodic {
                every,
                burst,
                offset,
            } => write!(f, "periodic:{every},{burst},{offset}"),
            Self::Trace(trace) => write!(
                f,
                "a trace of {} packets, {} of them lost",
                trace.packets(),
                trace.lost()
            ),
        }
    }
}

impl LossModel {
    /// Rate and mean burst of round figures that make exactly this chain, where there are such.
    fn as_gilbert(&self) -> Option<(f64, f64)> {
        // What a person wrote has few places; computing it back errs in the last ones.
        let round = |value: f64| (value * 1e9).round() / 1e9;
        let Self::GilbertElliott { to_good, .. } = self else {
            return None;
        };
        let (rate, burst) = (round(self.rate()), round(1.0 / to_good));
        (Self::gilbert(rate, burst).ok().as_ref() == Some(self)).then_some((rate, burst))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::arb_model;
    use super::*;

    #[test]
    fn every_form_is_read_and_written() {
        for (text, model, written) in [
            ("none", LossModel::None, "none"),
            ("iid:0", LossModel::None, "none"),
            (
                "iid:0.05",
                LossModel::independent(0.05).unwrap(),
                "iid:0.05",
            ),
            ("iid:5%", LossModel::independent(0.05).unwrap(), "iid:0.05"),
            ("iid:100 %", LossModel::independent(1.0).unwrap(), "iid:1"),
            (
                "gilbert:5%,4",
                LossModel::gilbert(0.05, 4.0).unwrap(),
                "gilbert:0.05,4",
            ),
            (
                "gilbert: 0.3, 2.5",
                LossModel::gilbert(0.3, 2.5).unwrap(),
                "gilbert:0.3,2.5",
            ),
            (
                "gilbert-elliott:1%,0.25,0,100%",
                LossModel::gilbert_elliott(0.01, 0.25, 0.0, 1.0).unwrap(),
                "gilbert-elliott:0.01,0.25,0,1",
            ),
            (
                "gilbert-elliott:0.02,0.2,0.005,0.6",
                LossModel::gilbert_elliott(0.02, 0.2, 0.005, 0.6).unwrap(),
                "gilbert-elliott:0.02,0.2,0.005,0.6",
            ),
            (
                "periodic:20,1",
                LossModel::periodic(20, 1, 0).unwrap(),
                "periodic:20,1",
            ),
            (
                "periodic:20,3,7",
                LossModel::periodic(20, 3, 7).unwrap(),
                "periodic:20,3,7",
            ),
        ] {
            assert_eq!(text.parse().as_ref(), Ok(&model), "{text}");
            assert_eq!(model.to_string(), written);
        }
    }

    #[test]
    fn what_is_no_model_says_why() {
        for (text, why) in [
            ("", "no loss model ``; write none, iid:RATE"),
            ("5%", "no loss model `5%`"),
            ("iid", "0 figures in `iid`; write iid:RATE"),
            ("iid:", "`` in `iid:` is no probability"),
            ("iid:a", "`a` in `iid:a` is no probability"),
            ("iid:120%", "rate of 1.2; a probability is 0 to 1"),
            ("iid:nan", "a probability is 0 to 1"),
            ("gilbert:0.05", "1 figures in"),
            ("gilbert:0.05,x", "`x` in `gilbert:0.05,x` is no number"),
            ("gilbert:0.05,inf", "bursts of inf packets"),
            ("gilbert:0.05,4%", "`4%`"),
            ("gilbert-elliott:0.1,0.2,0", "P,R,GOOD,BAD"),
            (
                "gilbert-elliott:0.1,0.2,0,-1",
                "loss in the bad state of -1",
            ),
            (
                "periodic:20,0",
                "0 lost of every 20 packets; at least 1 and at most all of them can be",
            ),
            ("periodic:0,0", "0 lost of every 0"),
            ("periodic:2,3", "3 lost of every 2"),
            ("periodic:2.5,1", "`2.5` in `periodic:2.5,1` is no count"),
            ("periodic:20", "EVERY,BURST[,OFFSET]"),
            ("trace:x.csv", "read from its file"),
        ] {
            let error = text.parse::<LossModel>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(model in arb_model()) {
            let text = model.to_string();
            prop_assert_eq!(text.parse(), Ok(model), "{}", text);
        }

        #[test]
        fn no_text_panics(text in "[a-z-]{0,16}:?[-0-9.,%e ]{0,12}|\\PC{0,24}") {
            let _ = text.parse::<LossModel>();
        }
    }
}
