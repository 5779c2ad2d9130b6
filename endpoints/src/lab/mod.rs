//! The laboratory: what `tw-lab` measures. A command is a file with its options and its `run`.
//!
//! - [`demo`] streams through an emulated bad link, all in one process; [`link`] is that link between
//!   processes, [`trace`] what it can lose.
//! - [`calibrate`] makes bundles; [`split`] lists where a model can be split.
//! - [`conceal`] measures concealment, [`quality`] the coders, both on tensors without a network.
//! - [`replay`] runs a receiver on a capture; [`inspect`] prints what is in one.
//! - [`token`] makes tokens for edges.
//! - [`recovery`] measures parity and retransmission, in virtual time.
//! - [`schedule`] measures the workers of a cloud, with and without runs of several tensors.
//! - [`evaluate`] runs a split model over images for them, [`parallel`] on every core; [`tally`]
//!   counts what it got right, [`rising`] smooths what can only rise, [`loss`] draws what is missing, [`motion`] makes the image before.
//! - [`table`], [`figure`] and [`output`]: what people and programs get to read; [`resume`] keeps the
//!   finished cells of long runs.

pub mod calibrate;
pub mod conceal;
pub mod demo;
pub mod evaluate;
pub mod experiment;
pub mod figure;
pub mod flood;
pub mod inspect;
pub mod link;
pub mod load;
pub mod loss;
pub mod motion;
pub mod output;
pub mod parallel;
pub mod plan_split;
pub mod quality;
pub mod recovery;
pub mod replay;
pub mod report;
pub mod resume;
pub mod rising;
pub mod schedule;
pub mod split;
pub mod table;
pub mod tally;
pub mod token;
pub mod trace;
