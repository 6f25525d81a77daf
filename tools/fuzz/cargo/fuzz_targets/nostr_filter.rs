//! [`weir_fuzz::nostr_filter`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::nostr_filter(data));
