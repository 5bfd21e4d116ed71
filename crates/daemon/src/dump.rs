//! The state dump of SIGUSR1, under xinetd's headings (reference xinetd §11.4), to a private file: 0600, no symbolic
//! link followed. Values of the environment are left out, names stay. Makes no look-up.

use crate::duty::Duty;
use crate::slot::{Slot, SlotId, State};
use crate::staff::Keyed;
use crate::supervisor::Supervisor;
use portreeve_conf::{Action, AddressList, DenyTime, Level, LogType, Service, Target, Text};
use portreeve_policy::Peer;
use portreeve_sys::{clock, file};
use rustix::fd::AsRawFd;
use std::fmt::Write;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

/// Where the dump goes, beside the control socket, or in /run/portreeve.
fn dump_path(supervisor: &Supervisor) -> PathBuf {
    let beside = supervisor.control.path().and_then(|p| p.parent().map(PathBuf::from));
    beside.unwrap_or_else(|| PathBuf::from("/run/portreeve")).join("portreeve.dump")
}

impl Supervisor {
    /// Appends a dump to the private file and says where it is.
    pub fn dump(&mut self) -> Result<PathBuf, String> {
        let path = dump_path(self);
        let text = self.dump_text();
        let written = file::create_private(&path)
            .map_err(|e| e.to_string())
            .and_then(|fd| File::from(fd).write_all(text.as_bytes()).map_err(|e| e.to_string()));
        match written {
            Ok(()) => {
                self.say(Level::Info, &format!("generated state dump in file {}", path.display()));
                Ok(path)
            }
            Err(error) => {
                let text = format!("failed to open {}: {error}", path.display());
                self.say(Level::Error, &text);
                Err(text)
            }
        }
    }

    fn dump_text(&self) -> String {
        let mut out = String::new();
        let o = &mut out;
        let _ = writeln!(o, "INTERNAL STATE DUMP: {}", env!("CARGO_PKG_VERSION"));
        let _ = writeln!(o, "Current time: {}\n", asctime(self.stamp.wall()));
        let _ = writeln!(o, "Services + defaults:\nService defaults");
        for line in &self.defaults_dump {
            let _ = writeln!(o, "\t{line}");
        }
        for (&id, slot) in &self.slots {
            self.dump_slot(o, id, slot);
        }
        let _ = writeln!(o, "\nServer table dump:");
        for (pid, child) in &self.children.programs {
            self.dump_server(o, *pid, child.slot, child.peer.as_ref(), child.started_wall);
        }
        let _ = writeln!(o, "\nRetry table dump:");
        for put_off in &self.children.put_off {
            let name = crate::programs::slot_name(self, put_off.client.slot);
            let _ = writeln!(o, "{name} server\nattempts = {}", put_off.client.attempts);
        }
        let available = self.slots.values().filter(|s| s.available()).count();
        let active = self.slots.values().filter(|s| self.state(s) == ACTIVE).count();
        let _ = writeln!(o, "\nactive_services = {active}\navailable_services = {available}");
        let _ = writeln!(o, "running_servers = {}", self.children.programs.len());
        let _ = writeln!(o, "Logging service = not enabled");
        let _ = writeln!(o, "\nmax_descriptors = {}", portreeve_sys::limits::nofile().soft);
        let _ = writeln!(o, "process_limit = {}", self.options.limit.unwrap_or(0));
        let _ = writeln!(o, "config_file = {}", self.options.sources.main().display());
        let _ = writeln!(o, "\nEND OF DUMP\n");
        // A configuration may hold control bytes; a terminal shows this file.
        out.replace(|c: char| c.is_control() && c != '\n' && c != '\t', "?")
    }

