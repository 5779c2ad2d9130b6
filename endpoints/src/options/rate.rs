//! How fast an edge sends, and which frames it drops: options.

use std::str::FromStr;

use clap::{Args, ValueEnum};
use tensorwire_protocol::admission::DropRule;
use tensorwire_protocol::{AdaptiveRate, RateControl};

use crate::carrier::Carrier;

/// How fast an edge sends, and which frames it drops.
#[derive(Args, Clone, Debug)]
pub struct RateOptions {
    /// What bounds the rate of the tensors' packets: adaptive, off, or a rate as 20mbit, 2.5mbit or
    /// 800kbit, IP and UDP headers included [default: adaptive over udp, off where the carrier has a
    /// congestion control of its own]
    #[arg(long, value_name = "CONTROL")]
    pub rate_control: Option<RateName>,
    /// Let routers mark the tensors' packets instead of dropping them (ECN, RFC 3168)
    #[arg(long)]
    pub ecn: bool,
    /// Which frames are dropped before they are computed
    #[arg(long, value_enum, value_name = "RULE", default_value_t = DropRuleName::Predictive)]
    pub drop_rule: DropRuleName,
    /// Frames that may wait between capture, model, coder and network, each, 1 to 64; newer ones take
    /// the places of older ones, unless --drop-rule is off
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub queue: u8,
}

impl RateOptions {
    /// What bounds the rate over a carrier.
    #[must_use]
    pub fn control(&self, carrier: Carrier) -> RateControl {
        match (self.rate_control, carrier) {
            (Some(name), _) => name.0,
            (None, Carrier::Udp) => RateControl::Adaptive(AdaptiveRate::default()),
            (None, _) => RateControl::Off,
        }
    }
}

/// A [`RateControl`] by name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_structs, reason = "an option of the command line")]
pub struct RateName(pub RateControl);

/// Drop rules by name.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_enums, reason = "an option of the command line")]
pub enum DropRuleName {
    /// None: capture waits while the pipeline is full
    Off,
    /// Those for which server or path are not ready when they are made, by the rule of the literature
    Published,
    /// Those that cannot be expected at the cloud, and the cloud to be free for them, by the deadline
    Predictive,
}

impl DropRuleName {
    /// The rule.
    #[must_use]
    pub const fn rule(self) -> DropRule {
        match self {
            Self::Off => DropRule::Off,
            Self::Published => DropRule::Published,
            Self::Predictive => DropRule::Predictive,
        }
    }
}

impl FromStr for RateName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self(match text {
            "off" => RateControl::Off,
            "adaptive" => RateControl::Adaptive(AdaptiveRate::default()),
            rate => RateControl::Fixed {
                bits_per_second: parse_rate(rate)
                    .map_err(|error| format!("`off`, `adaptive` or a rate is needed: {error}"))?,
            },
        }))
    }
}

/// Reads a rate as 20mbit, 2.5mbit, 800kbit, 1gbit or 64000bit, as bits a second: 10 kbit/s to 100
/// Gbit/s.
///
/// # Errors
/// If the text is no such rate.
pub fn parse_rate(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no rate between 10kbit and 100gbit");
    let lower = text.to_ascii_lowercase();
    let units = [("gbit", 1e9), ("mbit", 1e6), ("kbit", 1e3), ("bit", 1.0)];
    let (number, unit) = units
        .iter()
        .find_map(|(name, unit)| Some((lower.strip_suffix(name)?, unit)))
        .ok_or_else(wrong)?;
    let rate = number.trim().parse::<f64>().map_err(|_| wrong())? * unit;
    if !(RateControl::LEAST as f64..=RateControl::MOST as f64).contains(&rate) {
        return Err(wrong());
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "10^4 to 10^11"
    )]
    Ok(rate.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_with_their_units() {
        let rates = [
            ("20mbit", 20_000_000),
            ("2.5Mbit", 2_500_000),
            ("800kbit", 800_000),
            ("100gbit", 100_000_000_000),
            ("10000bit", 10_000),
            ("10 kbit", 10_000),
        ];
        for (text, rate) in rates {
            assert_eq!(parse_rate(text), Ok(rate), "{text}");
        }
        for text in [
            "", "20", "mbit", "-1mbit", "9kbit", "101gbit", "nanmbit", "infgbit", "20mbyte",
        ] {
            assert!(parse_rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn control_is_off_adaptive_or_a_rate() {
        let control = |text: &str| text.parse::<RateName>().map(|name| name.0);
        assert_eq!(control("off"), Ok(RateControl::Off));
        let adaptive = RateControl::Adaptive(AdaptiveRate::default());
        assert_eq!(control("adaptive"), Ok(adaptive));
        let bits_per_second = 20_000_000;
        assert_eq!(
            control("20mbit"),
            Ok(RateControl::Fixed { bits_per_second })
        );
        assert!(
            control("fixed")
                .unwrap_err()
                .contains("`off`, `adaptive` or a rate")
        );
    }
}
