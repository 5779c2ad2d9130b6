//! The section `[recovery]` of a plan: the options of `tw-lab recovery` as keys.

use anyhow::Result;
use serde::Deserialize;
use tensorwire_concealment::Method;
use tensorwire_protocol::Adaptive;

use super::cell::{Asked, Cell, Losses};
use super::{Options, cells};
use crate::lab::evaluate::EvaluationOptions;
use crate::lab::experiment::loss::Fill;
use crate::lab::experiment::values::{Burst, Count, by_name};
use crate::options::ParityOptions;

by_name!(Losses);
by_name!(Asked);

/// The section `[recovery]` of a plan.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::lab) struct RecoveryPlan {
    /// Tensors at which the model is split; none: the description's.
    #[serde(default)]
    pub(in crate::lab) splits: Vec<String>,
    losses: Vec<Losses>,
    #[serde(default = "independent")]
    bursts: Vec<Burst>,
    fec: Vec<Asked>,
    #[serde(default = "rtt_ms")]
    rtt_ms: Vec<u32>,
    #[serde(default = "deadline_ms")]
    deadline_ms: Count,
    /// Source packets of a tensor.
    #[serde(default = "packets")]
    packets: Vec<u16>,
    #[serde(default = "tensors")]
    tensors: Count,
    /// Tensors that are concealed and classified; none: all.
    classify: Option<Count>,
    #[serde(default = "warm_up")]
    warm_up: u32,
    #[serde(default = "fps")]
    fps: f64,
    #[serde(default = "rate_mbit")]
    rate_mbit: f64,
    #[serde(default = "most_parity")]
    most_parity: f64,
    /// Points of accuracy that adaptive parity leaves to concealment.
    #[serde(default = "accuracy_target")]
    accuracy_target: f64,
    #[serde(default = "span")]
    span: Count,
    #[serde(default = "fill")]
    fill: Fill,
}

fn independent() -> Vec<Burst> {
    vec![Burst::Independent]
}

fn rtt_ms() -> Vec<u32> {
    vec![10, 80]
}

const fn deadline_ms() -> Count {
    Count(100)
}

fn packets() -> Vec<u16> {
    vec![11]
}

const fn tensors() -> Count {
    Count(1_000)
}

const fn warm_up() -> u32 {
    150
}

const fn fps() -> f64 {
    30.0
}

const fn rate_mbit() -> f64 {
    20.0
}

const fn most_parity() -> f64 {
    Adaptive::MOST
}

const fn accuracy_target() -> f64 {
    Adaptive::TARGET
}

const fn span() -> Count {
    Count(1)
}

const fn fill() -> Fill {
    Fill::Method(Method::Auto)
}

impl RecoveryPlan {
    /// The options of the command that do the same.
    ///
    /// # Errors
    /// If a figure is out of range.
    pub(in crate::lab) fn options(
        &self,
        evaluation: EvaluationOptions,
        seed: u64,
    ) -> Result<Options> {
        let Fill::Method(method) = self.fill else {
            anyhow::bail!("`fill` is a method that a cloud has");
        };
        for (key, value) in [("fps", self.fps), ("rate_mbit", self.rate_mbit)] {
            anyhow::ensure!(
                (0.001..=100_000.0).contains(&value),
                "`{key}` is 0.001 to 100000"
            );
        }
        anyhow::ensure!(
            (0.0..=2.0).contains(&self.most_parity),
            "`most_parity` is 0 to 2"
        );
        let points = 0.0..=100.0;
        anyhow::ensure!(
            points.contains(&self.accuracy_target),
            "`accuracy_target` is 0 to 100 points"
        );
        let span = u8::try_from(self.span.0).ok().filter(|span| *span <= 16);
        let Some(span) = span else {
            anyhow::bail!("`span` is 1 to 16");
        };
        anyhow::ensure!(
            self.packets.iter().all(|k| (1..=256).contains(k)),
            "`packets` are 1 to 256"
        );
        Ok(Options {
            evaluation,
            loss: self.losses.clone(),
            burst: self
                .bursts
                .iter()
                .map(|burst| burst.mean().unwrap_or(1.0))
                .collect(),
            fec: self.fec.clone(),
            rtt: self.rtt_ms.clone(),
            deadline_ms: self.deadline_ms.0,
            k: self.packets.clone(),
            tensors: self.tensors.0,
            classify: self.classify.map(|classify| classify.0),
            warm_up: self.warm_up,
            fps: self.fps,
            rate_mbit: self.rate_mbit,
            goal: ParityOptions {
                most_parity: self.most_parity,
                accuracy_target: self.accuracy_target,
                span,
            },
            method,
            seed,
            full: false,
            out: None,
            json: None,
        })
    }

    /// The cells of a split, with their keys.
    ///
    /// # Errors
    /// If a figure is out of range, or there is no such loss.
    pub(in crate::lab) fn cells(
        &self,
        split: &str,
        options: &Options,
    ) -> Result<Vec<(String, Cell)>> {
        let name = |cell: &Cell| {
            let rates = cell.losses.rates.iter().map(|rate| format!("{rate:.4}"));
            let rates: Vec<String> = rates.collect();
            let burst = match cell.losses.burst {
                None => "independent".to_owned(),
                Some(mean) => format!("burst {mean:07.3}"),
            };
            format!(
                "{split} packets {:03} loss {} {burst} rtt {:04} {}",
                cell.k,
                rates.join(">"),
                cell.rtt_ms,
                cell.strategy
            )
        };
        let cells = cells(options)?.into_iter();
        Ok(cells.map(|cell| (name(&cell), cell)).collect())
    }

    /// What decides the cells besides their keys.
    pub(in crate::lab) fn shared(&self) -> String {
        format!(
            "deadline {} ms, tensors {}+{}, classified {:?}, {} a second, {} Mbit/s, parity up to {}, target \
             {}, span {}, {}",
            self.deadline_ms.0,
            self.warm_up,
            self.tensors.0,
            self.classify.map(|classify| classify.0),
            self.fps,
            self.rate_mbit,
            self.most_parity,
            self.accuracy_target,
            self.span.0,
            self.fill,
        )
    }
}
