//! See the property.
#![no_main]

#[path = "../../crates/store/tests/properties/tar.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|input: &[u8]| property::holds(input));
