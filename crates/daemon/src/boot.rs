//! From the command line to the loop: descriptors, background, logs, pid file, the tables. Everything here happens once,
//! before the first client, and may wait; nothing after it may.

use crate::announce::Announcer;
use crate::children::Children;
use crate::control::Control;
use crate::handover::Upgrade;
use crate::headers::Headers;
use crate::hosts::{Files, Hooks, Watch};
use crate::keepers::Keepers;
use crate::launch::Inherited;
use crate::listeners::Spare;
use crate::log;
use crate::names::Parked;
use crate::options::{Options, Program};
use crate::reading::Purpose;
use crate::registrations::Registry;
use crate::slots::Slots;
use crate::staff::Staff;
use crate::supervisor::{Supervisor, Token};
use crate::timers::Timers;
use portreeve_conf::Level;
use portreeve_policy::evidence::Scorebook;
use portreeve_policy::{AddressSet, HostState};
use portreeve_sys::process::{Readiness, Side};
use portreeve_sys::signals::{self, Signal};
use portreeve_sys::spawn::Spawner;
use portreeve_sys::{clock, file, highfd, limits, process, stdio};
use rustix::event::epoll;
use rustix::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;

/// The supervisor's own descriptor limit: room for clients, without a table for a billion (LimitNOFILE=infinity).
const DESCRIPTORS: u64 = 65_536;
/// Long-lived descriptors live at and above this number where the limit allows it.
const HIGH: i32 = 4096;
/// What a child gets where the hard limit is infinite (reference xinetd §7).
const CHILD_FILES: u64 = 4096;
/// A hard limit above this is as good as infinite: no program loops over so many descriptors by intent.
const CHILD_FILES_MOST: u64 = 1 << 20;

/// Syslog's daemon facility.
const LOG_DAEMON: u16 = 3 << 3;

/// Serves as the command line says, until told to stop.
pub fn serve(mut options: Options) -> ExitCode {
    // openbsd-inetd's unit has no -i, and waits for readiness of the process that it started.
    if options.program == Program::Inetd && std::env::var_os("NOTIFY_SOCKET").is_some() {
        options.foreground = true;
    }
    if let Err(error) = stdio::ensure_open() {
        return complain(&options, &format!("cannot open /dev/null: {error}"));
    }
    let before = limits::nofile();
    let readiness = if options.foreground {
        None
    } else {
        match process::daemonize() {
            Ok(Side::Launcher(status)) => return ExitCode::from(status),
            Ok(Side::Daemon(readiness)) => Some(readiness),
            Err(error) => return complain(&options, &format!("cannot go to the background: {error}")),
        }
    };
    options.make_absolute();
    let result = prepare(&options, before, readiness);
    match result {
        Ok(mut supervisor) => {
            supervisor.read_configuration(Purpose::Start);
            supervisor.sign_of_life();
            supervisor.serve()
        }
        Err(error) => complain(&options, &error),
    }
}

/// Says why there is no supervisor.
pub fn complain(options: &Options, text: &str) -> ExitCode {
    let line = format!("{}: {text}\n", options.program.word());
    let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
    ExitCode::from(1)
}

