//! The list of programs that `verify_server` goes by, for whoever writes it and for `check`: reads it as the daemon does, and holds the
//! programs of a configuration against it.

use crate::failure::system_text;
use crate::finding::Finding;
use portreeve_audit::sealed::digest::digests;
use portreeve_conf::{
    Action, ProgramDigest, Reading, Service, Severity, TrustedProgram, Verify, trusted_programs,
};
use portreeve_sys::program::{Program, loose_part};
use portreeve_sys::source::Source;
use std::path::{Path, PathBuf};

/// Where it is, unless `trusted_programs` says otherwise.
pub(crate) const PATH: &str = "/etc/portreeve/trusted-programs";
/// The longest that the daemon reads.
pub(crate) const LONGEST: usize = 2 << 20;

/// Where the list of a configuration is.
pub(crate) fn place(reading: &Reading) -> PathBuf {
    PathBuf::from(reading.settings.trusted_programs.as_deref().unwrap_or(PATH))
}

/// The list; `None` where there is no file.
///
/// # Errors
/// A sentence that begins with its name.
pub(crate) fn list(path: &Path) -> Result<Option<Vec<TrustedProgram>>, String> {
    let named = |why: String| format!("{}: {why}", path.display());
    let told = |error: std::io::Error| named(system_text(&error));
    let file = match Source::open(path).map_err(told)? {
        Source::Missing => return Ok(None),
        Source::Directory(_) => return Err(named("a file was expected".to_owned())),
        Source::Readable(file) => file,
    };
    if let Some(part) = loose_part(path).map_err(told)? {
        let part = part.display();
        return Err(named(format!(
            "{part} is not root's alone: owner root and no right to write for group and others are expected"
        )));
    }
    let text = file.read(LONGEST).map_err(told)?;
    trusted_programs(&text).map(Some).map_err(named)
}

/// The content of a program, as a start would take it.
///
/// # Errors
/// Why it would not be started, whatever its content.
pub(crate) fn content(server: &Path) -> Result<ProgramDigest, String> {
    let program =
        Program::open(server).map_err(|error| format!("it cannot be opened: {}", system_text(&error)))?;
    if program.is_loose {
        return Err("others than root may write to it".to_owned());
    }
    Ok(digests(&program.fd, false)?.sha256)
}

/// What would not be started, or be started with a warning.
pub(crate) fn findings(reading: &Reading) -> Vec<Finding> {
    let asked: Vec<(&Service, &str)> = reading
        .served()
        .filter_map(|service| match &service.action {
            Action::External { server, .. } if service.verify != Verify::No => {
                Some((service, server.as_str()))
            }
            _ => None,
        })
        .collect();
    if asked.is_empty() {
        return Vec::new();
    }
    let path = place(reading);
    let known =
        list(&path).and_then(|list| list.ok_or_else(|| format!("{}: there is no such file", path.display())));
    let judge = |server: &str| -> Result<(), String> {
        let digest = content(Path::new(server))?;
        let known = known.as_ref().map_err(Clone::clone)?;
        let mut of_it = known.iter().filter(|program| program.server == server).peekable();
        if of_it.peek().is_none() {
            return Err(format!("it is not in {}", path.display()));
        }
        match of_it.any(|program| program.digest == digest) {
            true => Ok(()),
            false => Err(format!("its content is not the one in {}", path.display())),
        }
    };
    asked
        .into_iter()
        .filter_map(|(service, server)| Some(finding(service, server, &judge(server).err()?)))
        .collect()
}

fn finding(service: &Service, server: &str, why: &str) -> Finding {
    let refuses = service.verify == Verify::Refuse;
    let place = service.action_place.as_ref().unwrap_or(&service.place);
    let what = if refuses { "is not started" } else { "is started all the same" };
    Finding {
        severity: if refuses { Severity::Error } else { Severity::Warning },
        code: if refuses { "untrusted-program" } else { "untrusted-program-warning" }.to_owned(),
        file: place.file.to_string(),
        line: place.line,
        column: place.column.into(),
        length: place.length.into(),
        message: format!("service `{}`: `{server}` {what}: {why}", service.id),
        help: Some(
            "`portreeve integrity trust` writes the list, of what packages or a baseline explain".to_owned(),
        ),
        source_line: None,
        service: Some(service.id.to_string()),
        classic: None,
        replacement: None,
    }
}
