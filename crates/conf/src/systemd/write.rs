//! A sheet as units of systemd: for each service a socket, and a service that it starts. What keeps clients out and has no place
//! there leaves the socket without an `[Install]` section, so that `systemctl enable` does not open it.

use super::write_listen::listen;
use super::{command, limits, sandbox, service, words, write_clients};
use crate::convert::{Account, Lenient, Note, Piece, Sheet, Stanza, Stop};
use crate::host::Host;
use std::collections::HashSet;
use std::fmt::Write;

/// The longest name of a unit that systemd takes, in bytes, without `@.service`.
const LONGEST_NAME: usize = 255 - 9;

/// A file of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name: `X.socket`, `X@.service`.
    pub name: String,
    /// What stands in it.
    pub text: String,
}

/// The files, and what they cannot say. Comments that belong to no service are in no file; they are named.
pub fn to_systemd(sheet: &Sheet, host: &dyn Host) -> (Vec<File>, Vec<Note>) {
    let lenient = Lenient::new(host);
    let (mut files, mut notes): (Vec<File>, Vec<Note>) = (Vec::new(), Vec::new());
    let mut comments: Vec<&str> = Vec::new();
    let mut taken = HashSet::new();
    for piece in &sheet.pieces {
        match piece {
            Piece::Blank => {}
            Piece::Comment(comment) => comments.push(comment),
            Piece::Lost(what) => comments.push(what),
            Piece::Service(stanza) => {
                let mut account = Account::new(stanza);
                match units(stanza, &mut account, &lenient) {
                    Err(stop) => notes.extend(account.stop(stop)),
                    Ok(units) => {
                        let (said, open) = account.close("systemd");
                        notes.extend(said.iter().cloned());
                        let stem = free_name(stanza.id(), &mut taken);
                        let mut another = Account::new(stanza);
                        if stem.len() > LONGEST_NAME {
                            notes.extend(
                                another.stop(Stop("id", "its name is too long for a unit".to_owned())),
                            );
                        } else {
                            if stem != words::unit_name(stanza.id()) {
                                another.lost(
                                    "id",
                                    format!("another service has its name: the units are called `{stem}`"),
                                );
                                notes.extend(another.told_only());
                            }
                            files.extend(units.files(&stem, stanza, &comments, &said, stanza.off || open));
                        }
                        comments.clear();
                    }
                }
            }
        }
    }
    if !comments.iter().all(|comment| comment.trim().is_empty()) {
        let count = comments.len();
        let text =
            format!("{count} lines of comment stand before no service that was carried over, so in no unit");
        notes.push(Note { place: None, service: None, about: None, lost: false, text });
    }
    (files, notes)
}

/// A name that no unit has yet.
fn free_name(id: &str, taken: &mut HashSet<String>) -> String {
    let first = words::unit_name(id);
    let others = (2..).map(|number| format!("{first}-{number}"));
    let name = std::iter::once(first.clone()).chain(others).find(|name| !taken.contains(name));
    let name = name.unwrap_or(first);
    taken.insert(name.clone());
    name
}

/// The lines of a pair.
struct Units {
    accept: bool,
    socket: Vec<String>,
    service: Vec<String>,
}

impl Units {
    fn files(self, stem: &str, stanza: &Stanza, comments: &[&str], said: &[Note], off: bool) -> [File; 2] {
        let id = stanza.id();
        let mut socket = String::new();
        for comment in comments {
            let _ = writeln!(socket, "#{comment}");
        }
        let mut lost: Vec<&str> =
            said.iter().filter(|note| note.lost).filter_map(|note| note.about.as_deref()).collect();
        lost.sort_unstable();
        lost.dedup();
        if !lost.is_empty() {
            let _ = writeln!(socket, "# not carried over: {}", lost.join(" "));
        }
        if off {
            let _ =
                writeln!(socket, "# switched off: to serve it, add [Install] with WantedBy=sockets.target");
        }
        let description = words::text(id);
        let _ = writeln!(socket, "[Unit]\nDescription={description}\n\n[Socket]");
        for line in &self.socket {
            let _ = writeln!(socket, "{line}");
        }
        if !off {
            socket.push_str("\n[Install]\nWantedBy=sockets.target\n");
        }
        let mut service = format!("[Unit]\nDescription={description}\n\n[Service]\n");
        for line in &self.service {
            let _ = writeln!(service, "{line}");
        }
        let at = if self.accept { "@" } else { "" };
        [
            File { name: format!("{stem}.socket"), text: socket },
            File { name: format!("{stem}{at}.service"), text: service },
        ]
    }
}

