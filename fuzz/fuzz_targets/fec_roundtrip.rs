//! A block of source packets: encode, lose, recover, lie.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tensorwire_protocol::fuzzing::fec_roundtrip;

fuzz_target!(|data: &[u8]| fec_roundtrip(data));
