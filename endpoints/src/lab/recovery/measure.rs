//! What one cell comes to.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use tensorwire_concealment::Concealer;

use super::Options;
use super::cell::{Cell, Common};
use super::closed_form;
use super::prepared::{Images, Prepared};
use super::simulate;
use crate::lab::evaluate::Evaluation;
use crate::lab::tally::Tally;
use crate::options::Fec;

/// A line of the table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::lab) struct Row {
    pub(super) model: String,
    pub(super) split: String,
    /// Mean share of datagrams lost, and of each phase.
    pub(super) loss: f64,
    pub(super) losses: Vec<f64>,
    /// Mean datagrams lost in a row.
    pub(super) burst: f64,
    pub(super) fec: String,
    pub(super) rtt_ms: u32,
    pub(super) deadline_ms: u32,
    pub(super) k: u16,
    pub(super) method: String,
    pub(super) tensors: usize,
    /// Of them, those that were concealed and classified, the first.
    pub(super) classified: usize,
    pub(super) whole_share: f64,
    /// 99.9 % interval of the whole share.
    pub(super) whole_interval: [f64; 2],
    /// The whole share in closed form, where there is one.
    pub(super) whole_expected: Option<f64>,
    /// REPAIR packets for each source packet.
    pub(super) parity_ratio: f64,
    /// Source packets sent again, for each source packet.
    pub(super) retransmitted_ratio: f64,
    pub(super) missing_share: f64,
    pub(super) top1_clean: f64,
    pub(super) top1: f64,
    /// 95 % interval of the drop, paired and clustered by image.
    pub(super) drop_interval: [f64; 2],
    /// The tensors by what was missing of them at their release, the least first.
    pub(super) strata: Vec<Stratum>,
}

/// The tensors of a cell of which so many source packets were missing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Stratum {
    pub(super) packets_missing: u16,
    pub(super) tensors: usize,
    pub(super) classified: usize,
    /// Of how many of the classified the class is found from the whole tensor, and from what arrived.
    pub(super) right_whole: usize,
    pub(super) right: usize,
}

/// Streams a cell, conceals and classifies what is incomplete, and counts.
pub(super) fn measure(
    options: &Options,
    cell: &Cell,
    common: &Common,
    evaluation: &Evaluation,
    images: &Images,
    prepared: &Prepared,
    mut concealer: Concealer,
) -> Result<Row> {
    let number = prepared.slices.len();
    let mut found = vec![vec![]; number];
    let (mut tensors, mut missing) = (0_usize, 0.0);
    let classify = options.classify.unwrap_or(u32::MAX);
    let mut strata = BTreeMap::new();
    let mut decoder = prepared.decoder();
    let counts = [options.warm_up, options.tensors].map(u64::from);
    let spent = simulate::stream(
        cell,
        common,
        &prepared.slices,
        prepared.mss,
        counts,
        |ended| {
            let share = ended.tensor.as_ref().map_or(1.0, |tensor| {
                let info = tensor.info();
                if info.slices_received == info.slices {
                    0.0
                } else {
                    info.missing_share()
                }
            });
            missing += share;
            tensors += 1;
            let packets_missing = packets(share, cell.k);
            let stratum = strata.entry(packets_missing).or_insert_with(|| Stratum {
                packets_missing,
                ..Stratum::default()
            });
            stratum.tensors += 1;
            let counted = ended.number.saturating_sub(options.warm_up.into());
            if counted >= classify.into() {
                return Ok(());
            }
            let image = usize::try_from(ended.number)? % number;
            let right_whole = prepared.right.get(image).copied().unwrap_or(false);
            let right = match ended.tensor {
                None => false,
                Some(_) if packets_missing == 0 => right_whole,
                Some(tensor) => {
                    prepared.decode(&mut decoder, &tensor);
                    let decoded = &mut decoder.1;
                    concealer.conceal(decoded.tensor.view_mut(), decoded.mask.view())?;
                    let label = images.labels.get(image).copied().unwrap_or(u32::MAX);
                    evaluation.finds(label, &decoded.tensor)?
                }
            };
            stratum.classified += 1;
            stratum.right_whole += usize::from(right_whole);
            stratum.right += usize::from(right);
            if let Some(found) = found.get_mut(image) {
                found.push(right);
            }
            Ok(())
        },
    )?;
    let mut tally = Tally::default();
    for (right, found) in prepared.right.iter().zip(&found) {
        if !found.is_empty() {
            tally.add(*right, found);
        }
    }
    let accuracy = tally.accuracy().context("no tensor met its end")?;
    let whole = strata.get(&0).map_or(0, |stratum| stratum.tensors);
    let share = whole as f64 / tensors as f64;
    let interval = closed_form::interval(share, tensors);
    let per_source = |packets: u64| packets as f64 / spent.sources.max(1) as f64;
    let loaded = evaluation.loaded();
    Ok(Row {
        model: loaded.description.name.clone(),
        split: loaded.split.clone(),
        loss: cell.losses.mean(),
        losses: cell.losses.rates.clone(),
        burst: cell
            .losses
            .burst
            .unwrap_or_else(|| 1.0 / (1.0 - cell.losses.mean())),
        fec: cell.strategy.to_string(),
        rtt_ms: cell.rtt_ms,
        deadline_ms: cell.deadline_ms,
        k: cell.k,
        method: options.method.name().to_owned(),
        tensors,
        classified: accuracy.samples,
        whole_share: share,
        whole_interval: [interval.low, interval.high],
        whole_expected: expected(cell, common),
        parity_ratio: per_source(spent.repairs),
        retransmitted_ratio: per_source(spent.retransmitted),
        missing_share: missing / tensors as f64,
        top1_clean: accuracy.top1_clean,
        top1: accuracy.top1,
        drop_interval: accuracy.ci95,
        strata: strata.into_values().collect(),
    })
}

/// Of how many of `k` like packets `share` of a tensor is; at least one unless it is nothing.
fn packets(share: f64, k: u16) -> u16 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of at most 1 of k"
    )]
    let packets = (share * f64::from(k)).round() as u16;
    packets.max(u16::from(share > 0.0))
}

/// The whole share in closed form: independent losses, parity that does not depend on them.
fn expected(cell: &Cell, common: &Common) -> Option<f64> {
    let [rate] = cell.losses.rates.as_slice() else {
        return None;
    };
    if cell.losses.burst.is_some() || cell.strategy.retransmission || common.span > 1 || cell.k > 64
    {
        return None;
    }
    let repairs = match cell.strategy.parity {
        Fec::Off => 0.0,
        Fec::Fixed(ratio) => f64::from(cell.k) * ratio,
        Fec::Adaptive => return None,
    };
    Some(closed_form::whole(cell.k.into(), repairs, *rate))
}
