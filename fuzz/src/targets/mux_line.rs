//! Any bytes as what a client of tcpmux sends first: the line ends at the same place however the bytes arrive, what follows it
//! changes nothing, and its name is bounded and has no control byte.

#[path = "../../../crates/workers/src/header/mux.rs"]
mod mux;

use mux::{MAX_MUX_LINE, MAX_MUX_NAME, MuxLine, mux_line};

/// One input.
pub fn run(input: &[u8]) {
    let found = mux_line(input);
    for cut in 0..input.len().min(MAX_MUX_LINE + 2) {
        match mux_line(&input[..cut]) {
            MuxLine::Begun => {
                assert!(cut < MAX_MUX_LINE, "more is awaited than is ever looked at");
                if let MuxLine::Whole(end, _) = found {
                    assert!(cut < end, "awaited although it is whole");
                }
            }
            seen => {
                assert_eq!(seen, found, "what follows it changes it");
                break;
            }
        }
    }
    let MuxLine::Whole(end, name) = found else { return };
    assert!(end <= MAX_MUX_LINE.min(input.len()) && input[end - 1] == b'\n');
    assert!((1..=MAX_MUX_NAME).contains(&name.len()) && input.starts_with(name));
    assert!(!name.iter().any(u8::is_ascii_control));
    assert!(input[name.len()..end] == *b"\r\n" || input[name.len()..end] == *b"\n");
}
