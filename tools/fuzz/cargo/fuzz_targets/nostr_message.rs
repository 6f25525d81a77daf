//! [`weir_fuzz::nostr_message`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::nostr_message(data));
