//! Places of the host that a program sees elsewhere (`BindPaths`, `BindReadOnlyPaths`): what is there, what can be written, what is made for
//! it and where nothing ever is; and links and missing places that would lead somewhere else. xinetd has nothing like it.

use portreeve_compliance::client::talk;
use portreeve_compliance::skip::has_programs;
use portreeve_compliance::wait::must;
use portreeve_compliance::{Answer, Config, Ended, Entry, World, ours};
use std::os::unix::fs::symlink;

/// For each argument: what is there, and whether it can be written.
const LOOK: &str = "#!/bin/sh\n\
    for place; do\n\
      if test -d \"$place\"; then what=$(ls -A \"$place\" | tr '\\n' ',')\n\
      elif test -f \"$place\"; then what=\"=$(cat \"$place\" 2>/dev/null)\"\n\
      else what=none\n\
      fi\n\
      if test -w \"$place\"; then printf '%s+ ' \"$what\"; else printf '%s ' \"$what\"; fi\n\
    done\n";
const ENV: &[&str] = &["PATH=/usr/sbin:/usr/bin:/sbin:/bin"];

fn shell(world: &World, command: &str) {
    let (how, said) = world.run(&["/bin/sh", "-ec", command], ENV);
    assert_eq!(how, Ended::Status(0), "{command}: {said}");
}

/// /run/w/src has file, dir/inner, sub with a file system of its own, and links; /run/w/dst has something else.
fn prepare(world: &World) {
    world.write_mode("look.sh", LOOK, 0o755);
    for (name, text) in
        [("src/file", "one"), ("src/dir/inner", ""), ("dst/old", ""), ("mnt/x", ""), ("plain", "two")]
    {
        world.write(name, text);
    }
    for (target, name) in [
        ("/run/w/src", "link"),
        ("/run/w/dst", "there"),
        ("/run/w/none", "dangling"),
        ("/etc", "src/evil"),
        ("../../../../../etc", "src/up"),
    ] {
        symlink(target, world.path(name)).expect("a link");
    }
    shell(
        world,
        "mkdir -p /run/w/src/sub; rm /run/w/mnt/x; mount -t tmpfs tmpfs /run/w/src/sub; touch /run/w/src/sub/mounted",
    );
}

fn looking(id: &str, port: u16, sandbox: &str, places: &str) -> Entry {
    let entry = Entry::program(id, port).set("server", "/run/w/look.sh").set("server_args", places);
    entry.set("sandbox", sandbox)
}

const SRC: &str = "dir,evil,file,sub,up,";

