//! How losses are repaired: options.

use std::str::FromStr;

use anyhow::{Result, bail};
use clap::Args;
use tensorwire_codec::Format;
use tensorwire_protocol::wire::InterleaverKind;
use tensorwire_protocol::{AccuracyCurve, Adaptive, RateControl, Redundancy};

use super::importance;
use crate::classifier::SideInformation;
use crate::edge::Protection;
use crate::stream::StreamDescription;

/// How losses are repaired.
#[derive(Args, Clone, Debug)]
pub struct RecoveryOptions {
    /// Parity sent with each tensor: off, adaptive, or repair packets for each source packet (0 to 2;
    /// 0.25 or 25%), kept to over all tensors
    #[arg(long, value_name = "PARITY", default_value = "adaptive")]
    pub fec: Fec,
    /// What adaptive parity is to reach, and how far blocks reach.
    #[command(flatten)]
    pub parity: ParityOptions,
}

/// What adaptive parity is to reach, and how far blocks reach.
#[derive(Args, Clone, Debug)]
pub struct ParityOptions {
    /// Most parity that adaptive spends, for each source packet, 0 to 2
    #[arg(long, value_name = "RATIO", default_value_t = Adaptive::MOST, value_parser = parse_ratio)]
    pub most_parity: f64,
    /// Expected drop in accuracy that adaptive leaves to concealment, points
    #[arg(long, value_name = "POINTS", default_value_t = Adaptive::TARGET, value_parser = parse_points)]
    pub accuracy_target: f64,
    /// Tensors that a source block spans, 1 to 16: more repair longer bursts, later
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub span: u8,
}

/// The kind of parity.
#[derive(Clone, Copy, PartialEq, Debug)]
#[expect(clippy::exhaustive_enums, reason = "an option of the command line")]
pub enum Fec {
    /// None.
    Off,
    /// So many REPAIR packets for each source packet.
    Fixed(f64),
    /// As many as the measured loss calls for.
    Adaptive,
}

impl Fec {
    /// What an edge sends ahead; the last three are for adaptive parity. Without a curve it takes the
    /// protocol's own.
    pub(crate) fn redundancy(
        self,
        most: f64,
        target: f64,
        curve: Option<AccuracyCurve>,
    ) -> Redundancy {
        match self {
            Self::Off => Redundancy::Off,
            Self::Fixed(ratio) => Redundancy::Fixed { ratio },
            Self::Adaptive => {
                let mut adaptive = Adaptive::default();
                (adaptive.most, adaptive.target) = (most, target);
                if let Some(curve) = curve {
                    adaptive.curve = curve;
                }
                Redundancy::Adaptive(adaptive)
            }
        }
    }
}

impl FromStr for Fec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "adaptive" => Ok(Self::Adaptive),
            ratio => parse_ratio(ratio)
                .map(Self::Fixed)
                .map_err(|error| format!("`off`, `adaptive`, or a ratio is needed: {error}")),
        }
    }
}

/// Reads REPAIR packets for each source packet, as 0.25 or 25%.
pub(crate) fn parse_ratio(text: &str) -> Result<f64, String> {
    let (number, unit) = match text.strip_suffix('%') {
        Some(percent) => (percent, 100.0),
        None => (text, 1.0),
    };
    match number.trim().parse::<f64>() {
        Ok(ratio) if (0.0..=Redundancy::MAX_RATIO).contains(&(ratio / unit)) => Ok(ratio / unit),
        _ => Err("repair packets for each source packet, 0 to 2, as in 0.25 or 25%".to_owned()),
    }
}

fn parse_points(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(points) if (0.0..=100.0).contains(&points) => Ok(points),
        _ => Err("points of accuracy are needed, 0 to 100".to_owned()),
    }
}

