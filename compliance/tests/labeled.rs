//! LABELED (reference xinetd §14): where the client's security context cannot be had, nobody is served without it.

use portreeve_compliance::client::talk;
use portreeve_compliance::{Answer, Config, Entry, both};
use std::path::Path;

#[test]
fn nobody_is_served_without_the_context() {
    // With SELinux a client on loopback may have a context; what is asked here is what happens without one.
    if Path::new("/sys/fs/selinux/enforce").exists() {
        return;
    }
    both(|world| {
        let labeled = Entry::program("s1", 2001).first("flags = LABELED IPv4");
        let daemon = world.start(&Config::new().with(labeled).with(Entry::program("s2", 2002)));
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(""));
        assert_eq!(talk("127.0.0.1", 2002, b""), Answer::closed("served\n"));
        // The original starts a process that ends at once; of ours none comes to be.
        let theirs = &["START: s1 pid=N from=127.0.0.1", "EXIT: s1 status=1 pid=N duration=N(sec)"][..];
        let lines = world.fix("labeled-before-the-process", theirs, &["FAIL: s1 fork from=127.0.0.1"]);
        world.expect_log("s1", lines);
        if world.is_ours() {
            assert_eq!(daemon.count("s1", "/start_failures"), 1);
            assert_eq!(daemon.count("s1", "/running"), 0);
        }
        assert_eq!(world.daemon_log_count("Changing process context failed for s1"), 1);
    });
}
