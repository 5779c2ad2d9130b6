//! A sequence of operations on two sessions and the link between them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tensorwire_protocol::fuzzing::session_ops;

fuzz_target!(|data: &[u8]| session_ops(data));
