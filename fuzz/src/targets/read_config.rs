//! Any bytes as a configuration: reading ends, never panics, and nothing of it could write a line of its own into a log.

use crate::{MAIN, Machine};
use portreeve_conf::{Severity, SocketType, codes, parse_file, read};
use std::path::Path;

/// One input.
pub fn run(input: &[u8]) {
    let reading = read(&Machine::new(input), Path::new(MAIN));
    for line in &reading.log {
        assert!(!line.text.chars().any(char::is_control), "{:?}", line.text);
    }
    for finding in &reading.diagnostics {
        assert!(codes().iter().any(|code| code.word == finding.code), "{}", finding.code);
    }
    let wrong = reading.left_out.iter().any(|left| !left.intended);
    let told = reading.diagnostics.iter().any(|finding| finding.severity == Severity::Error);
    assert!(!wrong || told, "a service is left out and nothing was said");
    assert!(reading.fatal.is_none() || reading.services.is_empty(), "served with bad defaults");
    for service in &reading.services {
        assert!(service.wait || service.listen.socket == SocketType::Stream);
    }
    // What was understood reads the same when it is written back.
    let (tree, findings) = parse_file(MAIN, input);
    let lossless = tree.to_string();
    if findings.is_empty() && std::str::from_utf8(input).is_ok() {
        let (again, _) = parse_file(MAIN, lossless.as_bytes());
        assert_eq!(again.to_string(), lossless);
    }
}
