//! What the cells of a run share: coded tensors, and what the edge knows of the model.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use anyhow::{Context as _, Result, bail};
use tensorwire_concealment::Concealer;

use super::Options;
use super::cell::{Cell, Common};
use super::measure::{Row, measure};
use super::prepared::{Images, Prepared};
use crate::classifier::SideInformation;
use crate::lab::evaluate::{Evaluation, Subject};
use crate::options::accuracy_curve;

/// Largest UDP payload, but for packets that have to be larger.
const MSS: u16 = 1_200;

/// What the cells of a run share.
#[derive(Debug)]
pub(in crate::lab) struct Bench {
    images: Images,
    /// By source packets of a tensor.
    prepared: BTreeMap<u16, Prepared>,
    common: Common,
    side: SideInformation,
}

impl Bench {
    /// Codes the tensors for every number of packets that `cells` have.
    ///
    /// # Errors
    /// If there is not one bundle for all images, or a number of packets cannot be had.
    pub(in crate::lab) fn new<'c>(
        options: &Options,
        evaluation: &Evaluation,
        subjects: &[Subject],
        cells: impl IntoIterator<Item = &'c Cell>,
    ) -> Result<Self> {
        let [part] = evaluation.parts() else {
            bail!("one bundle is needed for all images, instead of calibrating on each half");
        };
        let side = part.side.clone();
        let side =
            side.context("recovery needs a bundle: give --bundle (`tw-lab calibrate` makes one)")?;
        let images = Images::of(subjects, &side.bundle)?;
        let mut prepared = BTreeMap::new();
        for cell in cells {
            if let Entry::Vacant(place) = prepared.entry(cell.k) {
                place.insert(Prepared::new(&images, evaluation, cell.k, MSS)?);
            }
        }
        let common = Common {
            fps: options.fps,
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "checked: 0.001 to 100,000 Mbit/s"
            )]
            rate: (options.rate_mbit * 1e6) as u64,
            most_parity: options.goal.most_parity,
            target: options.goal.accuracy_target,
            span: options.goal.span,
            curve: accuracy_curve(&side),
            seed: options.seed,
        };
        Ok(Self {
            images,
            prepared,
            common,
            side,
        })
    }

    /// Streams a cell and counts.
    ///
    /// # Errors
    /// If the protocol or the model fails.
    pub(in crate::lab) fn measure(
        &self,
        options: &Options,
        evaluation: &Evaluation,
        cell: &Cell,
    ) -> Result<Row> {
        let tensors = self.prepared.get(&cell.k).context("there are no tensors")?;
        let bundle = Some(self.side.bundle.clone());
        let concealer = Concealer::new(options.method, evaluation.shape(), bundle)?;
        let (common, images) = (&self.common, &self.images);
        measure(
            options, cell, common, evaluation, images, tensors, concealer,
        )
    }
}
