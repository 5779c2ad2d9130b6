//! One cell of the table: a path, and how losses on it are repaired.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Result, bail};
use serde::Deserialize;
use tensorwire_protocol::link::{LinkConfig, LossModel};
use tensorwire_protocol::{AccuracyCurve, Config};

use crate::options::{Fec, parse_ratio};

/// How losses are repaired.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Strategy {
    pub(super) parity: Fec,
    pub(super) retransmission: bool,
}

impl Strategy {
    /// Off, a quarter, adaptive, and adaptive with retransmission.
    pub(super) const DEFAULT: &str = "off,fixed:25%,adaptive,adaptive+retransmission";
}

impl FromStr for Strategy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (parity, retransmission) = match text.strip_suffix("+retransmission") {
            Some(parity) => (parity, true),
            None if text == "retransmission" => ("off", true),
            None => (text, false),
        };
        let parity = match parity {
            "off" => Fec::Off,
            "adaptive" => Fec::Adaptive,
            other => {
                let ratio = other.strip_prefix("fixed:");
                let ratio = ratio.and_then(|ratio| parse_ratio(ratio).ok());
                Fec::Fixed(ratio.ok_or_else(|| {
                    format!(
                        "`{text}`: off, fixed:RATIO (0 to 2, as in fixed:25%), adaptive or \
                         retransmission is needed, the first three with +retransmission if wanted"
                    )
                })?)
            }
        };
        Ok(Self {
            parity,
            retransmission,
        })
    }
}

/// What `--fec` asks for.
#[derive(Clone, Copy, PartialEq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) enum Asked {
    One(Strategy),
    /// Every fixed ratio that differs from the others.
    Every {
        retransmission: bool,
    },
}

impl Asked {
    /// The ways of repair that are meant, for tensors of `k` packets and at most `most` REPAIR packets for
    /// each of them.
    pub(super) fn of(self, k: u16, most: f64) -> Vec<Strategy> {
        let k = f64::from(k);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most twice 256"
        )]
        let most = (most * k + 1e-6) as u16;
        match self {
            Self::One(strategy) => vec![strategy],
            Self::Every { retransmission } => (0..=most)
                .map(|packets| Strategy {
                    parity: match packets {
                        0 => Fec::Off,
                        packets => Fec::Fixed(f64::from(packets) / k),
                    },
                    retransmission,
                })
                .collect(),
        }
    }
}

impl FromStr for Asked {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let retransmission = match text {
            "every" => false,
            "every+retransmission" => true,
            _ => return Ok(Self::One(text.parse()?)),
        };
        Ok(Self::Every { retransmission })
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.parity, self.retransmission) {
            (Fec::Off, true) => return f.write_str("retransmission"),
            (Fec::Off, false) => f.write_str("off"),
            // Rounded, as 0.07 × 100 has a digit too many.
            (Fec::Fixed(ratio), _) => write!(f, "fixed:{}%", (ratio * 1e6).round() / 1e4),
            (Fec::Adaptive, _) => f.write_str("adaptive"),
        }?;
        if self.retransmission {
            f.write_str("+retransmission")?;
        }
        Ok(())
    }
}

/// The losses of a path, phase after phase.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Losses {
    /// Share of datagrams lost in each phase, each way; phases are equally long.
    pub(super) rates: Vec<f64>,
    /// Mean number lost in a row; none where losses are independent.
    pub(super) burst: Option<f64>,
}

impl Losses {
    /// The loss model of a phase.
    pub(super) fn model(&self, phase: usize) -> Result<LossModel> {
        let rate = self.rates.get(phase).copied().unwrap_or_default();
        Ok(match self.burst {
            None => LossModel::independent(rate)?,
            Some(burst) => LossModel::gilbert(rate, burst)?,
        })
    }

    /// The mean over the phases.
    pub(super) fn mean(&self) -> f64 {
        self.rates.iter().sum::<f64>() / self.rates.len().max(1) as f64
    }
}

impl FromStr for Losses {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rates = text.split('>').map(|rate| {
            let share = match rate.trim().strip_suffix('%') {
                Some(percent) => percent.parse::<f64>().map(|rate| rate / 100.0),
                None => rate.trim().parse(),
            };
            match share {
                Ok(share) if (0.0..1.0).contains(&share) => Ok(share),
                _ => Err(format!(
                    "`{rate}`: a share of 0 to 1 is needed, as 0.05 or 5%; several, joined by >, change \
                     within the run"
                )),
            }
        });
        Ok(Self {
            rates: rates.collect::<Result<_, _>>()?,
            burst: None,
        })
    }
}

