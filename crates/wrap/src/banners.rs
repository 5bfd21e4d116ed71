//! Banner files: `DIR/daemon`, sent to the client, whether it is refused or not (reference A9). Decides how much is read and how
//! long a client may take to receive it; what the text becomes is decided in [`hosts_access::banner`].

use crate::ends::said;
use portreeve_sys::source::{Source, reason};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::SendFlags;
use std::ffi::OsStr;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// The longest banner, in bytes; a longer file is sent up to here.
const LONGEST: usize = 1 << 20;
/// How long a client may take. The original waits for ever.
const PATIENCE: Duration = Duration::from_secs(30);

/// The banner of `daemon` in `directory`. A file that is missing is none; a directory that is missing is said.
pub fn read(directory: &[u8], daemon: &[u8], warn: &mut dyn FnMut(Vec<u8>)) -> Option<Vec<u8>> {
    let path = [directory, b"/", daemon].concat();
    match Source::open(Path::new(OsStr::from_bytes(&path))) {
        Ok(Source::Readable(file)) => match file.read(LONGEST) {
            Ok(text) => Some(text),
            Err(error) => {
                warn([&path[..], b": ", reason(&error).as_bytes()].concat());
                None
            }
        },
        Ok(Source::Directory(_)) => None,
        Ok(Source::Missing) | Err(_) => {
            if let Err(error) = std::fs::metadata(OsStr::from_bytes(directory)) {
                warn([directory, b": ", reason(&error).as_bytes()].concat());
            }
            None
        }
    }
}

/// Sends all of `bytes`, whether the socket waits or not; a client that is gone is nothing to talk of.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], warn: &mut dyn FnMut(Vec<u8>)) {
    let Some(deadline) = Instant::now().checked_add(PATIENCE) else { return };
    if write(socket, bytes, deadline) == Err(Errno::TIMEDOUT) {
        warn(said(b"banner: ", Errno::TIMEDOUT));
    }
}

fn write(socket: BorrowedFd<'_>, mut bytes: &[u8], deadline: Instant) -> Result<(), Errno> {
    while !bytes.is_empty() {
        let sent = match rustix::net::send(socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Err(Errno::NOTSOCK) => rustix::io::write(socket, bytes),
            other => other,
        };
        match sent {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let left = deadline.checked_duration_since(Instant::now()).ok_or(Errno::TIMEDOUT)?;
                let left = Timespec::try_from(left).map_err(|_| Errno::INVAL)?;
                let mut wanted = [PollFd::from_borrowed_fd(socket, PollFlags::OUT)];
                match poll(&mut wanted, Some(&left)) {
                    Ok(0) => return Err(Errno::TIMEDOUT),
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(errno) => return Err(errno),
                }
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    #[test]
    fn files_are_found_by_the_name_of_the_daemon() {
        let here = std::env::temp_dir().join(format!("portreeve-banners-{}", std::process::id()));
        std::fs::create_dir_all(here.join("dir")).unwrap();
        std::fs::write(here.join("d"), "Hi %a\n").unwrap();
        let directory = here.as_os_str().as_bytes();
        let mut said = Vec::new();
        let mut banner = |directory: &[u8], daemon: &[u8]| {
            read(directory, daemon, &mut |text| said.push(String::from_utf8_lossy(&text).into_owned()))
        };
        assert_eq!(banner(directory, b"d").as_deref(), Some(&b"Hi %a\n"[..]));
        assert_eq!(banner(directory, b"no-such-daemon"), None);
        assert_eq!(banner(directory, b"dir"), None);
        assert_eq!(banner(b"/nonexistent", b"d"), None);
        assert_eq!(said, ["/nonexistent: No such file or directory"]);
        std::fs::remove_dir_all(here).unwrap();
    }

    #[test]
    fn all_of_it_arrives() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        server.set_nonblocking(true).unwrap();
        let mut silent = |text: Vec<u8>| panic!("{}", text.escape_ascii());
        std::thread::scope(|scope| {
            scope.spawn(move || send(server.as_fd(), &vec![b'x'; 8 << 20], &mut silent));
            let mut received = Vec::new();
            client.read_to_end(&mut received).unwrap();
            assert_eq!(received.len(), 8 << 20);
        });
        let (read, write) = rustix::pipe::pipe().unwrap();
        send(write.as_fd(), b"to what is no socket", &mut silent);
        drop(write);
        let mut received = String::new();
        std::fs::File::from(read).read_to_string(&mut received).unwrap();
        assert_eq!(received, "to what is no socket");
    }
}