/// A supervisor that knows and owns nothing yet.
pub fn build(
    options: &Options,
    before: limits::Pair,
    readiness: Option<Readiness>,
) -> Result<Supervisor, String> {
    let wanted = [
        Signal::CHILD,
        Signal::HUP,
        Signal::TERM,
        Signal::INT,
        Signal::QUIT,
        Signal::USR1,
        Signal::USR2,
        Signal::ABORT,
    ];
    let signals = signals::take_over(&wanted).map_err(|e| format!("signalfd: {e}"))?;
    stdio::seal_inherited().map_err(|e| format!("cannot seal inherited descriptors: {e}"))?;
    limits::return_large_memory();
    let soft = limits::raise_nofile(DESCRIPTORS).unwrap_or(before.soft);
    let base = i32::try_from(soft / 2).unwrap_or(HIGH).min(HIGH);
    clock::load_zone();
    let stamp = log::Stamp::new();
    let since = stamp.mono();
    let umask = set_umask();
    let mut daemon_log = open_log(options)?;
    daemon_log.new_pid();
    let files = if before.hard > CHILD_FILES_MOST { CHILD_FILES } else { before.hard };
    let inherited = Inherited { umask, files, root: process::is_root() };
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|e| format!("epoll: {e}"))?;
    let epoll = highfd::park(epoll, base).map_err(|e| format!("epoll: {e}"))?;
    let supervisor = Supervisor {
        sinks: log::Sinks::new(options.program.word()),
        options: options.clone(),
        epoll,
        signals,
        stamp,
        log: daemon_log,
        announcer: Announcer::new(),
        slots: Slots::default(),
        next_slot: 1,
        host: HostState::new(options.limit, AddressSet::build(Vec::new())),
        children: Children::default(),
        hosts: Files::new(),
        watch_over: Watch::new(),
        tables_seen: false,
        hooks: Hooks::new(),
        parked: Parked::default(),
        headers: Headers::default(),
        staff: Staff::new(),
        lifeline: None,
        timers: Timers::default(),
        spawner: spawner(base)?,
        inherited,
        spare: Spare::default(),
        keepers: Keepers::within(before.soft),
        answers: Rc::default(),
        said: None,
        upgrade: Upgrade::default(),
        reading: None,
        rekeying: None,
        control: Control::default(),
        most_sessions: portreeve_workers::most_clients(usize::try_from(before.hard).unwrap_or(usize::MAX))
            .max(1),
        most_carried: portreeve_workers::most_carried(usize::try_from(before.hard).unwrap_or(usize::MAX))
            .max(1),
        most_flows: portreeve_workers::most_flows(usize::try_from(before.hard).unwrap_or(usize::MAX)).max(1),
        most_headers: portreeve_workers::most_read(usize::try_from(before.hard).unwrap_or(usize::MAX)),
        most_sealed: portreeve_workers::most_sealed(usize::try_from(before.hard).unwrap_or(usize::MAX))
            .max(1),
        sealed_carried: 0,
        shaking_given_up: 0,
        base,
        generation: 0,
        files: Vec::new(),
        defaults_dump: Vec::new(),
        since,
        next_ticket: 0,
        registry: Registry::default(),
        bans: crate::bans::Bans::default(),
        book: Scorebook::default(),
        ban_settings: crate::ban_settings::BanSettings::default(),
        hashing: crate::hashing::Hashing::default(),
        elsewhere: crate::elsewhere::Elsewhere::default(),
        mounts: Rc::default(),
        rest_at: std::time::Duration::ZERO,
        trusted: crate::trusted::Trusted::default(),
        witnesses: crate::witnesses::Witnesses::new(),
        ways: crate::path_ways::Ways::default(),
        reported: crate::evidence::Reported::default(),
        sensor: crate::sensor::Sensor::default(),
        stopping: None,
        exit: None,
        readiness,
        filters_stale: false,
        filters_rest: std::time::Duration::ZERO,
        filters_set: false,
        devices_set: false,
        flush_set: false,
        farewells_set: false,
        starved: false,
        strangers: 0,
    };
    supervisor.watch(supervisor.signals.as_fd(), Token::Signals).map_err(|e| format!("epoll: {e}"))?;
    Ok(supervisor)
}

