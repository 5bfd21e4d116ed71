//! `sandbox` in a section: what holds, and that no slip leaves a program unconfined.

use super::{codes, left_out, names, reading, service, stream};

fn words(more: &str) -> Vec<String> {
    service(more).sandbox.clone().map(|sandbox| sandbox.words).unwrap_or_default()
}

#[test]
fn lines_add_up_and_off_forgets() {
    assert_eq!(service("").sandbox, None);
    assert_eq!(service("\tsandbox = off\n").sandbox, None);
    assert_eq!(
        words("\tsandbox = PrivateTmp\n\tsandbox += NoNewPrivileges\n"),
        ["NoNewPrivileges", "PrivateTmp"]
    );
    assert_eq!(words("\tsandbox = PrivateTmp\n\tsandbox = ProtectHome\n"), ["ProtectHome"]);
    assert_eq!(words("\tsandbox = PrivateTmp ProtectHome\n\tsandbox -= ProtectHome\n"), ["PrivateTmp"]);
    assert_eq!(words("\tsandbox = PrivateTmp off ProtectHome\n"), ["ProtectHome"]);
    let place = service("\tsandbox = PrivateTmp\n").sandbox.clone().unwrap().place.unwrap();
    assert_eq!((place.line, place.column), (10, 2));
}

#[test]
fn defaults_hold_where_a_service_says_nothing_else() {
    let defaults = "defaults\n{\n\tsandbox = NoNewPrivileges\n}\n";
    let sandboxes = |more: &str| {
        let reading = reading(format!("{defaults}{}", stream("s1", 2000, more)));
        assert_eq!(names(&reading), ["s1"], "{:#?}", reading.diagnostics);
        let sandbox = reading.services[0].sandbox.clone();
        sandbox.map(|sandbox| sandbox.words.join(" ")).unwrap_or_default()
    };
    assert_eq!(sandboxes(""), "NoNewPrivileges");
    assert_eq!(sandboxes("\tsandbox += PrivateTmp\n"), "NoNewPrivileges PrivateTmp");
    assert_eq!(sandboxes("\tsandbox = PrivateTmp\n"), "PrivateTmp");
    assert_eq!(sandboxes("\tsandbox = off\n"), "");
    // A service without a program is not in its way.
    let reading = reading(format!("{defaults}{}", stream("s1", 2000, "\tredirect = 192.0.2.1 80\n")));
    assert_eq!(names(&reading), ["s1"]);
    assert_eq!(reading.services[0].sandbox, None);
}

/// Each of these would run with more than was meant if the line were only ignored.
#[test]
fn a_mistake_never_leaves_a_program_unconfined() {
    for lines in [
        "\tsandbox =\n",
        "\tsandbox = NoNewPriveleges\n",
        "\tsandbox = ProtectSystem=stric\n",
        "\tsandbox = SystemCallFilter=~mout\n",
        "\tsandbox = NoNewPrivileges # a comment\n",
        "\tsandbx = NoNewPrivileges\n",
        "\tsandbox_ = NoNewPrivileges\n",
        "\tsandbox = CapabilityBoundingSet=CAP_CHOWN AmbientCapabilities=CAP_KILL\n",
        "\tsandbox = SystemCallFilter=~execve\n",
        "\tredirect = 192.0.2.1 80\n\tsandbox = NoNewPrivileges\n",
    ] {
        left_out(lines);
        let reading = reading(stream("s1", 2000, lines));
        let grave = ["sandbox-void", "flag-conflict"];
        assert!(
            codes(&reading).iter().any(|code| grave.contains(code)),
            "{lines}: {:#?}",
            reading.diagnostics
        );
    }
}

/// What is looked at must be what is started; and a program may be there in its own view alone.
#[test]
fn a_program_that_is_bound_is_another_one() {
    let codes_of = |lines: &str| {
        let reading = reading(stream("s1", 2000, lines).replacen("\tserver = /bin/sh\n", "", 1));
        (names(&reading).len(), codes(&reading).contains(&"flag-conflict"))
    };
    let server = "/bin/sh";
    for (words, conflict) in [
        ("BindPaths=/srv/x:/bin", true),
        ("BindReadOnlyPaths=/srv/x:/bin/sh", true),
        ("RootDirectory=/srv/x", true),
        ("BindReadOnlyPaths=/bin", false),
        ("TemporaryFileSystem=/bin BindReadOnlyPaths=/bin/sh", false),
        ("BindPaths=/srv/x:/bin BindPaths=/bin/sh", false),
        ("BindPaths=/srv/x:/mnt", false),
    ] {
        let lines = format!("\tserver = {server}\n\tverify_server = warn\n\tsandbox = {words}\n");
        assert_eq!(codes_of(&lines), (usize::from(!conflict), conflict), "{words}");
    }
    let none = "\tserver = /no/such/program\n";
    assert_eq!(codes_of(none).0, 0);
    assert_eq!(codes_of(&format!("{none}\tsandbox = BindPaths=/usr\n")).0, 0);
    assert_eq!(codes_of(&format!("{none}\tsandbox = BindPaths=/usr:/no\n")).0, 1);
}

#[test]
fn limits_that_xinetd_lacks_are_set() {
    let limits = service(
        "\trlimit_core = 0\n\trlimit_nproc = 20\n\trlimit_fsize = 1M\n\trlimit_memlock = UNLIMITED\n",
    )
    .rlimits
    .clone();
    assert_eq!(limits.core, Some(Some(0)));
    assert_eq!((limits.processes, limits.file_size), (Some(Some(20)), Some(Some(1 << 20))));
    assert_eq!((limits.locked_memory, limits.queues), (Some(None), None));
    left_out("\trlimit_core = x\n");
}
