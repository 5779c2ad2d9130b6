//! The laboratory: what `tw-lab` measures. A command is a file with its options and its `run`.
//!
//! - [`demo`] streams through an emulated bad link, all in one process; [`link`] is that link between
//!   processes.
//! - [`calibrate`] makes bundles; [`split`] lists where a model can be split.
//! - [`conceal`] measures the fills, [`quality`] the coders, both on tensors without a network.
//! - [`evaluate`] runs a split model over images for them, [`parallel`] on every core; [`tally`]
//!   counts what it got right, [`loss`] draws what is missing.
//! - [`table`], [`plot`] and [`output`]: what people and programs get to read.

pub mod calibrate;
pub mod conceal;
pub mod demo;
pub mod evaluate;
pub mod link;
pub mod loss;
pub mod output;
pub mod parallel;
pub mod plot;
pub mod quality;
pub mod split;
pub mod table;
pub mod tally;
