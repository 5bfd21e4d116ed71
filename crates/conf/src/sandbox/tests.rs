//! What words of `sandbox` come to, by systemd's rules, and that a wrong one never means less.

use super::*;
use crate::attributes::attributes;
use proptest::prelude::*;

fn words(text: &str) -> Vec<Word> {
    text.split(' ').map(|text| word(text).unwrap_or_else(|fault| panic!("{text}: {fault:?}"))).collect()
}

fn sandbox(text: &str) -> Sandbox {
    build(&words(text), None).unwrap().unwrap()
}

fn fault(text: &str) -> String {
    let fault = word(text).unwrap_err();
    format!("{}; {}", fault.message, fault.help)
}

/// Path, `optional` as `?`, and the first letter of what is done.
fn mounts(text: &str) -> String {
    let one = |mount: &Mount| {
        let kind = format!("{:?}", mount.kind);
        format!("{}{}{}", mount.path, if mount.optional { "?" } else { "" }, &kind[..1])
    };
    sandbox(text).mounts.unwrap().iter().map(one).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_table_of_attributes_has_every_key() {
    let row = attributes().iter().find(|row| row.name == "sandbox").unwrap();
    for (key, shape) in KEYS {
        let forms: Vec<&&str> =
            row.words().iter().filter(|word| word.split('=').next() == Some(*key)).collect();
        assert!(!forms.is_empty(), "{key}");
        for word in forms {
            let (_, value) = word.split_once('=').unwrap_or((word, "yes"));
            let fine = value.is_empty() == shape.is_list()
                || shape.is_bound()
                || matches!(shape, Shape::Error | Shape::Root);
            assert!(fine, "{word}");
            assert!(value.is_empty() || super::word(word).is_ok(), "{word}");
        }
    }
    for word in row.words().iter().filter(|word| **word != OFF) {
        assert!(KEYS.iter().any(|(key, _)| word.split('=').next() == Some(*key)), "{word}");
    }
}

#[test]
fn a_word_is_read_as_systemd_reads_the_setting() {
    for (text, told) in [
        ("nonewprivileges=true", "NoNewPrivileges"),
        ("ProtectSystem=Full", "ProtectSystem=full"),
        ("ReadOnlyPaths=-/a//b/./c/", "ReadOnlyPaths=-/a/b/c"),
        ("ReadOnlyPaths=-+/a/", "ReadOnlyPaths=-+/a"),
        ("RootDirectory=/a//b/", "RootDirectory=/a/b"),
        ("MountAPIVFS=false", "MountAPIVFS=no"),
        ("CapabilityBoundingSet=~cap_sys_admin", "CapabilityBoundingSet=~CAP_SYS_ADMIN"),
        ("RestrictAddressFamilies=af_inet", "RestrictAddressFamilies=AF_INET"),
        ("TemporaryFileSystem=/a:ro,mode=0700", "TemporaryFileSystem=/a:ro,mode=0700"),
        ("bindpaths=-/a/:/b//c:rbind", "BindPaths=-/a:/b/c"),
        ("BindReadOnlyPaths=/a:/a", "BindReadOnlyPaths=/a"),
        ("BindReadOnlyPaths=/a:/a:norbind", "BindReadOnlyPaths=/a:/a:norbind"),
        ("NoExecPaths=-+/a/", "NoExecPaths=-+/a"),
        ("SecureBits=NoRoot", "SecureBits=noroot"),
        ("SystemCallFilter=@system-service", "SystemCallFilter=@system-service"),
        ("SystemCallFilter=~@mount:EACCES", "SystemCallFilter=~@mount:EACCES"),
    ] {
        assert_eq!(word(text).unwrap().text(), told);
    }
}

#[test]
fn what_is_no_word_is_named_with_the_nearest() {
    for (text, wanted) in [
        ("NoNewPriveleges", "`NoNewPriveleges` is no setting of a sandbox; did you mean `NoNewPrivileges`?"),
        ("ProtectSystem=stric", "`stric` is no value of ProtectSystem; did you mean `strict`?"),
        (
            "CapabilityBoundingSet=CAP_SYS_ADMINN",
            "`CAP_SYS_ADMINN` is no capability; did you mean `CAP_SYS_ADMIN`?",
        ),
        (
            "SystemCallFilter=@sytem-service",
            "`@sytem-service` is no set of system calls; did you mean `@system-service`?",
        ),
        ("SystemCallFilter=opnat", "`opnat` is no system call; did you mean `openat`?"),
        ("SystemCallFilter=read:EWHAT", "`EWHAT` is no error; EPERM, another error, or kill"),
        ("RestrictAddressFamilies=AF_INET7", "`AF_INET7` is no address family; did you mean `AF_INET`?"),
        ("RestrictNamespaces=nett", "`nett` is no kind of namespace; did you mean `net`?"),
        ("ReadOnlyPaths=etc", "`etc` is no absolute path without `..`; ReadOnlyPaths=[-][+]/PATH"),
        ("ReadOnlyPaths=/a/../b", "`/a/../b` is no absolute path without `..`; ReadOnlyPaths=[-][+]/PATH"),
        (
            "TemporaryFileSystem=/a:context=x",
            "`context=x` is no option of a file system in memory; size=, nr_inodes=, mode=, uid=, gid=, ro, noexec, nosuid, nodev",
        ),
        ("ReadOnlyPaths", "`ReadOnlyPaths` needs a value; ReadOnlyPaths=[-][+]/PATH"),
        ("BindPaths=/a:/b:norbnd", "`norbnd` is neither `rbind` nor `norbind`; did you mean `norbind`?"),
        ("BindPaths=a", "`a` is no absolute path without `..`; BindPaths=[-]/SOURCE[:/PATH[:rbind|norbind]]"),
        (
            "BindPaths=/a:/",
            "`/` cannot be covered; see `RootDirectory`; BindPaths=[-]/SOURCE[:/PATH[:rbind|norbind]]",
        ),
        ("BindPath=/a", "`BindPath` is no setting of a sandbox; did you mean `BindPaths`?"),
        ("NoExecPath=/a", "`NoExecPath` is no setting of a sandbox; did you mean `NoExecPaths`?"),
        ("SecureBits=no-root", "`no-root` is no value of SecureBits; did you mean `noroot`?"),
        (
            "SecureBits",
            "`SecureBits` needs a value; SecureBits=keep-caps|keep-caps-locked|no-setuid-fixup|no-setuid-fixup-locked|noroot|noroot-locked",
        ),
        ("RootDirectory=-/a", "`-/a` is no absolute path without `..`; RootDirectory=/PATH"),
    ] {
        assert_eq!(fault(text), wanted);
    }
}

#[test]
fn capabilities_merge_as_in_systemd() {
    let of = |text: &str| sandbox(text).bounding;
    let (chown, kill) = (1u64, 1 << 5);
    assert_eq!(of("CapabilityBoundingSet=CAP_CHOWN"), chown);
    assert_eq!(of("CapabilityBoundingSet=CAP_CHOWN CapabilityBoundingSet=CAP_KILL"), chown | kill);
    assert_eq!(of("CapabilityBoundingSet=~CAP_CHOWN CapabilityBoundingSet=~CAP_KILL"), !(chown | kill));
    assert_eq!(of("CapabilityBoundingSet=none"), 0);
    assert_eq!(of("CapabilityBoundingSet=none CapabilityBoundingSet=CAP_KILL"), kill);
    assert_eq!(of("PrivateDevices ProtectClock"), !(1 << 27 | 1 << 17 | 1 << 25 | 1 << 35));
    assert_eq!(sandbox("AmbientCapabilities=CAP_KILL").ambient, kill);
    let error = build(&words("CapabilityBoundingSet=CAP_CHOWN AmbientCapabilities=CAP_KILL"), None);
    assert_eq!(error.unwrap_err(), "`AmbientCapabilities` gives CAP_KILL, which is not in the bounding set");
}

#[test]
fn a_filter_allows_or_forbids_by_its_first_word() {
    let of = |text: &str| sandbox(text).calls.unwrap();
    let answer = |calls: &Calls, name: &str| {
        calls.listed.iter().find(|(known, _)| *known == name).map_or(calls.otherwise, |(_, answer)| *answer)
    };
    let calls = of("SystemCallFilter=@system-service SystemCallFilter=~@setuid SystemCallErrorNumber=EPERM");
    for (name, wanted) in [
        ("openat", CallAnswer::Allow),
        ("execve", CallAnswer::Allow),
        ("exit_group", CallAnswer::Allow),
        ("setuid", CallAnswer::Errno(1)),
        ("mount", CallAnswer::Errno(1)),
    ] {
        assert_eq!(answer(&calls, name), wanted, "{name}");
    }
    let calls = of("SystemCallFilter=~@mount SystemCallFilter=umount2 SystemCallFilter=~ptrace:ENOSYS");
    for (name, wanted) in [
        ("mount", CallAnswer::Kill),
        ("umount2", CallAnswer::Allow),
        ("ptrace", CallAnswer::Errno(38)),
        ("read", CallAnswer::Allow),
    ] {
        assert_eq!(answer(&calls, name), wanted, "{name}");
    }
    let error = build(&words("SystemCallFilter=~execve"), None).unwrap_err();
    assert_eq!(error, "`SystemCallFilter` forbids execve, so no program can be started");
    assert!(build(&words("SystemCallFilter=~@known"), None).is_err());
}

#[test]
fn families_and_namespaces_are_lists_of_either_kind() {
    let of = |text: &str| sandbox(text).families.unwrap();
    assert_eq!(of("RestrictAddressFamilies=none"), Families { allow: true, list: vec![] });
    let wanted = Families { allow: true, list: vec![1, 10] };
    let text = "RestrictAddressFamilies=AF_UNIX RestrictAddressFamilies=AF_INET RestrictAddressFamilies=AF_INET6 \
                RestrictAddressFamilies=~AF_INET";
    assert_eq!(of(text), wanted);
    assert_eq!(of("RestrictAddressFamilies=~AF_PACKET"), Families { allow: false, list: vec![17] });
    let every = 0x7e02_0080;
    assert_eq!(sandbox("RestrictNamespaces=yes").namespaces, every);
    assert_eq!(sandbox("RestrictNamespaces=net RestrictNamespaces=uts").namespaces, every & !0x4400_0000);
    assert_eq!(sandbox("RestrictNamespaces=~user").namespaces, 0x1000_0000);
}

#[test]
fn what_lies_deeper_stands_and_what_allows_less_wins() {
    assert_eq!(
        mounts("ProtectSystem=strict ReadWritePaths=/var/lib/x PrivateTmp InaccessiblePaths=/var/lib/x/key"),
        "/R /dev?A /proc?A /sys?A /tmp?E /var/lib/xA /var/lib/x/keyI /var/tmp?E"
    );
    assert_eq!(mounts("ProtectSystem"), "/bin?R /boot?R /efi?R /lib?R /lib64?R /sbin?R /usr?R");
    assert_eq!(
        mounts("ProtectSystem=full ReadWritePaths=/etc"),
        "/bin?R /boot?R /efi?R /etcR /lib?R /lib64?R /sbin?R /usr?R"
    );
    assert_eq!(mounts("ProtectSystem=strict PrivateDevices ProtectProc=invisible"), "/R /devD /procP /sys?A");
    // Not below the inaccessible, whatever else is said of it; `-` sorts before `/`, and that is no depth.
    assert_eq!(mounts("InaccessiblePaths=/a ReadWritePaths=/a/b ReadOnlyPaths=/a-b"), "/aI /a-bR");
    assert_eq!(mounts("ProtectHome=tmpfs"), "/home?E /root?E /run/user?E");
    assert_eq!(sandbox("PrivateMounts").mounts, Some(vec![]));
}

#[test]
fn words_that_ask_for_nothing_are_none() {
    for text in
        ["NoNewPrivileges=no", "ProtectSystem ProtectSystem=no", "ProcSubset=all", "CapabilityBoundingSet=~"]
    {
        assert_eq!(build(&words(text), None), Ok(None), "{text}");
    }
    assert_eq!(build(&[], None), Ok(None));
    let told =
        sandbox("PrivateTmp ProtectSystem NoNewPrivileges ProtectSystem=strict PrivateDevices PrivateTmp=no");
    assert_eq!(told.words, ["NoNewPrivileges", "ProtectSystem=strict", "PrivateDevices"]);
}

/// Each would have given more than systemd does.
#[test]
fn what_was_taken_away_is_not_given_back() {
    let bounding = |text: &str| sandbox(text).bounding;
    assert_eq!(bounding("CapabilityBoundingSet=none CapabilityBoundingSet=~CAP_SYS_ADMIN"), 0);
    assert_eq!(bounding("CapabilityBoundingSet=~CAP_SYS_ADMIN"), !(1 << 21));
    assert_eq!(bounding("CapabilityBoundingSet=CAP_CHOWN CapabilityBoundingSet=CAP_KILL"), 1 | 1 << 5);
    assert_eq!(sandbox("AmbientCapabilities=~CAP_CHOWN").ambient, (1 << 41) - 2);
    let calls = sandbox("SystemCallFilter=@system-service SystemCallFilter=~getrandom").calls.unwrap();
    assert!(!calls.listed.iter().any(|(name, _)| *name == "getrandom"));
    assert!(calls.listed.iter().any(|(name, _)| *name == "execve"));
    assert!(
        !calls.listed.iter().any(|(name, _)| *name == "open_tree_attr"),
        "it makes a tree that can be written"
    );
    assert!(fault("InaccessiblePaths=/").starts_with("`/` cannot be covered"));
    assert!(fault("InaccessiblePaths=-/./").starts_with("`/` cannot be covered"));
}

/// Two words about one place: neither takes back what the other asks for.
#[test]
fn words_of_one_path_add_up() {
    let empty = |text: &str| {
        let mounts = sandbox(text).mounts.unwrap();
        let Some(Mount { kind: MountKind::Empty { read_only, no_programs, no_suid, options, .. }, .. }) =
            mounts.iter().find(|mount| mount.path == "/tmp")
        else {
            panic!("{mounts:?}")
        };
        (*read_only, *no_programs, *no_suid, options.clone())
    };
    let options = || "mode=1777,size=1M".to_owned();
    let wanted = (false, true, true, options());
    assert_eq!(empty("PrivateTmp TemporaryFileSystem=/tmp:noexec,mode=1777,size=1M"), wanted);
    let wanted = (true, false, true, options());
    assert_eq!(
        empty("TemporaryFileSystem=/tmp:ro,nosuid TemporaryFileSystem=/tmp:mode=1777,size=1M"),
        wanted
    );
    // Something new, and then nothing can be written there.
    assert_eq!(mounts("PrivateTmp ReadOnlyPaths=/tmp"), "/tmp?E /tmpR /var/tmp?E");
    assert_eq!(
        mounts(
            "PrivateDevices ReadOnlyPaths=/dev ReadWritePaths=/dev ProtectProc=noaccess ReadOnlyPaths=/proc"
        ),
        "/devD /devR /procP /procR"
    );
    // What must be there must be there, whoever says so.
    assert_eq!(mounts("InaccessiblePaths=-/a ReadOnlyPaths=/a"), "/aI");
    assert_eq!(
        sandbox("InaccessiblePaths=-/a ReadOnlyPaths=/a").mounts.unwrap()[0].because,
        "ReadOnlyPaths=/a"
    );
    assert_eq!(mounts("ReadOnlyPaths=-/a ReadOnlyPaths=/a/b ReadOnlyPaths=-/a/c"), "/a?R /a/bR");
}

/// Where a bind stands among others: as systemd 252 has it, but that nothing which another word takes away comes back.
#[test]
fn what_is_bound_stands_by_where_it_is_seen() {
    for (text, wanted) in [
        (
            "ProtectSystem=strict BindPaths=/s:/var/x ReadOnlyPaths=/var/x/y ReadWritePaths=/var/x/y/z",
            "/R /dev?A /proc?A /sys?A /var/xB /var/x/yR /var/x/y/zA",
        ),
        // The source may be what another word takes away.
        ("InaccessiblePaths=/srv BindPaths=/srv/a:/mnt BindPaths=/srv/b", "/mntB /srvI"),
        ("TemporaryFileSystem=/var:ro BindReadOnlyPaths=-/var/lib/x", "/varE /var/lib/x?B"),
        ("PrivateTmp BindPaths=/s:/tmp", "/tmp?E /tmpB /var/tmp?E"),
        (
            "PrivateDevices BindPaths=/s:/dev ProtectProc=invisible BindPaths=/s:/proc",
            "/devD /devB /procP /procB",
        ),
        ("BindPaths=-/s:/a ReadOnlyPaths=/a ReadWritePaths=/a", "/a?B /aR"),
        ("ExecPaths=/usr NoExecPaths=/ NoExecPaths=/usr/x PrivateTmp", "/tmp?E /var/tmp?E /N /usrP /usr/xN"),
        ("NoExecPaths=/a ExecPaths=-/a ExecPaths=/a/b NoExecPaths=-/a/c", "/aN /a/bP"),
        ("InaccessiblePaths=/a ExecPaths=/a/b ExecPaths=/a", "/aI"),
        // What is mounted without programs keeps that below what lifts it.
        ("ExecPaths=/ TemporaryFileSystem=/tmp:noexec PrivateDevices", "/devD /tmpE /P /dev?N /tmp?N"),
        ("ExecPaths=/tmp TemporaryFileSystem=/tmp:noexec", "/tmpE /tmpN"),
    ] {
        assert_eq!(mounts(text), wanted, "{text}");
    }
    let binds = |text: &str| -> Vec<(String, bool, bool)> {
        let one = |mount: &Mount| match &mount.kind {
            MountKind::Bind { source, read_only, recursive } => {
                Some((source.clone(), *read_only, *recursive))
            }
            _ => None,
        };
        sandbox(text).mounts.unwrap().iter().filter_map(one).collect()
    };
    let of = |source: &str, read_only, recursive| vec![(source.to_owned(), read_only, recursive)];
    assert_eq!(binds("BindPaths=/a:/d BindPaths=/b:/d"), of("/a", false, true));
    assert_eq!(binds("BindReadOnlyPaths=/b:/d BindPaths=/a:/d"), of("/b", true, true));
    assert_eq!(binds("BindPaths=/a:/d BindReadOnlyPaths=/b:/d:norbind"), of("/b", true, false));
    assert_eq!(binds("ProtectHome=tmpfs BindPaths=/a:/home"), of("/a", true, true));
    let told = sandbox("BindReadOnlyPaths=/b:/d BindPaths=/a:/d PrivateTmp").words;
    assert_eq!(told, ["PrivateTmp", "BindReadOnlyPaths=/b:/d", "BindPaths=/a:/d"]);
    // Its place is the new root's, and its source the host's.
    assert_eq!(
        mounts("RootDirectory=/r BindPaths=/r/a:/b ExecPaths=+/c NoExecPaths=/c NoExecPaths=/r/d"),
        "/bB /cP /dN"
    );
    assert_eq!(binds("RootDirectory=/r BindPaths=/r/a:/b"), of("/r/a", false, true));
}

#[test]
fn what_is_seen_where() {
    let mounts = sandbox(
        "TemporaryFileSystem=/v BindPaths=/s:/v/a ReadOnlyPaths=/v/a/x ReadWritePaths=/v/a/x/y BindPaths=/s/t:/w NoExecPaths=/v ExecPaths=/v/a",
    );
    let mounts = mounts.mounts.unwrap();
    let host = |path: &str| Shown::Host(path.to_owned());
    for (path, inside, wanted) in [
        ("/", false, Shown::Root),
        ("/v", false, Shown::New),
        ("/v", true, Shown::Root),
        ("/v/b", false, Shown::New),
        ("/v/a", true, Shown::New),
        ("/v/a", false, host("/s")),
        ("/v/a/x/y/z", false, host("/s/x/y/z")),
        ("/va", false, Shown::Root),
        ("/w/1", false, host("/s/t/1")),
    ] {
        assert_eq!(shown(&mounts, path, inside), wanted, "{path}");
    }
    let cover = |path: &str| {
        let index = mounts.iter().position(|mount| mount.path == path).unwrap();
        cover_of(&mounts, index).map(|index| mounts[index].path.clone())
    };
    assert_eq!(cover("/v"), None);
    assert_eq!(cover("/v/a").as_deref(), Some("/v"));
    assert_eq!(cover("/v/a/x/y").as_deref(), Some("/v/a"));
    let forbids = |path: &str| executes(&mounts, path).err().map(|mount| mount.because.as_str());
    assert_eq!((forbids("/v/b"), forbids("/v/a/b"), forbids("/w")), (Some("NoExecPaths=/v"), None, None));
}

#[test]
fn secure_bits_add_up() {
    assert_eq!(sandbox("SecureBits=noroot SecureBits=keep-caps-locked SecureBits=noroot").secure_bits, 0x21);
    let all = "keep-caps keep-caps-locked no-setuid-fixup no-setuid-fixup-locked noroot noroot-locked";
    let words: Vec<String> = all.split(' ').map(|name| format!("SecureBits={name}")).collect();
    assert_eq!(sandbox(&words.join(" ")).secure_bits, 0x3f);
}

/// Words as somebody may have mistyped them, or made up to break what reads them.
fn hostile() -> impl Strategy<Value = String> {
    let keys: Vec<&'static str> = KEYS.iter().map(|(key, _)| *key).collect();
    let bits = [
        "~",
        "-",
        "+",
        "/",
        "/a",
        "/a/b",
        "..",
        ":",
        ",",
        "=",
        "@",
        "%",
        "size=",
        "99999999999999999999",
        "mode=",
        "ro",
        "norbind",
        "\\",
        "yes",
        "no",
        "none",
        "kill",
        "EPERM",
        "4096",
        "0",
        "@default",
        "@known",
        "read",
        "execve",
        "CAP_KILL",
        "af_inet",
        "net",
        "strict",
        "tmpfs",
        "\u{0}",
        "\u{7f}",
        "\u{e4}",
        "",
    ];
    let bit = prop_oneof![4 => proptest::sample::select(bits.to_vec()).prop_map(str::to_owned), 1 => ".{0,8}".prop_map(|text| text)];
    let value = proptest::collection::vec(bit, 0..5);
    (proptest::sample::select(keys), value).prop_map(|(key, value)| format!("{key}={}", value.concat()))
}

proptest! {
    /// Nothing panics; what is taken can be told and read again; the steps have the order that they stand in.
    #[test]
    fn any_words_are_taken_or_named(texts in proptest::collection::vec(hostile(), 0..12)) {
        let words: Vec<Word> = texts.iter().filter_map(|text| word(text).ok()).collect();
        for taken in &words {
            let text = taken.text();
            prop_assert_eq!(word(&text).ok(), Some(taken.clone()), "{}", text);
        }
        let mounts = build(&words, None).ok().flatten().and_then(|sandbox| sandbox.mounts).unwrap_or_default();
        prop_assert_eq!(in_order(mounts.clone()), mounts.clone());
        let mut reversed = mounts.clone();
        reversed.reverse();
        prop_assert_eq!(in_order(reversed), mounts.clone());
        for mount in &mounts {
            prop_assert!(mount.path.starts_with('/') && !mount.path.split('/').any(|part| part == ".."), "{}", mount.path);
        }
    }
}

/// Paths of words are the host's, and below the root with `+`; what switches are about lies below it.
#[test]
fn paths_below_a_root_directory() {
    for (text, wanted) in [
        ("RootDirectory=/srv/a", ""),
        ("RootDirectory=/", "none"),
        ("RootDirectory=/srv/a ReadOnlyPaths=/srv/a/etc ReadOnlyPaths=/etc ReadOnlyPaths=/srv/ab", "/etcR"),
        ("RootDirectory=/srv/a ReadOnlyPaths=-+/etc ReadWritePaths=+/srv/a", "/etc?R /srv/aA"),
        ("RootDirectory=/srv/a ReadOnlyPaths=/srv/a", "/R"),
        ("ReadOnlyPaths=+/etc", "/etcR"),
        ("RootDirectory=/srv/a ProtectHome=yes", "/home?I /root?I /run/user?I"),
    ] {
        let built = build(&words(text), None).unwrap();
        let found = built.map_or_else(|| "none".to_owned(), |_| mounts(text));
        assert_eq!(found, wanted, "{text}");
    }
    let told = |text: &str| (sandbox(text).root, sandbox(text).api, sandbox(text).words.join(" "));
    assert_eq!(told("PrivateTmp"), (None, false, "PrivateTmp".to_owned()));
    let root = Some("/a".to_owned());
    assert_eq!(told("RootDirectory=/a"), (root.clone(), true, "RootDirectory=/a".to_owned()));
    let none = "RootDirectory=/a MountAPIVFS=no";
    assert_eq!(told(none), (root, false, none.to_owned()));
    for text in ["RootDirectory=/a InaccessiblePaths=/a", "RootDirectory=/a InaccessiblePaths=-/a"] {
        assert!(build(&words(text), None).unwrap_err().ends_with("covers all that there is"), "{text}");
    }
}
