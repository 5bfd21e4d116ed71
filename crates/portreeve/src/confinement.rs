//! What `portreeve check` says of sandboxes: those that could not be put on here, so that no client would be served. Looks at the paths as
//! whoever calls; what is there by the time of a start is another matter.

use crate::finding::Finding;
use portreeve_conf::{Action, Mount, MountKind, Reading, Sandbox, Service, Severity};
use std::path::Path;

/// All there is to say, in the order of the services. `views`: whether this kernel can give a program a view of the file system.
pub fn findings(reading: &Reading, views: bool) -> Vec<Finding> {
    let confined = reading.services.iter().filter_map(|service| Some((service, service.sandbox.as_ref()?)));
    confined.flat_map(|(service, sandbox)| of(service, sandbox, views)).collect()
}

fn of(service: &Service, sandbox: &Sandbox, views: bool) -> Vec<Finding> {
    let Some(mounts) = &sandbox.mounts else { return Vec::new() };
    let id = &service.id;
    if !views && !mounts.is_empty() {
        let text = format!("service `{id}`: this kernel has no mount_setattr(2), which its `sandbox` needs");
        let help = "Linux 5.12 has it; before that take the settings about the file system out";
        return vec![finding(service, sandbox, "sandbox-kernel", text, help)];
    }
    let missing = |mount: &&Mount| {
        // Whoever may not look cannot tell.
        !mount.optional && Path::new(&mount.path).try_exists().is_ok_and(|exists| !exists)
    };
    let mut found: Vec<Finding> = mounts
        .iter()
        .filter(missing)
        .map(|mount| {
            let text = format!("service `{id}`: `{}`: there is no `{}`", mount.because, mount.path);
            let help = "make it, or write `-` before the path where it need not be there";
            finding(service, sandbox, "sandbox-path", text, help)
        })
        .collect();
    let Action::External { server, .. } = &service.action else { return found };
    if let Some(mount) = mounts.iter().rev().find(|mount| Path::new(server).starts_with(&mount.path)) {
        let gone = matches!(
            mount.kind,
            MountKind::Inaccessible | MountKind::Empty { .. } | MountKind::Devices | MountKind::Processes(_)
        );
        if gone {
            let text = format!("service `{id}`: `{server}` is not there behind `{}`", mount.because);
            let help = "have the program elsewhere, or take the setting out";
            found.push(finding(service, sandbox, "sandbox-path", text, help));
        }
    }
    found
}

fn finding(service: &Service, sandbox: &Sandbox, code: &str, text: String, help: &str) -> Finding {
    let place = sandbox.place.as_ref().unwrap_or(&service.place);
    Finding {
        severity: Severity::Error,
        code: code.to_owned(),
        file: place.file.to_string(),
        line: place.line,
        column: place.column,
        length: place.length,
        message: format!("{text}: no client would be served"),
        help: Some(help.to_owned()),
        source_line: None,
        service: Some(service.id.clone()),
        classic: None,
        replacement: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;
    use portreeve_conf::Sources;

    fn said(words: &str, views: bool) -> Vec<String> {
        let name = format!("portreeve-confinement-{}-{:?}", std::process::id(), std::thread::current().id());
        let file = std::env::temp_dir().join(name);
        let entry = format!(
            "service a\n{{\n\ttype = UNLISTED\n\tport = 20601\n\tsocket_type = stream\n\tprotocol = tcp\n\twait = no\n\
             \tuser = root\n\tserver = /bin/sh\n\tsandbox = {words}\n}}\n"
        );
        std::fs::write(&file, entry).unwrap();
        let reading = portreeve_conf::read_sources(&Machine, &Sources::xinetd(&file));
        std::fs::remove_file(&file).unwrap();
        assert_eq!(reading.services.len(), 1, "{:#?}", reading.diagnostics);
        let found = findings(&reading, views);
        assert!(found.iter().all(|finding| finding.line == 10 && finding.severity == Severity::Error));
        found.into_iter().map(|finding| format!("{}: {}", finding.code, finding.message)).collect()
    }

    #[test]
    fn what_would_keep_everybody_out_is_said() {
        assert_eq!(
            said("ProtectSystem=strict ReadOnlyPaths=-/no/such PrivateTmp", true),
            Vec::<String>::new()
        );
        let missing = "sandbox-path: service `a`: `ReadOnlyPaths=/no/such`: there is no `/no/such`: no client would be served";
        assert_eq!(said("ReadOnlyPaths=/no/such", true), [missing]);
        let gone = "sandbox-path: service `a`: `/bin/sh` is not there behind `InaccessiblePaths=/bin`: no client would be served";
        assert_eq!(said("InaccessiblePaths=/bin", true), [gone]);
        let kernel = "sandbox-kernel: service `a`: this kernel has no mount_setattr(2), which its `sandbox` needs: no client would be served";
        assert_eq!(said("ProtectSystem", false), [kernel]);
        assert_eq!(said("NoNewPrivileges", false), Vec::<String>::new());
    }
}
