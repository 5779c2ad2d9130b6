//! Experiments: a plan file describes a grid of cells, which are measured on every core.
//!
//! `tw-lab run PLAN.toml --out FILE` appends each finished cell to a file of JSON lines, `{"key": …,
//! "row": …}`, and sorts it by key at the end. A row is a pure function of the plan, its images and its
//! seed; times go to a second file. An interrupted run goes on where it was and ends with the same bytes.
//! `--shard i/n` measures every nth cell, so that machines can share a grid: their files, one after
//! another, are the file of a run that has only to be finished.
//!
//! - `plan` reads plan files, `values` what their keys may hold, `coding` names coders; `cell`
//!   dispatches.
//! - `bench` is what the cells of a split share, `cache` keeps tensors of images from run to run,
//!   `pool` shares the work.
//! - The experiments: `size` (accuracy against bytes; `jpeg2000` is its coder to compare with),
//!   `quantisation`, `distribution`, `loss`, `motion`, `latency`.

mod bench;
mod cache;
mod cell;
mod coding;
mod distribution;
mod jpeg2000;
pub(in crate::lab) mod latency;
pub(in crate::lab) mod loss;
mod motion;
mod normal;
mod plan;
pub(in crate::lab) mod pool;
mod quantisation;
mod run;
mod shard;
mod size;
pub(in crate::lab) mod values;

pub use self::cache::Cache;
pub(in crate::lab) use self::coding::Coding;
pub(in crate::lab) use self::run::timings_of;
pub use self::run::{Options, run};
