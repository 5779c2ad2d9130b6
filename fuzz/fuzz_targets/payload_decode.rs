//! A stream description and slices: decode to tensor and mask.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tensorwire_codec::fuzzing::payload_decode;

fuzz_target!(|data: &[u8]| payload_decode(data));
