//! Unix sockets that `redirect` leads to and that lie where looking up a path may wait for another machine or program. Decides by the table of
//! mounts: a look at the path itself would wait as well.

use crate::finding::Finding;
use portreeve_conf::{Action, Reading, Severity, Target};
use portreeve_sys::mounts::Mounts;
use std::path::Path;

/// What there is to say, given the table of mounts.
pub fn findings(reading: &Reading, mounts: &mut Mounts) -> Vec<Finding> {
    let mut found = Vec::new();
    for service in &reading.services {
        let Action::Redirect(targets) = &service.action else { continue };
        for target in targets {
            let Target::Path(path) = target else { continue };
            let Some(kind) = mounts.remote(Path::new(path)) else { continue };
            found.push(Finding {
                severity: Severity::Warning,
                code: "remote-target".to_owned(),
                file: service.place.file.to_string(),
                line: service.place.line,
                column: service.place.column.into(),
                length: service.place.length.into(),
                message: format!(
                    "service {}: its target {path} lies on a filesystem of type {kind}: while that does not answer, its clients wait in vain",
                    service.id
                ),
                help: Some("put the socket on a local filesystem, such as /run".to_owned()),
                source_line: None,
                service: Some(service.id.to_string()),
                classic: None,
                replacement: None,
            });
        }
    }
    found
}
