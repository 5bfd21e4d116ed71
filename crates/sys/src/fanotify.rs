//! What happens to files, as fanotify(7) tells it: which name in which directory, and by whom. Whole file systems are marked, so that
//! nothing below is missed; a directory is told by its handle, and opened by that, so that no name is followed. Knows nothing of what matters.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::path::Path;
use std::time::Duration;

/// The content was written to.
pub const WRITTEN: u64 = libc::FAN_MODIFY | libc::FAN_CLOSE_WRITE;
/// Owner, mode, times, links or extended attributes.
pub const ATTRIBUTES: u64 = libc::FAN_ATTRIB;
/// A name that was not there.
pub const CREATED: u64 = libc::FAN_CREATE;
/// A name that is gone.
pub const REMOVED: u64 = libc::FAN_DELETE;
/// A name that leads elsewhere now.
pub const MOVED_AWAY: u64 = libc::FAN_MOVED_FROM;
/// A name that was moved here.
pub const MOVED_HERE: u64 = libc::FAN_MOVED_TO;
/// The kernel had no room for more.
pub const LOST: u64 = libc::FAN_Q_OVERFLOW;

const ALL: u64 = WRITTEN | ATTRIBUTES | CREATED | REMOVED | MOVED_AWAY | MOVED_HERE | libc::FAN_ONDIR;
/// Bytes that are read at once: some hundred events.
const CHUNK: usize = 64 * 1024;
/// The longest handle that the kernel makes (MAX_HANDLE_SZ).
const LONGEST_HANDLE: usize = 128;

/// A file system by the number that events have.
pub type FileSystem = [u8; 8];

/// A directory, by its handle.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Directory {
    /// On which file system.
    pub system: FileSystem,
    kind: i32,
    handle: Vec<u8>,
}

/// What happened.
#[derive(Debug)]
pub struct Event {
    /// Of the constants of this module, and those of the kernel.
    pub mask: u64,
    /// Who did it; 0 where that is nobody of this pid namespace.
    pub pid: u32,
    /// The same, so that nobody who got its number later is meant; none before Linux 5.15, or where it has ended.
    pub process: Option<OwnedFd>,
    /// In which directory; none of [`LOST`].
    pub directory: Option<Directory>,
    /// The name in it, as bytes; none where it is the directory itself.
    pub name: Option<Vec<u8>>,
}

/// Whoever is told.
#[derive(Debug)]
pub struct Notifier {
    fd: OwnedFd,
    /// A descriptor on each marked file system, to open handles by.
    marked: Vec<(FileSystem, OwnedFd)>,
}

impl Notifier {
    /// Nothing is marked yet.
    ///
    /// # Errors
    /// `EPERM` without CAP_SYS_ADMIN; `ENOSYS` of a kernel without fanotify; `EINVAL` of one before 5.9.
    pub fn new() -> io::Result<Self> {
        let flags =
            libc::FAN_CLASS_NOTIF | libc::FAN_CLOEXEC | libc::FAN_NONBLOCK | libc::FAN_REPORT_DFID_NAME;
        let fd =
            init(flags | libc::FAN_REPORT_PIDFD).or_else(|error| match Errno::from_io_error(&error) {
                Some(Errno::INVAL) => init(flags),
                _ => Err(error),
            })?;
        Ok(Self { fd, marked: Vec::new() })
    }

