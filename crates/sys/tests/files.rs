//! Files, the control socket, syslog and readiness: each against what a stranger may have put in its place.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod skip;

use portreeve_sys::unix::{self, UnixError};
use portreeve_sys::{file, syslog::Syslog, systemd};
use rustix::io::Errno;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory of one test, removed with it.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("portreeve-sys-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn os(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap()
}

#[test]
fn a_log_is_appended_to() {
    let dir = Dir::new();
    let path = dir.at("log");
    std::fs::write(&path, "old\n").unwrap();
    let log = file::open_append(&path, 0o640).unwrap();
    assert_eq!(file::size(&log).unwrap(), 4);
    rustix::io::write(&log, b"new\n").unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "old\nnew\n");
    assert_eq!(file::size(&log).unwrap(), 8);
    assert!(rustix::io::fcntl_getfd(&log).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    file::open_append(&dir.at("created"), 0o600).unwrap();
    assert_eq!(mode(&dir.at("created")), 0o600);
}

#[test]
fn a_fifo_instead_of_a_log_does_not_stop_us() {
    let dir = Dir::new();
    let path = dir.at("fifo");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert_eq!(os(&file::open_append(&path, 0o600).unwrap_err()), Errno::NXIO);
    let _reader = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    let log = file::open_append(&path, 0o600).unwrap();
    let full = (0..1000).find_map(|_| rustix::io::write(&log, &[0; 4096]).err());
    assert_eq!(full, Some(Errno::AGAIN));
    assert_eq!(file::size(&log).unwrap(), 0, "only regular files have a size");
}

#[test]
fn a_private_file_is_nobody_elses() {
    let dir = Dir::new();
    let path = dir.at("dump");
    let private = file::create_private(&path).unwrap();
    assert_eq!(mode(&path), 0o600);
    rustix::io::write(&private, b"1").unwrap();
    rustix::io::write(file::create_private(&path).unwrap(), b"2").unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "12");
    // A link, a second name, another kind, another owner.
    let target = dir.at("target");
    std::fs::write(&target, "precious").unwrap();
    symlink(&target, dir.at("link")).unwrap();
    assert_eq!(os(&file::create_private(&dir.at("link")).unwrap_err()), Errno::LOOP);
    std::fs::hard_link(&target, dir.at("second")).unwrap();
    assert_eq!(os(&file::create_private(&dir.at("second")).unwrap_err()), Errno::PERM);
    let _socket = UnixListener::bind(dir.at("socket")).unwrap();
    assert_eq!(os(&file::create_private(&dir.at("socket")).unwrap_err()), Errno::NXIO);
    if skip::is_root() {
        std::os::unix::fs::chown(&path, Some(65533), None).unwrap();
        assert_eq!(os(&file::create_private(&path).unwrap_err()), Errno::PERM);
    }
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "precious");
}

#[test]
fn a_pid_file_replaces_what_stands_there() {
    let dir = Dir::new();
    let path = dir.at("pid");
    let target = dir.at("target");
    std::fs::write(&target, "precious").unwrap();
    symlink(&target, &path).unwrap();
    for _ in 0..2 {
        file::write_pidfile(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        assert_eq!(mode(&path), 0o644);
    }
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "precious");
    assert!(file::write_pidfile(&dir.at("no/such/pid")).is_err());
}

