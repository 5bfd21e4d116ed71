//! The control socket: one request line in, one JSON object out. Owns its clients and their bounds; reading verbs for
//! whoever may connect, changing ones for uid 0 and our own user (ARCHITECTURE §2). No request carries a path.

use crate::ban_import::{BanImport, Imported};
use crate::ban_orders::By;
use crate::duty::VERBS;
use crate::handover::{fd, path};
use crate::json::Json;
use crate::reload::Changes;
use crate::supervisor::{Supervisor, Token};
use crate::timers::Alarm;
use portreeve_conf::{Diagnostic, Level, Severity};
use portreeve_handover::{Bytes, ControlClientState, ControlState};
use portreeve_sys::farewell::Connection;
use portreeve_sys::{highfd, unix};
use rustix::event::epoll;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};
use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

/// Most control clients at once.
pub const MOST_CLIENTS: usize = 32;
/// Longest request.
const LONGEST_REQUEST: usize = 1024;
/// How long a client may take over its request and over reading the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// So much of a list of bans is taken at once.
const LIST_CHUNK: usize = 32 * 1024;
/// How long a reload may keep its client waiting.
const RELOAD_PATIENCE: Duration = Duration::from_secs(60);
/// A client whose order takes long hears of it so often at most, and so often at least.
const SPEAKS: Duration = Duration::from_secs(1);
const SILENT: Duration = Duration::from_secs(10);
/// How long the socket rests when no descriptor is left.
const STARVED: Duration = Duration::from_millis(200);

/// The socket and its clients.
#[derive(Debug, Default)]
pub struct Control {
    path: Option<PathBuf>,
    listener: Option<OwnedFd>,
    clients: HashMap<u32, ControlClient>,
    next: u32,
}

#[derive(Debug)]
struct ControlClient {
    fd: Connection,
    may_change: bool,
    /// Its user; unknown of one that a former version left.
    uid: Option<u32>,
    request: Vec<u8>,
    /// A list of bans that is on its way.
    list: Option<BanImport>,
    answer: Option<Vec<u8>>,
    until: Duration,
    /// Hundredths of its order that it has heard of, and when it heard last.
    heard: usize,
    spoken: Duration,
}

impl Control {
    /// How many clients are connected.
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Removes the socket's name.
    pub fn remove_socket(&mut self) {
        if let Some(path) = self.path.take() {
            let _ = std::fs::remove_file(path);
        }
    }

    /// The path of the socket, when there is one.
    pub fn path(&self) -> Option<&PathBuf> {
        self.path.as_ref()
    }
}

impl Control {
    /// The socket and its clients as records.
    pub fn leave(&self) -> Option<ControlState> {
        // Of a list that is not whole nothing is banned: its client sees the end, and sends it again.
        let whole = self.clients.iter().filter(|(_, client)| client.list.is_none());
        let clients = whole.map(|(&number, client)| ControlClientState {
            number,
            fd: fd(&client.fd),
            may_change: client.may_change,
            request: Bytes(client.request.clone()),
            answer: client.answer.clone().map(Bytes),
            until: client.until,
        });
        Some(ControlState {
            path: path(self.path.as_deref()?),
            listener: fd(self.listener.as_ref()?),
            next: self.next,
            clients: clients.collect(),
        })
    }