    /// Has the whole file system told on which `path` is; the last part of the path is not followed.
    ///
    /// # Errors
    /// `ELOOP` of a link; `ENODEV`, `EXDEV`, `EOPNOTSUPP` where the file system has no handles; what open(2) says.
    pub fn mark(&mut self, path: &Path) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())?;
        let system = system_of(&fd)?;
        if self.marked.iter().any(|(known, _)| *known == system) {
            return Ok(());
        }
        let how = libc::FAN_MARK_ADD | libc::FAN_MARK_FILESYSTEM;
        // SAFETY: both descriptors are open for the whole call; without a path the kernel marks what the second one has open.
        let marked =
            unsafe { libc::fanotify_mark(self.fd.as_raw_fd(), how, ALL, fd.as_raw_fd(), std::ptr::null()) };
        if marked < 0 {
            return Err(io::Error::last_os_error());
        }
        self.marked.push((system, fd));
        Ok(())
    }

    /// How many file systems are marked.
    #[must_use]
    pub fn marked(&self) -> usize {
        self.marked.len()
    }

    /// Waits for events, at most so long, and takes those that are there, up to a bound. None came in time: an empty list.
    ///
    /// # Errors
    /// From poll(2) and read(2).
    pub fn wait(&self, patience: Duration) -> io::Result<Vec<Event>> {
        let patience = Timespec::try_from(patience).map_err(|_| io::ErrorKind::InvalidInput)?;
        match poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], Some(&patience)) {
            Ok(0) | Err(Errno::INTR) => return Ok(Vec::new()),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let mut buffer = vec![0; CHUNK];
        match rustix::io::read(&self.fd, &mut buffer) {
            Ok(length) => Ok(self.events(buffer.get(..length).unwrap_or_default())),
            Err(Errno::AGAIN | Errno::INTR) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    fn events(&self, bytes: &[u8]) -> Vec<Event> {
        let adopt = |raw: i32| {
            // SAFETY: the kernel has just made this descriptor for whoever reads the event, and each event is read once.
            (raw >= 0).then(|| unsafe { OwnedFd::from_raw_fd(raw) })
        };
        parse(bytes)
            .into_iter()
            .map(|raw| {
                drop(adopt(raw.fd));
                Event {
                    mask: raw.mask,
                    pid: u32::try_from(raw.pid).unwrap_or(0),
                    process: adopt(raw.process),
                    directory: raw.directory,
                    name: raw.name,
                }
            })
            .collect()
    }

    /// The path of a directory as the kernel has it now, as bytes.
    ///
    /// # Errors
    /// `ESTALE` where it has gone; `EPERM` without CAP_DAC_READ_SEARCH.
    pub fn path(&self, directory: &Directory) -> io::Result<Vec<u8>> {
        let mount = self.marked.iter().find(|(system, _)| *system == directory.system);
        let (_, mount) = mount.ok_or(io::ErrorKind::NotFound)?;
        let fd = open_by_handle(mount, directory)?;
        let link = rustix::fs::readlink(format!("/proc/self/fd/{}", fd.as_raw_fd()), Vec::new())?;
        let path = link.into_bytes();
        // What the kernel says of one that was removed; one may be called so, too, and then it has a name.
        let gone = rustix::fs::fstat(&fd)?.st_nlink == 0;
        if gone { Err(Errno::STALE.into()) } else { Ok(path) }
    }
}

fn init(flags: u32) -> io::Result<OwnedFd> {
    let of_events = (libc::O_RDONLY | libc::O_CLOEXEC | libc::O_LARGEFILE).unsigned_abs();
    // SAFETY: two integers; the answer is a new descriptor or -1.
    let fd = unsafe { libc::fanotify_init(flags, of_events) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made and is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn system_of(fd: impl AsFd) -> io::Result<FileSystem> {
    let mut seen = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the buffer has the size of what the kernel writes, and is read only when it has.
    let seen = unsafe {
        if libc::fstatfs(fd.as_fd().as_raw_fd(), seen.as_mut_ptr()) < 0 {
            return Err(io::Error::last_os_error());
        }
        seen.assume_init()
    };
    // SAFETY: fsid_t is two integers and has no padding; libc keeps its field to itself.
    Ok(unsafe { std::mem::transmute::<libc::fsid_t, FileSystem>(seen.f_fsid) })
}

/// `struct file_handle` with room for any.
#[repr(C, align(4))]
struct Handle {
    length: u32,
    kind: i32,
    bytes: [u8; LONGEST_HANDLE],
}

fn open_by_handle(mount: &OwnedFd, directory: &Directory) -> io::Result<OwnedFd> {
    let mut handle = Handle { length: 0, kind: directory.kind, bytes: [0; LONGEST_HANDLE] };
    let room = handle.bytes.get_mut(..directory.handle.len()).ok_or(io::ErrorKind::InvalidInput)?;
    room.copy_from_slice(&directory.handle);
    handle.length = u32::try_from(directory.handle.len()).map_err(io::Error::other)?;
    let flags = libc::O_PATH | libc::O_CLOEXEC;
    // SAFETY: the handle has the layout of struct file_handle and as many bytes as its length says.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_open_by_handle_at,
            mount.as_raw_fd(),
            (&raw mut handle).cast::<libc::c_void>(),
            flags,
        )
    };
    let fd = i32::try_from(fd).unwrap_or(-1);
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made and is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// An event with the descriptors as numbers.
#[derive(Debug, PartialEq, Eq)]
struct Raw {
    mask: u64,
    fd: i32,
    pid: i32,
    process: i32,
    directory: Option<Directory>,
    name: Option<Vec<u8>>,
}

/// fanotify_event_metadata and the records behind it; what is cut off or of another version ends the list.
fn parse(mut bytes: &[u8]) -> Vec<Raw> {
    /// FANOTIFY_METADATA_VERSION.
    const VERSION: u8 = 3;
    let mut found = Vec::new();
    while let (Some(length), Some(&VERSION), Some(own), Some(mask), Some(fd), Some(pid)) = (
        word(bytes, 0),
        bytes.get(4),
        bytes.get(6..8).and_then(|two| Some(usize::from(u16::from_ne_bytes(two.try_into().ok()?)))),
        bytes.get(8..16).and_then(|eight| Some(u64::from_ne_bytes(eight.try_into().ok()?))),
        word(bytes, 16),
        word(bytes, 20),
    ) {
        let length = length as usize;
        let Some(records) = bytes.get(own..length).filter(|_| own >= 24) else { break };
        let mut raw = Raw {
            mask,
            fd: fd.cast_signed(),
            pid: pid.cast_signed(),
            process: -1,
            directory: None,
            name: None,
        };
        read_records(records, &mut raw);
        found.push(raw);
        bytes = bytes.get(length..).unwrap_or_default();
    }
    found
}

fn read_records(mut records: &[u8], raw: &mut Raw) {
    const DIRECTORY_AND_NAME: u8 = 2;
    const DIRECTORY: u8 = 3;
    const PROCESS: u8 = 4;
    while let (Some(kind), Some(length)) =
        (records.first(), records.get(2..4).and_then(|two| Some(u16::from_ne_bytes(two.try_into().ok()?))))
    {
        let Some(record) = records.get(4..usize::from(length)) else { return };
        match *kind {
            PROCESS => raw.process = word(record, 0).map_or(-1, u32::cast_signed),
            DIRECTORY | DIRECTORY_AND_NAME => {
                if let Some((directory, rest)) = directory(record) {
                    raw.directory = Some(directory);
                    let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
                    let name = rest.get(..end).unwrap_or_default();
                    raw.name = Some(name.to_vec()).filter(|name| {
                        *kind == DIRECTORY_AND_NAME
                            && !name.is_empty()
                            && name != b"."
                            && !name.contains(&b'/')
                    });
                }
            }
            _ => {}
        }
        records = records.get(usize::from(length)..).unwrap_or_default();
    }
}

/// The number of the file system, and struct file_handle.
fn directory(record: &[u8]) -> Option<(Directory, &[u8])> {
    let system = record.get(..8)?.try_into().ok()?;
    let length = usize::try_from(word(record, 8)?).ok().filter(|length| *length <= LONGEST_HANDLE)?;
    let kind = word(record, 12)?.cast_signed();
    let handle = record.get(16..16 + length)?.to_vec();
    Some((Directory { system, kind, handle }, record.get(16 + length..)?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind, 0];
        bytes.extend(u16::try_from(4 + body.len()).unwrap().to_ne_bytes());
        bytes.extend(body);
        bytes
    }

    fn event(mask: u64, records: &[Vec<u8>]) -> Vec<u8> {
        let records = records.concat();
        let mut bytes = u32::try_from(24 + records.len()).unwrap().to_ne_bytes().to_vec();
        bytes.extend([3, 0, 24, 0]);
        bytes.extend(mask.to_ne_bytes());
        bytes.extend((-1_i32).to_ne_bytes());
        bytes.extend(77_i32.to_ne_bytes());
        bytes.extend(records);
        bytes
    }

    fn place(name: &[u8]) -> Vec<u8> {
        let mut body = vec![1, 2, 3, 4, 5, 6, 7, 8];
        body.extend(8_u32.to_ne_bytes());
        body.extend(1_i32.to_ne_bytes());
        body.extend([9; 8]);
        body.extend(name);
        body.resize(body.len().next_multiple_of(4), 0);
        body
    }

    #[test]
    fn events_are_read_with_their_records() {
        let mut bytes = event(CREATED, &[record(2, &place(b"a\nb\0")), record(4, &(-1_i32).to_ne_bytes())]);
        bytes.extend(event(ATTRIBUTES, &[record(2, &place(b".\0"))]));
        bytes.extend(event(LOST, &[]));
        let found = parse(&bytes);
        assert_eq!(found.len(), 3);
        assert_eq!(
            (found[0].mask, found[0].pid, found[0].name.as_deref()),
            (CREATED, 77, Some(&b"a\nb"[..]))
        );
        let directory = found[0].directory.clone().unwrap();
        assert_eq!((directory.kind, directory.handle.as_slice()), (1, &[9; 8][..]));
        assert_eq!((found[1].name.as_deref(), found[1].directory.as_ref()), (None, Some(&directory)));
        assert_eq!((found[2].mask, found[2].directory.as_ref()), (LOST, None));
    }

    #[test]
    fn what_is_cut_off_or_odd_is_no_panic() {
        let whole = event(CREATED, &[record(2, &place(b"name\0"))]);
        for length in 0..whole.len() {
            assert!(parse(&whole[..length]).is_empty());
        }
        for at in 0..whole.len() {
            let mut odd = whole.clone();
            odd[at] = 0xff;
            let _ = parse(&odd);
        }
        let slash = parse(&event(CREATED, &[record(2, &place(b"../x\0"))]));
        assert_eq!(slash[0].name, None, "no file is called so");
    }

    #[test]
    fn a_file_that_is_made_is_told() {
        let mut notifier = match Notifier::new() {
            Ok(notifier) => notifier,
            // What cannot be had here is told by the command; the parsing is tested above.
            Err(error) => {
                assert!(
                    [libc::EPERM, libc::ENOSYS, libc::EINVAL].contains(&error.raw_os_error().unwrap_or(0)),
                    "{error}"
                );
                return;
            }
        };
        let here = std::env::temp_dir().join(format!("portreeve-fanotify-{}", std::process::id()));
        std::fs::create_dir_all(&here).unwrap();
        let here = here.canonicalize().unwrap();
        notifier.mark(&here).unwrap();
        notifier.mark(&here).unwrap();
        assert_eq!(notifier.marked(), 1);
        std::fs::write(here.join("new\nfile"), "x").unwrap();
        let mut seen = None;
        for _ in 0..2000 {
            let events = notifier.wait(Duration::from_millis(20)).unwrap();
            seen = seen.or(events.into_iter().find(|event| {
                event.mask & CREATED != 0
                    && event.name.as_deref() == Some(b"new\nfile")
                    && event.pid == std::process::id()
            }));
            if seen.is_some() {
                break;
            }
        }
        let event = seen.expect("it is told");
        let directory = event.directory.unwrap();
        let path = notifier.path(&directory).unwrap();
        assert_eq!(path, std::os::unix::ffi::OsStrExt::as_bytes(here.as_os_str()));
        std::fs::remove_dir_all(&here).unwrap();
        let gone = notifier.path(&directory).unwrap_err();
        assert_eq!(gone.raw_os_error(), Some(libc::ESTALE));
    }
}
