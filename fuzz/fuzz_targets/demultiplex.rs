//! What a socket hands over at once: TSP, QUIC and neither, told apart.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tensorwire_protocol::fuzzing::demultiplex;

fuzz_target!(|data: &[u8]| demultiplex(data));
