//! SELinux: the context in which a program runs for a client of labelled networking. The supervisor's own context with the level range of the
//! client's, and what the policy makes of that for the program's file; as xinetd has it (xinetd.md §14). Whatever cannot be had is an error:
//! nobody is to be served in another context. Sets nothing; see [`crate::spawn::Spawner::spawn_labeled`].

use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;

/// Where the kernel has SELinux, and where it may be looked whether it has.
pub const SELINUX: &str = "/sys/fs/selinux";
/// The context of the calling thread.
const OWN: &str = "/proc/thread-self/attr/current";
/// The attribute of a file that is its context.
const OF_FILES: &CStr = c"security.selinux";
/// No context is longer: a page, as the kernel hands it out.
const LONGEST: usize = 4096;

/// Why there is no context.
#[derive(Debug, thiserror::Error)]
pub enum LabelError {
    /// The kernel does not say it.
    #[error("{what}: {}", crate::source::reason(.error))]
    Asked {
        /// What was asked for.
        what: &'static str,
        /// What the kernel answered.
        #[source]
        error: io::Error,
    },
    /// What it says is no context, or has no range.
    #[error("{0} is no context with a level range")]
    Malformed(&'static str),
}

fn asked(what: &'static str) -> impl FnOnce(io::Error) -> LabelError {
    move |error| LabelError::Asked { what, error }
}

/// The kernel's files that are asked.
#[derive(Clone, Debug)]
pub struct Selinux {
    filesystem: PathBuf,
    own: PathBuf,
}

impl Default for Selinux {
    fn default() -> Self {
        Self { filesystem: SELINUX.into(), own: OWN.into() }
    }
}

impl Selinux {
    /// The context in which `program` is to run for the client at the other end of `client`.
    ///
    /// # Errors
    /// Without SELinux, or without labelled networking between the two, the client has no context (`ENOPROTOOPT`); the policy may
    /// know none for the program.
    pub fn for_client(&self, client: impl AsFd, program: &CStr) -> Result<CString, LabelError> {
        let peer = of_peer(client).map_err(asked("the client's context"))?;
        let file = of_file(program).map_err(asked("the program's context"))?;
        self.compose(&peer, &file)
    }

    /// The same of what is known of client and file.
    fn compose(&self, peer: &[u8], file: &[u8]) -> Result<CString, LabelError> {
        let own = std::fs::read(&self.own).map_err(asked("our own context"))?;
        let from = with_range(text(&own), text(peer))?;
        self.computed(&from, text(file)).map_err(asked("the policy's context for the program"))
    }

    /// What the policy makes of a process of context `from` that executes a file of context `file`.
    fn computed(&self, from: &[u8], file: &[u8]) -> io::Result<CString> {
        let class = std::fs::read(self.filesystem.join("class/process/index"))?;
        let request = [from, file, text(&class)].join(&b' ');
        let mut create = OpenOptions::new().read(true).write(true).open(self.filesystem.join("create"))?;
        // The kernel takes a request in one piece.
        if create.write(&request)? != request.len() {
            return Err(Errno::IO.into());
        }
        let mut answer = Vec::new();
        read_some(&mut create, &mut answer)?;
        if text(&answer).is_empty() {
            return Err(Errno::INVAL.into());
        }
        Ok(CString::new(text(&answer))?)
    }
}

fn read_some(file: &mut File, answer: &mut Vec<u8>) -> io::Result<()> {
    answer.resize(LONGEST, 0);
    let length = file.read(answer)?;
    answer.truncate(length);
    Ok(())
}

/// Up to the first NUL or line end: the kernel ends its texts with either.
fn text(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0 || byte == b'\n').next().unwrap_or_default()
}

/// `own`, which is `user:role:type` or `user:role:type:range`, with the range of `peer`.
fn with_range(own: &[u8], peer: &[u8]) -> Result<Vec<u8>, LabelError> {
    // A range has colons of its own: `s0-s15:c0.c1023`.
    let parts = |context: &[u8]| context.splitn(4, |&b| b == b':').map(<[u8]>::to_vec).collect::<Vec<_>>();
    let sound = |bytes: &[u8]| !bytes.is_empty() && bytes.iter().all(u8::is_ascii_graphic);
    let (mut own, peer) = (parts(own), parts(peer));
    if own.len() < 3 || !own.iter().all(|part| sound(part)) {
        return Err(LabelError::Malformed("our own context"));
    }
    let Some(range) = peer.get(3).filter(|_| peer.iter().all(|part| sound(part))) else {
        return Err(LabelError::Malformed("the client's context"));
    };
    own.truncate(3);
    own.push(range.clone());
    Ok(own.join(&b':'))
}

