//! A started process is exactly what its image says: seen from inside, by a shell that prints what it finds.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod skip;

use portreeve_sys::spawn::{Ids, Image, ImageBuilder, RlimitKind, SpawnError, Spawner, Stage, Stdio};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, waitpid};
use std::ffi::{CStr, CString};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

fn shell(script: &str) -> ImageBuilder {
    ImageBuilder {
        path: c"/bin/sh".into(),
        argv: vec![c"sh".into(), c"-c".into(), CString::new(script).unwrap()],
        ..ImageBuilder::default()
    }
}

fn wait(pid: Pid) -> Option<i32> {
    waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap().1.exit_status()
}

/// Runs the image with one pipe on all three descriptors and returns what it wrote.
fn output_of(image: &Image, extra: &[&CStr]) -> String {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let pid = Spawner::new().unwrap().spawn(image, extra, Stdio::Client(write.as_fd())).unwrap();
    drop(write);
    let mut text = String::new();
    std::fs::File::from(read).read_to_string(&mut text).unwrap();
    assert_eq!(wait(pid), Some(0), "{text}");
    text
}

fn run(builder: ImageBuilder) -> String {
    output_of(&builder.build(), &[])
}

fn null() -> OwnedFd {
    std::fs::File::options().read(true).write(true).open("/dev/null").unwrap().into()
}

/// Starts an image that must fail, reaps it, and returns where and why; its exit status must be 1.
fn failure(builder: ImageBuilder) -> (Stage, Errno) {
    let error = Spawner::new().unwrap().spawn(&builder.build(), &[], Stdio::Client(null().as_fd()));
    let Err(SpawnError::Child { pid, stage, errno }) = error else { panic!("{error:?}") };
    assert_eq!(wait(pid), Some(1));
    (stage, errno)
}

#[test]
fn arguments_and_environment_keep_their_order() {
    let mut image = shell("printf '[%s]' \"$0\" \"$@\"; cat /proc/self/environ | tr '\\0' '\\n'");
    image.argv.extend([c"zero".into(), c"".into(), c"two words".into()]);
    image.env = vec![c"A=1".into(), c"REMOTE_HOST=config".into()];
    let text = output_of(&image.build(), &[c"REMOTE_HOST=10.0.0.1", c"REMOTE_PORT=7"]);
    assert!(text.starts_with("[zero][][two words]"), "{text}");
    // cat gets what the shell exports; read the raw block of the shell itself for order and repetitions.
    let mut raw = shell("tr '\\0' '\\n' < /proc/$$/environ");
    raw.env = vec![c"A=1".into(), c"REMOTE_HOST=config".into()];
    let text = output_of(&raw.build(), &[c"REMOTE_HOST=10.0.0.1", c"REMOTE_PORT=7"]);
    assert_eq!(text, "A=1\nREMOTE_HOST=config\nREMOTE_HOST=10.0.0.1\nREMOTE_PORT=7\n");
}

#[test]
fn one_spawner_starts_different_images() {
    let mut spawner = Spawner::new().unwrap();
    let long = shell("exit 3");
    let mut short = shell("exit 4");
    short.env = vec![c"X=1".into(); 40];
    let (long, short) = (long.build(), short.build());
    for _ in 0..20 {
        let first = spawner.spawn(&long, &[c"E=1"], Stdio::Client(null().as_fd())).unwrap();
        let second = spawner.spawn(&short, &[], Stdio::Client(null().as_fd())).unwrap();
        assert_eq!((wait(first), wait(second)), (Some(3), Some(4)));
    }
}

#[test]
fn ids_are_taken_completely() {
    if !skip::is_root() {
        return;
    }
    let mut image = shell("grep -E '^(Uid|Gid|Groups)' /proc/self/status");
    image.ids = Some(Ids { uid: 65533, gid: 65532, groups: vec![7, 5] });
    let text = run(image).replace('\t', " ");
    assert_eq!(text, "Uid: 65533 65533 65533 65533\nGid: 65532 65532 65532 65532\nGroups: 5 7 \n");
    let mut image = shell("grep -E '^Groups' /proc/self/status");
    image.ids = Some(Ids { uid: 65533, gid: 65532, groups: vec![] });
    assert_eq!(run(image).trim_end(), "Groups:");
}