impl RecoveryOptions {
    /// Sets these options in the description of a stream of `format`, and says how its edge protects
    /// the tensors: by the accuracy curve and the importance of channels that the bundle has, if any.
    ///
    /// # Errors
    /// If the priority interleaver is asked for without a bundle that knows what matters.
    pub fn apply(
        &self,
        stream: &mut StreamDescription,
        format: &Format,
        side: Option<&SideInformation>,
    ) -> Result<Protection> {
        stream.span = self.parity.span;
        let importance = side.and_then(|side| side.bundle.importance());
        let importance = importance.map(|channels| importance::of_slices(format, channels));
        if stream.interleaver == InterleaverKind::Priority as u8 {
            let Some(importance) = &importance else {
                bail!(
                    "the priority interleaver needs a bundle that knows which channels matter: `tw-lab \
                     calibrate` makes one from labelled images"
                );
            };
            let order = importance::order(importance);
            stream.priority = Some(order.into_iter().flat_map(u16::to_be_bytes).collect());
        }
        Ok(Protection {
            redundancy: self.redundancy(side),
            importance: importance.map(Into::into),
            rate: RateControl::Off,
            ecn: false,
        })
    }

    fn redundancy(&self, side: Option<&SideInformation>) -> Redundancy {
        let curve = side.and_then(curve);
        self.fec
            .redundancy(self.parity.most_parity, self.parity.accuracy_target, curve)
    }
}

/// The accuracy curve of a bundle, if it has one that the protocol can use.
pub(crate) fn curve(side: &SideInformation) -> Option<AccuracyCurve> {
    // The first point is at a share of 0, which goes without saying.
    let points = side.bundle.accuracy()?.points().get(1..)?;
    // Of too many points every second, third, and so on, the last always among them.
    let step = points.len().div_ceil(AccuracyCurve::MAX_POINTS).max(1);
    let mut kept: Vec<(f64, f64)> = points
        .iter()
        .rev()
        .step_by(step)
        .map(|point| (f64::from(point.share), f64::from(point.drop.max(0.0))))
        .collect();
    kept.reverse();
    AccuracyCurve::new(&kept).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ndarray::array;
    use tensorwire_concealment::{
        AccuracyCurve as Measured, AccuracyPoint, Calibration, ClipRule, ImageDigest, LossKind,
    };

    use super::*;
    use crate::digest::Digest;

    #[test]
    fn parity_is_off_adaptive_or_a_ratio() {
        assert_eq!("off".parse(), Ok(Fec::Off));
        assert_eq!("adaptive".parse(), Ok(Fec::Adaptive));
        assert_eq!("0.25".parse(), Ok(Fec::Fixed(0.25)));
        assert_eq!("25%".parse(), Ok(Fec::Fixed(0.25)));
        for text in ["", "on", "-1", "2.5", "300%", "nan"] {
            assert!(text.parse::<Fec>().is_err(), "{text}");
        }
    }

    /// Side information with this curve: shares, and drops at them.
    fn side(points: &[(f32, f32)]) -> SideInformation {
        let mut calibration = Calibration::new((1, 1, 2)).unwrap();
        let image = ImageDigest::from_sha256(&[1; 32]);
        calibration.add(array![[[0.0, 1.0]]].view(), image).unwrap();
        let bundle = calibration
            .finish("add", [0; 32], ClipRule::MinMax)
            .unwrap();
        let points = points
            .iter()
            .map(|&(share, drop)| AccuracyPoint { share, drop });
        let curve = Measured::new(LossKind::Elements, points.collect()).unwrap();
        let bundle = bundle.with_accuracy(curve).unwrap();
        SideInformation {
            digest: Digest::of(bundle.to_bytes()),
            bundle: Arc::new(bundle),
        }
    }

    #[test]
    fn the_curve_is_that_of_the_bundle() {
        let points = [(0.0, 0.0), (0.1, -0.5), (0.2, 1.5), (0.5, 1.0), (1.0, 90.0)];
        let found = curve(&side(&points)).unwrap();
        let drops = [0.1, 0.2, 0.5, 0.75].map(|share| found.drop_at(share));
        for (drop, expected) in drops.into_iter().zip([0.0, 1.5, 1.5, 45.75]) {
            assert!((drop - expected).abs() < 1e-5, "{drops:?}");
        }
        assert_eq!(curve(&side(&[(0.0, 0.0)])), None);
        // More points than the protocol takes.
        let line = |number: u8| (f32::from(number) / 200.0, f32::from(number) / 4.0);
        let many: Vec<(f32, f32)> = (0..=200).map(line).collect();
        let found = curve(&side(&many)).unwrap();
        for share in [0.0, 0.1, 0.33, 0.5, 1.0] {
            assert!(
                (found.drop_at(share) - 50.0 * share).abs() < 1e-4,
                "{share}"
            );
        }
    }
}
