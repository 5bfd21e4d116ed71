//! What a program is confined to, seen from inside by a shell, and that its parent is not.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod skip;

use portreeve_sys::calls::number;
use portreeve_sys::sandbox::{Mount, MountKind, Point, READ_ONLY, Root, Sandbox};
use portreeve_sys::seccomp::{Answer, Rule, Test, compile};
use portreeve_sys::spawn::{Ids, ImageBuilder, SpawnError, Spawner, Stage, Stdio};
use rustix::io::Errno;
use rustix::process::{WaitOptions, waitpid};
use std::ffi::CString;
use std::io::Read;
use std::os::fd::AsFd;

const NET_BIND_SERVICE: u64 = 1 << 10;

fn mount(path: &str, kind: MountKind) -> Mount {
    Mount::new(CString::new(path).unwrap(), kind, false, format!("at {path}"))
}

fn image(script: &str, sandbox: Sandbox) -> ImageBuilder {
    ImageBuilder {
        path: c"/bin/sh".into(),
        argv: vec![c"sh".into(), c"-c".into(), CString::new(script).unwrap()],
        env: vec![c"PATH=/usr/sbin:/usr/bin:/sbin:/bin".into(), c"LC_ALL=C".into()],
        umask: Some(0o22),
        dir: c"/".into(),
        sandbox: Some(Box::new(sandbox)),
        ..ImageBuilder::default()
    }
}

/// What the program wrote, and the signal that ended it.
fn run(builder: ImageBuilder) -> (String, Option<i32>) {
    let image = builder.build();
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let started = Spawner::new().unwrap().spawn(&image, &[], Stdio::Client(write.as_fd()));
    let pid = started.unwrap_or_else(|error| panic!("{error}: {}", image.sandbox().unwrap().failed()));
    drop(write);
    let mut text = String::new();
    std::fs::File::from(read).read_to_string(&mut text).unwrap();
    let status = waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap().1;
    (text, status.terminating_signal())
}

fn said(script: &str, sandbox: Sandbox) -> String {
    run(image(script, sandbox)).0
}

/// Where and why a start fails, and the part that is named.
fn failure(sandbox: Sandbox) -> (Stage, Errno, String) {
    let image = image("echo never", sandbox).build();
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let error = Spawner::new().unwrap().spawn(&image, &[], Stdio::Client(write.as_fd()));
    drop(write);
    let Err(SpawnError::Child { pid, stage, errno }) = error else { panic!("{error:?}") };
    assert_eq!(waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap().1.exit_status(), Some(1));
    let mut text = String::new();
    std::fs::File::from(read).read_to_string(&mut text).unwrap();
    assert_eq!(text, "", "nothing was executed");
    (stage, errno, image.sandbox().unwrap().failed().to_owned())
}

