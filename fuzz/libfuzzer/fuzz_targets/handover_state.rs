//! The target `handover_state` of portreeve-fuzz under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| portreeve_fuzz::targets::handover_state::run(input));
