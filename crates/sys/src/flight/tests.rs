//! Starts in flight, with real programs.

use super::*;
use crate::image::{Ids, ImageBuilder};
use crate::signals;
use crate::spawn::Stdio;
use rustix::net::sockopt;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitOptions, waitpid};
use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

fn image(path: &CStr, script: &CStr) -> ImageBuilder {
    let argv = vec![c"sh".into(), c"-c".into(), script.into()];
    ImageBuilder { path: path.into(), argv, env: vec![c"A=1".into()], ..ImageBuilder::default() }
}

fn pipe() -> (File, OwnedFd) {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    (read.into(), write)
}

fn status(pid: Pid) -> Option<i32> {
    waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap().1.exit_status()
}

/// In a thread that has every signal blocked, and that has started a program.
fn ready() -> Spawner {
    crate::stdio::seal_inherited().unwrap();
    signals::block_all();
    let mut spawner = Spawner::new().unwrap();
    let plain = image(c"/bin/sh", c"exit 0").build();
    let (_read, write) = pipe();
    assert!(!spawner.flies(&plain, write.as_fd()), "nothing is known of the kernel yet");
    let pid = spawner.spawn(&plain, &[], Stdio::Client(write.as_fd())).unwrap();
    assert_eq!(status(pid), Some(0));
    spawner
}

/// More than fit, each with words that are gone before it can have read them, and with an image that nobody else holds any more.
#[test]
fn each_gets_its_own_client_and_words() {
    let mut spawner = ready();
    let script = c"printf '%s ' \"$A\" \"$WHO\"; ls /proc/$$/fd";
    let mut readers = Vec::new();
    for number in 0..3 * MOST_IN_FLIGHT {
        let (read, write) = pipe();
        let word = CString::new(format!("WHO={number}")).unwrap();
        let image = Rc::new(image(c"/bin/sh", script).build());
        let pid = spawner.launch(&image, &[&word], write.into(), 0).unwrap();
        readers.push((read, pid));
    }
    assert!(spawner.land().is_empty());
    for (number, (mut read, pid)) in readers.into_iter().enumerate() {
        let mut text = String::new();
        // It ends: nobody has the other end open but that program.
        read.read_to_string(&mut text).unwrap();
        assert_eq!((text, status(pid)), (format!("1 {number} 0\n1\n2\n"), Some(0)));
    }
    assert_eq!(spawner.flights.grounded.len(), MOST_IN_FLIGHT, "their room is used again");
}

#[test]
fn who_fails_among_others_is_named_and_errno_is_left_alone() {
    let mut spawner = ready();
    let good = Rc::new(image(c"/bin/sh", c"exit 7").build());
    let missing = Rc::new(image(c"/nonexistent/program", c"").build());
    let mut lost = image(c"/bin/sh", c"exit 0");
    lost.dir = c"/nonexistent".into();
    let lost = Rc::new(lost.build());
    let mut pids = Vec::new();
    // SAFETY: this thread's own.
    unsafe { *libc::__errno_location() = 77 };
    for (tag, image) in [&good, &missing, &good, &lost, &missing, &good].into_iter().enumerate() {
        let (_, write) = pipe();
        pids.push(spawner.launch(image, &[], write.into(), tag as u32).unwrap());
    }
    let failed = spawner.land();
    // SAFETY: this thread's own.
    assert_eq!(unsafe { *libc::__errno_location() }, 77);
    let told: Vec<_> =
        failed.iter().map(|f| (f.tag, f.stage, f.errno, Rc::ptr_eq(&f.image, &missing))).collect();
    let wanted = [(1, Stage::Exec, true), (3, Stage::Chdir, false), (4, Stage::Exec, true)]
        .map(|(tag, stage, same)| (tag, stage, Errno::NOENT, same));
    assert_eq!(told, wanted);
    let ends: Vec<_> = pids.into_iter().map(status).collect();
    assert_eq!(ends, [7, 1, 7, 1, 1, 7].map(Some));
    assert!(spawner.land().is_empty(), "it is told once");
    // One that is waited for waits for them, and takes nothing from what is to be told.
    let (_read, write) = pipe();
    let pid = spawner.launch(&missing, &[], write.into(), 9).unwrap();
    let (_read, write) = pipe();
    let waited = spawner.spawn(&good, &[], Stdio::Client(write.as_fd())).unwrap();
    assert_eq!(spawner.launched(), 0);
    assert_eq!((status(pid), status(waited)), (Some(1), Some(7)));
    assert_eq!(spawner.land().iter().map(|f| f.tag).collect::<Vec<_>>(), [9]);
}

