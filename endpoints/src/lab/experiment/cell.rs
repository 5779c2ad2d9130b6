//! A cell of a grid.

use std::time::Instant;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::bench::{Bench, Pictures};
use super::plan::{Kind, Plan};
use super::{latency, loss, motion, quantisation, size};
use crate::lab::recovery;

/// A cell: what is measured is a pure function of it, its plan and its images, but for times.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    /// What it is known by in results; stable, and unique in a plan.
    pub(super) key: String,
    /// Where the model is split.
    pub(super) split: String,
    pub(super) work: Work,
}

/// What is measured.
#[derive(Clone, Debug)]
pub(super) enum Work {
    Size(size::Cell),
    Quantisation(quantisation::Cell),
    Distribution,
    Loss(Box<loss::Cell>),
    Motion(motion::Cell),
    Latency(latency::Cell),
    Recovery(Box<recovery::Cell>),
}

/// What the cells of a split share.
#[derive(Debug)]
pub(super) enum Shared {
    Split(Box<Bench>),
    Whole(Pictures),
}

/// What a cell comes to: the same every time, and the times, which are not.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    pub(super) row: Value,
    pub(super) timing: Value,
}

impl Cell {
    /// Measures the cell, on all threads of the pool where there is work for them.
    pub(super) fn measure(&self, plan: &Plan, shared: &Shared) -> Result<Measured> {
        let start = Instant::now();
        let (row, mut timing) = match (&self.work, shared, &plan.kind) {
            (Work::Size(cell), Shared::Split(bench), _) => (cell.measure(bench)?, json!({})),
            (Work::Size(cell), Shared::Whole(pictures), _) => {
                (cell.measure_input(pictures)?, json!({}))
            }
            (Work::Quantisation(cell), Shared::Split(bench), _) => {
                (cell.measure(bench)?, json!({}))
            }
            (Work::Distribution, Shared::Split(bench), Kind::Distribution(of)) => {
                (of.measure(bench)?, json!({}))
            }
            (Work::Loss(cell), Shared::Split(bench), Kind::Loss(of)) => {
                let setting = loss::Setting {
                    evaluation: &bench.evaluation,
                    subjects: &bench.subjects,
                    seed: plan.seed(),
                    seeds: of.seeds()?,
                    packets: of.packets.0 as usize,
                    mss: of.mss.0 as usize,
                };
                let measured = setting.measure(cell)?;
                let times = json!({ "us_per_tensor": measured.us_per_tensor });
                (serde_json::to_value(measured.row)?, times)
            }
            (Work::Motion(cell), Shared::Split(bench), _) => (cell.measure(bench)?, json!({})),
            (Work::Latency(cell), Shared::Split(bench), _) => cell.measure(bench)?,
            (Work::Latency(cell), Shared::Whole(pictures), _) => cell.measure_whole(pictures)?,
            (Work::Recovery(cell), Shared::Split(bench), _) => (bench.recover(cell)?, json!({})),
            _ => bail!("the cell `{}` does not belong to this plan", self.key),
        };
        if let Some(timing) = timing.as_object_mut() {
            timing.insert("seconds".to_owned(), json!(start.elapsed().as_secs_f64()));
        }
        Ok(Measured { row, timing })
    }
}
