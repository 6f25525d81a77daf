//! [`weir_fuzz::handshake`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::handshake(data));
