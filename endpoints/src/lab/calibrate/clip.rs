//! How the clip range is chosen.

use clap::Args;
use tensorwire_codec::ClipRange;
use tensorwire_concealment::ClipRule;

use crate::options::parse_clip;

/// How the clip range is chosen.
#[derive(Args, Clone, Copy, Debug)]
#[group(multiple = false)]
pub struct ClipOptions {
    /// Clip at the mean ± N standard deviations of all entries [default: 4]
    #[arg(long, value_name = "N", value_parser = parse_sigma)]
    sigma: Option<f32>,
    /// Clip at the smallest and the largest value seen
    #[arg(long)]
    min_max: bool,
    /// Clip range LOW,HIGH
    #[arg(long, value_name = "LOW,HIGH", value_parser = parse_clip, allow_hyphen_values = true)]
    clip: Option<ClipRange>,
}

impl ClipOptions {
    /// Standard deviations to either side, unless something else is asked for: costs 256 levels less
    /// than a tenth of a point of accuracy, and is narrow enough for 8 (docs/results.md).
    pub const SIGMA: f32 = 4.0;

    /// The rule for a calibration.
    #[must_use]
    pub fn rule(self) -> ClipRule {
        match (self.clip, self.min_max) {
            (Some(range), _) => ClipRule::Given {
                low: range.low(),
                high: range.high(),
            },
            (None, true) => ClipRule::MinMax,
            (None, false) => ClipRule::Sigma(self.sigma.unwrap_or(Self::SIGMA)),
        }
    }

    /// The range where it is given outright.
    #[must_use]
    pub const fn given(self) -> Option<ClipRange> {
        self.clip
    }

    /// Whether the range has to be measured.
    #[must_use]
    pub const fn measured(self) -> bool {
        self.sigma.is_some() || self.min_max
    }
}

fn parse_sigma(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(sigma) if sigma.is_finite() && sigma > 0.0 => Ok(sigma),
        _ => Err("a number above 0 is needed".into()),
    }
}
