//! See the property.
#![no_main]

#[path = "../../crates/oci/tests/properties/document.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|input: &[u8]| property::holds(input));