fn prepare(
    options: &Options,
    before: limits::Pair,
    readiness: Option<Readiness>,
) -> Result<Supervisor, String> {
    let mut supervisor = build(options, before, readiness)?;
    supervisor.spare = Spare::from_systemd(supervisor.base);
    supervisor.know_store();
    if let Some(channel) = options.watched
        && let Ok(fd) = portreeve_sys::handover::adopt(channel, supervisor.base)
    {
        portreeve_sys::handover::close_left(&[channel]);
        supervisor.have_watcher(fd);
    }
    supervisor.upgrade = Upgrade::new();
    if !options.foreground {
        let _ = stdio::redirect_to_null();
    }
    if let Some(path) = supervisor.options.pidfile.take() {
        let path = std::path::absolute(&path).unwrap_or(path);
        match file::write_pidfile(&path) {
            Ok(()) => supervisor.options.pidfile = Some(path),
            Err(error) => {
                supervisor.say(Level::Warning, &format!("cannot write {}: {error}", path.display()))
            }
        }
    }
    supervisor.say(
        Level::Notice,
        &format!("{} started as {}", env!("CARGO_PKG_VERSION"), supervisor.options.program.word()),
    );
    open_control(&mut supervisor);
    supervisor.want_ledger();
    supervisor.begin_to_watch_tables();
    supervisor.begin_bans();
    Ok(supervisor)
}

fn open_log(options: &Options) -> Result<log::Daemon, String> {
    let word = options.program.word();
    match (&options.filelog, options.syslog) {
        (Some(path), _) => {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            log::Daemon::file(word, &path).map_err(|e| format!("cannot open log {}: {e}", path.display()))
        }
        (None, Some(facility)) => Ok(log::Daemon::syslog(word, facility)),
        (None, None) if options.log_to_stderr => Ok(log::Daemon::stderr(word)),
        (None, None) => Ok(log::Daemon::syslog(word, LOG_DAEMON)),
    }
}

/// The inherited umask with 022 added, as xinetd has it: for our own files and, unless told otherwise, for the programs.
/// umask(2) can only be read by setting it.
fn set_umask() -> u32 {
    let inherited = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let umask = inherited | rustix::fs::Mode::from_raw_mode(0o022);
    rustix::process::umask(umask);
    umask.bits()
}

fn open_control(supervisor: &mut Supervisor) {
    let root = process::is_root();
    let path = match supervisor.options.control.clone() {
        Some(path) => path,
        None if root => PathBuf::from("/run/portreeve/control"),
        None => match std::env::var_os("XDG_RUNTIME_DIR") {
            Some(dir) => PathBuf::from(dir).join("portreeve/control"),
            None => return,
        },
    };
    let path = std::path::absolute(&path).unwrap_or(path);
    if let Some(dir) = path.parent() {
        use std::os::unix::fs::DirBuilderExt;
        let _ = std::fs::DirBuilder::new().mode(0o755).create(dir);
    }
    let group = if root { readers().map(|gid| (0, gid)) } else { None };
    supervisor.open_control(path, group);
}

/// The group whose members may read the control socket. Of /etc/group alone: it is a group of this system, and a name-service
/// call would load modules into the supervisor for good (systemd's take 360 KiB).
fn readers() -> Option<u32> {
    use std::io::Read;
    /// Bytes of the file that are looked at.
    const MOST: u64 = 1 << 20;
    let mut text = Vec::new();
    std::fs::File::open("/etc/group").ok()?.take(MOST).read_to_end(&mut text).ok()?;
    gid_of(&text, b"portreeve")
}

fn gid_of(text: &[u8], name: &[u8]) -> Option<u32> {
    let line =
        text.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(name)?.strip_prefix(b":"))?;
    std::str::from_utf8(line.split(|&byte| byte == b':').nth(1)?).ok()?.parse().ok()
}

/// What the supervisor keeps stands from `base` on.
fn spawner(base: i32) -> Result<Spawner, String> {
    let mut spawner = Spawner::new().map_err(|e| format!("no stack for starting programs: {e}"))?;
    spawner.keep_below(u64::from(base.unsigned_abs()));
    Ok(spawner)
}

#[cfg(test)]
mod tests {
    use super::gid_of;

    #[test]
    fn a_group_is_found_by_its_whole_name() {
        let text = b"root:x:0:\nportreeves:x:7:\nportreeve:x:61:joe,ann\n";
        assert_eq!(gid_of(text, b"portreeve"), Some(61));
        for text in [&b""[..], b"portreeve", b"portreeve:x", b"portreeve:x:many:", b"xportreeve:x:1:"] {
            assert_eq!(gid_of(text, b"portreeve"), None);
        }
    }
}