fn units(stanza: &Stanza, account: &mut Account<'_>, host: &Lenient<'_>) -> Result<Units, Stop> {
    let types = account.words("type");
    let flags = account.words("flags");
    let has = |word: &str| flags.iter().any(|held| held == word);
    for word in ["INTERNAL", "RPC", "TCPMUX", "TCPMUXPLUS"] {
        if types.iter().any(|held| held == word) {
            return Stop::new("type", format!("{word} has no counterpart in systemd"));
        }
    }
    if has("SENSOR") {
        return Stop::new("flags", "a SENSOR has no counterpart in systemd");
    }
    if account.take("redirect").is_some() {
        return Stop::new("redirect", "redirect has no counterpart in a unit; see systemd-socket-proxyd(8)");
    }
    account.take("id");
    if stanza.get("id").is_some_and(|id| id != stanza.name) {
        account.told("name", format!("the units are called `{}` by its id, not by its name", stanza.id()));
    }
    let accept = match account.value("wait") {
        Some(wait) => wait.eq_ignore_ascii_case("no"),
        None => return Stop::new("wait", "it has no `wait`"),
    };
    let mut socket = listen(stanza, account, &has, accept, host)?;
    socket.push(format!("Accept={}", if accept { "yes" } else { "no" }));
    if let Some(name) = account.value("listen_fds") {
        socket.push(format!("FileDescriptorName={}", words::text(name)));
    }
    connections(account, accept, &mut socket);
    for (flag, key) in [("NODELAY", "NoDelay"), ("KEEPALIVE", "KeepAlive"), ("FREEBIND", "FreeBind")] {
        if has(flag) {
            socket.push(format!("{key}=yes"));
        }
    }
    socket.extend(write_clients::write(account, host));
    for flag in &flags {
        match flag.as_str() {
            "IDONLY" => account.opens("flags", "`IDONLY` has no counterpart in systemd"),
            "REUSE" | "NOLIBWRAP" | "NAMEINARGS" | "IPV4" | "IPV6" | "NODELAY" | "KEEPALIVE" | "FREEBIND" => {
            }
            other => account.lost("flags", format!("`{other}` has no counterpart in systemd")),
        }
    }
    if !has("NOLIBWRAP") {
        tables(account, host.hosts_tables_active());
    }
    let service = program(account, &flags)?;
    Ok(Units { accept, socket, service })
}

fn tables(account: &mut Account<'_>, active: bool) {
    let text = "systemd does not ask hosts.allow and hosts.deny; see `portreeve convert hosts`, or put tcpd before the program";
    match active {
        true => account.lost("flags", text),
        false => account.told("flags", format!("{text}. They hold no rule here")),
    }
    if account.take("libwrap").is_some() {
        account.lost("libwrap", "`libwrap` has no counterpart in systemd");
    }
}

fn connections(account: &mut Account<'_>, accept: bool, lines: &mut Vec<String>) {
    let mut number = |name| account.value(name).and_then(|value| value.parse::<u32>().ok());
    let (instances, per_source) = (number("instances"), number("per_source"));
    if accept {
        // Its own default is 64.
        lines.push(format!("MaxConnections={}", instances.unwrap_or(super::pair::UNLIMITED)));
        match per_source {
            Some(0) => account.opens("per_source", "`per_source = 0` refuses everybody, which no unit does"),
            Some(number) => lines.push(format!("MaxConnectionsPerSource={number}")),
            None => {}
        }
    } else {
        for (name, limit) in [("instances", instances), ("per_source", per_source)] {
            if limit == Some(0) {
                account.opens(name, format!("`{name} = 0` refuses everybody, which no unit does"));
            } else if limit.is_some() {
                account.lost(name, format!("`{name}`: with Accept=no one program runs at a time"));
            }
        }
    }
    let minute = account.value("starts_per_minute").and_then(|value| value.parse::<u32>().ok());
    let Some(cps) = account.value("cps") else {
        if let Some(number) = minute {
            lines.push(format!("PollLimitIntervalSec=1min\nPollLimitBurst={number}"));
            account.told("starts_per_minute", "`PollLimit…=` needs systemd 255");
        }
        return;
    };
    if minute.is_some() {
        account.lost("starts_per_minute", "a unit has one rate, and `cps` is another");
    }
    let mut words = cps.split_whitespace().map(|word| crate::number::unsigned(word).unwrap_or(0));
    let (rate, pause) = (words.next().unwrap_or(0), words.next().unwrap_or(0));
    if rate == 0 {
        lines.extend(["PollLimitIntervalSec=0".to_owned(), "TriggerLimitIntervalSec=0".to_owned()]);
        if pause != 0 {
            account.told("cps", "no rate, so no pause");
        }
        return;
    }
    lines.push(format!("PollLimitIntervalSec=1s\nPollLimitBurst={rate}"));
    // Where PollLimit is not known (before 255) this stops the socket for good, so it comes late.
    lines.push(format!("TriggerLimitIntervalSec=1s\nTriggerLimitBurst={}", rate.saturating_mul(2)));
    account.told(
        "cps",
        "`PollLimit…=` needs systemd 255; an older one stops the socket for good at twice the rate",
    );
    if pause != 1 {
        account.lost("cps", format!("systemd pauses for the rest of the second, not for {pause} s"));
    }
}