    /// What runs for a client, as xinetd writes it.
    pub fn dump_server(&self, o: &mut String, pid: i32, slot: SlotId, peer: Option<&Peer>, started: i64) {
        let name = crate::programs::slot_name(self, slot);
        let _ = writeln!(o, "{name} server\npid = {pid}\nstart_time = {}", asctime(started));
        let _ = writeln!(o, "Connection info:\n\tservice = {name}");
        match peer {
            Some(Peer::Inet(peer)) => {
                let _ = writeln!(o, "\tremote_address = {},{}", peer.ip(), peer.port());
            }
            Some(peer @ Peer::Local(_)) => {
                let _ = writeln!(o, "\tremote_address = {peer}");
            }
            None => {
                let _ = writeln!(o, "\tremote_address = <no address>");
            }
        }
    }

    fn dump_slot(&self, o: &mut String, id: SlotId, slot: &Slot) {
        let s = &slot.service;
        let state = self.state(slot);
        let _ = writeln!(o, "Service = {}\n\tState = {state}\n\tService configuration: {}", s.name, s.name);
        configuration(o, s, slot.port());
        let (registered, of, _) = self.registry.of(id);
        if s.rpc.is_some() {
            let _ = writeln!(o, "\tentries at rpcbind = {registered} of {of}");
        }
        let _ = writeln!(o, "\trunning servers = {}", slot.state.running());
        let retries = self.children.put_off.iter().filter(|p| p.client.slot == id).count();
        let _ = writeln!(o, "\tretry servers = {retries}");
        let _ = writeln!(o, "\tattempts = {}", slot.counts.start_failures);
        let fds: Vec<String> = slot.listeners.iter().map(|l| l.fd.as_raw_fd().to_string()).collect();
        let fds = if fds.is_empty() { "-1".to_owned() } else { fds.join(" ") };
        let _ = writeln!(o, "\tservice fd = {fds}");
    }
}

impl Supervisor {
    /// In xinetd's words, and in ours where a service is held, by an order or since its TLS cannot be served.
    fn state(&self, slot: &Slot) -> &'static str {
        let link = slot.tls.and_then(|index| self.staff.links.get(index as usize));
        let void =
            slot.service.tls.is_some() && link.is_none_or(|link| matches!(link.keyed, Keyed::Wrong(_)));
        match (state(&slot.status), slot.order.duty) {
            (ACTIVE, Duty::Hold) => "Held",
            (ACTIVE, Duty::Drain) => "Draining",
            (ACTIVE, Duty::Stop) => "Stopped",
            (ACTIVE, Duty::Serve) if void => "Held",
            (word, _) => word,
        }
    }
}

const ACTIVE: &str = "Active";

/// In xinetd's words. A worker that is just being started makes no difference: clients wait for it in the queue.
fn state(status: &State) -> &'static str {
    match status {
        State::Active | State::NoWorker | State::Paused(..) => ACTIVE,
        State::Suspended => "Suspended",
        State::Closed(_) | State::Removed => "Disabled",
        State::Retrying(..) => "Not started",
    }
}