#[test]
fn surroundings_are_as_asked() {
    let mut image = shell("umask; pwd");
    image.umask = Some(0o37);
    image.dir = c"/usr/bin".into();
    assert_eq!(run(image), "0037\n/usr/bin\n");
    // Left alone when not asked for.
    let own = std::env::current_dir().unwrap();
    assert_eq!(run(shell("pwd -P")).trim_end(), own.canonicalize().unwrap().to_str().unwrap());
}

#[test]
fn niceness_is_relative() {
    let nice = |increment| {
        let mut image = shell("cut -d' ' -f19 /proc/self/stat");
        image.nice = increment;
        run(image).trim_end().parse::<i32>().unwrap()
    };
    let before = nice(None);
    assert_eq!(nice(Some(3)), (before + 3).min(19));
    assert_eq!(nice(Some(i32::MAX)), 19);
}

#[test]
fn limits_are_set_and_their_errors_ignored() {
    let mut image = shell("ulimit -n; ulimit -H -n; ulimit -t; ulimit -v; ulimit -H -c");
    image.rlimits = vec![
        (RlimitKind::Nofile, 64, 128),
        (RlimitKind::Cpu, 7, 9),
        (RlimitKind::As, u64::MAX, u64::MAX),
        (RlimitKind::Core, 0, 0),
        (RlimitKind::Core, 10, 5), // soft above hard: refused by the kernel, ignored here
    ];
    assert_eq!(run(image), "64\n128\n7\nunlimited\n0\n");
}

#[test]
fn limits_come_after_the_uid() {
    if !skip::is_root() {
        return;
    }
    let mut image = shell("ulimit -H -n");
    image.ids = Some(Ids { uid: 65533, gid: 65532, groups: vec![] });
    // The second would succeed for root; for the service's user it fails silently, as under xinetd.
    image.rlimits = vec![(RlimitKind::Nofile, 50, 50), (RlimitKind::Nofile, 60, 60)];
    assert_eq!(run(image), "50\n");
}

#[test]
fn a_session_of_its_own_only_when_asked() {
    let script = "echo $$; cut -d' ' -f5,6 /proc/$$/stat";
    let mut image = shell(script);
    image.new_session = true;
    let text = run(image);
    let (pid, ids) = text.trim_end().split_once('\n').unwrap();
    assert_eq!(ids, format!("{pid} {pid}"));
    let text = run(shell(script));
    let (pid, ids) = text.trim_end().split_once('\n').unwrap();
    assert!(!ids.contains(pid), "{text}");
}

#[test]
fn no_signal_is_blocked_or_ignored() {
    // Rust's runtime ignores SIGPIPE, so there is one to reset.
    let text = run(shell("grep -E '^Sig(Blk|Ign)' /proc/self/status"));
    assert_eq!(text.replace('\t', " "), "SigBlk: 0000000000000000\nSigIgn: 0000000000000000\n");
}

#[test]
fn nothing_but_stdio_is_open() {
    // What the test runner itself inherited must not count, and this is how a daemon gets rid of it.
    portreeve_sys::stdio::seal_inherited().unwrap();
    let closing: Vec<OwnedFd> = (0..150).map(|_| null()).collect();
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    // Above the client's descriptor even those without close-on-exec must go: they are never copied.
    let leaking = || {
        let fd = rustix::io::fcntl_dupfd_cloexec(&closing[0], 500).unwrap();
        rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::empty()).unwrap();
        fd
    };
    let leaking: Vec<OwnedFd> = (0..150).map(|_| leaking()).collect();
    let image = shell("ls -l /proc/$$/fd").build();
    let pid = Spawner::new().unwrap().spawn(&image, &[], Stdio::Client(write.as_fd())).unwrap();
    drop(write);
    let mut text = String::new();
    std::fs::File::from(read).read_to_string(&mut text).unwrap();
    assert_eq!(wait(pid), Some(0));
    assert_eq!(text.lines().filter(|l| l.contains(" -> ")).count(), 3, "{text}");
    assert!(closing.iter().chain(&leaking).all(|fd| rustix::io::fcntl_getfd(fd).is_ok()), "ours stay open");
}