/// Words, places, and what is there.
const TABLE: &[(&str, &str, &str)] = &[
    ("BindPaths=/run/w/src:/run/w/dst", "/run/w/dst /run/w/dst/sub /run/w/dst/file", "SRC+ mounted,+ =one+"),
    ("BindReadOnlyPaths=/run/w/src:/run/w/dst", "/run/w/dst /run/w/dst/sub /run/w/src", "SRC mounted, SRC+"),
    ("BindPaths=/run/w/src:/run/w/dst:norbind", "/run/w/dst /run/w/dst/sub", "SRC+ +"),
    ("BindReadOnlyPaths=/run/w/src/sub", "/run/w/src /run/w/src/sub", "SRC+ mounted,"),
    // One file over another, and through links on either side.
    ("BindReadOnlyPaths=/run/w/plain:/run/w/src/file", "/run/w/src/file", "=two"),
    ("BindPaths=/run/w/link:/run/w/there", "/run/w/dst", "SRC+"),
    // What they are for.
    (
        "TemporaryFileSystem=/var:ro BindPaths=/run/w/src:/var/a/b BindReadOnlyPaths=/run/w/plain:/var/f",
        "/var /var/a /var/a/b /var/f",
        "a,f, b, SRC+ =two",
    ),
    ("ProtectHome=tmpfs BindReadOnlyPaths=/run/w/src:/root/x", "/root /root/x", "x, SRC"),
    (
        "TemporaryFileSystem=/var TemporaryFileSystem=/var/in BindPaths=/run/w/plain:/var/in/f",
        "/var /var/in/f",
        "in,+ =two+",
    ),
    ("TemporaryFileSystem=/run/w/dst PrivateTmp BindPaths=/run/w/src:/tmp/x", "/run/w/dst /tmp", "+ x,+"),
    // What is taken away where it is, is seen where it is put.
    (
        "InaccessiblePaths=/run/w/src BindPaths=/run/w/src:/run/w/mnt",
        "/run/w/src/file /run/w/mnt",
        "none SRC+",
    ),
    (
        "TemporaryFileSystem=/run/w BindReadOnlyPaths=/run/w/look.sh BindPaths=/run/w/src",
        "/run/w /run/w/src",
        "look.sh,src,+ SRC+",
    ),
    // Shallower before deeper, whoever is said first.
    ("BindPaths=/run/w/src:/run/w/dst ProtectSystem=strict", "/run/w/dst /run/w/plain", "SRC+ =two"),
    ("ReadOnlyPaths=/run/w/dst BindPaths=/run/w/src:/run/w/dst", "/run/w/dst", "SRC"),
    (
        "BindReadOnlyPaths=/run/w/src:/run/w/mnt ReadWritePaths=/run/w/mnt/dir",
        "/run/w/mnt /run/w/mnt/dir",
        "SRC inner,+",
    ),
    (
        "BindPaths=/run/w/src:/run/w/mnt ReadOnlyPaths=/run/w/mnt/dir",
        "/run/w/mnt /run/w/mnt/dir /run/w/src/dir",
        "SRC+ inner, inner,+",
    ),
    (
        "BindPaths=/run/w/dst:/run/w/src/dir BindPaths=/run/w/src:/run/w/mnt",
        "/run/w/src/dir /run/w/mnt/dir",
        "old,+ inner,+",
    ),
    (
        "BindPaths=/run/w/src:/run/w/mnt BindReadOnlyPaths=/run/w/dst:/run/w/mnt/dir",
        "/run/w/mnt /run/w/mnt/dir /run/w/src/dir",
        "SRC+ old, inner,+",
    ),
    ("BindPaths=/run/w/src:/run/w/dst BindPaths=/run/w:/run/w/dst", "/run/w/dst", "SRC+"),
    // Whatever kind it is of, though the host has nothing there.
    (
        "BindPaths=/run/w/src:/run/w/mnt InaccessiblePaths=/run/w/mnt/dir InaccessiblePaths=-/run/w/mnt/file InaccessiblePaths=-/run/w/mnt/no",
        "/run/w/mnt /run/w/mnt/dir/inner /run/w/mnt/file /run/w/mnt/sub",
        "SRC+ none = mounted,+",
    ),
    // Nothing there, and it need not be.
    ("BindPaths=-/run/w/none:/run/w/dst", "/run/w/dst", "old,+"),
    ("BindPaths=-/run/w/dangling:/no/where", "/no", "none"),
    ("TemporaryFileSystem=/var BindPaths=-/run/w/none:/var/x", "/var", "+"),
    // Over what the kernel shows.
    ("BindPaths=/run/w/src:/proc ProtectKernelTunables PrivateIPC", "/proc", "SRC+"),
    ("BindReadOnlyPaths=/run/w/src:/proc ProtectProc=invisible ProtectKernelLogs", "/proc", "SRC"),
    (
        "PrivateDevices BindPaths=/run/w/src:/dev/a/b BindReadOnlyPaths=/run/w/plain:/dev/f",
        "/dev/a /dev/a/b /dev/f",
        "b, SRC+ =two",
    ),
    (r"BindPaths=/run/w/a\:b:/run/w/dst", "/run/w/dst", "c,+"),
];

#[test]
fn a_place_of_the_host_is_seen_elsewhere() {
    if !has_programs(&["mount"]) {
        return;
    }
    ours(|world| {
        prepare(world);
        world.write("a:b/c", "");
        let table = || (2001..).zip(TABLE);
        let entries =
            table().map(|(port, (words, places, _))| looking(&format!("b{port}"), port, words, places));
        let _daemon = world.start(&Config::new().with_all(entries));
        for round in 0..2 {
            for (port, (words, _, wanted)) in table() {
                let wanted = wanted.replace("SRC", SRC);
                assert_eq!(talk("127.0.0.1", port, b"").text().trim(), wanted, "{words}, {round}");
            }
        }
        // Nothing was made, and what was mounted in there is seen by nobody else.
        assert!(!world.path("none").exists() && !world.inside("/no").exists());
        let (_, mounts) = world.run(&["/bin/cat", "/proc/self/mounts"], ENV);
        assert!(!mounts.contains("/run/w/dst"), "{mounts}");
    });
}

