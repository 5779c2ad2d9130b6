//! Frames of the stream carriers: any bytes are frames or an error, however they are cut.

#![no_main]

use libfuzzer_sys::fuzz_target;

// The frames' own sources, as those of the control messages.
#[path = "../../endpoints/src/carrier/frame/mod.rs"]
#[allow(
    dead_code,
    reason = "what the endpoints do with frames is not fuzzed here"
)]
mod frame;

fuzz_target!(|data: &[u8]| frame::fuzzing::carrier_frames(data));
