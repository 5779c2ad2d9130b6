//! The laboratory's commands, run as users run them.

#![expect(clippy::unwrap_used, reason = "what goes wrong here fails the test")]

mod calibrate;
mod conceal;
mod experiments;
mod split;
mod support;
mod trace;
mod usage;