#[test]
fn descriptors_may_change_places() {
    let link = |fd: BorrowedFd<'_>| std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap();
    let (zero, two) = (rustix::stdio::stdin(), rustix::stdio::stderr());
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let extra = std::fs::File::open("/etc/passwd").unwrap();
    // No pipe in the script: for a moment the shell itself would hold its ends, and they would be counted.
    let image = shell("for i in 0 2 3; do readlink /proc/$$/fd/$i; done; ls /proc/$$/fd; exit 0").build();
    let stdio =
        Stdio::Separate { stdin: two, stdout: write.as_fd(), stderr: zero, extra: Some(extra.as_fd()) };
    let pid = Spawner::new().unwrap().spawn(&image, &[], stdio).unwrap();
    drop(write);
    let mut text = String::new();
    std::fs::File::from(read).read_to_string(&mut text).unwrap();
    assert_eq!(wait(pid), Some(0));
    let expected = format!("{}\n{}\n/etc/passwd\n0\n1\n2\n3\n", link(two).display(), link(zero).display());
    assert_eq!(text, expected);
}

#[test]
fn a_failure_names_its_stage() {
    let mut missing = shell("");
    missing.path = c"/nonexistent/program".into();
    assert_eq!(failure(missing), (Stage::Exec, Errno::NOENT));
    let mut directory = shell("");
    directory.path = c"/tmp".into();
    assert_eq!(failure(directory), (Stage::Exec, Errno::ACCESS));
    let mut nowhere = shell("");
    nowhere.dir = c"/nonexistent".into();
    assert_eq!(failure(nowhere), (Stage::Chdir, Errno::NOENT));
    let mut cgroup = shell("");
    cgroup.cgroup_procs = Some(std::fs::File::open("/dev/null").unwrap().into()); // read-only
    assert_eq!(failure(cgroup), (Stage::Cgroup, Errno::BADF));
    let mut large = shell("");
    large.argv.push(CString::new(vec![b'x'; 1 << 20]).unwrap());
    assert_eq!(failure(large), (Stage::Exec, Errno::TOOBIG));
}

#[test]
fn without_root_own_ids_work_and_others_do_not() {
    if !skip::is_root() {
        return;
    }
    // Ids are per thread for the kernel, so this thread alone gives up root.
    std::thread::spawn(|| {
        let (uid, gid) = (rustix::process::Uid::from_raw(65533), rustix::process::Gid::from_raw(65532));
        rustix::thread::set_thread_groups(&[gid]).unwrap();
        rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
        rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
        let mut own = shell("grep -E '^(Uid|Groups)' /proc/self/status");
        own.ids = Some(Ids { uid: 65533, gid: 65532, groups: vec![] });
        let text = run(own).replace('\t', " ");
        assert_eq!(text, "Uid: 65533 65533 65533 65533\nGroups: 65532 \n", "the groups step is skipped");
        let mut other = shell("");
        other.ids = Some(Ids { uid: 65531, gid: 65532, groups: vec![] });
        assert_eq!(failure(other), (Stage::Setuid, Errno::PERM));
        let mut group = shell("");
        group.ids = Some(Ids { uid: 65533, gid: 0, groups: vec![] });
        assert_eq!(failure(group), (Stage::Setgid, Errno::PERM));
    })
    .join()
    .unwrap();
}

#[test]
fn the_mask_of_the_caller_is_given_back() {
    let blocked = || {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        status.lines().find(|l| l.starts_with("SigBlk")).unwrap().to_owned()
    };
    let before = blocked();
    run(shell("exit 0"));
    assert_eq!(blocked(), before);
}

#[test]
fn a_limit_that_kills_before_exec_is_a_started_process() {
    // No room for the program: the kernel ends it past the point of no return, and execve reports nothing.
    let mut image = shell("exit 0");
    image.rlimits = vec![(RlimitKind::As, 4096, 4096)];
    let image = image.build();
    match Spawner::new().unwrap().spawn(&image, &[], Stdio::Client(null().as_fd())) {
        Ok(pid) => {
            let (_, status) = waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap();
            assert!(status.signaled(), "{status:?}");
        }
        Err(SpawnError::Child { pid, stage, errno }) => {
            assert_eq!((stage, errno), (Stage::Exec, Errno::NOMEM));
            wait(pid);
        }
        Err(other) => panic!("{other}"),
    }
}

