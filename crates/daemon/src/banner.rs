//! Banner files: read when the configuration is, sent without waiting. Owns their text; a missing file is said once and
//! the connection goes on, as in xinetd.

use portreeve_conf::Service;
use portreeve_sys::socket;
use rustix::fd::BorrowedFd;

/// Most bytes of a banner that are sent: what a fresh socket takes without waiting.
const LONGEST: u64 = 64 * 1024;

/// The banners of a service.
#[derive(Debug, Default)]
pub struct Banners {
    /// To everybody, before any check.
    pub always: Option<Vec<u8>>,
    /// To who is admitted.
    pub success: Option<Vec<u8>>,
    /// To who is refused.
    pub fail: Option<Vec<u8>>,
}

impl Banners {
    /// Reads the banners of a service. The second value names the files that could not be read.
    pub fn read(service: &Service) -> (Self, Vec<String>) {
        let mut missing = Vec::new();
        let mut one = |path: &Option<String>| {
            let path = path.as_ref()?;
            match read(path) {
                Ok(text) => Some(text),
                Err(_) => {
                    missing.push(path.clone());
                    None
                }
            }
        };
        let banners = Self {
            always: one(&service.banner),
            success: one(&service.banner_success),
            fail: one(&service.banner_fail),
        };
        (banners, missing)
    }
}

fn read(path: &str) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    use std::os::unix::fs::OpenOptionsExt;
    // A FIFO in a banner's place must not hold up the supervisor.
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = std::fs::OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text)?;
    Ok(text)
}

/// Sends a banner if there is one. What the socket does not take at once is dropped.
pub fn send(fd: BorrowedFd<'_>, banner: Option<&Vec<u8>>) {
    if let Some(text) = banner {
        let _ = socket::send_now(fd, text);
    }
}
