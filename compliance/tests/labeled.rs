//! LABELED (reference xinetd §14): where the client's security context cannot be set, nobody is served without it.

use portreeve_compliance::client::talk;
use portreeve_compliance::{Answer, Config, Entry, both};
use std::path::Path;

#[test]
fn nobody_is_served_without_the_context() {
    // With SELinux the original may well serve; ours is held to its word all the same.
    let selinux = Path::new("/sys/fs/selinux/enforce").exists();
    both(|world| {
        if selinux && !world.is_ours() {
            return;
        }
        let labeled = Entry::program("s1", 2001).first("flags = LABELED IPv4");
        let _daemon = world.start(&Config::new().with(labeled).with(Entry::program("s2", 2002)));
        let answer = talk("127.0.0.1", 2001, b"");
        assert_eq!(answer, world.fix("labeled-is-not-served", Answer::closed(""), Answer::refused()));
        assert_eq!(talk("127.0.0.1", 2002, b""), Answer::closed("served\n"));
    });
}
