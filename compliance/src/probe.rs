//! The program that the services of the tests start: it reports how it was started, or behaves in one named way.
//! It knows nothing of either super-server.

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recvfrom, sendto};
use rustix::process::{Resource, getpgrp, getpriority_process, getrlimit, getsid};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Duration;

/// The first argument chooses what to do.
pub fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let word = |at: usize| arguments.get(at).map(String::as_str).unwrap_or("");
    let number = |at: usize, default: u64| word(at).parse().unwrap_or(default);
    if let Some(code) = crate::impostor::run(&arguments) {
        return code;
    }
    match word(0) {
        "init" => crate::init::run(word(1)),
        "hold" => hold(number(1, 0)),
        "accept" => accept(number(1, 1), word(2)),
        "datagrams" => datagrams(number(1, 1), number(2, 0)),
        "first-datagram" => first_datagram(),
        "control" => control(word(1), word(2)),
        "inetd" => crate::inetd::run(arguments.get(1..).unwrap_or_default()),
        "manager" => crate::manager::run(word(1), arguments.get(2..).unwrap_or_default(), false),
        "plain-manager" => crate::manager::run(word(1), arguments.get(2..).unwrap_or_default(), true),
        "managed" => crate::manager::become_managed(word(1), arguments.get(2..).unwrap_or_default()),
        "listen-fds" => crate::listen::run(number(1, 1), describe),
        "listen-and-run" => listen_and_run(word(1), arguments.get(2..).unwrap_or_default()),
        // Also without arguments, and with any words that a test wants to see again.
        _ => report(),
    }
}

/// Everything that a started program can see of its start, as one JSON value.
fn report() -> ExitCode {
    let value = describe();
    let mut out = std::io::stdout();
    match writeln!(out, "{value}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn describe() -> Value {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(|rest| rest.split_whitespace().collect::<Vec<_>>().join(" "))
            .unwrap_or_default()
    };
    let pid = rustix::process::getpid();
    json!({
        "argv": std::env::args().collect::<Vec<_>>(),
        "env": environment(),
        "cwd": std::env::current_dir().map(|d| d.to_string_lossy().into_owned()).unwrap_or_default(),
        "uid": field("Uid"),
        "gid": field("Gid"),
        "groups": field("Groups"),
        "umask": field("Umask"),
        "no_new_privs": field("NoNewPrivs"),
        "seccomp": field("Seccomp"),
        "cap_eff": field("CapEff"),
        "cap_bnd": field("CapBnd"),
        "nice": getpriority_process(None).unwrap_or(99),
        "session_leader": getsid(None).is_ok_and(|sid| sid == pid),
        "group_leader": getpgrp() == pid,
        "fds": descriptors(),
        "nodelay": rustix::net::sockopt::tcp_nodelay(rustix::stdio::stdin()).unwrap_or(false),
        "keepalive": rustix::net::sockopt::socket_keepalive(rustix::stdio::stdin()).unwrap_or(false),
        "limits": limits(),
        "oom_score_adj": std::fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default().trim(),
    })
}

/// The environment in the order in which it was given.
fn environment() -> Vec<String> {
    let raw = std::fs::read("/proc/self/environ").unwrap_or_default();
    raw.split(|&b| b == 0)
        .filter(|w| !w.is_empty())
        .map(|w| String::from_utf8_lossy(w).into_owned())
        .collect()
}

/// Open descriptors: number, what it is, and its status flags. A socket is named by its rank, so that "0, 1 and 2 are
/// the same socket" can be stated.
fn descriptors() -> Vec<Value> {
    let mut found = Vec::new();
    let Ok(list) = std::fs::read_dir("/proc/self/fd") else { return found };
    let mut seen: Vec<String> = Vec::new();
    let mut numbers: Vec<u32> =
        list.flatten().filter_map(|e| e.file_name().to_string_lossy().parse().ok()).collect();
    numbers.sort_unstable();
    for number in numbers {
        // The descriptor of the listing itself is gone by now and fails here.
        let Ok(target) = std::fs::read_link(format!("/proc/self/fd/{number}")) else { continue };
        let mut what = target.to_string_lossy().into_owned();
        if what.starts_with("socket:") {
            let rank = seen.iter().position(|s| *s == what).unwrap_or_else(|| {
                seen.push(what.clone());
                seen.len() - 1
            });
            what = format!("socket {rank}");
        }
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap_or_default();
        let flags = info.lines().find_map(|l| l.strip_prefix("flags:")).unwrap_or("").trim();
        let nonblocking = u32::from_str_radix(flags, 8).is_ok_and(|f| f & 0o4000 != 0);
        found.push(json!({ "fd": number, "is": what, "nonblocking": nonblocking }));
    }
    found
}

fn limits() -> Value {
    let named = [
        ("as", Resource::As),
        ("cpu", Resource::Cpu),
        ("data", Resource::Data),
        ("rss", Resource::Rss),
        ("stack", Resource::Stack),
        ("files", Resource::Nofile),
        ("core", Resource::Core),
        ("processes", Resource::Nproc),
    ];
    let mut all = serde_json::Map::new();
    for (name, resource) in named {
        let limit = getrlimit(resource);
        all.insert(name.to_owned(), json!([limit.current, limit.maximum]));
    }
    Value::Object(all)
}