#[test]
fn where_a_bind_cannot_be_nothing_starts_and_nothing_is_made() {
    if !has_programs(&["mount"]) {
        return;
    }
    let table = [
        ("BindPaths=/run/w/none:/run/w/mnt", "/run/w/none: No such file"),
        ("BindPaths=/run/w/dangling:/run/w/mnt", "/run/w/none: No such file"),
        ("BindPaths=/run/w/src:/run/w/new/x", "BindPaths=/run/w/src:/run/w/new/x: No such file"),
        ("BindPaths=-/run/w/src:/run/w/new/x", "BindPaths=-/run/w/src:/run/w/new/x: No such file"),
        (
            "ProtectSystem=strict BindPaths=/run/w/src:/run/w/new",
            "BindPaths=/run/w/src:/run/w/new: No such file",
        ),
        (
            "BindPaths=/run/w/src:/run/w/mnt BindPaths=/run/w/plain:/run/w/mnt/new",
            "BindPaths=/run/w/plain:/run/w/mnt/new: No such file",
        ),
        (
            "TemporaryFileSystem=/var BindPaths=/run/w/src:/var/a BindPaths=/run/w/plain:/var/a/new",
            "BindPaths=/run/w/plain:/var/a/new: No such file",
        ),
        ("BindPaths=/run/w/plain:/run/w/dst", "BindPaths=/run/w/plain:/run/w/dst: Not a directory"),
        (
            "PrivateDevices BindPaths=/run/w/plain:/dev/shm/new",
            "BindPaths=/run/w/plain:/dev/shm/new: No such file",
        ),
        // A link that whoever may write there has put there: it says neither what can be written nor what is covered.
        (
            "ProtectSystem=strict BindPaths=/run/w/src:/run/w/mnt ReadWritePaths=/run/w/mnt/evil",
            "/run/w/src/evil: Too many levels of symbolic links",
        ),
        (
            "BindPaths=/run/w/src:/run/w/mnt BindPaths=/run/w/dst:/run/w/mnt/up",
            "Too many levels of symbolic links",
        ),
        (
            "BindPaths=/run/w/src:/run/w/mnt InaccessiblePaths=/run/w/mnt/evil",
            "InaccessiblePaths=/run/w/mnt/evil: Too many levels",
        ),
        // No room for what is to be made.
        (
            "TemporaryFileSystem=/var:nr_inodes=1 BindPaths=/run/w/src:/var/a",
            "BindPaths=/run/w/src:/var/a: No space left",
        ),
    ];
    ours(|world| {
        prepare(world);
        let entries =
            (2001..).zip(table).map(|(port, (words, _))| looking(&format!("b{port}"), port, words, "/"));
        let all = Config::new().with_all(entries);
        let daemon = world.start(&all.with(Entry::program("whole", 2099)));
        for (port, (words, why)) in (2001..).zip(table) {
            let id = format!("b{port}");
            assert_eq!(talk("127.0.0.1", port, b""), Answer::closed(""), "{words}");
            assert_eq!(daemon.count(&id, "/start_failures"), 1, "{words}");
            let said = |line: &String| {
                line.contains(&format!("{id}: /run/w/look.sh is not started")) && line.contains(why)
            };
            must(&format!("the log says why: {words}: {why}"), || world.daemon_log().iter().any(said));
        }
        assert_eq!(talk("127.0.0.1", 2099, b""), Answer::closed("served\n"), "the others are");
        for name in ["new", "src/new", "none"] {
            assert!(!world.path(name).exists(), "{name}");
        }
        assert!(!world.inside("/dev/shm/new").exists());
    });
}

