//! The target `proxy_header` of portreeve-fuzz under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| portreeve_fuzz::targets::proxy_header::run(input));
