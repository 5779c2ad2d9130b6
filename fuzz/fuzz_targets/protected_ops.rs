//! A sequence of operations on two protected sessions and the link between them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tensorwire_protocol::fuzzing::protected_ops;

fuzz_target!(|data: &[u8]| protected_ops(data));
