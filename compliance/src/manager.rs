//! A service manager in small: it listens at NOTIFY_SOCKET, stores descriptors as systemd's FileDescriptorStoreMax= does
//! (sd_notify(3): FDSTORE, FDNAME, FDSTOREREMOVE), and starts its one program again with them when a signal ends it. It hears
//! its main process alone (NotifyAccess=main), which may say that another one is that from now on (MAINPID), and messages before
//! ends, as systemd does. A plain one knows no MAINPID and gives its program no INVOCATION_ID.
//!
//! Files beside the socket are orders. `.stop`: TERM to the main process alone (KillMode=process) and the end of the unit with it; of a main
//! process that is no child of the manager systemd cannot await the end, and kills it. `.deaf`: hears nothing while it is there.

use rustix::io::{IoSlice, IoSliceMut};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process};
use std::io::{Error, Result, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Duration;

/// The most descriptors that are handed over at once.
const MOST: usize = 64;

/// Runs `argv` with a notify socket at `path` until it ends of itself. Says on standard output what it stores and gives.
pub fn run(path: &str, argv: &[String], plain: bool) -> ExitCode {
    match manage(path, argv, plain) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "manager: {error}");
            ExitCode::FAILURE
        }
    }
}

fn manage(path: &str, argv: &[String], plain: bool) -> Result<ExitCode> {
    // Orphans of the unit come here: one of them may be its main process.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let socket = UnixDatagram::bind(path)?;
    rustix::net::sockopt::set_socket_passcred(&socket, true)?;
    socket.set_read_timeout(Some(Duration::from_millis(20)))?;
    let mut manager = Manager { store: Vec::new(), main: 0, plain, stopping: false };
    let ordered = |what: &str| std::path::Path::new(&format!("{path}.{what}")).exists();
    manager.start(path, argv)?;
    loop {
        if ordered("deaf") {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        }
        manager.hear(&socket)?;
        if !manager.stopping && ordered("stop") && !manager.stop() {
            return Ok(ExitCode::from(9));
        }
        // Not reaped before all is heard: of a process that is gone nobody could tell who it was.
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if rustix::process::waitid(WaitId::All, look)?.is_none() {
            continue;
        }
        while manager.hear(&socket)? {}
        let Some((pid, ended)) = rustix::process::wait(WaitOptions::NOHANG)? else { continue };
        if pid.as_raw_nonzero().get() != manager.main {
            continue;
        }
        if manager.stopping || ended.terminating_signal().is_none() {
            return Ok(ExitCode::from(u8::try_from(ended.exit_status().unwrap_or(1)).unwrap_or(1)));
        }
        manager.start(path, argv)?;
    }
}

struct Manager {
    store: Vec<(String, OwnedFd)>,
    main: i32,
    plain: bool,
    stopping: bool,
}

/// Whether a process is there and has not ended.
fn runs(pid: i32) -> bool {
    let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    line.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

impl Manager {
    /// Whether there was a message.
    fn hear(&mut self, socket: &UnixDatagram) -> Result<bool> {
        let mut buffer = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8), ScmCredentials(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = rustix::net::recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut buffer)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        );
        let Ok(got) = got else { return Ok(false) };
        let (mut fds, mut sender) = (Vec::new(), 0);
        for message in control.drain() {
            match message {
                RecvAncillaryMessage::ScmRights(all) => fds.extend(all),
                RecvAncillaryMessage::ScmCredentials(who) => sender = who.pid.as_raw_nonzero().get(),
                _ => {}
            }
        }
        let text = String::from_utf8_lossy(buffer.get(..got.bytes).unwrap_or_default()).into_owned();
        if text == "BARRIER=1" {
            // Of anybody; it is over with the descriptor.
            return Ok(true);
        }
        if sender != self.main {
            say(&format!("not heard {}", text.replace('\n', " ")));
            return Ok(true);
        }
        let field = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let name = field("FDNAME").unwrap_or("stored").to_owned();
        if field("FDSTORE") == Some("1") {
            for fd in fds {
                say(&format!("store {name}"));
                self.store.push((name.clone(), fd));
            }
        } else if field("FDSTOREREMOVE") == Some("1") {
            say(&format!("remove {name}"));
            self.store.retain(|(stored, _)| *stored != name);
        } else {
            say(&format!("notice {}", text.replace('\n', " ")));
        }
        let main = field("MAINPID").and_then(|pid| pid.parse().ok());
        if let Some(main) = main.filter(|&main| !self.plain && !self.stopping && runs(main)) {
            self.main = main;
        }
        Ok(true)
    }

    /// Whether the end of the main process can be awaited.
    fn stop(&mut self) -> bool {
        self.stopping = true;
        let Some(main) = Pid::from_raw(self.main) else { return false };
        let _ = kill_process(main, Signal::TERM);
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let own = rustix::process::waitid(WaitId::Pid(main), look).is_ok();
        if !own {
            say("kills a main process that is no child");
            let _ = kill_process(main, Signal::KILL);
        }
        own
    }

    /// The descriptors go through a socket on the program's standard input: so they get the numbers from 3 on by themselves.
    fn start(&mut self, path: &str, argv: &[String]) -> Result<()> {
        let (ours, theirs) = UnixStream::pair()?;
        let names: Vec<&str> = self.store.iter().map(|(name, _)| name.as_str()).collect();
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("managed").arg(names.join(":")).args(argv);
        command.env("NOTIFY_SOCKET", path).stdin(OwnedFd::from(theirs));
        if !self.plain {
            command.env("INVOCATION_ID", "0123456789abcdef0123456789abcdef");
        }
        self.main = i32::try_from(command.spawn()?.id()).unwrap_or(0);
        say(&format!("start with {}", self.store.len()));
        let fds: Vec<_> = self.store.iter().take(MOST).map(|(_, fd)| fd.as_fd()).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(&fds));
        }
        rustix::net::sendmsg(&ours, &[IoSlice::new(b"x")], &mut control, SendFlags::empty())?;
        Ok(())
    }
}

/// The other side of `start`: takes the descriptors and becomes the program.
pub fn become_managed(names: &str, argv: &[String]) -> ExitCode {
    let error = take().and_then(|fds| {
        let mut command = Command::new(argv.first().map(String::as_str).unwrap_or(""));
        command.args(argv.get(1..).unwrap_or_default());
        if !fds.is_empty() {
            if fds.iter().enumerate().any(|(at, fd)| usize::try_from(fd.as_raw_fd()) != Ok(at + 3)) {
                return Err(Error::other("a descriptor from 3 on was taken"));
            }
            command.env("LISTEN_FDS", fds.len().to_string());
            command.env("LISTEN_PID", std::process::id().to_string()).env("LISTEN_FDNAMES", names);
        }
        if std::env::var_os("INVOCATION_ID").is_some() {
            command.env("SYSTEMD_EXEC_PID", std::process::id().to_string());
        }
        let error = command.exec();
        drop(fds);
        Err::<(), _>(error)
    });
    let _ = writeln!(std::io::stderr(), "managed: {error:?}");
    ExitCode::FAILURE
}

fn take() -> Result<Vec<OwnedFd>> {
    let mut buffer = [0; 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    // Not close-on-exec: the program is to have them.
    let stdin = rustix::stdio::stdin();
    rustix::net::recvmsg(stdin, &mut [IoSliceMut::new(&mut buffer)], &mut control, RecvFlags::empty())?;
    let fds = control.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => fds.collect::<Vec<_>>(),
        _ => Vec::new(),
    });
    Ok(fds.collect())
}