fn program(account: &mut Account<'_>, flags: &[String]) -> Result<Vec<String>, Stop> {
    let Some(path) = account.value("server") else { return Stop::new("server", "it has no `server`") };
    let mut argv: Vec<&str> =
        account.value("server_args").map(|args| args.split(' ').collect()).unwrap_or_default();
    if !flags.iter().any(|flag| flag == "NAMEINARGS") {
        argv.insert(0, path.rsplit('/').next().unwrap_or(path));
    }
    if argv.is_empty() {
        return Stop::new("server_args", "it has NAMEINARGS and no `server_args`");
    }
    if path.ends_with('/') {
        return Stop::new("server", format!("`{path}` is a directory"));
    }
    if argv.contains(&";") || !path.starts_with('/') {
        return Stop::new("server_args", "a unit cannot hold this command");
    }
    let mut lines = vec![format!("ExecStart={}", command::write(path, &argv))];
    match account.take("listen_fds") {
        None => lines.extend(
            ["StandardInput=socket", "StandardOutput=socket", "StandardError=socket"].map(str::to_owned),
        ),
        Some(_) => lines.extend(["StandardOutput=null", "StandardError=null"].map(str::to_owned)),
    }
    let Some(user) = account.value("user") else { return Stop::new("user", "it has no `user`") };
    let own = account.value("sandbox").is_some_and(sandbox::makes_user);
    let group = account.value("group");
    if !own {
        lines.push(format!("User={}", words::text(user)));
        lines.extend(group.map(|group| format!("Group={}", words::text(group))));
    }
    if !own && !account.value("groups").is_some_and(|word| word.eq_ignore_ascii_case("yes")) {
        account.lost("groups", "`groups = no`: systemd gives a program the groups of its user");
    }
    if let Some(env) = account.value("env") {
        for word in env.split_whitespace() {
            // xinetd passes on a variable without a name; systemd has none.
            match word.split_once('=') {
                Some((name, _)) if !name.is_empty() => {
                    lines.push(format!("Environment={}", words::quoted(word)));
                }
                _ => account.lost("env", format!("`{word}` is no `NAME=VALUE`")),
            }
        }
    }
    match account.value("passenv") {
        None => account.told(
            "passenv",
            "a program gets PATH and a few of systemd's own variables, not what portreeve runs with",
        ),
        Some(names) => {
            if !names.split_whitespace().any(|name| name == "PATH") {
                account.told("passenv", "a program gets PATH and a few of systemd's own variables too");
            }
            if !names.is_empty() {
                lines.push(format!("PassEnvironment={}", words::text(names)));
            }
        }
    }
    if let Some(nice) = account.value("nice") {
        match crate::number::within(nice, -20, 19) {
            Some(nice) => lines.push(format!("Nice={nice}")),
            None => account.lost("nice", format!("`{nice}` is more than systemd takes")),
        }
    }
    if let Some(mask) = account.value("umask").and_then(crate::number::octal) {
        lines.push(format!("UMask={mask:04o}"));
    }
    for (key, name) in service::RESOURCES {
        if let Some(value) = account.value(name).and_then(|value| limits::written(key, value)) {
            lines.push(format!("{key}={value}"));
        }
    }
    if let Some(words) = account.value("sandbox") {
        match sandbox::write(words) {
            Ok(settings) => lines.extend(settings),
            Err(why) => account.opens("sandbox", why),
        }
    }
    Ok(lines)
}
