//! Slices of a restart-aligned JPEG, some of them missing.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tensorwire_codec::fuzzing::jpeg_partial_decode;

fuzz_target!(|data: &[u8]| jpeg_partial_decode(data));
