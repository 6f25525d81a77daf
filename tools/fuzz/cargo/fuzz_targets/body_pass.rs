//! [`weir_fuzz::body_pass`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::body_pass(data));
