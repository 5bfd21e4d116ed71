//! Prints the demonstration, for people or for machines. Decides which of the gate's lines a person sees.

use crate::demo::services::Shown;
use crate::escape;
use crate::output::{Output, Paint};
use serde_json::json;
use std::io::{self, Write};
use std::path::Path;

/// What the demonstration's words depend on.
#[derive(Clone, Copy, Debug)]
pub struct Teller<'a> {
    /// One JSON object a line.
    pub json: bool,
    /// The gate's control socket.
    pub control: &'a Path,
    /// The configuration.
    pub configuration: &'a Path,
}

impl Teller<'_> {
    /// What is served, and a line to try each.
    pub fn introduce(&self, out: &mut Output<'_>, shown: &[Shown], pid: u32) -> io::Result<()> {
        if self.json {
            let services: Vec<_> = shown
                .iter()
                .map(|s| json!({ "name": s.name, "port": s.port, "shows": s.shows, "try": s.attempt }))
                .collect();
            let ready = json!({ "event": "ready", "pid": pid, "control": escape::os(self.control.as_os_str()),
                "configuration": escape::os(self.configuration.as_os_str()), "services": services });
            writeln!(out, "{ready}")?;
            return out.flush();
        }
        writeln!(out, "\nportreeve serves. In another terminal, try:\n")?;
        for service in shown {
            let name = out.paint(Paint::Bold, &format!("{:<10}", service.name));
            writeln!(out, "  {name} {}\n             {}", service.shows, service.attempt)?;
        }
        let own = std::env::current_exe()
            .map_or_else(|_| "portreeve".to_owned(), |path| escape::os(path.as_os_str()));
        let control = escape::os(self.control.as_os_str());
        writeln!(out, "\n  and what the daemon knows:\n")?;
        for rest in ["status", "explain elsewhere 127.0.0.1", "ban list", "ban remove all"] {
            writeln!(out, "             {own} {rest} --control {control}")?;
        }
        writeln!(
            out,
            "\nThe configuration is {}. Ctrl-C ends it.\n",
            escape::os(self.configuration.as_os_str())
        )?;
        out.flush()
    }

    /// A line that the gate wrote.
    pub fn line(&self, out: &mut Output<'_>, line: &str) -> io::Result<()> {
        if self.json {
            writeln!(out, "{}", json!({ "event": "line", "line": line }))?;
        } else if !line.contains("]: DEBUG: ") {
            let paint = match line {
                l if l.contains(": FAIL: ") || l.contains(" ERROR: ") || l.contains("CRITICAL: ") => {
                    Paint::Red
                }
                l if l.contains(": START: ") => Paint::Green,
                l if l.contains(": EXIT: ") => Paint::Plain,
                _ => Paint::Dim,
            };
            let text = out.paint(paint, &escape::text(line));
            writeln!(out, "{text}")?;
        }
        out.flush()
    }

    /// The last words.
    pub fn end(&self, out: &mut Output<'_>) -> io::Result<()> {
        if self.json {
            writeln!(out, "{}", json!({ "event": "end" }))?;
        } else {
            writeln!(out, "\nended; nothing is left behind")?;
        }
        out.flush()
    }
}
