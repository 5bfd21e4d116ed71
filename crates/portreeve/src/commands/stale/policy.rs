//! What is done by itself after an upgrade of packages: what `[stale]` of portreeve.toml says. Called by the hooks of dpkg and rpm,
//! in the background.

use super::{Arguments, look, restart, retire};
use crate::escape;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::settings::{self, AfterUpgrade};
use portreeve_audit::stale::check;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// So long a connection is awaited that does not fall silent.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// Does it.
pub(super) fn run(arguments: &Arguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let path = std::env::var_os("PORTREEVE_SETTINGS");
    let path = path.as_deref().map_or(Path::new(settings::PATH), Path::new);
    let policy = settings::after_upgrade(path).map_err(Failure::new)?;
    let manner = retire::Manner::of(arguments, None);
    match policy {
        AfterUpgrade::Nothing => Ok(Exit::Fine),
        AfterUpgrade::Report => {
            let stale = look(&arguments.socket)?;
            if arguments.json {
                out.json(&stale.json())?;
            } else {
                let found = check::check(&stale).findings;
                for finding in &found {
                    let (subject, fix) = (escape::text(&finding.subject), escape::text(&finding.fix));
                    writeln!(out, "{}: {subject}: {}. Fix: {fix}", finding.check.id, finding.check.title)?;
                }
                let units = restart::units(&stale);
                writeln!(out, "{} processes run old code, {units} of them of units", stale.processes.len())?;
            }
            Ok(if stale.processes.is_empty() { Exit::Fine } else { Exit::Found })
        }
        AfterUpgrade::RetireWhenIdle => {
            let manner = retire::Manner { idle_only: true, idle_first: true, after: PATIENCE, ..manner };
            retire::run(arguments, &manner, out)
        }
        AfterUpgrade::RetireAfter(after) => {
            retire::run(arguments, &retire::Manner { idle_first: true, after, ..manner }, out)
        }
    }
}
