//! A service manager in small: it listens at NOTIFY_SOCKET, stores descriptors as systemd's FileDescriptorStoreMax= does
//! (sd_notify(3): FDSTORE, FDNAME, FDSTOREREMOVE), and starts its one program again with them when a signal ends it.

use rustix::io::{IoSlice, IoSliceMut};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use std::io::{Error, Result, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitCode};
use std::time::Duration;

/// The most descriptors that are handed over at once.
const MOST: usize = 64;

/// Runs `argv` with a notify socket at `path` until it ends of itself. Says on standard output what it stores and gives.
pub fn run(path: &str, argv: &[String]) -> ExitCode {
    match manage(path, argv) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "manager: {error}");
            ExitCode::FAILURE
        }
    }
}

fn manage(path: &str, argv: &[String]) -> Result<ExitCode> {
    let socket = UnixDatagram::bind(path)?;
    socket.set_read_timeout(Some(Duration::from_millis(20)))?;
    let mut store: Vec<(String, OwnedFd)> = Vec::new();
    let mut child = start(path, argv, &store)?;
    loop {
        hear(&socket, &mut store)?;
        let Some(ended) = child.try_wait()? else { continue };
        hear(&socket, &mut store)?;
        if ended.signal().is_none() {
            return Ok(ExitCode::from(u8::try_from(ended.code().unwrap_or(1)).unwrap_or(1)));
        }
        child = start(path, argv, &store)?;
    }
}

fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn hear(socket: &UnixDatagram, store: &mut Vec<(String, OwnedFd)>) -> Result<()> {
    let mut buffer = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = rustix::net::recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut buffer)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    );
    let Ok(got) = got else { return Ok(()) };
    let fds = control.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => fds.collect::<Vec<_>>(),
        _ => Vec::new(),
    });
    let fds: Vec<OwnedFd> = fds.collect();
    let text = String::from_utf8_lossy(buffer.get(..got.bytes).unwrap_or_default()).into_owned();
    let field = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let name = field("FDNAME").unwrap_or("stored").to_owned();
    if field("FDSTORE") == Some("1") {
        for fd in fds {
            say(&format!("store {name}"));
            store.push((name.clone(), fd));
        }
    } else if field("FDSTOREREMOVE") == Some("1") {
        say(&format!("remove {name}"));
        store.retain(|(stored, _)| *stored != name);
    } else {
        say(&format!("notice {}", text.replace('\n', " ")));
    }
    Ok(())
}

/// The descriptors go through a socket on the program's standard input: so they get the numbers from 3 on by themselves.
fn start(path: &str, argv: &[String], store: &[(String, OwnedFd)]) -> Result<Child> {
    let (ours, theirs) = UnixStream::pair()?;
    let names: Vec<&str> = store.iter().map(|(name, _)| name.as_str()).collect();
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("managed").arg(names.join(":")).args(argv);
    command.env("NOTIFY_SOCKET", path).stdin(OwnedFd::from(theirs));
    let child = command.spawn()?;
    say(&format!("start with {}", store.len()));
    let fds: Vec<_> = store.iter().take(MOST).map(|(_, fd)| fd.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&fds));
    }
    rustix::net::sendmsg(&ours, &[IoSlice::new(b"x")], &mut control, SendFlags::empty())?;
    Ok(child)
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
