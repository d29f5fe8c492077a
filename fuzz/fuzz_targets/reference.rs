//! See the property.
#![no_main]

#[path = "../../crates/oci/tests/properties/reference.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|input: &[u8]| property::holds(input));
