//! Banner files: sent without waiting. xinetd opens the file at each use, so an edited banner counts without a reload;
//! here it is looked at when a second has passed, and read when it has changed. A missing file is said and the
//! connection goes on, as in xinetd.

use portreeve_conf::{Service, Text};
use portreeve_sys::socket;
use rustix::fd::BorrowedFd;
use std::cell::{Cell, RefCell};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::rc::Rc;
use std::time::Duration;

/// Most bytes of a banner that are sent: what a fresh socket takes without waiting.
const LONGEST: u64 = 64 * 1024;
/// How long a look at the file counts.
const FRESH: Duration = Duration::from_secs(1);

/// One banner file.
#[derive(Debug)]
pub struct Banner {
    path: String,
    text: RefCell<Option<Vec<u8>>>,
    identity: Cell<(u64, u64, i64, i64)>,
    looked: Cell<Option<Duration>>,
}

/// The banners of a service.
#[derive(Debug, Default)]
pub struct Banners {
    /// To everybody, before any check.
    pub always: Option<Banner>,
    /// To who is admitted.
    pub success: Option<Banner>,
    /// To who is refused.
    pub fail: Option<Banner>,
}

thread_local! {
    static NONE: Rc<Banners> = Rc::default();
}

impl Banners {
    /// The banners that a service names; none is read yet. Those that name none have one of this kind in common.
    pub fn of(service: &Service) -> Rc<Self> {
        let banner = |path: &Option<Text>| path.as_ref().map(|path| Banner::new(path.to_string()));
        let banners = Self {
            always: banner(&service.banner),
            success: banner(&service.banner_success),
            fail: banner(&service.banner_fail),
        };
        let named = banners.always.is_some() || banners.success.is_some() || banners.fail.is_some();
        if named { Rc::new(banners) } else { NONE.with(Rc::clone) }
    }
}

impl Banner {
    fn new(path: String) -> Self {
        Self { path, text: RefCell::default(), identity: Cell::default(), looked: Cell::default() }
    }

    /// Hands the text to `take`. The path when the file cannot be read.
    pub fn with_text(&self, now: Duration, take: impl FnOnce(&[u8])) -> Option<&str> {
        let stale = self.looked.get().is_none_or(|at| now.saturating_sub(at) >= FRESH);
        if stale {
            self.looked.set(Some(now));
            self.look();
        }
        match &*self.text.borrow() {
            Some(text) => {
                take(text);
                None
            }
            None => stale.then_some(self.path.as_str()),
        }
    }

    /// Sends the banner. What the socket does not take at once is dropped. The path when the file cannot be read.
    fn send(&self, fd: BorrowedFd<'_>, now: Duration) -> Option<&str> {
        self.with_text(now, |text| {
            let _ = socket::send_now(fd, text);
        })
    }

    fn look(&self) {
        let identity = match std::fs::metadata(&self.path) {
            Ok(m) => (m.ino(), m.size(), m.mtime(), m.mtime_nsec()),
            Err(_) => {
                *self.text.borrow_mut() = None;
                return;
            }
        };
        if self.identity.get() != identity || self.text.borrow().is_none() {
            self.identity.set(identity);
            *self.text.borrow_mut() = read(&self.path).ok();
        }
    }
}

fn read(path: &str) -> std::io::Result<Vec<u8>> {
    // A FIFO in a banner's place must not hold up the supervisor.
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = std::fs::OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text)?;
    Ok(text)
}

/// Sends a banner if there is one. The path when there is one that cannot be read.
pub fn send<'a>(fd: BorrowedFd<'_>, banner: Option<&'a Banner>, now: Duration) -> Option<&'a str> {
    banner.and_then(|b| b.send(fd, now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_missing_file_is_said_once_a_second_and_an_edited_one_is_read_again() {
        let dir = std::env::temp_dir().join(format!("portreeve-banner-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("banner");
        let banner = Banner::new(path.to_string_lossy().into_owned());
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let at = |ms| Duration::from_millis(ms);
        assert!(banner.send(ours.as_fd(), at(0)).is_some());
        assert!(banner.send(ours.as_fd(), at(500)).is_none());
        std::fs::write(&path, "one\n").unwrap();
        assert!(banner.send(ours.as_fd(), at(1100)).is_none());
        std::fs::write(&path, "other\n").unwrap();
        assert!(banner.send(ours.as_fd(), at(2200)).is_none());
        drop(ours);
        let mut got = String::new();
        theirs.read_to_string(&mut got).unwrap();
        assert_eq!(got, "one\nother\n");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
