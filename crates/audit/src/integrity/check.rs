//! The checks of packages' files: from differences to findings. Pure.

use super::{Difference, Found, Integrity, shown};
use crate::checks::{INTEGRITY_CHANGED, INTEGRITY_CONFFILE, INTEGRITY_MISSING};
use crate::exposure::{Outcome, file, word};
use crate::finding::Finding;

/// Findings; a host on which more differ is another host.
const MOST: usize = 10_000;

/// Runs the checks. Changed files of configuration are findings only where they are asked for.
pub fn check(integrity: &Integrity, conffiles: bool) -> Outcome {
    let mut outcome = Outcome::default();
    if !conffiles {
        let why = "changed files of configuration are listed, and count with --conffiles";
        outcome.not_applicable.push((INTEGRITY_CONFFILE.id, why));
    }
    let mut wanted: Vec<_> =
        integrity.differences.iter().filter(|difference| conffiles || !difference.conffile).collect();
    // Whoever deletes files does not hide one that he has changed.
    wanted.sort_by_key(|difference| difference.found == Found::Missing);
    outcome.findings.extend(wanted.into_iter().take(MOST).map(finding));
    outcome
}

fn finding(difference: &Difference) -> Finding {
    let check = match (difference.conffile, &difference.found) {
        (true, _) => &INTEGRITY_CONFFILE,
        (false, Found::Missing) => &INTEGRITY_MISSING,
        (false, _) => &INTEGRITY_CHANGED,
    };
    let path = shown(&difference.path);
    let package = word(&difference.package);
    let fix = if difference.conffile {
        format!(
            "apt-get install --reinstall -o Dpkg::Options::=--force-confmiss -o Dpkg::Options::=--force-confnew {package}"
        )
    } else if difference.package.is_empty() {
        format!("rpm -qf {0} names the package; dnf reinstall PACKAGE", file(&difference.path))
    } else {
        format!("apt-get install --reinstall {package}")
    };
    let evidence = vec![
        ("path", path.clone()),
        ("package", difference.package.clone()),
        ("columns", difference.found.columns().trim_end().to_owned()),
    ];
    Finding {
        check,
        subject: path,
        evidence,
        pid: None,
        file: Some(difference.path.clone()),
        fix,
        undo: check.undo.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_goes_before_what_is_missing() {
        let one = |n: usize, found| Difference {
            path: format!("/usr/x{n}").into_bytes(),
            package: "x".to_owned(),
            conffile: false,
            found,
        };
        let mut differences: Vec<_> = (0..MOST + 5).map(|n| one(n, Found::Missing)).collect();
        differences.push(one(MOST + 5, Found::Told("..5......".to_owned())));
        let found = check(&Integrity { differences, ..Integrity::default() }, false).findings;
        assert_eq!((found.len(), found[0].check.id), (MOST, "integrity-changed"));
    }

    #[test]
    fn configuration_counts_where_it_is_asked_for() {
        let one = |conffile| Difference {
            path: b"/etc/x".to_vec(),
            package: "x".to_owned(),
            conffile,
            found: Found::Missing,
        };
        let integrity = Integrity { differences: vec![one(true), one(false)], ..Integrity::default() };
        let ids =
            |conffiles| check(&integrity, conffiles).findings.iter().map(|f| f.check.id).collect::<Vec<_>>();
        assert_eq!(ids(false), ["integrity-missing"]);
        assert_eq!(ids(true), ["integrity-conffile", "integrity-missing"]);
    }
}
