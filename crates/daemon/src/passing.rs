//! How a program gets its sockets: the client on 0, 1 and 2 as inetd has it, or from 3 on as systemd has it (`listen_fds`).

use crate::witnesses::variable;
use portreeve_sys::spawn::{Image, SpawnError, Spawner, Stays, Stdio};
use rustix::fd::BorrowedFd;
use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;
use std::ffi::{CStr, CString};

/// What differs between services.
#[derive(Clone, Copy, Debug, Default)]
pub struct How<'a> {
    /// The name of the descriptors.
    pub listen_fds: Option<&'a CStr>,
    /// The security context.
    pub label: Option<&'a CStr>,
    /// By which it tells of its client: it gets the number behind those of the sockets.
    pub evidence: Option<BorrowedFd<'a>>,
    /// What is executed, where it is not what the path of the image leads to: it gets the number behind all of these.
    pub program: Option<(BorrowedFd<'a>, Stays)>,
}

impl How<'_> {
    /// It gets its client on 0, 1 and 2, and nothing else is done for it.
    pub fn is_plain(&self) -> bool {
        self.listen_fds.is_none() && self.label.is_none() && self.evidence.is_none() && self.program.is_none()
    }
}

/// Starts a program with these sockets: without `listen_fds` it gets the first alone. The sockets stay as they are.
pub fn start(
    spawner: &mut Spawner,
    image: &Image,
    variables: Vec<&CStr>,
    how: How<'_>,
    sockets: &[BorrowedFd<'_>],
) -> Result<Pid, SpawnError> {
    let mut variables = variables;
    let Some(names) = how.listen_fds else {
        let first = sockets.first().ok_or(SpawnError::Clone(rustix::io::Errno::BADF))?;
        if how.evidence.is_some() {
            let number = variable(3);
            variables.push(&number);
            let [stdin, stdout, stderr] = [*first; 3];
            let stdio = Stdio::Separate { stdin, stdout, stderr, extra: how.evidence };
            return spawner.spawn_program(image, &variables, stdio, how.label, how.program);
        }
        return spawner.spawn_program(image, &variables, Stdio::Client(*first), how.label, how.program);
    };
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(SpawnError::Clone)?;
    let [count, names] = describe(names, sockets.len());
    variables.extend([count.as_c_str(), names.as_c_str()]);
    let null = rustix::fd::AsFd::as_fd(&null);
    let number = variable(3 + sockets.len());
    let mut all = sockets.to_vec();
    if let Some(evidence) = how.evidence {
        variables.push(&number);
        all.push(evidence);
    }
    let sockets = all.as_slice();
    spawner.spawn_program(image, &variables, Stdio::Listen { null, sockets }, how.label, how.program)
}

/// LISTEN_FDS and LISTEN_FDNAMES, where all have the one name.
fn describe(name: &CStr, count: usize) -> [CString; 2] {
    let names = vec![name.to_bytes(); count].join(&b':');
    let variable =
        |key: &str, value: &[u8]| CString::new([key.as_bytes(), value].concat()).unwrap_or_default();
    [variable("LISTEN_FDS=", count.to_string().as_bytes()), variable("LISTEN_FDNAMES=", &names)]
}

#[cfg(test)]
mod tests {
    use super::describe;

    #[test]
    fn each_socket_has_a_name() {
        assert_eq!(describe(c"x", 1), [c"LISTEN_FDS=1".to_owned(), c"LISTEN_FDNAMES=x".to_owned()]);
        assert_eq!(describe(c"x", 3), [c"LISTEN_FDS=3".to_owned(), c"LISTEN_FDNAMES=x:x:x".to_owned()]);
    }
}
