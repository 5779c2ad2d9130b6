//! One datagram: decode, encode again, hand to a session.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tensorwire_protocol::fuzzing::datagram;

fuzz_target!(|data: &[u8]| datagram(data));
