//! The target `units` of portreeve-fuzz under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| portreeve_fuzz::targets::units::run(input));
