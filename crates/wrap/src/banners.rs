//! Banner files: `DIR/daemon`, expanded and sent to the client, whether it is refused or not (reference A9). Decides how
//! much is read and how long a client may take to receive it.

use crate::ends::said;
use portreeve_sys::source::Source;
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
/// The longest piece that is expanded at once, as the original reads it.
const PIECE: usize = 8190;
/// How long a client may take. The original waits for ever.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sends the banner of `daemon` in `directory`. A file that is missing is nothing; a directory that is missing is said.
/// `expand` replaces the %-letters of one piece.
pub fn send(
    directory: &[u8],
    daemon: &[u8],
    socket: Option<BorrowedFd<'_>>,
    expand: &mut dyn FnMut(&[u8]) -> Vec<u8>,
    warn: &mut dyn FnMut(Vec<u8>),
) {
    let path = [directory, b"/", daemon].concat();
    let text = match Source::open(Path::new(OsStr::from_bytes(&path))) {
        Ok(Source::Readable(file)) => match file.read(LONGEST) {
            Ok(text) => text,
            Err(error) => {
                let why = portreeve_sys::source::reason(&error);
                return warn([&path[..], b": ", why.as_bytes()].concat());
            }
        },
        Ok(Source::Directory(_)) => return,
        Ok(Source::Missing) | Err(_) => {
            if let Err(error) = std::fs::metadata(OsStr::from_bytes(directory)) {
                let why = portreeve_sys::source::reason(&error);
                warn([directory, b": ", why.as_bytes()].concat());
            }
            return;
        }
    };
    let Some(socket) = socket else { return };
    let Some(deadline) = Instant::now().checked_add(PATIENCE) else { return };
    for piece in pieces(&text) {
        let bytes = match piece {
            Piece::Raw(byte) => vec![byte],
            Piece::Text(text) => expand(&text),
        };
        if let Err(errno) = write(socket, &bytes, deadline) {
            if errno == Errno::TIMEDOUT {
                warn(said(b"banner: ", errno));
            }
            return;
        }
    }
}

/// What is sent at once.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Raw(u8),
    Text(Vec<u8>),
}

fn pieces(text: &[u8]) -> Vec<Piece> {
    let nuls = text.iter().position(|byte| *byte != 0).unwrap_or(text.len());
    let mut found: Vec<Piece> = (0..nuls).map(|_| Piece::Raw(0)).collect();
    for line in text.get(nuls..).unwrap_or_default().split_inclusive(|byte| *byte == b'\n') {
        for piece in line.chunks(PIECE) {
            // A C string ends at its first NUL.
            let piece = piece.split(|byte| *byte == 0).next().unwrap_or_default();
            let mut piece = piece.to_vec();
            if piece.last() == Some(&b'\n') && depth(&piece) == 0 {
                piece.pop();
                piece.extend_from_slice(b"\r\n");
            }
            found.push(Piece::Text(piece));
        }
    }
    found
}

/// How many brackets are open at the end: the original looks for the line's end with the splitter of rules, which sees no
/// separator between brackets.
fn depth(line: &[u8]) -> i32 {
    line.iter().fold(0, |depth: i32, byte| match byte {
        b'[' => depth.saturating_add(1),
        b']' => depth.saturating_sub(1),
        _ => depth,
    })
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
    fn lines_end_with_two_bytes() {
        let text = |text: &str| Piece::Text(text.as_bytes().to_vec());
        assert_eq!(pieces(b""), []);
        assert_eq!(pieces(b"a\nb"), [text("a\r\n"), text("b")]);
        assert_eq!(pieces(b"a\r\n\n"), [text("a\r\r\n"), text("\r\n")]);
        assert_eq!(pieces(b"\0\0a\n"), [Piece::Raw(0), Piece::Raw(0), text("a\r\n")]);
        assert_eq!(pieces(b"[a\n]a[b]\n[b]\n"), [text("[a\n"), text("]a[b]\n"), text("[b]\r\n")]);
        assert_eq!(pieces(b"a\0b\nc\n"), [text("a"), text("c\r\n")]);
    }

    #[test]
    fn files_go_to_sockets() {
        let here = std::env::temp_dir().join(format!("portreeve-banners-{}", std::process::id()));
        std::fs::create_dir_all(&here).unwrap();
        std::fs::write(here.join("d"), "Hi %a\n").unwrap();
        let directory = here.as_os_str().as_bytes();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let mut said = Vec::new();
        let mut banner = |directory: &[u8], daemon: &[u8]| {
            let mut expand = |piece: &[u8]| piece.to_ascii_uppercase();
            send(directory, daemon, Some(server.as_fd()), &mut expand, &mut |text| {
                said.push(String::from_utf8_lossy(&text).into_owned());
            });
        };
        banner(directory, b"d");
        banner(directory, b"no-such-daemon");
        banner(b"/nonexistent", b"d");
        drop(server);
        let mut received = String::new();
        client.read_to_string(&mut received).unwrap();
        assert_eq!(received, "HI %A\r\n");
        assert_eq!(said, ["/nonexistent: No such file or directory"]);
        std::fs::remove_dir_all(here).unwrap();
    }
}