#[test]
fn what_more_is_done_for_is_waited_for() {
    let mut spawner = ready();
    let mut grouped = image(c"/bin/sh", c"exit 0");
    grouped.cgroup_procs = Some(File::open("/dev/null").unwrap().into());
    let grouped = Rc::new(grouped.build());
    let (mut read, write) = pipe();
    assert!(!spawner.flies(&grouped, write.as_fd()));
    let refused = spawner.launch(&grouped, &[], write.into(), 0);
    assert_eq!(refused.map_err(|(errno, _client)| errno), Err(Errno::NOSYS));
    assert_eq!(read.read(&mut [0]).unwrap(), 0, "the client came back, and went");
    // One thread with signals to handle, a kernel without the call, a client with one of the last numbers.
    let plain = image(c"/bin/sh", c"exit 0").build();
    let (_read, write) = pipe();
    let write = write.as_fd();
    assert!(spawner.flies(&plain, write));
    spawner.mask_is_full = false;
    assert!(!spawner.flies(&plain, write));
    (spawner.mask_is_full, spawner.share_table) = (true, false);
    assert!(!spawner.flies(&plain, write));
    (spawner.share_table, spawner.descriptors) = (true, u64::from(write.as_raw_fd().unsigned_abs()) + FREE);
    assert!(!spawner.flies(&plain, write));
    spawner.descriptors += 1;
    assert!(spawner.flies(&plain, write));
    let mut confined = image(c"/bin/sh", c"exit 0");
    confined.sandbox = Some(Box::default());
    assert!(!spawner.flies(&confined.build(), write));
}

/// Of others' ids only where no other child can make our memory theirs meanwhile; it is asked once for all that are aloft.
#[test]
fn other_ids_only_where_memory_stays_closed() {
    let mut spawner = ready();
    let ids = |uid, gid| Some(Ids { uid, gid, groups: vec![] });
    let (_read, write) = pipe();
    let flies = |spawner: &Spawner, ids| {
        spawner.flies(&ImageBuilder { ids, ..image(c"/bin/sh", c"exit 0") }.build(), write.as_fd())
    };
    let (uid, gid) = spawner.own.ids;
    let closed = std::fs::read("/proc/sys/fs/suid_dumpable").is_ok_and(|text| text == b"0\n");
    for (told, may) in [(None, closed), (Some(false), false), (Some(true), true)] {
        spawner.flights.ids_may_change.set(told);
        assert!(flies(&spawner, None) && flies(&spawner, ids(uid, gid)));
        assert_eq!((flies(&spawner, ids(uid + 1, gid)), flies(&spawner, ids(uid, gid + 1))), (may, may));
        assert_eq!(spawner.flights.ids_may_change.get(), Some(may));
        assert!(spawner.land().is_empty());
        assert_eq!(spawner.flights.ids_may_change.get(), None);
    }
}

/// Clients that take nothing, of programs that are at their end and have asked for a long farewell: closing waits neither here nor in a
/// child that comes along.
#[test]
fn closing_waits_for_nobody() {
    use rustix::net::{
        AddressFamily, SocketFlags, SocketType, accept_with, bind, connect, getsockname, listen, socket_with,
    };
    let (tell, hear) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut spawner = ready();
        let image = Rc::new(image(c"/bin/sh", c"exit 0").build());
        let tcp =
            || socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        for others in [0, MOST_IN_FLIGHT - 1] {
            let (door, far) = (tcp(), tcp());
            bind(&door, &std::net::SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
            listen(&door, 1).unwrap();
            connect(&far, &getsockname(&door).unwrap()).unwrap();
            let client = accept_with(&door, SocketFlags::CLOEXEC).unwrap();
            rustix::io::ioctl_fionbio(&client, true).unwrap();
            while rustix::io::write(&client, &[0; 65536]).is_ok() {}
            sockopt::set_socket_linger(&client, Some(Duration::from_secs(300))).unwrap();
            for client in std::iter::once(client).chain((0..others).map(|_| pipe().1)) {
                let pid = spawner.launch(&image, &[], client.into(), 0).unwrap();
                // It has ended, so the descriptor here is the last one.
                assert_eq!(status(pid), Some(0));
            }
            assert!(spawner.land().is_empty());
            tell.send(far).unwrap();
        }
    });
    for _ in 0..2 {
        let far = hear.recv_timeout(Duration::from_secs(60));
        // What was sent comes all the same, and then the end.
        let mut far = File::from(far.expect("closing lingers"));
        assert!(far.read_to_end(&mut Vec::new()).unwrap() > 65536);
    }
}

