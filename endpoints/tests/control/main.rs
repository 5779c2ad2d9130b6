//! The control protocol between the two ends of this library, and against peers that do not keep to it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "what goes wrong here fails the test"
)]

mod away;
mod bench;
mod change;
mod drain;
mod limits;
mod manners;
#[path = "../support/mod.rs"]
#[expect(
    dead_code,
    reason = "of the programs' helpers some are for other tests"
)]
mod programs;
mod raw;
mod uploads;
