//! Control messages: any bytes decode or are refused, and what decodes says the same after its way back.

#![no_main]

use libfuzzer_sys::fuzz_target;

// The messages' own sources, without the crate that they are in: that has a model engine beside them,
// which takes a quarter of an hour to compile for the fuzzer.
#[path = "../../endpoints/src/control/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    unfulfilled_lint_expectations,
    reason = "what the endpoints do with messages is not fuzzed here"
)]
mod control;
#[path = "../../endpoints/src/digest.rs"]
#[allow(dead_code, reason = "as above")]
mod digest;
#[path = "../../endpoints/src/hex.rs"]
#[allow(dead_code, reason = "as above")]
mod hex;
#[path = "../../endpoints/src/stream/mod.rs"]
#[allow(dead_code, reason = "as above")]
mod stream;

fuzz_target!(|data: &[u8]| control::fuzzing::control_messages(data));
