//! Any bytes as the answer of a name server about a target: it has an address and a time, or it is none; what follows its records changes
//! nothing.

#[path = "../../../crates/workers/src/resolver/lifetime.rs"]
mod lifetime;

/// One input: a line of a hosts file behind the message.
pub fn run(input: &[u8]) {
    let found = lifetime::lifetime(input);
    if let Some((seconds, addresses)) = &found {
        assert!(!addresses.is_empty() && addresses.len() <= input.len() / 11 && *seconds <= i32::MAX as u32);
        let longer = [input, b"\0\x01more"].concat();
        assert_eq!(lifetime::lifetime(&longer), found);
    }
    let text = String::from_utf8_lossy(input);
    let (line, name) = text.split_once('\n').unwrap_or((&text, "web"));
    if lifetime::is_about(line, name) {
        assert!(line.len() > name.trim_end_matches('.').len());
    }
}
