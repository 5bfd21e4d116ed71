//! Ways out of a sandbox, tried by a program that knows how it is made: calls under other numbers and by other ABIs, links that are
//! changed after the configuration was read, nodes of devices that lie about, keys of the supervisor, mounts that come later. Each succeeds
//! without the word that is against it.

use portreeve_compliance::client::{dial, talk};
use portreeve_compliance::skip::has_programs;
use portreeve_compliance::wait::must;
use portreeve_compliance::{Answer, Config, Entry, Start, World, ours};
use std::collections::BTreeSet;
use std::os::unix::fs::symlink;

/// Each way is tried in a process of its own, since some end it; who succeeds says its name.
const WAYS: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define NEW_USER 0x10000000
static const char *place = "/run/w/open/way";

static int old_abi(void) {
#ifdef __x86_64__
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(20) : "memory"); /* getpid */
    return result > 0;
#else
    return 0;
#endif
}
static int other_numbers(void) { syscall(0x40000000 | 39); return 1; }
static int unshare_user(void) { return unshare(NEW_USER) == 0; }
static int clone_user(void) {
    /* What the kernel does not look at is set too. */
    long pid = syscall(SYS_clone, (1UL << 40) | NEW_USER | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) _exit(0);
    return pid > 0;
}
static int clone3_user(void) {
    unsigned long long all[8] = { NEW_USER, 0, 0, 0, SIGCHLD };
    long pid = syscall(SYS_clone3, all, sizeof all);
    if (pid == 0) _exit(0);
    return pid > 0;
}
static int enter_any(void) { return setns(open("/proc/self/ns/uts", O_RDONLY), 0) == 0; }
static int ring(void) { char all[120] = { 0 }; return syscall(425, 4, all) >= 0; }
static int runs(void *memory) {
#ifdef __x86_64__
    ((unsigned char *) memory)[0] = 0xc3; /* ret */
    ((void (*)(void)) memory)();
    return 1;
#else
    return 0;
#endif
}
static int read_is_exec(void) {
    if (personality(READ_IMPLIES_EXEC) < 0) return 0;
    return runs(mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}
static int made_exec(void) {
    void *memory = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return mprotect(memory, 4096, 7) == 0 && runs(memory);
}
static int pkey_exec(void) {
    void *memory = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return syscall(SYS_pkey_mprotect, memory, 4096, 7, -1) == 0 && runs(memory);
}
static int shared_exec(void) {
    int id = shmget(IPC_PRIVATE, 4096, 0700);
    void *memory = shmat(id, 0, SHM_EXEC);
    shmctl(id, IPC_RMID, 0);
    return memory != (void *) -1;
}
static int is_suid(int fd) {
    struct stat found;
    return fd >= 0 && fstat(fd, &found) == 0 && (found.st_mode & 06000);
}
static int suid_open(void) { unlink(place); return is_suid(open(place, O_CREAT | O_RDWR, 04755)); }
static int suid_openat2(void) {
    unsigned long long how[3] = { O_CREAT | O_RDWR, 04755, 0 };
    unlink(place);
    return is_suid(syscall(SYS_openat2, AT_FDCWD, place, how, sizeof how));
}
static int suid_tmpfile(void) { return is_suid(open("/run/w/open", O_TMPFILE | O_RDWR, 02755)); }
static int suid_node(void) {
    unlink(place);
    return mknod(place, S_IFREG | 04755, 0) == 0 && is_suid(open(place, O_RDONLY));
}
static int suid_directory(void) { rmdir("/run/w/open/dir"); return mkdir("/run/w/open/dir", 02755) == 0 && chmod("/run/w/open/dir", 02755) == 0; }
static int suid_fchmodat2(void) {
    close(open(place, O_CREAT | O_RDWR, 0755));
    return syscall(452, AT_FDCWD, place, 04755, AT_SYMLINK_NOFOLLOW) == 0;
}
/* A copy of the mounts that can be written, whatever lies over them. */
static int writable_copy(void) {
    unsigned long long clear[4] = { 0, 1, 0, 0 };
    int tree = syscall(467, AT_FDCWD, "/usr", 1 | O_CLOEXEC | 0x8000, clear, sizeof clear);
    return tree >= 0 && faccessat(tree, "bin", W_OK, 0) == 0;
}
static int device(void) { char byte; return read(open("/run/w/nodes/zero", O_RDONLY), &byte, 1) == 1; }
static int key(void) { return syscall(SYS_keyctl, 10, -3, "user", "portreeve-test", 0) > 0; }
static int family(void) { return socket(AF_NETLINK, SOCK_RAW, 0) >= 0; }
/* A directory that was left open is a way around every mount. */
static int directory_left(void) {
    struct stat found;
    for (int fd = 0; fd < 1024; fd++)
        if (fstat(fd, &found) == 0 && S_ISDIR(found.st_mode)) return 1;
    return 0;
}
static int here(void) { char path[4096]; return getcwd(path, sizeof path) && strcmp(path, "/"); }

static const struct { const char *name; int (*try)(void); } ways[] = {
    { "old-abi", old_abi }, { "other-numbers", other_numbers }, { "unshare-user", unshare_user }, { "clone-user", clone_user },
    { "clone3-user", clone3_user }, { "enter-any", enter_any }, { "ring", ring }, { "read-is-exec", read_is_exec },
    { "made-exec", made_exec }, { "pkey-exec", pkey_exec }, { "shared-exec", shared_exec }, { "suid-open", suid_open },
    { "suid-openat2", suid_openat2 }, { "suid-tmpfile", suid_tmpfile }, { "suid-node", suid_node },
    { "suid-directory", suid_directory }, { "suid-fchmodat2", suid_fchmodat2 }, { "writable-copy", writable_copy },
    { "device", device }, { "key", key }, { "family", family }, { "directory-left", directory_left }, { "here", here },
};

int main(void) {
    for (unsigned i = 0; i < sizeof ways / sizeof *ways; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            if (ways[i].try()) { dprintf(1, "%s\n", ways[i].name); }
            _exit(0);
        }
        waitpid(pid, 0, 0);
    }
    return 0;
}
"#;

