//! Long tables compiled by the supervisor are left as a file, for tcpd and programs on libwrap.so.0 beside it.

use portreeve_compliance::client::talk;
use portreeve_compliance::wait::must;
use portreeve_compliance::{Answer, Config, Ended, Entry, ours, tcpd};
use std::os::unix::fs::PermissionsExt;

#[test]
fn the_supervisor_leaves_the_map_that_compile_hosts_writes() {
    ours(|world| {
        let sh = |command: &str| world.run(&["/bin/sh", "-c", command], &["PATH=/usr/bin:/bin"]);
        // A cache of its own: the host's stays as it is.
        let (how, said) = sh("mount -t tmpfs cache /var/cache && mkdir /var/cache/portreeve");
        assert_eq!(how, Ended::Status(0), "{said}");
        let rules: String = (0..2000).map(|n| format!("ALL: 10.{}.{}.1\n", n / 200, n % 200)).collect();
        world.write("etc/hosts.deny", format!("{rules}echo: 127.0.0.9\n"));
        world.write("etc/hosts.allow", "");
        let _daemon = world.start(&Config::of(Entry::program("s1", 2001).first("flags = IPv4")));
        let map = world.inside("/var/cache/portreeve/hosts.map");
        must("the map, once the tables have been left alone for two seconds", || {
            assert_eq!(talk("127.0.0.9", 2001, b""), Answer::closed(""));
            map.exists()
        });
        let program = tcpd::program(world, "portreeve");
        let (how, said) = world.run(&[&program, "compile-hosts", "--check"], &[]);
        assert_eq!(how, Ended::Status(0), "{said}");
        let mode = || std::fs::metadata(&map).expect("the map").permissions().mode() & 0o777;
        let (left, size) = (mode(), std::fs::metadata(&map).expect("the map").len());
        let (how, said) = world.run(&[&program, "compile-hosts"], &[]);
        assert_eq!(how, Ended::Status(0), "{said}");
        assert_eq!((mode(), std::fs::metadata(&map).expect("the map").len()), (left, size));
        // A table that is not everybody's to read: nor is the map.
        world.write_mode("etc/hosts.deny", format!("{rules}ALL: 127.0.0.8\n"), 0o600);
        must("the map of the new table, closed", || {
            assert_eq!(talk("127.0.0.8", 2001, b""), Answer::closed(""));
            mode() == 0o600 && world.run(&[&program, "compile-hosts", "--check"], &[]).0 == Ended::Status(0)
        });
    });
}