/// `port`: the one that the kernel has chosen, where it was left to it.
fn configuration(o: &mut String, s: &Service, port: Option<u16>) {
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(o, "\t\t{name} = {value}");
    };
    line("id", &s.id);
    if !s.flags.is_empty() {
        line("flags", &s.flags.join(" "));
    }
    if !s.types.is_empty() {
        line("type", &s.types.join(" "));
    }
    line("socket_type", &format!("{:?}", s.listen.socket).to_lowercase());
    line("Protocol (name,number)", &format!("({},{})", s.listen.protocol.0, s.listen.protocol.1));
    match port.filter(|_| s.listen.port == 0) {
        Some(port) => line("port", &port),
        // No socket of its own, or none yet.
        None if s.mux.is_some() || s.rpc.is_some_and(|_| s.listen.port == 0) => {}
        None => line("port", &s.listen.port_text()),
    }
    if let Some(instances) = s.limits.instances.value {
        line("Instances", &instances);
    }
    line("wait", &if s.wait { "yes" } else { "no" });
    if let Some(user) = &s.ids.user {
        line("user", &user.uid);
    }
    if s.ids.group_set
        && let Some(gid) = s.ids.gid
    {
        line("group", &gid);
    }
    line("Groups", &if s.ids.groups_yes { "yes" } else { "no" });
    if let Some(umask) = s.umask {
        line("umask", &format!("{umask:o}"));
    }
    if let Some(nice) = s.nice {
        line("Nice", &nice);
    }
    line("CPS", &format!("max conn:{} wait:{}", s.limits.cps.value.0, s.limits.cps.value.1));
    line("PER_SOURCE", &s.limits.per_source.value.map_or(-1, i64::from));
    line("Bind", &s.listen.bind_text().as_deref().unwrap_or("All addresses."));
    match &s.action {
        Action::External { server, argv } => {
            line("Server", server);
            line("Server argv", &argv.iter().map(Text::as_str).collect::<Vec<_>>().join(" "));
        }
        Action::Redirect(targets) => {
            for target in targets {
                match target {
                    Target::Host { host, .. } => {
                        line("Redirect", &format!("{host}:{}", target.port().unwrap_or_default()));
                    }
                    Target::Path(path) => line("Redirect", path),
                }
            }
        }
        Action::Internal(_) | Action::Mux | Action::Sensor => {}
    }
    if !s.nolibwrap {
        let _ = writeln!(o, "\t\tLibwrap = {}", s.wrap_name);
    }
    if let Some(rpc) = s.rpc {
        let _ = writeln!(o, "\t\tRPC data\n\t\t\tprogram number = {}", rpc.program);
        let _ = writeln!(o, "\t\t\trpc_version = {}", rpc.versions_text());
    }
    if let Some(times) = &s.access_times {
        let clock = |m: u16| format!("{:02}:{:02}", m / 60, m % 60);
        let text: Vec<String> =
            times.value.iter().map(|w| format!("{}-{}", clock(w.from), clock(w.to))).collect();
        let _ = writeln!(o, "\t\tAccess times = {}", text.join(" "));
    }
    let _ = writeln!(o, "\t\tOnly from: {}", addresses(&s.limits.only_from, "All sites", "No sites"));
    let _ = writeln!(o, "\t\tNo access: {}", addresses(&s.no_access, "No blocked sites", "No blocked sites"));
    if s.action == Action::Sensor {
        let time = match s.deny_time.value {
            DenyTime::Never => 0,
            DenyTime::Minutes(n) => i64::from(n),
            DenyTime::Forever => -1,
        };
        let _ = writeln!(o, "\t\tDeny Time: {time}");
    }
    let _ = writeln!(o, "\t\t{}", s.log_type.dump());
    if s.log_type != LogType::None {
        for (name, words) in [("success", s.log_success.dump()), ("failure", s.log_failure.dump())] {
            let _ =
                writeln!(o, "\t\tLog_on_{name} flags ={}{words}", if words.is_empty() { "" } else { " " });
        }
    }
    if let Some(names) = &s.passenv {
        let _ = writeln!(o, "\t\tPassenv = {}", names.join(" "));
    }
    if !s.env_added.is_empty() {
        let names: Vec<&str> = s.env_added.iter().map(|(k, _)| k.as_str()).collect();
        let _ = writeln!(o, "\t\tEnvironment additions: {}", names.join(" "));
    }
}

fn addresses(list: &AddressList, unset: &str, empty: &str) -> String {
    match list {
        None => unset.to_owned(),
        Some(list) if list.is_empty() => empty.to_owned(),
        Some(list) => list.iter().map(|entry| format!(" {}", entry.dump())).collect(),
    }
}

/// As asctime(3), without the line end.
fn asctime(seconds: i64) -> String {
    const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let c = clock::local(seconds);
    let day = DAYS.get(usize::from(c.weekday)).unwrap_or(&"???");
    let month = MONTHS.get(usize::from(c.month).saturating_sub(1)).unwrap_or(&"???");
    format!("{day} {month} {:2} {:02}:{:02}:{:02} {}", c.day, c.hour, c.minute, c.second, c.year)
}
