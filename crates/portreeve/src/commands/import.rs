//! `portreeve integrity import`: the rules of AIDE or Tripwire as ours. Prints; writes no file.

use crate::escape;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::sealing;
use portreeve_audit::sealed::carried::{Carried, aide, tripwire};
use std::io::Write;
use std::path::PathBuf;

/// Whose rules they are.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// aide.conf
    Aide,
    /// twpol.txt
    Tripwire,
}

/// `integrity import`.
#[derive(clap::Args, Debug)]
pub struct Import {
    /// The file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Whose it is; else its arrows tell
    #[arg(long, value_enum)]
    pub form: Option<Form>,
}

/// Reads and prints.
pub fn import(arguments: &Import, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let text = sealing::text(&arguments.file)?;
    let arrow = |line: &str| !line.trim_start().starts_with('#') && line.contains("->");
    let form = arguments.form.unwrap_or(if text.lines().any(arrow) { Form::Tripwire } else { Form::Aide });
    let carried: Carried = match form {
        Form::Aide => aide(&text),
        Form::Tripwire => tripwire(&text),
    };
    out.write_all(carried.toml().as_bytes())?;
    let name = escape::os(arguments.file.as_os_str());
    let mut stderr = std::io::stderr().lock();
    for left in &carried.left {
        let _ = writeln!(stderr, "{name}:{}: {}: {}", left.line, escape::text(&left.text), left.why);
    }
    if carried.rules.iter().all(|(_, rule)| rule.mask.is_empty()) {
        return Err(Failure::new(format!("{name}: nothing in it could be carried over")));
    }
    Ok(if carried.left.is_empty() { Exit::Fine } else { Exit::Found })
}