    /// What a former version left.
    pub fn take_over(&mut self, supervisor: &mut Supervisor, left: ControlState) -> Result<(), String> {
        let text = |error: Errno| format!("the control socket: {error}");
        let listener = supervisor.adopt(left.listener)?;
        supervisor.watch(listener.as_fd(), Token::Control).map_err(text)?;
        self.listener = Some(listener);
        self.path = Some(PathBuf::from(OsString::from_vec(left.path.0)));
        self.next = left.next;
        for client in left.clients {
            let fd = supervisor.spawner.connection(supervisor.adopt(client.fd)?, true);
            let data = epoll::EventData::new_u64(Token::ControlClient(client.number).raw());
            let flags = if client.answer.is_some() { epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
            epoll::add(&supervisor.epoll, &fd, data, flags).map_err(text)?;
            supervisor.timers.set(client.until, Alarm::Control(u64::from(client.number)));
            let (request, answer) = (client.request.0, client.answer.map(|answer| answer.0));
            let (may_change, until) = (client.may_change, client.until);
            self.clients.insert(
                client.number,
                ControlClient {
                    fd,
                    may_change,
                    uid: None,
                    request,
                    list: None,
                    answer,
                    until,
                    heard: 0,
                    spoken: supervisor.stamp.mono(),
                },
            );
        }
        Ok(())
    }
}

impl Drop for ControlClient {
    fn drop(&mut self) {
        self.fd.end();
    }
}

impl Supervisor {
    /// Opens the control socket; without one the supervisor serves all the same.
    pub fn open_control(&mut self, path: PathBuf, owner: Option<(u32, u32)>) {
        let opened = unix::listen(&path, 0o660, owner).map_err(|e| e.to_string()).and_then(|fd| {
            let fd = highfd::park(fd, self.base).map_err(|e| e.to_string())?;
            self.watch(fd.as_fd(), Token::Control).map_err(|e| e.to_string())?;
            Ok(fd)
        });
        match opened {
            Ok(fd) => {
                self.control.listener = Some(fd);
                self.control.path = Some(path);
            }
            Err(error) => self.say(Level::Warning, &format!("no control socket: {error}")),
        }
    }