/// A path, a stream, and how it is repaired.
#[derive(Clone, Debug)]
pub(in crate::lab) struct Cell {
    pub(super) losses: Losses,
    pub(super) strategy: Strategy,
    pub(super) rtt_ms: u32,
    pub(super) deadline_ms: u32,
    /// Source packets of a tensor.
    pub(super) k: u16,
}

/// What all cells of a run have in common.
#[derive(Clone, Debug)]
pub(super) struct Common {
    pub(super) fps: f64,
    /// Bits a second.
    pub(super) rate: u64,
    pub(super) most_parity: f64,
    pub(super) target: f64,
    pub(super) span: u8,
    pub(super) curve: Option<AccuracyCurve>,
    pub(super) seed: u64,
}

impl Cell {
    /// The configurations of edge and cloud for tensors of `slices` slices in packets of `mss` bytes.
    pub(super) fn configs(&self, common: &Common, slices: u16, mss: u16) -> (Config, Config) {
        let mut cloud = Config::new(slices);
        cloud.mss = mss;
        cloud.deadline = Duration::from_millis(self.deadline_ms.into());
        cloud.retransmission = self.strategy.retransmission;
        cloud.span = common.span;
        let mut edge = cloud.clone();
        edge.redundancy = self.strategy.parity.redundancy(
            common.most_parity,
            common.target,
            common.curve.clone(),
        );
        (edge, cloud)
    }

    /// Both directions of the path, alike but for their seeds.
    pub(super) fn path(&self, common: &Common) -> Result<[LinkConfig; 2]> {
        if self.losses.rates.is_empty() {
            bail!("a cell needs a loss rate");
        }
        let direction = |salt: u64| -> Result<LinkConfig> {
            Ok(LinkConfig {
                loss: self.losses.model(0)?,
                delay: Duration::from_micros(u64::from(self.rtt_ms) * 500),
                rate: Some(common.rate),
                seed: common.seed.wrapping_mul(2).wrapping_add(salt),
                ..LinkConfig::default()
            })
        };
        Ok([direction(0)?, direction(1)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strategies_are_written_as_they_are_read() {
        for text in [
            "off",
            "retransmission",
            "fixed:25%",
            "fixed:12.5%",
            "adaptive",
            "adaptive+retransmission",
            "fixed:25%+retransmission",
        ] {
            let strategy: Strategy = text.parse().unwrap();
            assert_eq!(strategy.to_string(), text);
        }
        for text in ["", "fixed", "fixed:300%", "fixed:x", "on"] {
            assert!(text.parse::<Strategy>().is_err(), "{text}");
        }
    }

    #[test]
    fn every_number_of_repair_packets_is_a_ratio() {
        let every: Asked = "every".parse().unwrap();
        let names = |k, most| {
            let all = every.of(k, most).into_iter();
            all.map(|one| one.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(4, 0.5), ["off", "fixed:25%", "fixed:50%"]);
        assert_eq!(names(10, 0.3).len(), 4);
        assert_eq!(names(11, 0.05), ["off"]);
        let again: Asked = "every+retransmission".parse().unwrap();
        assert!(again.of(4, 0.5).iter().all(|one| one.retransmission));
        // What a row says can be read again, and is the same number of packets.
        for k in 1..=256 {
            for (packets, one) in every.of(k, 2.0).into_iter().enumerate() {
                let read: Strategy = one.to_string().parse().unwrap();
                let ratio = match read.parity {
                    Fec::Fixed(ratio) => ratio,
                    _ => 0.0,
                };
                assert!((ratio * f64::from(k) - packets as f64).abs() < 1e-3);
            }
        }
    }

    #[test]
    fn losses_may_change() {
        let losses: Losses = "1%>0.1>1%".parse().unwrap();
        assert_eq!(losses.rates, [0.01, 0.1, 0.01]);
        assert!((losses.mean() - 0.04).abs() < 1e-12);
        assert!("1".parse::<Losses>().is_err(), "everything lost");
    }
}