/// Says `held` and stays until the client closes; then ends with `status`.
fn hold(status: u64) -> ExitCode {
    let mut out = std::io::stdout();
    if out.write_all(b"held\n").and_then(|()| out.flush()).is_err() {
        return ExitCode::FAILURE;
    }
    let mut rest = [0_u8; 1024];
    while matches!(std::io::stdin().lock().read(&mut rest), Ok(n) if n > 0) {}
    ExitCode::from(u8::try_from(status).unwrap_or(255))
}

/// A client of the control socket: one request, the answer on standard output.
fn control(path: &str, request: &str) -> ExitCode {
    let asked = UnixStream::connect(path).and_then(|mut socket| {
        socket.set_read_timeout(Some(Duration::from_secs(20)))?;
        writeln!(socket, "{request}")?;
        std::io::copy(&mut socket, &mut std::io::stdout())
    });
    match asked {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{path}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Plays the service manager: listens, and becomes the program with the socket as its descriptor 3.
fn listen_and_run(port: &str, argv: &[String]) -> ExitCode {
    let error = listening(port).map(|socket| {
        let mut command = Command::new(argv.first().map(String::as_str).unwrap_or(""));
        command.args(argv.get(1..).unwrap_or_default()).env("LISTEN_FDS", "1");
        command.env("LISTEN_PID", std::process::id().to_string());
        let error = command.exec();
        drop(socket);
        error
    });
    let error = error.unwrap_or_else(|error| error);
    let _ = writeln!(std::io::stderr(), "listen-and-run: {error}");
    ExitCode::FAILURE
}

/// A listener at a port of 127.0.0.1, a path or an abstract name, that is descriptor 3 and survives exec.
fn listening(place: &str) -> std::io::Result<OwnedFd> {
    let listener: OwnedFd = if let Some(name) = place.strip_prefix('@') {
        UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?)?.into()
    } else if place.starts_with('/') {
        UnixListener::bind(place)?.into()
    } else {
        let port: u16 = place.parse().map_err(std::io::Error::other)?;
        std::net::TcpListener::bind(("127.0.0.1", port))?.into()
    };
    if listener.as_raw_fd() != 3 {
        return Err(std::io::Error::other("descriptor 3 is taken"));
    }
    fcntl_setfd(&listener, FdFlags::empty())?;
    Ok(listener)
}

/// A single-threaded stream server: accepts from descriptor 0 and serves `count` clients, one after the other.
/// `how` = `slow` reads a line from the client before it answers.
fn accept(count: u64, how: &str) -> ExitCode {
    let name = std::env::var("REMOTE_HOST").unwrap_or_default();
    for _ in 0..count {
        let Some(client) = accept_patiently() else {
            return ExitCode::FAILURE;
        };
        let mut client = std::net::TcpStream::from(client);
        if how == "slow" {
            let mut byte = [0_u8; 1];
            while matches!(client.read(&mut byte), Ok(1)) && byte != *b"\n" {}
        }
        let peer = client.peer_addr().map(|a| a.ip().to_string()).unwrap_or_default();
        let _ = writeln!(client, "served {peer} REMOTE_HOST={name}");
    }
    ExitCode::SUCCESS
}

/// The listener may be non-blocking, and its client may have gone: ask again, for a bounded time.
fn accept_patiently() -> Option<OwnedFd> {
    crate::wait::until(Duration::from_secs(60), || {
        accept_with(rustix::stdio::stdin(), SocketFlags::CLOEXEC).ok()
    })
}

/// A single-threaded datagram server: answers `count` datagrams, waits for `linger` milliseconds, ends.
fn datagrams(count: u64, linger: u64) -> ExitCode {
    let name = std::env::var("REMOTE_HOST").unwrap_or_default();
    for _ in 0..count {
        let mut buffer = [0_u8; 2048];
        let got = crate::wait::until(Duration::from_secs(20), || {
            recvfrom(rustix::stdio::stdin(), &mut buffer, RecvFlags::empty()).ok()
        });
        let Some((length, _, Some(from))) = got else {
            return ExitCode::from(7);
        };
        let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
        let answer = format!("{text} REMOTE_HOST={name}");
        let _ = sendto(rustix::stdio::stdin(), answer.as_bytes(), SendFlags::empty(), &from);
    }
    std::thread::sleep(Duration::from_millis(linger));
    ExitCode::SUCCESS
}

/// Answers one datagram with the report of the start.
fn first_datagram() -> ExitCode {
    let mut buffer = [0_u8; 2048];
    let Ok((_, _, Some(from))) = recvfrom(rustix::stdio::stdin(), &mut buffer, RecvFlags::empty()) else {
        return ExitCode::FAILURE;
    };
    let report = describe().to_string();
    match sendto(rustix::stdio::stdin(), report.as_bytes(), SendFlags::empty(), &from) {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