    /// Somebody connects.
    pub fn accept_control(&mut self) {
        for _ in 0..MOST_CLIENTS {
            let Some(listener) = &self.control.listener else { return };
            let fd = match accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(fd) => fd,
                Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                    self.rest_control();
                    return;
                }
                Err(_) => return,
            };
            if self.control.clients.len() >= MOST_CLIENTS {
                self.spawner.connection(fd, true).end();
                continue;
            }
            let Ok(peer) = unix::peer_credentials(&fd) else { continue };
            let Ok(fd) = highfd::park(fd, self.base) else { continue };
            let fd = self.spawner.connection(fd, true);
            let number = self.control.next;
            self.control.next = self.control.next.wrapping_add(1);
            if self.watch(fd.as_fd(), Token::ControlClient(number)).is_err() {
                continue;
            }
            let may_change = peer.uid == 0 || peer.uid == portreeve_sys::process::euid();
            let until = self.stamp.mono() + PATIENCE;
            self.timers.set(until, Alarm::Control(u64::from(number)));
            let client = ControlClient {
                fd,
                may_change,
                uid: Some(peer.uid),
                request: Vec::new(),
                list: None,
                answer: None,
                until,
                heard: 0,
                spoken: self.stamp.mono(),
            };
            self.control.clients.insert(number, client);
        }
    }

    /// No descriptor is left. The client stays in the queue, and polling for it now would only spin.
    fn rest_control(&mut self) {
        if let Some(listener) = &self.control.listener
            && epoll::delete(&self.epoll, listener).is_ok()
        {
            self.timers.set(self.stamp.mono() + STARVED, Alarm::ControlAgain);
        }
    }

    /// The alarm: whoever waits at the control socket may be taken again.
    pub fn watch_control(&mut self) {
        if let Some(listener) = &self.control.listener {
            let _ = self.watch(listener.as_fd(), Token::Control);
        }
    }

    /// A client has sent something or takes more.
    pub fn control_event(&mut self, number: u32) {
        let Some(client) = self.control.clients.get_mut(&number) else { return };
        if client.answer.is_some() {
            self.send_answer(number);
            return;
        }
        if client.list.is_some() {
            self.take_list(number);
            return;
        }
        let mut chunk = [0u8; LONGEST_REQUEST];
        match client.fd.receive(&mut chunk) {
            Ok(0) => {
                self.control.clients.remove(&number);
            }
            Ok(n) => {
                client.request.extend_from_slice(chunk.get(..n).unwrap_or_default());
                let line_end = client.request.iter().position(|&b| b == b'\n');
                if let Some(end) = line_end {
                    let line =
                        String::from_utf8_lossy(client.request.get(..end).unwrap_or_default()).into_owned();
                    let may_change = client.may_change;
                    let behind = client.request.split_off(end + 1);
                    self.request(number, &line, may_change);
                    self.add_to_list(number, &behind);
                } else if client.request.len() >= LONGEST_REQUEST {
                    self.answer(number, failure("the request is too long"));
                }
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => {
                self.control.clients.remove(&number);
            }
        }
    }

    /// More of a list has come.
    fn take_list(&mut self, number: u32) {
        let mut chunk = vec![0u8; LIST_CHUNK];
        let Some(client) = self.control.clients.get_mut(&number) else { return };
        match client.fd.receive(&mut chunk) {
            Ok(0) => {
                self.control.clients.remove(&number);
            }
            Ok(n) => self.add_to_list(number, chunk.get(..n).unwrap_or_default()),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => {
                self.control.clients.remove(&number);
            }
        }
    }

    fn add_to_list(&mut self, number: u32, bytes: &[u8]) {
        let Some(client) = self.control.clients.get_mut(&number) else { return };
        let Some(mut list) = client.list.take() else { return };
        match self.import(number, &mut list, bytes) {
            Imported::Not(answer) => self.answer(number, answer),
            // It is answered when all of it is on the list.
            Imported::Whole => {}
            Imported::NotYet => {
                if let Some(client) = self.control.clients.get_mut(&number) {
                    client.list = Some(list);
                }
            }
        }
    }

    /// A client has had its time.
    pub fn control_late(&mut self, number: u64) {
        let Ok(number) = u32::try_from(number) else { return };
        let now = self.stamp.mono();
        if let Some(client) = self.control.clients.get(&number) {
            if client.until <= now {
                self.control.clients.remove(&number);
            } else {
                self.timers.set(client.until, Alarm::Control(u64::from(number)));
            }
        }
    }

    fn request(&mut self, number: u32, line: &str, may_change: bool) {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let first = words.first().copied().unwrap_or_default();
        let changing = matches!(
            first,
            "reload" | "ban" | "cut" | "unban" | "import" | "evidence" | "dump" | "kill" | "upgrade"
        ) || VERBS.contains(&first);
        if changing && !may_change {
            self.answer(number, failure("this needs root (or the user that the supervisor runs as)"));
            return;
        }
        let uid = self.control.clients.get(&number).and_then(|client| client.uid);
        let answer = match words.as_slice() {
            ["status"] => {
                self.look_at_programs();
                self.status()
            }
            [verb @ ("ban" | "cut"), network, time, reason @ ..] => {
                self.order_ban(By { uid, cut: *verb == "cut" }, network, time, reason)
            }
            ["import", bytes, rest @ ..] if matches!(rest, [] | ["cut"]) => {
                match self.begin_import(By { uid, cut: !rest.is_empty() }, bytes) {
                    Ok(list) => {
                        if let Some(client) = self.control.clients.get_mut(&number) {
                            (client.list, client.until) = (Some(list), self.stamp.mono() + RELOAD_PATIENCE);
                        }
                        return;
                    }
                    Err(why) => failure(&why),
                }
            }
            ["unban", "all"] => {
                if let Some(client) = self.control.clients.get_mut(&number) {
                    client.until = self.stamp.mono() + RELOAD_PATIENCE;
                    client.request.clear();
                }
                return self.begin_removal(number, uid);
            }
            ["unban", which] => self.order_unban(uid, which),
            ["scans"] => self.list_scans(),
            ["bans"] => self.list_bans(None),
            ["bans", "after", network] => self.list_bans(Some(network)),
            ["evidence", address, kind] => self.order_evidence(address, kind, None),
            ["evidence", address, kind, service] => self.order_evidence(address, kind, Some(service)),
            ["why", address] => self.why_banned(address),
            ["dump"] => match self.dump() {
                Ok(path) => Json::object(|j| {
                    j.plain("ok", true);
                    j.text("file", path.display());
                }),
                Err(error) => failure(&error),
            },
            ["explain", rest @ ..] => self.explain(rest),
            [verb, service] if VERBS.contains(verb) => self.order(verb, service, false),
            [verb @ ("hold" | "drain" | "stop"), service, "keep"] => self.order(verb, service, true),
            ["kill", instance] => self.kill_instance(instance, false),
            ["kill", instance, "now"] => self.kill_instance(instance, true),
            ["instances"] => self.instances(None),
            ["instances", service] => self.instances(Some(service)),
            [verb @ ("reload" | "upgrade")] => {
                if let Some(client) = self.control.clients.get_mut(&number) {
                    client.until = self.stamp.mono() + RELOAD_PATIENCE;
                    client.request.clear();
                }
                if *verb == "reload" {
                    self.reload(Some(number));
                } else {
                    self.upgrade(Some(number));
                }
                return;
            }
            _ => failure(
                "unknown request; known are status, explain, reload, ban, cut, unban, import, bans, scans, why, evidence, dump, instances, upgrade, hold, release, drain, stop, start, kill",
            ),
        };
        self.answer(number, answer);
    }

    /// Answers a client.
    pub fn answer(&mut self, number: u32, text: String) {
        let Some(client) = self.control.clients.get_mut(&number) else { return };
        client.answer = Some(text.into_bytes());
        client.until = self.stamp.mono() + PATIENCE;
        self.send_answer(number);
    }

    /// So much of what a client has ordered is done. As long as it goes on the client is kept waiting, and hears a space for each hundredth, or
    /// a tab now and then: in front of JSON they are nothing.
    pub fn tell_progress(&mut self, number: u32, done: usize, of: usize) {
        let now = self.stamp.mono();
        let Some(client) = self.control.clients.get_mut(&number).filter(|client| client.answer.is_none())
        else {
            return;
        };
        client.until = now + RELOAD_PATIENCE;
        let silent = now.saturating_sub(client.spoken);
        let hundredths = done.saturating_mul(100) / of.max(1);
        let words = match hundredths.saturating_sub(client.heard) {
            _ if silent < SPEAKS => return,
            0 if silent < SILENT => return,
            0 => "\t".to_owned(),
            more => " ".repeat(more),
        };
        (client.heard, client.spoken) = (hundredths.max(client.heard), now);
        // One that does not read loses a word of these, and not the answer.
        let _ = portreeve_sys::socket::send_now(&client.fd, words.as_bytes());
    }

    fn send_answer(&mut self, number: u32) {
        let Some(client) = self.control.clients.get_mut(&number) else { return };
        let Some(answer) = &mut client.answer else { return };
        while !answer.is_empty() {
            match portreeve_sys::socket::send_now(&client.fd, answer) {
                Ok(n) => {
                    answer.drain(..n.min(answer.len()));
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    let data = epoll::EventData::new_u64(Token::ControlClient(number).raw());
                    let _ = epoll::modify(&self.epoll, &client.fd, data, epoll::EventFlags::OUT);
                    return;
                }
                Err(_) => break,
            }
        }
        self.control.clients.remove(&number);
    }

    /// A reload was asked for while another was under way.
    pub fn answer_busy(&mut self, number: u32) {
        self.answer(number, failure("a reload is under way; it is followed by another"));
    }

    /// A reload that a client asked for is done.
    pub fn answer_reload(&mut self, number: u32, changes: &Changes, diagnostics: &[Diagnostic]) {
        let text = Json::object(|j| {
            j.plain("ok", true);
            j.plain("applied", changes.applied);
            if let Some(why) = &changes.why_not {
                j.text("why_not", why);
            }
            for (key, list) in [
                ("new", &changes.new),
                ("kept", &changes.kept),
                ("changed", &changes.changed),
                ("dropped", &changes.dropped),
                ("held", &changes.held),
            ] {
                j.list(key, |j| list.iter().for_each(|id| j.word(id)));
            }
            j.list("diagnostics", |j| {
                for d in diagnostics.iter().filter(|d| d.severity > Severity::Note) {
                    j.item(|j| diagnostic(j, d));
                }
            });
        });
        self.answer(number, text);
    }
}

/// A refusal of a request.
pub fn failure(text: &str) -> String {
    Json::object(|j| {
        j.plain("ok", false);
        j.text("error", text);
    })
}

fn diagnostic(j: &mut Json, d: &Diagnostic) {
    j.text("severity", if d.severity == Severity::Error { "error" } else { "warning" });
    j.text("code", d.code);
    if let Some(place) = &d.place {
        j.text("file", &place.file);
        j.plain("line", place.line);
        j.plain("column", place.column);
        j.plain("length", place.length);
    }
    j.text("message", &d.message);
    if let Some(help) = &d.help {
        j.text("help", help);
    }
    if let Some(line) = &d.source_line {
        j.text("source_line", line);
    }
    if let Some(service) = &d.service {
        j.text("service", service);
    }
}
