//! Accuracy against loss: elements, rows, channels, packets; independent and in bursts; every way to
//! fill them.

mod fill;
mod lost;
mod measure;
mod row;

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use tensorwire_concealment::{ConcealError, Method};

use super::values::{Burst, Count, Share};
use crate::classifier::{Concealment, advice};
use crate::lab::evaluate::Evaluation;
use crate::lab::loss::PacketMap;
use crate::lab::motion::Motion;

pub(in crate::lab) use fill::Fill;
pub(in crate::lab) use lost::Lost;
pub(in crate::lab) use measure::{Cell, Measured, Setting};
pub(in crate::lab) use row::Row;

/// The slowest methods, a second and more for a large tensor.
pub(in crate::lab) const LOW_RANK: [Method; 2] = [Method::Silrtc, Method::Halrtc];

/// The section `[loss]` of a plan.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LossPlan {
    /// Tensors at which the model is split; none: the description's.
    #[serde(default)]
    pub(super) splits: Vec<String>,
    maps: Vec<Lost>,
    missing: Vec<Share>,
    #[serde(default = "independent")]
    bursts: Vec<Burst>,
    fills: Vec<Fill>,
    /// Losses drawn for each image and cell.
    #[serde(default = "one")]
    pub(super) seeds: Count,
    /// Packets of a tensor, for the maps that cut it into equal ones.
    #[serde(default = "packets")]
    pub(super) packets: Count,
    /// Bytes of a packet of coded slices, at most.
    #[serde(default = "mss")]
    pub(super) mss: Count,
    /// Images on which the low-rank methods are measured, the first of all.
    #[serde(default = "low_rank_images")]
    low_rank_images: Count,
    /// How far the picture has moved since the image before, `DOWN,RIGHT` in pixels: what methods that
    /// look back are given.
    #[serde(default)]
    pub(super) motion: Option<Motion>,
}

fn independent() -> Vec<Burst> {
    vec![Burst::Independent]
}

const fn one() -> Count {
    Count(1)
}

const fn mss() -> Count {
    Count(1_200)
}

fn packets() -> Count {
    Count(PacketMap::COUNT.into())
}

const fn low_rank_images() -> Count {
    Count(100)
}

impl LossPlan {
    /// The cells of a split, with their keys.
    pub(super) fn cells(&self, split: &str) -> Result<Vec<(String, Cell)>> {
        let mut cells = vec![];
        for lost in &self.maps {
            for missing in &self.missing {
                for burst in &self.bursts {
                    if let Some(mean) = burst.mean() {
                        // Where nothing is lost there are no bursts to tell apart.
                        if missing.0 == 0.0 {
                            continue;
                        }
                        tensorwire_protocol::link::LossModel::gilbert(missing.0, mean)?;
                    }
                    for fill in &self.fills {
                        let burst_name = match burst.mean() {
                            None => "independent".to_owned(),
                            Some(mean) => format!("burst {mean:07.3}"),
                        };
                        let key = format!("{split} {lost} {:.4} {burst_name} {fill}", missing.0);
                        let slow = matches!(fill, Fill::Method(m) if LOW_RANK.contains(m));
                        let images = if slow {
                            self.low_rank_images.0 as usize
                        } else {
                            usize::MAX
                        };
                        let cell = Cell {
                            lost: *lost,
                            missing: missing.0,
                            burst: burst.mean(),
                            fill: *fill,
                            images,
                        };
                        cells.push((key, cell));
                    }
                }
            }
        }
        Ok(cells)
    }

    /// Refuses fills that cannot work before anything is measured.
    pub(super) fn check(&self, evaluation: &Evaluation) -> Result<()> {
        for fill in &self.fills {
            if let Fill::Method(method) = *fill
                && let Some(reason) = obstacle(evaluation, method, self.motion.is_some())?
            {
                bail!("cannot measure `{method}`: {reason}");
            }
        }
        Ok(())
    }

    pub(super) fn shared(&self) -> String {
        format!(
            "{} losses an image, {} packets, mss {}, low-rank methods on {} images, motion {:?}",
            self.seeds.0, self.packets.0, self.mss.0, self.low_rank_images.0, self.motion
        )
    }

    /// Number of losses drawn for each image.
    pub(super) fn seeds(&self) -> Result<u16> {
        u16::try_from(self.seeds.0).context("`seeds` is at most 65,535")
    }
}

/// Why a method cannot be measured, if it cannot.
pub(in crate::lab) fn obstacle(
    evaluation: &Evaluation,
    method: Method,
    has_motion: bool,
) -> Result<Option<String>> {
    if method.uses_previous() && !has_motion {
        let needed = "temporal and motion, which need a previous tensor: give --motion DOWN,RIGHT, or \
                      `motion` in a plan";
        return Ok(Some(needed.to_owned()));
    }
    for part in evaluation.parts() {
        let bundle = part.side.as_ref().map(|side| Arc::clone(&side.bundle));
        match Concealment::new(method).concealer(evaluation.shape(), None, bundle) {
            Ok(_) => {}
            Err(error @ ConcealError::NeedsBundle { .. }) => {
                return Ok(Some(format!("{}, or --swap", advice(&error))));
            }
            Err(error @ ConcealError::MissingSection { .. }) => return Ok(Some(advice(&error))),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}
