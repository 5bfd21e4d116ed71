//! What `portreeve check` says of services with LABELED: whether this kernel can serve them at all.

use crate::finding::Finding;
use portreeve_conf::{Reading, Service, Severity};
use std::path::Path;

/// One for each service that has LABELED, where the kernel has no SELinux (`filesystem` is where it would be).
pub fn findings(reading: &Reading, filesystem: &Path) -> Vec<Finding> {
    if filesystem.join("enforce").exists() {
        return Vec::new();
    }
    let labeled = |service: &&Service| service.flags.contains("LABELED");
    reading.served().filter(labeled).map(finding).collect()
}

fn finding(service: &Service) -> Finding {
    Finding {
        severity: Severity::Error,
        code: "no-selinux".to_owned(),
        file: service.place.file.to_string(),
        line: service.place.line,
        column: 0,
        length: 0,
        message: format!(
            "service `{}` is LABELED and this kernel has no SELinux: no client would be served",
            service.id
        ),
        help: Some(
            "remove LABELED from `flags` if its program may run in the supervisor's own context".to_owned(),
        ),
        source_line: None,
        service: Some(service.id.to_string()),
        classic: None,
        replacement: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;
    use portreeve_conf::Sources;

    #[test]
    fn a_kernel_without_selinux_serves_none_of_them() {
        let here = std::env::temp_dir().join(format!("portreeve-labels-{}", std::process::id()));
        std::fs::create_dir(&here).unwrap();
        let entry = |id: &str, port: u16, flags: &str| {
            format!(
                "service {id}\n{{\n\tid = {id}\n\ttype = UNLISTED\n\tport = {port}\n\tsocket_type = stream\n\tprotocol = tcp\n\twait = no\n\
\tuser = root\n\tserver = /bin/sh\n\tflags = {flags}\n}}\n"
            )
        };
        let file = here.join("conf");
        std::fs::write(&file, entry("a", 20601, "LABELED") + &entry("b", 20602, "IPv4")).unwrap();
        let reading = portreeve_conf::read_sources(&Machine, &Sources::xinetd(file));
        let found = findings(&reading, &here);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].service.as_deref(), found[0].line), (Some("a"), 1));
        std::fs::write(here.join("enforce"), "1").unwrap();
        assert_eq!(findings(&reading, &here), []);
        std::fs::remove_dir_all(here).unwrap();
    }
}