/// A control group of one test, removed with it.
struct Cgroup(std::path::PathBuf);

impl Cgroup {
    /// In whichever hierarchy lets us: unified, mixed, or the old pids controller.
    fn new() -> Option<Self> {
        let name = format!("portreeve-sys-{}", std::process::id());
        let bases = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/pids"];
        let paths = bases.iter().map(|base| std::path::Path::new(base).join(&name));
        // What is no hierarchy but the folder of some makes a plain one, which goes at once.
        let mut made = paths.filter(|path| std::fs::create_dir(path).is_ok()).map(Self);
        made.find(|made| made.0.join("cgroup.procs").exists())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn a_control_group_is_joined_before_privileges_go() {
    let Some(group) = skip::is_root().then(Cgroup::new).flatten() else {
        return skip::skip(skip::Reason::NoPidsController);
    };
    let procs = std::fs::File::options().write(true).open(group.0.join("cgroup.procs")).unwrap();
    let mut image = shell("cat /proc/self/cgroup; id -u");
    image.ids = Some(Ids { uid: 65533, gid: 65532, groups: vec![] });
    // Parked high, as listeners are: it must be usable although the child keeps only low descriptors.
    let high = portreeve_sys::highfd::park(procs.into(), 600).unwrap();
    image.cgroup_procs = Some(high);
    let text = run(image);
    let name = group.0.file_name().unwrap().to_str().unwrap();
    assert!(text.lines().any(|l| l.ends_with(&format!("/{name}"))), "{text}");
    assert!(text.ends_with("65533\n"), "{text}");
}

/// What a process that sleeps has on its descriptors, and its environment; then it is ended.
fn seen(extra: &[&CStr], stdio: Stdio<'_>) -> (Vec<String>, String) {
    let image = ImageBuilder {
        path: c"/bin/sleep".into(),
        argv: vec![c"sleep".into(), c"60".into()],
        ..ImageBuilder::default()
    };
    let pid = Spawner::new().unwrap().spawn(&image.build(), extra, stdio).unwrap();
    let number = pid.as_raw_nonzero();
    // The kernel lets us go on before the new program has its environment; once it sleeps, it has.
    let sleeps = || {
        let stat = std::fs::read_to_string(format!("/proc/{number}/stat")).unwrap();
        stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" S"))
    };
    let begin = std::time::Instant::now();
    while !sleeps() {
        assert!(begin.elapsed().as_secs() < 20, "it does not sleep");
        std::thread::yield_now();
    }
    let link = |fd: usize| std::fs::read_link(format!("/proc/{number}/fd/{fd}"));
    // The loader of the program may have opened more.
    let links = (0..).map_while(|fd| link(fd).ok()).map(|path| path.display().to_string()).collect();
    let environment = std::fs::read_to_string(format!("/proc/{number}/environ")).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    wait(pid);
    let environment = environment.replace(&number.to_string(), "PID");
    (links, environment)
}

#[test]
fn sockets_are_handed_over_as_systemd_does() {
    let (one, two) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let null = null();
    let sockets = [one.as_fd(), two.as_fd(), null.as_fd()];
    let (links, environment) =
        seen(&[c"LISTEN_FDS=3"], Stdio::Listen { null: null.as_fd(), sockets: &sockets });
    let of = |fd: &OwnedFd| std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap();
    let pipe = of(&one).display().to_string();
    assert_eq!(links.get(..6).unwrap(), ["/dev/null", "/dev/null", "/dev/null", &pipe, &pipe, "/dev/null"]);
    assert_eq!(environment, "LISTEN_FDS=3\0LISTEN_PID=PID\0");
    let (_, environment) = seen(&[], Stdio::Client(null.as_fd()));
    assert_eq!(environment, "");
}

#[test]
fn no_more_sockets_than_there_is_room_for() {
    let open: Vec<OwnedFd> = (0..40).map(|_| null()).collect();
    let sockets: Vec<BorrowedFd<'_>> = open.iter().map(AsFd::as_fd).collect();
    let (links, _) = seen(&[], Stdio::Listen { null: sockets[0], sockets: &sockets });
    let nulls = links.iter().take_while(|link| *link == "/dev/null").count();
    assert_eq!(nulls, 3 + portreeve_sys::spawn::MOST_SOCKETS);
}
