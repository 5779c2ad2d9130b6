//! How much is repaired ahead of losses, and what a loss costs.

use crate::config::ConfigError;

/// How many REPAIR packets are sent with a tensor, unasked.
#[derive(Clone, PartialEq, Debug, Default)]
#[non_exhaustive]
pub enum Redundancy {
    /// None.
    #[default]
    Off,
    /// As many for every tensor as keep the ratio over all tensors so far, without exceeding it: at a ratio of
    /// 0.3 tensors of eleven packets get three, and three of ten tensors four.
    Fixed {
        /// REPAIR packets for each source packet, 0 to 2.
        ratio: f64,
    },
    /// As many as the loss that FEEDBACK reports calls for.
    Adaptive(Adaptive),
}

impl Redundancy {
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let ratio = self.most();
        let target = match self {
            Self::Off | Self::Fixed { .. } => Adaptive::TARGET,
            Self::Adaptive(adaptive) => adaptive.target,
        };
        if !(0.0..=Self::MAX_RATIO).contains(&ratio) {
            return Err(ConfigError::Ratio(ratio));
        }
        if !(0.0..=100.0).contains(&target) {
            return Err(ConfigError::Target(target));
        }
        Ok(())
    }

    /// Most REPAIR packets for each source packet.
    pub(crate) const fn most(&self) -> f64 {
        match self {
            Self::Off => 0.0,
            Self::Fixed { ratio } => *ratio,
            Self::Adaptive(adaptive) => adaptive.most,
        }
    }

    /// The greatest ratio of REPAIR packets to source packets.
    pub const MAX_RATIO: f64 = 2.0;
}

/// The goal of adaptive redundancy.
///
/// For every tensor the fewest REPAIR packets are chosen with which the expected drop in accuracy is
/// below `target`: from the loss rate and the mean burst that FEEDBACK shows, the rounds of
/// retransmission that fit before the deadline, and the accuracy curve. Concealment thus bears what
/// costs little, and parity only the rest. Where `most` does not reach the target, the fewest that gain
/// four fifths of what `most` would are chosen, or none if `most` would gain less than a fifth of the
/// drop: in bursts much longer than a tensor, parity is lost with what it protects.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Adaptive {
    /// Most REPAIR packets for each source packet, 0 to 2; default 0.25.
    pub most: f64,
    /// Expected drop in accuracy that is borne, points; default 0.5.
    pub target: f64,
    /// What missing slices cost.
    pub curve: AccuracyCurve,
}

impl Adaptive {
    /// The default target, points.
    pub const TARGET: f64 = 0.5;
    /// The default cap on the ratio.
    pub const MOST: f64 = 0.25;
}

impl Default for Adaptive {
    fn default() -> Self {
        Self {
            most: Self::MOST,
            target: Self::TARGET,
            curve: AccuracyCurve::default(),
        }
    }
}

/// The drop in accuracy as a function of the share of a tensor's slices that is missing.
///
/// Linear between its points, and beyond the last one to 100 points where everything is missing.
/// The default is the published one of missing elements with the best of four simple fills
/// (ResNet-34: 0.2, 2 and 5 points at 5, 10 and 20 %); better concealment has a flatter curve, which
/// calibration measures.
#[derive(Clone, PartialEq, Debug)]
pub struct AccuracyCurve {
    /// From (0, 0) to (1, ·), shares ascending.
    points: Vec<(f64, f64)>,
}

impl AccuracyCurve {
    /// The most points of a curve.
    pub const MAX_POINTS: usize = 64;

    /// A curve through `points`, each a missing share above 0, ascending, and the drop there in
    /// points of accuracy, 0 to 100. A drop below an earlier one is raised to it: missing more never
    /// helps, and where it seems to, the measurement was too small to tell.
    ///
    /// # Errors
    /// If there is no point or more than [`MAX_POINTS`](Self::MAX_POINTS), or one is out of range or
    /// order.
    pub fn new(points: &[(f64, f64)]) -> Result<Self, ConfigError> {
        if points.is_empty() || points.len() > Self::MAX_POINTS {
            return Err(ConfigError::Curve);
        }
        let mut curve = vec![(0.0, 0.0)];
        let (mut share, mut drop) = (0.0, 0.0_f64);
        for &(next, at) in points {
            if !(next > share && next <= 1.0 && (0.0..=100.0).contains(&at)) {
                return Err(ConfigError::Curve);
            }
            (share, drop) = (next, drop.max(at));
            curve.push((share, drop));
        }
        if share < 1.0 {
            curve.push((1.0, 100.0));
        }
        Ok(Self { points: curve })
    }

    /// The drop where `share` of the slices is missing, points.
    pub fn drop_at(&self, share: f64) -> f64 {
        let mut before = (0.0, 0.0);
        for &(at, drop) in &self.points {
            if share <= at {
                let width = at - before.0;
                let along = if width > 0.0 {
                    (share - before.0) / width
                } else {
                    1.0
                };
                return before.1 + (drop - before.1) * along.max(0.0);
            }
            before = (at, drop);
        }
        before.1
    }
}

impl Default for AccuracyCurve {
    fn default() -> Self {
        Self {
            points: vec![
                (0.0, 0.0),
                (0.05, 0.2),
                (0.1, 2.0),
                (0.2, 5.0),
                (1.0, 100.0),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_is_linear_between_its_points() {
        let curve = AccuracyCurve::default();
        for (share, drop) in [
            (0.0, 0.0),
            (0.05, 0.2),
            (0.075, 1.1),
            (0.2, 5.0),
            (1.0, 100.0),
        ] {
            assert!((curve.drop_at(share) - drop).abs() < 1e-9, "{share}");
        }
    }

    #[test]
    fn a_curve_never_falls() {
        let curve = AccuracyCurve::new(&[(0.1, 1.0), (0.2, 0.5), (0.4, 3.0)]).unwrap();
        assert!((curve.drop_at(0.2) - 1.0).abs() < 1e-9);
        assert!((curve.drop_at(0.3) - 2.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_no_curve_is_refused() {
        for points in [
            &[][..],
            &[(0.0, 1.0)],
            &[(0.2, 1.0), (0.1, 2.0)],
            &[(0.1, f64::NAN)],
            &[(1.5, 1.0)],
            &[(0.1, 101.0)],
        ] {
            assert!(AccuracyCurve::new(points).is_err(), "{points:?}");
        }
    }

    #[test]
    fn ratios_and_targets_have_ranges() {
        let most = |most| {
            let adaptive = Adaptive {
                most,
                ..Adaptive::default()
            };
            Redundancy::Adaptive(adaptive).validate()
        };
        assert!(most(2.0).is_ok());
        assert!(most(2.1).is_err());
        assert!(Redundancy::Fixed { ratio: f64::NAN }.validate().is_err());
    }
}