/// Compiles the program and puts what it looks for in place; false where there is no compiler.
fn prepare(world: &World) -> bool {
    if !has_programs(&["cc", "perl"]) {
        return false;
    }
    world.write("ways.c", WAYS);
    let command = "mkdir -p /run/w/open /run/w/nodes && mount -t tmpfs -o mode=755,dev tmpfs /run/w/nodes && \
        mknod /run/w/nodes/zero c 1 5 && cc -O1 -o /run/w/ways /run/w/ways.c 2>&1";
    let (how, said) = world.run(&["/bin/sh", "-c", command], &["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]);
    assert_eq!(how, portreeve_compliance::Ended::Status(0), "{said}");
    true
}

fn trying(id: &str, port: u16, sandbox: &str) -> Entry {
    let entry = Entry::program(id, port).set("server", "/run/w/ways").unset("server_args");
    if sandbox.is_empty() { entry } else { entry.set("sandbox", sandbox) }
}

fn lines(port: u16) -> BTreeSet<String> {
    talk("127.0.0.1", port, b"").text().lines().map(str::to_owned).collect()
}

fn set(words: &str) -> BTreeSet<String> {
    words.split_ascii_whitespace().map(str::to_owned).collect()
}

/// The supervisor has a session keyring with a key in it, as one has that root started from a login.
const WITH_A_KEY: [&str; 3] = [
    "/usr/bin/perl",
    "-e",
    "my $n = `uname -m` =~ /aarch64/ ? 1 : 0; my ($type, $name, $text) = ('user', 'portreeve-test', 'secret'); \
     syscall($n ? 219 : 250, 1, 0) > 0 or die; syscall($n ? 217 : 248, $type, $name, $text, 6, -3) > 0 or die; exec @ARGV or die",
];

#[test]
fn no_other_way_leads_to_what_was_taken_away() {
    let table = [
        ("SystemCallArchitectures=native", "old-abi other-numbers"),
        // The same as any filter does.
        ("RestrictRealtime", "old-abi other-numbers"),
        ("RestrictNamespaces=yes", "old-abi other-numbers unshare-user clone-user clone3-user enter-any"),
        ("RestrictNamespaces=~user", "old-abi other-numbers unshare-user clone-user clone3-user enter-any"),
        ("MemoryDenyWriteExecute", "old-abi other-numbers read-is-exec made-exec pkey-exec shared-exec"),
        ("LockPersonality", "old-abi other-numbers read-is-exec"),
        (
            "RestrictSUIDSGID",
            "old-abi other-numbers ring suid-open suid-openat2 suid-tmpfile suid-node suid-directory suid-fchmodat2",
        ),
        ("RestrictAddressFamilies=AF_UNIX AF_INET", "old-abi other-numbers ring family"),
        (
            "ProtectSystem SystemCallFilter=~@mount SystemCallErrorNumber=EPERM",
            "old-abi other-numbers writable-copy",
        ),
        ("PrivateDevices", "old-abi other-numbers device"),
        ("PrivateDevices BindPaths=/run/w/nodes", "old-abi other-numbers device"),
        ("TemporaryFileSystem=/run/w/nodes BindPaths=/run/w/nodes", ""),
        ("KeyringMode=private", "key"),
        ("KeyringMode=shared", "key"),
        ("KeyringMode=inherit", ""),
    ];
    ours(|world| {
        if !prepare(world) {
            return;
        }
        let mut config = Config::of(trying("bare", 2001, ""));
        for (port, (words, _)) in (2002u16..).zip(table) {
            let words = words.replace(" AF_INET", " RestrictAddressFamilies=AF_INET");
            config = config.with(trying(&format!("s{port}"), port, &words));
        }
        let through = WITH_A_KEY.map(str::to_owned).to_vec();
        let _daemon = world.start_with(&config, Start { through, ..Start::default() });
        let all = lines(2001);
        let mut wrong = Vec::new();
        for (port, (words, gone)) in (2002u16..).zip(table) {
            let gone: BTreeSet<String> = set(gone).intersection(&all).cloned().collect();
            let left = lines(port);
            if all.difference(&left).cloned().collect::<BTreeSet<_>>() != gone || !left.is_subset(&all) {
                wrong.push(format!("{words}: {left:?}"));
            }
        }
        assert_eq!(wrong, Vec::<String>::new(), "of {all:?}");
        for name in [
            "unshare-user",
            "clone-user",
            "read-is-exec",
            "made-exec",
            "shared-exec",
            "suid-open",
            "suid-openat2",
            "suid-tmpfile",
            "suid-node",
            "device",
            "key",
            "family",
        ] {
            assert!(all.contains(name), "{name} succeeds without a sandbox: {all:?}");
        }
        assert!(!all.contains("directory-left") && !all.contains("here"), "{all:?}");
    });
}

/// What a program can see and do, by a shell.
fn looking(id: &str, port: u16, sandbox: &str) -> Entry {
    Entry::program(id, port).set("server", "/run/w/look.sh").unset("server_args").set("sandbox", sandbox)
}

const LOOK: &str = "#!/bin/sh\nexec 2>/dev/null\n\
    for d in a b; do test -r /run/w/$d/secret && grep -q secret /run/w/$d/secret && echo $d; done\n\
    test -w /run/w/data && echo data\n\
    test -w /etc && echo etc\n\
    cp /bin/true /tmp/portreeve-way && /tmp/portreeve-way && echo runs; rm -f /tmp/portreeve-way\n\
    grep -q ' /proc/bus ro' /proc/self/mountinfo && echo bus\n\
    exit 0\n";

/// A link that leads elsewhere than when the configuration was read: the program is not started; after a reload it is confined to where it
/// leads then. Nor does a link that somebody puts in the place of a directory choose what can be written.
#[test]
fn a_link_that_was_changed_confines_to_nothing_else() {
    ours(|world| {
        world.write_mode("look.sh", LOOK, 0o755);
        for name in ["a/secret", "b/secret", "data/file"] {
            world.write(name, "secret\n");
        }
        symlink("/run/w/a", world.path("link")).expect("a link");
        let config = Config::of(looking("hidden", 2001, "InaccessiblePaths=/run/w/link"))
            .with(looking("kept", 2002, "ProtectSystem=strict ReadWritePaths=/run/w/data"))
            .with(looking("later", 2003, "InaccessiblePaths=-/run/w/none/a"));
        let daemon = world.start(&config);
        assert_eq!(lines(2001), set("b data etc runs"));
        assert_eq!(lines(2002), set("a b data"));
        assert_eq!(lines(2003), set("a b data etc runs"));

        std::fs::remove_file(world.path("link")).expect("to remove");
        symlink("/run/w/b", world.path("link")).expect("a link");
        std::fs::rename(world.path("data"), world.path("aside")).expect("to rename");
        symlink("/etc", world.path("data")).expect("a link");
        symlink("/run/w", world.path("none")).expect("a link");
        for port in [2001, 2002, 2003] {
            assert_eq!(talk("127.0.0.1", port, b""), Answer::closed(""), "{port}");
        }
        let logged = |line: &str| world.daemon_log().iter().any(|known| known.contains(line));
        must("the log says why", || {
            logged("hidden: /run/w/look.sh is not started, sandbox: /run/w/link: Stale file handle")
        });
        must("and of the other", || {
            logged("sandbox: ReadWritePaths=/run/w/data: Too many levels of symbolic links")
        });
        assert_eq!(daemon.count("hidden", "/start_failures"), 1);

        std::fs::remove_file(world.path("data")).expect("to remove");
        std::fs::rename(world.path("aside"), world.path("data")).expect("to rename");
        daemon.reload(&config);
        assert_eq!(lines(2001), set("a data etc runs"));
        assert_eq!(lines(2002), set("a b data"));
        assert_eq!(lines(2003), set("b data etc runs"));
    });
}

/// Two words about one place: what either takes away is gone.
#[test]
fn words_of_one_place_do_not_undo_each_other() {
    ours(|world| {
        world.write_mode("look.sh", LOOK, 0o755);
        world.write("data/file", "");
        let config = Config::of(looking("plain", 2001, "PrivateTmp"))
            .with(looking("noexec", 2002, "PrivateTmp TemporaryFileSystem=/tmp:noexec,mode=1777"))
            .with(looking("read-only", 2003, "PrivateTmp ReadOnlyPaths=/tmp"))
            .with(looking("tunables", 2004, "ProtectKernelTunables"))
            .with(looking("fresh", 2005, "ProtectProc=noaccess ReadOnlyPaths=/proc"));
        let _daemon = world.start(&config);
        assert_eq!(lines(2001), set("data etc runs"));
        assert_eq!(lines(2002), set("data etc"));
        assert_eq!(lines(2003), set("data etc"));
        assert_eq!(lines(2004), set("data etc runs bus"));
        assert_eq!(lines(2005), set("data etc runs"));
    });
}

/// A long-lived instance: what it mounts is seen by nobody else; what is mounted outside later lies beneath its covers.
#[test]
fn mounts_of_later_neither_leak_nor_uncover() {
    if !has_programs(&["mount"]) {
        return;
    }
    ours(|world| {
        world.write("secret/file", "secret\n");
        world.write("inner/file", "");
        let script = "#!/bin/sh\nmount -t tmpfs tmpfs /run/w/inner && echo mounted\nread go\n\
            ls /run/w/secret 2>/dev/null | tr '\\n' ' '\nls /tmp | tr '\\n' ' '\necho end\n";
        world.write_mode("stay.sh", script, 0o755);
        let entry = Entry::program("stay", 2001).set("server", "/run/w/stay.sh").unset("server_args");
        let _daemon =
            world.start(&Config::of(entry.set("sandbox", "PrivateTmp InaccessiblePaths=/run/w/secret")));
        let mut client = dial("127.0.0.1", 2001).expect("a connection");
        assert_eq!(client.read_until(b"\n").text(), "mounted\n");
        let outside = "test -e /run/w/inner/file && echo still; mount -t tmpfs tmpfs /run/w/secret && echo later > /run/w/secret/new && \
            mkdir -p /tmp/portreeve-later && mount -t tmpfs tmpfs /tmp/portreeve-later && echo done; umount /tmp/portreeve-later; rmdir /tmp/portreeve-later";
        let (_, said) = world.run(&["/bin/sh", "-c", outside], &["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]);
        assert_eq!(said, "still\ndone\n");
        client.send(b"\n");
        assert_eq!(client.read_all(), Answer::closed("end\n"));
    });
}

/// A supervisor that lacks what a part takes: who needs that part is not started and is named, who does not need it is served as ever.
#[test]
fn a_supervisor_without_the_right_starts_nobody_unconfined() {
    if !has_programs(&["setpriv"]) {
        return;
    }
    let table = [
        ("NoNewPrivileges", None),
        ("LockPersonality", None),
        ("KeyringMode=private", None),
        ("PrivateTmp", Some("a namespace of its own: Operation not permitted")),
        ("PrivateNetwork", Some("a namespace of its own: Operation not permitted")),
        ("ProtectHostname", Some("a namespace of its own: Operation not permitted")),
        ("CapabilityBoundingSet=~CAP_CHOWN", Some("the capability bounding set: Operation not permitted")),
        ("AmbientCapabilities=CAP_SYS_ADMIN", Some("the ambient capabilities: Operation not permitted")),
    ];
    ours(|world| {
        let mut config = Config::of(Entry::program("bare", 2001));
        for (port, (words, _)) in (2002u16..).zip(table) {
            let entry = Entry::program(&format!("s{port}"), port).set("user", "65534");
            config = config.with(entry.set("sandbox", words));
        }
        let without = "-sys_admin,-setpcap";
        let through = ["/usr/bin/setpriv", "--bounding-set", without, "--inh-caps", without];
        let through = through.map(str::to_owned).to_vec();
        let daemon = world.start_with(&config, Start { through, ..Start::default() });
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed("served\n"));
        for (port, (words, why)) in (2002u16..).zip(table) {
            let wanted = if why.is_some() { "" } else { "served\n" };
            assert_eq!(talk("127.0.0.1", port, b""), Answer::closed(wanted), "{words}");
            let id = format!("s{port}");
            assert_eq!(daemon.count(&id, "/start_failures"), u64::from(why.is_some()), "{words}");
            if let Some(why) = why {
                let line = format!("{id}: /bin/echo is not started, sandbox: {why}");
                must("the log names the part", || world.daemon_log().iter().any(|l| l.contains(&line)));
            }
        }
    });
}
