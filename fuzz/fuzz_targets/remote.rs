//! See the property.
#![no_main]

#[path = "../../crates/dockerfile/tests/properties/remote.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|input: &[u8]| property::holds(input));