#[test]
fn the_control_socket_has_its_mode_and_knows_its_peer() {
    let dir = Dir::new();
    let path = dir.at("control");
    let listener = unix::listen(&path, 0o660, Some((rustix::process::getuid().as_raw(), 0)));
    let listener = if skip::is_root() { listener.unwrap() } else { return };
    assert_eq!(mode(&path), 0o660);
    let client = unix::connect(&path).unwrap();
    let server = rustix::net::accept(&listener).unwrap();
    let peer = unix::peer_credentials(&server).unwrap();
    assert_eq!(peer.pid, std::process::id().cast_signed());
    assert_eq!(
        (peer.uid, peer.gid),
        (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
    );
    drop(client);
}

#[test]
fn only_a_dead_socket_is_replaced() {
    let dir = Dir::new();
    let path = dir.at("control");
    let first = unix::listen(&path, 0o600, None).unwrap();
    assert!(matches!(unix::listen(&path, 0o600, None), Err(UnixError::InUse(_))));
    drop(first); // as after a crash: the name stays, nobody answers
    assert!(path.exists());
    let second = unix::listen(&path, 0o600, None).unwrap();
    assert!(UnixStream::connect(&path).is_ok());
    drop(second);
    let file = dir.at("file");
    std::fs::write(&file, "precious").unwrap();
    assert!(matches!(unix::listen(&file, 0o600, None), Err(UnixError::NotASocket(_))));
    symlink(&path, dir.at("link")).unwrap();
    assert!(matches!(unix::listen(&dir.at("link"), 0o600, None), Err(UnixError::NotASocket(_))));
    assert!(matches!(unix::listen(&dir.at(&"x".repeat(120)), 0o600, None), Err(UnixError::TooLong(_))));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
}

#[test]
fn a_directory_of_everybody_is_refused() {
    let dir = Dir::new();
    std::fs::set_permissions(&dir.0, std::fs::Permissions::from_mode(0o777)).unwrap();
    let error = unix::listen(&dir.at("control"), 0o600, None).unwrap_err();
    assert!(matches!(error, UnixError::UnsafeDirectory { mode: 0o777, .. }), "{error}");
    std::fs::set_permissions(&dir.0, std::fs::Permissions::from_mode(0o1777)).unwrap();
    unix::listen(&dir.at("control"), 0o600, None).unwrap();
}

fn receive(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 16384];
    socket.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    let length = socket.recv(&mut buffer).unwrap();
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

/// `<29>Nov  2 03:04:05 tag[123]: text`, taken apart; panics when the form is another.
fn parts(line: &str) -> (&str, &str, &str) {
    let (priority, rest) = line.strip_prefix('<').unwrap().split_once('>').unwrap();
    let (stamp, rest) = rest.split_at(16);
    let stamp = stamp.strip_suffix(' ').unwrap();
    assert!(
        stamp.as_bytes()[3] == b' ' && stamp.as_bytes()[6] == b' ' && stamp.as_bytes()[9] == b':',
        "{stamp}"
    );
    let (tag, text) = rest.split_once(": ").unwrap();
    assert_eq!(tag, format!("test[{}]", std::process::id()));
    (priority, stamp, text)
}

#[test]
fn syslog_lines_have_glibcs_form_and_survive_a_restart_of_the_daemon() {
    let dir = Dir::new();
    let path = dir.at("log");
    let mut log = Syslog::at(&path, "test");
    assert!(!log.send(29, b"nobody there"));
    assert!(!log.send(29, b"still nobody"));
    assert_eq!((log.take_dropped(), log.take_dropped()), (2, 0));
    log.close(); // also ends the pause
    let daemon = UnixDatagram::bind(&path).unwrap();
    assert!(log.send(29, b"START: tftp pid=1 from=10.0.0.1"));
    let line = receive(&daemon);
    let (priority, _, text) = parts(&line);
    assert_eq!((priority, text), ("29", "START: tftp pid=1 from=10.0.0.1"));
    assert!(log.send(30, &[b'x'; 20_000]));
    assert_eq!(parts(&receive(&daemon)).2.len(), 8192);

    drop(daemon);
    std::fs::remove_file(&path).unwrap();
    let daemon = UnixDatagram::bind(&path).unwrap();
    assert!(log.send(29, b"after"), "reconnects within one call");
    assert_eq!(parts(&receive(&daemon)).2, "after");

    // Nobody reads: lines are dropped, not waited for.
    let lost = (0..100_000).take_while(|_| log.send(29, b"flood")).count();
    assert!(lost < 100_000);
    assert_eq!(log.take_dropped(), 1);
}

#[test]
fn a_syslog_daemon_on_a_stream_gets_nul_terminated_lines() {
    use std::io::Read;
    let dir = Dir::new();
    let path = dir.at("log");
    let listener = UnixListener::bind(&path).unwrap();
    let mut log = Syslog::at(&path, "test");
    assert!(log.send(29, b"one") && log.send(29, b"two"));
    log.close();
    let mut bytes = Vec::new();
    listener.accept().unwrap().0.read_to_end(&mut bytes).unwrap();
    let lines: Vec<&[u8]> = bytes.split(|&b| b == 0).collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].ends_with(b": one") && lines[1].ends_with(b": two") && lines[2].is_empty());
}

#[test]
fn readiness_goes_to_a_path_or_an_abstract_name() {
    use std::os::linux::net::SocketAddrExt;
    let dir = Dir::new();
    let path = dir.at("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    systemd::notify_at(path.as_os_str(), "READY=1").unwrap();
    assert_eq!(receive(&manager), "READY=1");
    let name = format!("portreeve-sys-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let manager = UnixDatagram::bind_addr(&address).unwrap();
    systemd::notify_at(std::ffi::OsStr::from_bytes(format!("@{name}").as_bytes()), "RELOADING=1").unwrap();
    assert_eq!(receive(&manager), "RELOADING=1");
    assert_eq!(os(&systemd::notify_at("relative".as_ref(), "x").unwrap_err()), Errno::INVAL);
    assert!(manager.as_fd().as_raw_fd() > 2);
}