/// What the program mounts in what is bound is its own, although the host shares what it mounts there.
#[test]
fn what_is_mounted_in_a_bind_is_seen_by_nobody_else() {
    if !has_programs(&["mount"]) {
        return;
    }
    ours(|world| {
        prepare(world);
        shell(world, "mount --make-rshared /run/w/src/sub; mkdir /run/w/src/sub/in");
        let script = "#!/bin/sh\nmount -t tmpfs tmpfs $1/in && grep -c \" $1/in \" /proc/self/mounts\n";
        world.write_mode("mount.sh", script, 0o755);
        let entry = |id: &str, port, words: &str, place: &str| {
            looking(id, port, words, place).set("server", "/run/w/mount.sh")
        };
        let config = Config::of(entry("sub", 2001, "BindPaths=/run/w/src/sub:/run/w/dst", "/run/w/dst"))
            .with(entry("all", 2002, "BindPaths=/run/w/src:/run/w/dst", "/run/w/dst/sub"));
        let _daemon = world.start(&config);
        for port in [2001, 2002] {
            assert_eq!(talk("127.0.0.1", port, b"").text(), "1\n", "{port}");
        }
        let (_, mounts) = world.run(&["/bin/cat", "/proc/self/mounts"], ENV);
        assert!(mounts.contains("/run/w/src/sub ") && !mounts.contains("/run/w/src/sub/in"), "{mounts}");
    });
}

/// Links that are changed after the configuration was read, of a source and of a destination.
#[test]
fn a_link_that_was_changed_binds_nothing_else() {
    if !has_programs(&["mount"]) {
        return;
    }
    ours(|world| {
        prepare(world);
        let config = Config::of(looking("source", 2001, "BindPaths=/run/w/link:/run/w/mnt", "/run/w/mnt"))
            .with(looking("place", 2002, "BindPaths=/run/w/src:/run/w/there", "/run/w/dst"))
            .with(looking("became", 2003, "BindPaths=/run/w/src/dir:/run/w/mnt", "/run/w/mnt"));
        let daemon = world.start(&config);
        let said = |port| talk("127.0.0.1", port, b"").text().trim().to_owned();
        assert_eq!(
            [said(2001), said(2002), said(2003)],
            [format!("{SRC}+"), format!("{SRC}+"), "inner,+".to_owned()]
        );
        shell(
            world,
            "ln -sfn /etc /run/w/link; ln -sfn /etc /run/w/there; mv /run/w/src/dir /run/w/aside; ln -s /etc /run/w/src/dir",
        );
        for port in [2001, 2002, 2003] {
            assert_eq!(said(port), "", "{port}");
        }
        for line in [
            "source: /run/w/look.sh is not started, sandbox: /run/w/link: Stale file handle",
            "place: /run/w/look.sh is not started, sandbox: /run/w/there: Stale file handle",
            "became: /run/w/look.sh is not started, sandbox: /run/w/src/dir: Too many levels of symbolic links",
        ] {
            must(line, || world.daemon_log().iter().any(|known| known.contains(line)));
        }
        shell(
            world,
            "ln -sfn /run/w/src /run/w/link; ln -sfn /run/w/dst /run/w/there; rm /run/w/src/dir; mv /run/w/aside /run/w/src/dir",
        );
        assert_eq!([said(2001), said(2003)], [format!("{SRC}+"), "inner,+".to_owned()]);
        daemon.reload(&config);
        assert_eq!(said(2002), format!("{SRC}+"));
    });
}

