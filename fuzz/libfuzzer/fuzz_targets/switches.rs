//! The target `switches` of portreeve-fuzz under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| portreeve_fuzz::targets::switches::run(input));
