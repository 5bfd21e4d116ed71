//! The inventory as JSON, which is written as it comes: ten thousand listeners are no tree of values first.

use super::{Inventory, Listener};
use crate::packages::Owner;
use crate::ports::Secrecy;
use crate::process::Process;
use crate::reach::answer::Reach;
use crate::share;
use crate::sockets::Place;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fmt::Write;
use std::io;
use std::sync::Arc;

/// Bytes of a listener in JSON, more or less.
const LIKELY: usize = 1024;
/// Listeners that are written at once.
const AT_ONCE: usize = 2048;

impl Inventory {
    /// The whole for machines: JSON, a line for each listener. Told in parts, as they are ready: ten thousand listeners are megabytes.
    ///
    /// # Errors
    /// Those of `tell`, which ends it.
    pub fn json(&self, mut tell: impl FnMut(String) -> io::Result<()>) -> io::Result<()> {
        tell("{\"listeners\": [".to_owned())?;
        let mut is_first = true;
        for listeners in self.listeners.chunks(AT_ONCE) {
            let written = share::pieces(listeners, |listeners| {
                let (mut known, mut text) =
                    (Known::default(), String::with_capacity(listeners.len() * LIKELY));
                for listener in listeners {
                    text.push_str(",\n");
                    listener.json_text(&mut known, &mut text);
                }
                text
            });
            for mut piece in written {
                if std::mem::take(&mut is_first) {
                    piece.remove(0);
                }
                tell(piece)?;
            }
        }
        let rest = json!({
            "namespaces": self.namespaces,
            "vanished": self.vanished,
            "gaps": self.gaps,
            "packages": self.no_packages.map_or("known", |_| "unknown"),
            "served_since": self.served_since,
        });
        tell(format!("\n],\n{}", rest.to_string().trim_start_matches('{')))
    }
}

impl Listener {
    /// The fields for machines.
    pub fn json(&self) -> Value {
        let mut text = String::new();
        self.json_text(&mut Known::default(), &mut text);
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// The same as text: ten thousand listeners are written without a tree of values for each.
    fn json_text(&self, known: &mut Known, text: &mut String) {
        let package = match &self.package {
            Owner::Package(name) => Some(name.as_str()),
            _ => None,
        };
        let v6_only = match self.socket.place {
            Place::Ip { v6_only, address, .. } if address.is_ipv6() => Some(v6_only),
            _ => None,
        };
        let mut object = Object::within(text);
        object.text("protocol", Some(self.socket.protocol.word()));
        object.text("address", Some(&self.socket.address()));
        object.plain("port", self.socket.port());
        object.text("interface", self.socket.interface.as_deref());
        object.plain("v6_only", v6_only);
        object.text("namespace", Some(&self.namespace));
        object.text("scope", Some(self.socket.scope().word()));
        object.plain("reach", self.reach.as_ref().map(|reach| known.reach(reach)));
        object.plain("inode", Some(self.socket.inode));
        object.plain("socket_uid", self.socket.uid);
        object.plain("uid", self.uid());
        object.name("processes");
        object.0.push('[');
        for (at, process) in self.processes.iter().enumerate() {
            if at > 0 {
                object.0.push(',');
            }
            object.0.push_str(known.process(process));
        }
        object.0.push(']');
        object.text("package", package);
        object.plain("package_known", Some(!matches!(self.package, Owner::Unknown(_))));
        object.text("service", self.service.as_deref());
        object.plain("last_served", self.served.filter(|served| served.times > 0).map(|served| served.last));
        object.plain("times_served", self.served.map(|served| served.times));
        object.text("usual", self.usual().map(|(name, _)| name));
        object.text("secrecy", Some(self.usual().map_or(Secrecy::Unknown, |(_, secrecy)| secrecy).word()));
        object.0.push('}');
    }
}

/// What many listeners have in common, written once.
#[derive(Default)]
struct Known {
    processes: HashMap<u32, String>,
    /// By where they are: listeners of the same answer share it.
    reach: HashMap<*const Reach, String>,
}

impl Known {
    fn process(&mut self, process: &Process) -> &str {
        self.processes.entry(process.pid).or_insert_with(|| process_json(process).to_string())
    }

    fn reach(&mut self, reach: &Arc<Reach>) -> &str {
        self.reach.entry(Arc::as_ptr(reach)).or_insert_with(|| reach.json().to_string())
    }
}

fn process_json(process: &Process) -> Value {
    json!({
        "pid": process.pid,
        "name": process.name,
        "executable": process.executable,
        "image": process.image.word(),
        "arguments": process.arguments,
        "uid": process.uid,
        "unit": process.home.unit,
        "container": process.home.container.as_ref().map(|c| json!({"runtime": c.runtime, "name": c.name})),
    })
}

/// An object of JSON that is written as it comes.
struct Object<'a>(&'a mut String);

impl<'a> Object<'a> {
    fn within(text: &'a mut String) -> Self {
        text.push('{');
        Self(text)
    }

    fn name(&mut self, name: &str) {
        if !self.0.ends_with('{') {
            self.0.push(',');
        }
        self.0.push('"');
        self.0.push_str(name);
        self.0.push_str("\":");
    }

    /// A text, with what JSON escapes.
    fn text(&mut self, name: &str, value: Option<&str>) {
        self.name(name);
        match value {
            None => self.0.push_str("null"),
            Some(text) if text.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'"' && b != b'\\') => {
                self.0.push('"');
                self.0.push_str(text);
                self.0.push('"');
            }
            Some(text) => self.0.push_str(&Value::from(text).to_string()),
        }
    }

    /// What is JSON as it is printed.
    fn plain(&mut self, name: &str, value: Option<impl std::fmt::Display>) {
        self.name(name);
        match value {
            None => self.0.push_str("null"),
            // Writing to a String cannot fail.
            Some(value) => drop(write!(self.0, "{value}")),
        }
    }
}
