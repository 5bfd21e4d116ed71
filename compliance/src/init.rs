//! The first process of a world's namespaces: sets them up, starts what the harness asks for, reaps, and takes
//! everything with it when the harness goes away (its end is the end of the process namespace).
//!
//! Orders come as one JSON value a line on standard input, answers go to standard output. It may not decide anything
//! about a test.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, mknodat, symlink};
use rustix::mount::{MountFlags, mount, mount_bind};
use rustix::process::{Pid, Resource, Rlimit, Signal, WaitOptions, kill_process, setrlimit, wait};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{self, BufRead, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

/// Directory of the world inside the namespace.
pub const HERE: &str = "/run/w";
/// The probe inside the namespace.
pub const PROBE: &str = "/run/probe";
/// The hard limit of open files that super-servers start with.
pub const FILES: u64 = 20_000;

/// Runs until standard input ends. `directory` is the world's directory outside.
pub fn run(directory: &str) -> ExitCode {
    match set_up(directory) {
        Ok(ready) => {
            if say(&ready).is_err() {
                return ExitCode::FAILURE;
            }
        }
        Err(what) => {
            let _ = say(&json!({ "error": what }));
            return ExitCode::FAILURE;
        }
    }
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn say(value: &Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{value}")?;
    out.flush()
}

fn set_up(directory: &str) -> Result<Value, String> {
    // The proc of outside is still mounted: it knows this process by its outer number.
    let outer = std::fs::read_link("/proc/self").map_err(|e| format!("/proc/self: {e}"))?;
    let executable = std::env::current_exe().map_err(|e| format!("own path: {e}"))?;
    // xinetd closes every number up to the hard limit at start: minutes where the machine allows a billion.
    let files = Rlimit { current: Some(1024), maximum: Some(FILES) };
    step("limits", || Ok(setrlimit(Resource::Nofile, files)?))?;
    step("network", network)?;
    step("/proc", || Ok(mount("proc", "/proc", "proc", MountFlags::empty(), None)?))?;
    // The world's directory may lie below the /run or /dev that are about to be covered.
    let kept = std::fs::File::open(directory).map_err(|e| format!("{directory}: {e}"))?;
    step("/run", || private_run(&executable, &kept))?;
    step("/dev", private_dev)?;
    step("/etc", private_etc)?;
    Ok(json!({ "pid": outer.to_string_lossy() }))
}

fn step(name: &str, action: impl FnOnce() -> io::Result<()>) -> Result<(), String> {
    action().map_err(|e| format!("setting up {name}: {e}"))
}

/// lo up; besides the whole 127.0.0.0/8 and ::1, IPv6 addresses in two /64 networks. Without `nodad` the kernel holds them
/// tentative for a moment, on loopback too, and a bind to one of them fails.
fn network() -> io::Result<()> {
    let batch = "link set lo up\n\
                 address add fd00:0:0:1::1/128 dev lo nodad\n\
                 address add fd00:0:0:1::2/128 dev lo nodad\n\
                 address add fd00:0:0:1::3/128 dev lo nodad\n\
                 address add fd00:0:0:2::1/128 dev lo nodad\n";
    let mut child = Command::new("ip")
        .args(["-force", "-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(batch.as_bytes())?;
    }
    child.wait().map(|_| ())
}

fn private_run(executable: &Path, directory: &std::fs::File) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let source = format!("/proc/self/fd/{}", directory.as_raw_fd());
    let probe = std::fs::File::open(executable)?;
    mount("run", "/run", "tmpfs", MountFlags::NOSUID, Some(c"mode=755"))?;
    std::fs::create_dir(HERE)?;
    mount_bind(&*source, HERE)?;
    std::fs::write(PROBE, "")?;
    mount_bind(&*format!("/proc/self/fd/{}", probe.as_raw_fd()), PROBE)?;
    std::fs::create_dir("/run/lock")?;
    std::fs::create_dir("/run/sshd")
}

fn private_dev() -> io::Result<()> {
    mount("dev", "/dev", "tmpfs", MountFlags::NOSUID, Some(c"mode=755"))?;
    for (name, minor) in [("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)] {
        let path = format!("/dev/{name}");
        mknodat(
            CWD,
            &*path,
            FileType::CharacterDevice,
            Mode::from_raw_mode(0o666),
            rustix::fs::makedev(1, minor),
        )?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666))?;
    }
    mknodat(
        CWD,
        "/dev/tty",
        FileType::CharacterDevice,
        Mode::from_raw_mode(0o666),
        rustix::fs::makedev(5, 0),
    )?;
    symlink("/proc/self/fd", "/dev/fd")?;
    // The harness may put a socket there and read what goes to syslog.
    symlink("/run/w/dev-log", "/dev/log")?;
    Ok(())
}

/// Own name service and empty hosts tables, so that the machine's cannot change a verdict.
fn private_etc() -> io::Result<()> {
    for name in ["hosts.allow", "hosts.deny", "hosts", "nsswitch.conf", "resolv.conf"] {
        let target = format!("/etc/{name}");
        if !Path::new(&target).exists() {
            continue; // absent is as good as empty, and nothing may be created on the machine
        }
        // A symbolic link (resolv.conf) would lead the mount out of /etc.
        let target = std::fs::canonicalize(&target)?;
        mount_bind(&*format!("{HERE}/etc/{name}"), &*target)?;
    }
    Ok(())
}

/// Takes orders and reaps until standard input ends.
fn serve() -> io::Result<()> {
    let mut ended: HashMap<i32, Value> = HashMap::new();
    let mut pending = Vec::new();
    loop {
        let stdin = io::stdin();
        let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
        let tick = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
        let ready = poll(&mut fds, Some(&tick)).unwrap_or(0);
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            let how = json!({ "code": status.exit_status(), "signal": status.terminating_signal() });
            ended.insert(pid.as_raw_nonzero().get(), how);
        }
        if ready == 0 {
            continue;
        }
        let mut chunk = [0_u8; 65536];
        let count = stdin.lock().read(&mut chunk)?;
        if count == 0 {
            return Ok(());
        }
        pending.extend_from_slice(chunk.get(..count).unwrap_or_default());
        while let Some(end) = pending.iter().position(|&b| b == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            let order: Value = serde_json::from_slice(&line).unwrap_or(Value::Null);
            say(&obey(&order, &mut ended))?;
        }
    }
}

