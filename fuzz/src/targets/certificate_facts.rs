//! Any bytes as a certificate: read or not, without a panic; its times are dates that can be shown, its subject is bounded and
//! has nothing in it that a log or an environment could not take; what stands behind the certificate changes nothing.

#[path = "../../../crates/tls/src/certificate.rs"]
mod certificate;

use certificate::{LONGEST_SUBJECT, date, facts};

/// One input.
pub fn run(input: &[u8]) {
    let Some(found) = facts(input) else { return };
    for moment in [found.not_before, found.not_after] {
        let shown = date(moment);
        assert!(shown.len() == 10 && shown.is_ascii(), "{shown}");
    }
    if let Some(subject) = &found.subject {
        assert!(subject.len() <= LONGEST_SUBJECT);
        assert!(!subject.chars().any(char::is_control), "{subject:?}");
    }
    let more = [input, b"more"].concat();
    assert_eq!(facts(&more).as_ref(), Some(&found), "what follows it changes it");
}
