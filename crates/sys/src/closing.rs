//! Closes many descriptors at once: those that came one behind the other have numbers one behind the other, and one call takes them
//! all. Owns what it is given; no number is touched that was not.

use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd, RawFd};

/// Numbers that follow each other, all of them ours: the first and the last.
type Run = (RawFd, RawFd);

/// Closes all of these.
pub fn close_all(fds: impl IntoIterator<Item = OwnedFd>) {
    let mut run: Option<Run> = None;
    for fd in fds {
        let fd = fd.into_raw_fd();
        run = Some(match run {
            Some((first, last)) if last.checked_add(1) == Some(fd) => (first, fd),
            Some((first, last)) if first.checked_sub(1) == Some(fd) => (fd, last),
            other => {
                close(other);
                (fd, fd)
            }
        });
    }
    close(run);
}

fn close(run: Option<Run>) {
    let Some((first, last)) = run else { return };
    let (from, to) = (first.unsigned_abs(), last.unsigned_abs());
    // SAFETY: a Run holds numbers of OwnedFds that were given up to us, each of them open and nobody else's, and nothing else.
    if last > first && unsafe { libc::syscall(libc::SYS_close_range, from, to, 0) } == 0 {
        return;
    }
    // One alone, or a kernel without the call.
    for fd in first..=last {
        // SAFETY: as above; the call that failed has closed none of them.
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn it_closes_what_it_is_given_and_nothing_in_between() {
        let base = rustix::io::dup(std::io::stdin()).unwrap();
        // High numbers, which no other test of this process comes to.
        let at = |number| {
            let fd = rustix::io::fcntl_dupfd_cloexec(&base, number).unwrap();
            assert_eq!(fd.as_raw_fd(), number);
            fd
        };
        let held = [at(803), at(808)];
        let orders: [&[RawFd]; 4] =
            [&[800, 801, 802, 804, 805], &[805, 804, 802, 801, 800], &[804, 800, 802, 801, 805], &[801]];
        for order in orders {
            close_all(order.iter().map(|&number| at(number)).collect::<Vec<_>>());
            for number in 800..809 {
                let open = rustix::io::fcntl_dupfd_cloexec(&base, number).unwrap();
                let is_held = held.iter().any(|fd| fd.as_raw_fd() == number);
                assert_eq!(open.as_raw_fd() == number, !is_held, "{order:?}: {number}");
            }
        }
        close_all([]);
    }
}