fn directory(name: &str) -> String {
    let path = std::env::temp_dir().join(format!("portreeve-sandbox-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path.to_str().unwrap().to_owned()
}

fn deny(name: &str, when: Vec<(u8, Test)>, answer: Answer) -> Rule {
    Rule { call: number(name).unwrap(), when, answer }
}

#[test]
fn a_file_system_is_read_only_but_where_it_is_not() {
    if !skip::is_root() {
        return;
    }
    let here = directory("ro");
    for name in ["rw", "rw/ro", "rw/none"] {
        std::fs::create_dir(format!("{here}/{name}")).unwrap();
    }
    std::fs::write(format!("{here}/rw/none/secret"), "secret").unwrap();
    std::fs::write(format!("{here}/file"), "secret").unwrap();
    let mounts = vec![
        mount("/", MountKind::ReadOnly),
        mount("/dev", MountKind::AsOutside),
        mount(&format!("{here}/file"), MountKind::Inaccessible),
        mount(&format!("{here}/rw"), MountKind::AsOutside),
        mount(&format!("{here}/rw/none"), MountKind::Inaccessible),
        mount(&format!("{here}/rw/ro"), MountKind::ReadOnly),
    ];
    let script = format!(
        "for f in {here}/a /etc/a {here}/rw/a {here}/rw/ro/a /dev/shm/portreeve-sandbox; do \
         if : 2>/dev/null >$f; then echo yes; rm -f $f; else echo no; fi; done; \
         ls -A {here}/rw/none; test -s {here}/file || echo empty; stat -c %a {here}/file {here}/rw/none"
    );
    // A redirection that fails ends a shell that runs a special builtin.
    let script = script.replace("if : 2>/dev/null >$f", "if touch $f 2>/dev/null");
    let all = Sandbox { mounts: Some(mounts), ..Sandbox::default() };
    assert_eq!(said(&script, all), "no\nno\nyes\nno\nyes\nempty\n0\n0\n");
    assert!(std::fs::write(format!("{here}/rw/ro/a"), "").is_ok(), "outside nothing has changed");
    assert_eq!(std::fs::read_to_string(format!("{here}/file")).unwrap(), "secret");
    std::fs::remove_dir_all(here).unwrap();
}

/// By a process of its own: what another test's thread starts meanwhile would have it open for writing until its execve, and then it could not
/// be executed.
fn copy_program(from: &str, to: &std::path::Path) {
    assert!(std::process::Command::new("cp").arg(from).arg(to).status().unwrap().success());
}

/// What covers is made in a directory that there is: a root of the program's own may have no /dev.
#[test]
fn a_root_without_devices_is_covered_too() {
    if !skip::is_root() {
        return;
    }
    let here = directory("root");
    let ldd = std::process::Command::new("ldd").arg("/bin/sh").output().unwrap();
    let ldd = String::from_utf8(ldd.stdout).unwrap();
    for file in ldd.split_ascii_whitespace().filter(|word| word.starts_with('/')).chain(["/bin/sh"]) {
        let place = std::path::PathBuf::from(format!("{here}{file}"));
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        copy_program(file, &place);
    }
    std::fs::create_dir(format!("{here}/none")).unwrap();
    std::fs::write(format!("{here}/none/file"), "secret").unwrap();
    std::fs::write(format!("{here}/file"), "secret").unwrap();
    let root = Root { path: CString::new(here.as_str()).unwrap(), link: None, api: true, points: Vec::new() };
    let mounts = vec![mount("/file", MountKind::Inaccessible), mount("/none", MountKind::Inaccessible)];
    let all = Sandbox { root: Some(root), mounts: Some(mounts), ..Sandbox::default() };
    let script = "test -s /file || echo empty; test -e /none/file || echo gone; test -e /bin/sh && echo in";
    assert_eq!(said(script, all), "empty\ngone\nin\n");
    assert_eq!(std::fs::read_to_string(format!("{here}/none/file")).unwrap(), "secret");
    std::fs::remove_dir_all(here).unwrap();
}

#[test]
fn an_empty_file_system_lies_over_what_is_there() {
    if !skip::is_root() {
        return;
    }
    let here = directory("tmp");
    std::fs::write(format!("{here}/a"), "").unwrap();
    let options = c"mode=1777,size=10%".to_owned();
    let flags = libc::MS_NOSUID | libc::MS_NODEV;
    let mounts = vec![mount(&here, MountKind::Empty { flags, options })];
    let all = Sandbox { mounts: Some(mounts), ..Sandbox::default() };
    assert_eq!(
        said(&format!("ls -A {here}; echo b >{here}/b; cat {here}/b; stat -c %a {here}"), all),
        "b\n1777\n"
    );
    assert!(!std::path::Path::new(&here).join("b").exists());
    std::fs::remove_dir_all(here).unwrap();
}

#[test]
fn a_place_is_bound_into_what_is_new() {
    if !skip::is_root() {
        return;
    }
    let here = directory("bind");
    std::fs::create_dir_all(format!("{here}/src")).unwrap();
    std::fs::create_dir_all(format!("{here}/top/old")).unwrap();
    std::fs::write(format!("{here}/src/file"), "text").unwrap();
    let bind = |path: &str, source: &str, read_only| {
        let source = CString::new(format!("{here}/{source}")).unwrap();
        mount(
            &format!("{here}/{path}"),
            MountKind::Bind { source, read_only, recursive: true, no_devices: false },
        )
    };
    let steps = |binds: Vec<Mount>| {
        let options = c"mode=0755,size=10%".to_owned();
        let mut empty = mount(&format!("{here}/top"), MountKind::Empty { flags: READ_ONLY, options });
        empty.points = vec![Point::new(1, "a/b").unwrap(), Point::new(2, "f").unwrap()];
        let mounts: Vec<Mount> = [empty].into_iter().chain(binds).collect();
        Sandbox { mounts: Some(mounts), ..Sandbox::default() }
    };
    let script = format!(
        "cd {here}/top; ls; stat -c %a a a/b f; cat f a/b/file; for f in x a/x a/b/x f; do \
         touch $f 2>/dev/null && echo $f; done; rm a/b/x"
    );
    let both = vec![bind("top/a/b", "src", false), bind("top/f", "src/file", true)];
    assert_eq!(said(&script, steps(both)), "a\nf\n755\n755\n644\ntexttexta/b/x\n");
    assert!(!std::path::Path::new(&here).join("top/a").exists());
    // Of a source that is not there its path is told, of a place that is not there the step.
    let none = vec![bind("top/a/b", "none", false), bind("top/f", "src/file", true)];
    assert_eq!(failure(steps(none)), (Stage::Sandbox, Errno::NOENT, format!("{here}/none")));
    let elsewhere = vec![bind("top/a/b", "src", false), bind("top/g", "src/file", true)];
    assert_eq!(failure(steps(elsewhere)), (Stage::Sandbox, Errno::NOENT, format!("at {here}/top/g")));
    std::fs::remove_dir_all(here).unwrap();
}

#[test]
fn programs_and_secure_bits() {
    if !skip::is_root() {
        return;
    }
    let here = directory("programs");
    for path in ["a", "b"] {
        std::fs::create_dir(format!("{here}/{path}")).unwrap();
        copy_program("/bin/true", format!("{here}/{path}/true").as_ref());
    }
    let mounts = vec![
        mount(&here, MountKind::Programs(false)),
        mount(&format!("{here}/b"), MountKind::Programs(true)),
    ];
    let all = Sandbox { mounts: Some(mounts), secure_bits: 1, ..Sandbox::default() };
    let script = format!(
        "for p in a b; do {here}/$p/true 2>/dev/null && echo $p; test -w {here}/$p && echo can; done; \
         grep -c '^CapEff:.0*$' /proc/self/status"
    );
    assert_eq!(said(&script, all), "can\nb\ncan\n1\n");
    std::fs::remove_dir_all(here).unwrap();
}

#[test]
fn devices_are_those_that_do_nothing() {
    if !skip::is_root() {
        return;
    }
    let all = Sandbox { mounts: Some(vec![mount("/dev", MountKind::Devices)]), ..Sandbox::default() };
    let script = "ls /dev | grep -v -e mqueue -e hugepages -e log | tr '\\n' ' '; echo x >/dev/null && echo null; \
                  head -c 3 /dev/zero | wc -c; stat -c %a /dev/null; touch /dev/x 2>/dev/null || echo no; ls -d /dev/shm";
    let wanted =
        "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero null\n3\n666\nno\n/dev/shm\n";
    assert_eq!(said(script, all), wanted);
}

#[test]
fn processes_of_others_are_not_seen() {
    if !skip::is_root() {
        return;
    }
    let options = c"hidepid=invisible".to_owned();
    let mounts = vec![mount("/proc", MountKind::Processes(options))];
    let mut builder = image(
        "test -e /proc/1 && echo seen; test -e /proc/self && echo own",
        Sandbox { mounts: Some(mounts), ..Sandbox::default() },
    );
    builder.ids = Some(Ids { uid: 65534, gid: 65534, groups: Vec::new() });
    assert_eq!(run(builder).0, "own\n");
}

#[test]
fn namespaces_are_its_own() {
    if !skip::is_root() {
        return;
    }
    let script = "grep -c : /proc/self/net/dev; grep -o 'lo:' /proc/self/net/dev; cat /proc/sys/net/ipv4/conf/lo/forwarding >/dev/null; \
                  for n in net ipc uts mnt; do readlink /proc/self/ns/$n; done";
    let all =
        Sandbox { network: true, ipc: true, host_name: true, mounts: Some(Vec::new()), ..Sandbox::default() };
    let text = said(script, all);
    let mut lines = text.lines();
    assert_eq!((lines.next(), lines.next()), (Some("1"), Some("lo:")), "{text}");
    for name in ["net", "ipc", "uts", "mnt"] {
        let own = std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        assert_ne!(lines.next(), own.to_str(), "{text}");
    }
}

#[test]
fn capabilities_are_bounded_and_ambient() {
    if !skip::is_root() {
        return;
    }
    let script = "grep -E '^(Cap(Prm|Eff|Bnd|Amb)|NoNewPrivs)' /proc/self/status | tr -d '\\n'";
    let bounding = NET_BIND_SERVICE;
    let nnp = Sandbox { bounding, no_new_privs: true, ..Sandbox::default() };
    let held = format!("{bounding:016x}");
    let wanted = format!("CapPrm:\t{held}CapEff:\t{held}CapBnd:\t{held}CapAmb:\t{:016x}NoNewPrivs:\t1", 0);
    assert_eq!(said(script, nnp), wanted, "of root");
    let mut builder = image(script, Sandbox { bounding, ambient: NET_BIND_SERVICE, ..Sandbox::default() });
    builder.ids = Some(Ids { uid: 65534, gid: 65534, groups: Vec::new() });
    let wanted = format!("CapPrm:\t{held}CapEff:\t{held}CapBnd:\t{held}CapAmb:\t{held}NoNewPrivs:\t0");
    assert_eq!(run(builder).0, wanted, "of another user");
}

#[test]
fn calls_are_answered_by_the_first_rule_that_holds() {
    let kill = compile(&[deny("uname", vec![], Answer::Kill)], Answer::Allow).unwrap();
    let all = |filter| Sandbox { no_new_privs: true, filters: vec![filter], ..Sandbox::default() };
    let (text, signal) = run(image("echo in; exec uname", all(kill)));
    assert_eq!((text.as_str(), signal), ("in\n", Some(libc::SIGSYS)));

    let error = compile(&[deny("uname", vec![], Answer::Errno(38))], Answer::Allow).unwrap();
    let text = said("uname 2>&1", all(error));
    assert!(text.contains("Function not implemented"), "{text}");

    // By arguments: no set-user-ID bit, and of the other modes every one.
    let here = directory("mode");
    let mode = |name, index| deny(name, vec![(index, Test::AnyOf(0o6000))], Answer::Errno(1));
    let rules = [mode("chmod", 1), mode("fchmod", 1), mode("fchmodat", 2), mode("fchmodat2", 2)];
    let script =
        format!("touch {here}/a; chmod u+s {here}/a 2>/dev/null || echo no; chmod 600 {here}/a && echo yes");
    assert_eq!(said(&script, all(compile(&rules, Answer::Allow).unwrap())), "no\nyes\n");
    std::fs::remove_dir_all(here).unwrap();
}

#[test]
fn a_list_of_what_is_allowed_lets_a_shell_run_and_nothing_else() {
    let names = "read write close openat open newfstatat fstat stat lstat mmap mprotect munmap brk rt_sigaction rt_sigprocmask \
        rt_sigreturn pread64 access faccessat faccessat2 execve exit exit_group arch_prctl set_tid_address set_robust_list \
        rseq prlimit64 getrandom getpid getppid getuid geteuid getgid getegid ioctl fcntl dup2 dup3 clone vfork wait4 lseek \
        futex getcwd statx readlink readlinkat clone3 getpgrp getdents64 fadvise64 uname sysinfo setpgid pipe2 pipe";
    let allow = |name| number(name).map(|call| Rule { call, when: vec![], answer: Answer::Allow });
    let rules: Vec<Rule> = names.split_ascii_whitespace().filter_map(allow).collect();
    let filter = compile(&rules, Answer::Errno(1)).unwrap();
    assert!(filter.len() < 200, "{} instructions", filter.len());
    let all = Sandbox { no_new_privs: true, filters: vec![filter], ..Sandbox::default() };
    let script = "echo in; cat /etc/passwd >/dev/null && echo read; chmod 600 /tmp 2>/dev/null || echo no";
    assert_eq!(said(script, all), "in\nread\nno\n");
}

#[test]
fn a_part_that_cannot_be_had_is_named_and_nothing_is_started() {
    let broken = Sandbox {
        impossible: Some("a filter of system calls on this machine".to_owned()),
        ..Sandbox::default()
    };
    let (stage, errno, part) = failure(broken);
    assert_eq!((stage, errno), (Stage::Sandbox, Errno::NOSYS));
    assert_eq!(part, "a filter of system calls on this machine");
    if !skip::is_root() {
        return;
    }
    let missing = vec![mount("/", MountKind::ReadOnly), mount("/no/such/place", MountKind::Inaccessible)];
    let all = Sandbox { mounts: Some(missing), ..Sandbox::default() };
    assert_eq!(failure(all), (Stage::Sandbox, Errno::NOENT, "at /no/such/place".to_owned()));
    let optional = Mount::new(c"/no/such/place".into(), MountKind::Inaccessible, true, String::new());
    let all = Sandbox { mounts: Some(vec![optional]), ..Sandbox::default() };
    assert_eq!(said("echo in", all), "in\n");
    let odd = MountKind::Empty { flags: 0, options: c"size=x".into() };
    let all = Sandbox { mounts: Some(vec![mount("/tmp", odd)]), ..Sandbox::default() };
    assert_eq!(failure(all), (Stage::Sandbox, Errno::INVAL, "at /tmp".to_owned()));
}

#[test]
fn the_parent_is_left_alone() {
    if !skip::is_root() {
        return;
    }
    let state = || {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let of =
            |line: &&str| line.starts_with("Cap") || line.starts_with("Seccomp") || line.starts_with("NoNew");
        let status: Vec<String> = status.lines().filter(of).map(str::to_owned).collect();
        let spaces = ["net", "ipc", "uts", "mnt"]
            .map(|n| std::fs::read_link(format!("/proc/thread-self/ns/{n}")).unwrap());
        let mounts = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        (status, spaces, mounts)
    };
    let mut spawner = Spawner::new().unwrap();
    let before = state();
    let mounts = vec![
        mount("/", MountKind::ReadOnly),
        mount("/dev", MountKind::Devices),
        mount("/root", MountKind::Inaccessible),
    ];
    let filter = compile(&[deny("uname", vec![], Answer::Kill)], Answer::Allow).unwrap();
    let all = Sandbox {
        mounts: Some(mounts),
        network: true,
        ipc: true,
        host_name: true,
        bounding: NET_BIND_SERVICE,
        no_new_privs: true,
        filters: vec![filter],
        ..Sandbox::default()
    };
    let image = image("exit 0", all).build();
    let null = std::fs::File::options().read(true).write(true).open("/dev/null").unwrap();
    for _ in 0..3 {
        let pid = spawner.spawn(&image, &[], Stdio::Client(null.as_fd())).unwrap();
        assert_eq!(waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap().1.exit_status(), Some(0));
    }
    drop(null);
    assert_eq!(state(), before);
}