/// Whoever lets go of the spawner waits for those that are under way: they read what goes with it.
#[test]
fn nothing_goes_while_somebody_reads_it() {
    let mut spawner = ready();
    let slow = Rc::new(image(c"/bin/sh", c"exit 5").build());
    let pids: Vec<_> =
        (0..MOST_IN_FLIGHT).map(|_| spawner.launch(&slow, &[c"B=2"], pipe().1.into(), 0).unwrap()).collect();
    drop((spawner, slow));
    assert!(pids.into_iter().all(|pid| status(pid) == Some(5)));
}

/// fcntl(2); the libc crate does not have it.
const F_SETSIG: c_int = 10;

/// A program whose file somebody has leased: to open it waits until the lease is given back.
struct Leased {
    path: std::path::PathBuf,
    file: File,
}

impl Leased {
    fn new() -> Self {
        // Beside this program, where programs can be executed.
        let path = std::env::current_exe().unwrap().with_extension(format!("leased-{}", std::process::id()));
        std::fs::copy("/bin/true", &path).unwrap();
        let file = File::open(&path).unwrap();
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            // SAFETY: plain integers. Of the signal that tells of a break nobody takes notice.
            let leased = unsafe {
                libc::fcntl(file.as_raw_fd(), F_SETSIG, libc::SIGURG);
                libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK)
            };
            if leased == 0 {
                return Self { path, file };
            }
            let error = std::io::Error::last_os_error();
            // Another test has started a program while it was being copied, which had it open for writing until it was executed.
            assert!(
                error.kind() == std::io::ErrorKind::WouldBlock && Instant::now() < end,
                "{path:?}: {error}"
            );
            std::thread::yield_now();
        }
    }

    fn give_back(&self) {
        // SAFETY: plain integers.
        assert_eq!(unsafe { libc::fcntl(self.file.as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK) }, 0);
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Long before we come to look: by the next that comes along, though its own program is not executed yet.
#[test]
fn clients_are_let_go_by_the_children_of_others() {
    let leased = Leased::new();
    let path = CString::new(leased.path.to_str().unwrap()).unwrap();
    let (tell, hear) = std::sync::mpsc::channel();
    let (go, wait) = std::sync::mpsc::channel();
    let landed = std::thread::spawn(move || {
        let mut spawner = ready();
        let quick = Rc::new(image(c"/bin/sh", c"exit 3").build());
        let mut clients = Vec::new();
        for _ in 0..crate::lent::GATHERED {
            let (read, write) = pipe();
            let pid = spawner.launch(&quick, &[], write.into(), 0).unwrap();
            assert_eq!(status(pid), Some(3));
            clients.push(read);
        }
        let (read, write) = pipe();
        let slow = Rc::new(image(&path, c"").build());
        let pid = spawner.launch(&slow, &[], write.into(), 0).unwrap();
        tell.send((clients, read, pid)).unwrap();
        wait.recv().unwrap();
        spawner.land().len()
    });
    let (clients, slow, child) = hear.recv().unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    let is_closed = |mut read: &File| {
        rustix::io::ioctl_fionbio(read, true).unwrap();
        read.read(&mut [0]).is_ok_and(|length| length == 0)
    };
    while !clients.iter().all(is_closed) {
        assert!(Instant::now() < end, "clients whose programs have ended still wait");
        std::thread::yield_now();
    }
    assert!(!is_closed(&slow));
    let program = |pid: &str| std::fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    assert_eq!(program(&child.as_raw_nonzero().to_string()), program("self"), "it has been executed");
    leased.give_back();
    assert_eq!(status(child), Some(0));
    go.send(()).unwrap();
    assert_eq!(landed.join().unwrap(), 0);
    assert!(clients.iter().all(is_closed) && is_closed(&slow));
}