fn of_file(path: &CStr) -> io::Result<Vec<u8>> {
    let mut value = vec![0; LONGEST];
    let length = rustix::fs::getxattr(path, OF_FILES, &mut value)?;
    value.truncate(length);
    Ok(value)
}

fn of_peer(socket: impl AsFd) -> io::Result<Vec<u8>> {
    let mut value = vec![0u8; LONGEST];
    let mut length = libc::socklen_t::try_from(value.len()).unwrap_or(libc::socklen_t::MAX);
    // SAFETY: `value` has `length` bytes, and the kernel writes at most so many and says how many.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERSEC,
            value.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    value.truncate(length as usize);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const OWN: &[u8] = b"system_u:system_r:inetd_t:s0-s15:c0.c1023\0";
    const PEER: &[u8] = b"user_u:user_r:user_t:s2:c5\0";
    const PROGRAM: &[u8] = b"system_u:object_r:inetd_child_exec_t:s0\0";

    /// Files in the place of the kernel's. What was written to `create` stands before what is read from it.
    fn kernel(name: &str, answer: &[u8]) -> (Selinux, PathBuf) {
        let here = std::env::temp_dir().join(format!("portreeve-label-{}-{name}", std::process::id()));
        fs::create_dir_all(here.join("class/process")).unwrap();
        fs::write(here.join("class/process/index"), "2").unwrap();
        fs::write(here.join("current"), OWN).unwrap();
        let request = b"system_u:system_r:inetd_t:s2:c5 system_u:object_r:inetd_child_exec_t:s0 2";
        fs::write(here.join("create"), [&vec![b'?'; request.len()], answer].concat()).unwrap();
        (Selinux { filesystem: here.clone(), own: here.join("current") }, here)
    }

    #[test]
    fn the_policy_is_asked_with_the_clients_range() {
        let (selinux, here) = kernel("asked", b"system_u:system_r:inetd_child_t:s2:c5\0");
        let context = selinux.compose(PEER, PROGRAM).unwrap();
        assert_eq!(context.as_c_str(), c"system_u:system_r:inetd_child_t:s2:c5");
        let create = fs::read(here.join("create")).unwrap();
        assert!(
            create.starts_with(
                b"system_u:system_r:inetd_t:s2:c5 system_u:object_r:inetd_child_exec_t:s0 2system_u"
            ),
            "{}",
            String::from_utf8_lossy(&create)
        );
        fs::remove_dir_all(here).unwrap();
    }

    #[test]
    fn whatever_is_missing_is_an_error() {
        let (selinux, here) = kernel("missing", b"");
        let error = |selinux: &Selinux, peer| selinux.compose(peer, PROGRAM).unwrap_err().to_string();
        assert_eq!(error(&selinux, PEER), "the policy's context for the program: Invalid argument");
        for odd in [&b""[..], b"user_u:user_r:user_t", b"user_u:user_r:user_t:", b"u::t:s0", b"u:r:t:s0 s1"] {
            assert_eq!(error(&selinux, odd), "the client's context is no context with a level range");
        }
        fs::remove_file(here.join("create")).unwrap();
        assert!(error(&selinux, PEER).contains("No such file or directory"));
        fs::write(here.join("current"), "unconfined").unwrap();
        assert_eq!(error(&selinux, PEER), "our own context is no context with a level range");
        fs::remove_file(here.join("current")).unwrap();
        assert_eq!(error(&selinux, PEER), "our own context: No such file or directory");
        fs::remove_dir_all(here).unwrap();
    }

    #[test]
    fn a_range_is_set_or_replaced() {
        for (own, wanted) in
            [("u:r:t", "u:r:t:s2:c5"), ("u:r:t:s0", "u:r:t:s2:c5"), ("u:r:t:s0-s1:c1,c2", "u:r:t:s2:c5")]
        {
            assert_eq!(with_range(own.as_bytes(), text(PEER)).unwrap(), wanted.as_bytes());
        }
    }

    #[test]
    fn without_selinux_the_client_has_no_context() {
        if std::path::Path::new(SELINUX).join("enforce").exists() {
            return; // It may well have one then.
        }
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let error = Selinux::default().for_client(&client, c"/bin/sh").unwrap_err().to_string();
        assert!(error.starts_with("the client's context: "), "{error}");
    }
}
