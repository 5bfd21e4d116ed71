//! What changes a whole process is tried in processes of its own: this executable starts itself with the name of a
//! role. It has no harness, since a harness has threads and `daemonize` refuses those.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "roles report by what they print")]

mod skip;

use portreeve_sys::process::{self, Side};
use portreeve_sys::{stdio, systemd};
use rustix::io::Errno;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Output};

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("role:daemon") => daemon(),
        Some("role:dies") => dies(),
        Some("role:refuses") => refuses(),
        Some("role:inherits") => inherits(),
        Some("role:closed") => closed(),
        Some("role:becomes") => becomes(),
        _ => {
            let cases = [
                daemonizing_tells_the_launcher,
                inherited_sockets_are_taken_once,
                closed_stdio_is_filled,
                root_is_given_up_for_good,
            ];
            cases.iter().for_each(|case| case());
            // As libtest says it: scripts/test adds these lines up.
            println!("test result: ok. {} passed; 0 failed; 0 ignored", cases.len());
            ExitCode::SUCCESS
        }
    }
}

/// A command that runs this executable in a role. Through a shell, which can close descriptors and name its pid.
fn role(name: &str, prefix: &str, suffix: &str) -> Output {
    let own = process::executable().unwrap();
    assert_eq!(own.to_str(), Ok("/proc/self/exe"));
    let script = format!("{prefix} exec \"$0\" role:{name} {suffix}");
    let exe = std::env::current_exe().unwrap();
    Command::new("/bin/sh").arg0("sh").args(["-c", &script]).arg(exe).output().unwrap()
}

fn text(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.is_empty(), "{error}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn daemonizing_tells_the_launcher() {
    let output = role("daemon", "", "");
    assert_eq!(output.status.code(), Some(7), "the launcher ends with what the daemon reported");
    let said = text(&output);
    let (leader, ids) = said.trim_end().split_once(' ').unwrap();
    assert_eq!(ids, format!("{leader} {leader}"), "a session of its own");
    assert_eq!(role("dies", "", "").status.code(), Some(9), "and with its status when it died before");
    let output = role("refuses", "", "");
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "no: too late\n",
        "the reason is there before the end"
    );
}

fn daemon() -> ExitCode {
    match process::daemonize().unwrap() {
        Side::Launcher(status) => ExitCode::from(status),
        Side::Daemon(ready) => {
            let pid = std::process::id();
            let group = rustix::process::getpgrp().as_raw_nonzero();
            let session = rustix::process::getsid(None).unwrap().as_raw_nonzero();
            println!("{pid} {group} {session}");
            stdio::redirect_to_null().unwrap();
            println!("this goes nowhere");
            ready.report(7);
            ExitCode::SUCCESS
        }
    }
}

fn dies() -> ExitCode {
    match process::daemonize().unwrap() {
        Side::Launcher(status) => ExitCode::from(status),
        Side::Daemon(_ready) => ExitCode::from(9),
    }
}

fn refuses() -> ExitCode {
    match process::daemonize().unwrap() {
        Side::Launcher(status) => ExitCode::from(status),
        Side::Daemon(ready) => {
            stdio::redirect_to_null().unwrap();
            ready.refuse(3, "no: too late\n");
            ExitCode::from(3)
        }
    }
}

fn inherited_sockets_are_taken_once() {
    let announce = "LISTEN_PID=$$ LISTEN_FDS=3 LISTEN_FDNAMES=web::mail";
    // Descriptor 5 is announced but not open.
    let output = role("inherits", announce, "3</dev/null 4</etc/passwd 5<&-");
    assert_eq!(text(&output), "3 web\n4 mail\nagain 0\n");
    let stranger = role("inherits", "LISTEN_PID=1 LISTEN_FDS=1", "3</dev/null");
    assert_eq!(text(&stranger), "again 0\n");
    let senseless = role("inherits", "LISTEN_PID=$$ LISTEN_FDS=99999999", "3</dev/null");
    assert_eq!(text(&senseless), "again 0\n");
}

fn inherits() -> ExitCode {
    use std::os::fd::AsRawFd;
    let sockets = systemd::listen_fds();
    for socket in &sockets {
        assert!(rustix::io::fcntl_getfd(&socket.fd).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
        println!("{} {}", socket.fd.as_raw_fd(), socket.name);
    }
    println!("again {}", systemd::listen_fds().len());
    ExitCode::SUCCESS
}

fn closed_stdio_is_filled() {
    // Rust's runtime opens /dev/null on closed ones before main as well, but a daemon must not lean on that: the
    // role closes them again.
    let output = role("closed", "", "");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

fn closed() -> ExitCode {
    for fd in 0..3 {
        // SAFETY: nothing owns the standard descriptors, and this process has one thread.
        unsafe { libc::close(fd) };
    }
    stdio::ensure_open().unwrap();
    stdio::ensure_open().unwrap();
    let null = std::fs::metadata("/dev/null").unwrap();
    let same = |fd: i32| {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(format!("/proc/self/fd/{fd}")).is_ok_and(|m| m.rdev() == null.rdev())
    };
    let next = std::fs::File::open("/dev/null").unwrap();
    let above = std::os::fd::AsRawFd::as_raw_fd(&next) > 2;
    ExitCode::from(if (0..3).all(same) && above { 0 } else { 1 })
}

fn root_is_given_up_for_good() {
    if !process::is_root() {
        return skip::skip_as("root_is_given_up_for_good", skip::Reason::NoRoot);
    }
    assert_eq!(text(&role("becomes", "", "")), "65533 65533 65532 groups 0\n");
}

fn becomes() -> ExitCode {
    let errno = |result: std::io::Result<()>| Errno::from_io_error(&result.unwrap_err()).unwrap();
    assert_eq!(errno(process::become_user(0, 0)), Errno::INVAL);
    let other = std::thread::spawn(|| {
        std::thread::park();
        rustix::process::geteuid().as_raw() // the kernel's answer for this thread
    });
    process::become_user(65533, 65532).unwrap();
    other.thread().unpark();
    assert_eq!(other.join().unwrap(), 65533, "every thread has changed");
    assert_eq!(errno(process::become_user(65531, 65531)), Errno::PERM);
    process::no_new_privs().unwrap();
    assert!(rustix::thread::no_new_privs().unwrap());
    process::set_dumpable(false).unwrap();
    let groups = rustix::process::getgroups().unwrap().len();
    println!("{} {} {} groups {groups}", process::uid(), process::euid(), process::egid());
    assert!(!process::is_pid1());
    ExitCode::SUCCESS
}