fn obey(order: &Value, ended: &mut HashMap<i32, Value>) -> Value {
    let number = |key: &str| order.get(key).and_then(Value::as_i64).and_then(|n| i32::try_from(n).ok());
    match order.get("order").and_then(Value::as_str) {
        Some("spawn") => match spawn(order) {
            Ok(pid) => json!({ "pid": pid }),
            Err(e) => json!({ "error": e.to_string() }),
        },
        Some("ended") => match number("pid").and_then(|pid| ended.get(&pid)) {
            Some(how) => json!({ "ended": how }),
            None => json!({ "ended": null }),
        },
        Some("signal") => {
            let target = number("pid").and_then(Pid::from_raw);
            let signal = number("signal").and_then(Signal::from_named_raw);
            match (target, signal) {
                (Some(pid), Some(signal)) => match kill_process(pid, signal) {
                    Ok(()) => json!({ "done": true }),
                    Err(e) => json!({ "error": e.to_string() }),
                },
                _ => json!({ "error": "no such process or signal" }),
            }
        }
        _ => json!({ "error": "unknown order" }),
    }
}

/// Starts `argv` with exactly `env`, its output appended to files in the world's directory.
fn spawn(order: &Value) -> io::Result<u32> {
    let words = |key: &str| -> Vec<String> {
        order
            .get(key)
            .and_then(Value::as_array)
            .map(|a| a.iter().filter_map(Value::as_str).map(str::to_owned).collect())
            .unwrap_or_default()
    };
    let argv = words("argv");
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
    let (program, rest) = argv.split_first().ok_or_else(|| bad("empty argv"))?;
    let open = |key: &str| -> io::Result<Stdio> {
        let path = order.get(key).and_then(Value::as_str).ok_or_else(|| bad(key))?;
        let file = std::fs::OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Stdio::from(file))
    };
    let mut command = Command::new(program);
    command.args(rest).env_clear().current_dir("/").stdin(Stdio::null());
    command.stdout(open("stdout")?).stderr(open("stderr")?);
    if let Some(name) = order.get("argv0").and_then(Value::as_str) {
        command.arg0(name);
    }
    for word in words("env") {
        if let Some((name, value)) = word.split_once('=') {
            command.env(name, value);
        }
    }
    command.spawn().map(|child| child.id())
}

/// Reads one answer line; used by the harness.
pub fn read_answer(reader: &mut impl BufRead) -> io::Result<Value> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    serde_json::from_str(&line).map_err(io::Error::other)
}
