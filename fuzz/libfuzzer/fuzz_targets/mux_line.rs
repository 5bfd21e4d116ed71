//! The target `mux_line` of portreeve-fuzz under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| portreeve_fuzz::targets::mux_line::run(input));