/// A root that holds nothing but links and places for what is bound: the program, what it needs, and a link that would lead out of it.
#[test]
fn a_root_is_filled_by_what_is_bound() {
    if !has_programs(&["mount"]) {
        return;
    }
    ours(|world| {
        prepare(world);
        shell(
            world,
            "cd /run/w; mkdir -p root/usr root/proc root/sys root/dev root/run root/dst root/etc; touch root/look.sh root/mark; \
             for d in bin lib lib64 sbin; do test -h /$d && ln -s usr/$d root/$d || { mkdir root/$d; }; done; \
             ln -s ../../../../../../dst root/out; ln -s /run/w/dst root/far; ln -s /none root/gone",
        );
        let plain =
            "RootDirectory=/run/w/root BindReadOnlyPaths=/usr BindReadOnlyPaths=/run/w/look.sh:/look.sh";
        // Where /usr was not merged.
        let more: Vec<String> = ["/bin", "/lib", "/lib64"]
            .into_iter()
            .filter(|path| std::fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()))
            .map(|path| format!(" BindReadOnlyPaths={path}"))
            .collect();
        let table = [
            ("", "/mark /run/w /dst", "=+ none +"),
            // The source is the host's; the place is the root's, also by a link that would lead out.
            ("BindPaths=/run/w/src:/dst", "/dst", "SRC+"),
            ("BindPaths=/run/w/src:/out", "/dst /run/w/dst", "SRC+ none"),
            ("BindReadOnlyPaths=/run/w/link:/dst", "/dst", "SRC"),
            ("BindPaths=/run/w/src:/far", "/far /run", "SRC+ w,+"),
            // In the /run that is put there a place is made.
            (
                "BindPaths=/run/w/src:/run/deep/x BindReadOnlyPaths=/run/w/plain:/run/f",
                "/run /run/deep/x /run/f",
                "deep,f,+ SRC+ =two",
            ),
            ("ProtectSystem=strict BindPaths=/run/w/src:/dst", "/dst /mark", "SRC+ ="),
            ("NoExecPaths=+/ ExecPaths=+/usr ExecPaths=/run/w/root/look.sh", "/dst", "+"),
        ];
        let failing = [
            ("BindPaths=/run/w/src:/new", "BindPaths=/run/w/src:/new: No such file"),
            ("BindPaths=/run/w/src:/gone", "BindPaths=/run/w/src:/gone: No such file"),
            ("MountAPIVFS=no BindPaths=/run/w/src:/run/x", "BindPaths=/run/w/src:/run/x: No such file"),
        ];
        let all: Vec<(&str, &str)> = table
            .iter()
            .map(|(words, places, _)| (*words, *places))
            .chain(failing.map(|(w, _)| (w, "/")))
            .collect();
        let entries = (2001..).zip(&all).map(|(port, (words, places))| {
            let words = format!("{plain}{} {words}", more.concat());
            let entry = Entry::program(&format!("r{port}"), port).set("server", "/bin/sh");
            entry.set("server_args", &format!("/look.sh {places}")).set("sandbox", words.trim())
        });
        let _daemon = world.start(&Config::new().with_all(entries));
        for (port, (words, _, wanted)) in (2001..).zip(table) {
            let wanted = wanted.replace("SRC", SRC);
            assert_eq!(talk("127.0.0.1", port, b"").text().trim(), wanted, "{words}");
        }
        for (port, (words, why)) in (2001 + table.len() as u16..).zip(failing) {
            assert_eq!(talk("127.0.0.1", port, b""), Answer::closed(""), "{words}");
            let id = format!("r{port}:");
            let said = |line: &String| line.contains(&id) && line.contains(why);
            must(&format!("the log says why: {words}"), || world.daemon_log().iter().any(said));
        }
        assert!(!world.path("root/new").exists() && !world.path("root/run/x").exists());
    });
}

/// A unit with the settings, quoted as units quote.
#[test]
fn a_unit_has_what_is_bound() {
    if !has_programs(&["mount"]) {
        return;
    }
    ours(|world| {
        prepare(world);
        std::fs::create_dir_all(world.path("units")).expect("a directory");
        world.write(
            "units/a.socket",
            "[Socket]\nListenStream=127.0.0.1:2001\nAccept=yes\n[Install]\nWantedBy=sockets.target\n",
        );
        world.write(
            "units/a@.service",
            "[Service]\nExecStart=/run/w/look.sh /var /var/x /var/y /run/w/mnt\nStandardInput=socket\nBindPaths=/run/w/none\n\
             BindReadOnlyPaths=\nTemporaryFileSystem=/var:ro\nBindPaths=\"/run/w/src\":/var/x -/run/w/none\n\
             BindReadOnlyPaths=/run/w/plain:'/var/y':norbind\nNoExecPaths=/\nExecPaths=/usr /run/w/look.sh\nSecureBits=noroot\n",
        );
        let options = vec!["-systemd".to_owned(), "/run/w/units".to_owned()];
        let other = Config::of(Entry::internal("discard", "discard", 2099, "stream"));
        let daemon = world.start_with(&other, portreeve_compliance::Start { options, ..Default::default() });
        // Without the rights of root it may still read.
        assert_eq!(talk("127.0.0.1", 2001, b"").text().trim(), format!("x,y, {SRC}+ =two +"));
        let explained = daemon.control("explain a 127.0.0.1");
        for word in [
            "BindPaths=/run/w/src:/var/x",
            "BindReadOnlyPaths=/run/w/plain:/var/y:norbind",
            "SecureBits=noroot",
        ] {
            assert!(explained.contains(word), "{explained}");
        }
        assert!(!world.read("daemon.log").contains("BindPaths="), "nothing is said of them");
    });
}
