//! Writes to standard output and error without ever waiting. Whoever started the daemon has the same open file, so it
//! cannot be made non-blocking here; a terminal that is stopped or a pipe that nobody reads must not stop the service.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::BorrowedFd;
use rustix::fs::FileType;

/// A pipe, socket or terminal that is writable takes this much without waiting (PIPE_BUF).
const AT_ONCE: usize = 4096;

/// Writes what is taken at once; how much that was.
pub fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> rustix::io::Result<usize> {
    if bytes.len() > AT_ONCE && is_file(fd) {
        return rustix::io::write(fd, bytes);
    }
    let mut written = 0;
    for chunk in bytes.chunks(AT_ONCE) {
        if !writable(fd) {
            break;
        }
        match rustix::io::write(fd, chunk) {
            Ok(n) => {
                written += n;
                if n < chunk.len() {
                    break;
                }
            }
            Err(_) if written > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}

/// Whether it is a file, which poll(2) would call writable however much is to be written.
fn is_file(fd: BorrowedFd<'_>) -> bool {
    rustix::fs::fstat(fd).is_ok_and(|about| FileType::from_raw_mode(about.st_mode) == FileType::RegularFile)
}

/// What has hung up is writable too: the write then says what is wrong.
fn writable(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fd::AsFd;

    #[test]
    fn a_file_takes_all() {
        let path = std::env::temp_dir().join(format!("portreeve-shared-{}", std::process::id()));
        let file = std::fs::File::create(&path).unwrap();
        let bytes = vec![b'x'; 100_000];
        assert_eq!(write(file.as_fd(), &bytes).unwrap(), bytes.len());
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_pipe_that_nobody_reads_takes_what_it_holds_and_no_more() {
        let (read, write_end) = rustix::pipe::pipe().unwrap();
        let bytes = vec![b'x'; 1 << 20];
        let first = write(write_end.as_fd(), &bytes).unwrap();
        assert!(first > 0 && first < bytes.len());
        assert_eq!(write(write_end.as_fd(), &bytes).unwrap(), 0);
        let mut buffer = vec![0; first];
        assert_eq!(rustix::io::read(&read, &mut buffer).unwrap(), first);
        assert!(write(write_end.as_fd(), &bytes).unwrap() > 0);
        drop(read);
    }
}
