//! A service's own user against the supervisor: between the change of user and execve the new process belongs to that user,
//! who may send it what they like.

use portreeve_compliance::client::{dial, talk};
use portreeve_compliance::{Answer, Config, Entry, ours};

/// A program of `nobody` stops every process of that user as fast as it can, those that are just being started included.
/// Whoever waits for a stopped one to execute its program waits for ever; the supervisor must not.
#[test]
fn a_user_who_stops_what_is_being_started() {
    ours(|world| {
        let stopper = world.write_mode(
            "stopper",
            "#!/bin/sh\necho ready\ni=0\nwhile [ $i -lt 2000000 ]; do kill -STOP -1 2>/dev/null; i=$((i+1)); done\n",
            0o755,
        );
        let config = Config::new()
            .with(
                Entry::program("stopper", 2001)
                    .set("server", &stopper)
                    .unset("server_args")
                    .set("user", "nobody"),
            )
            .with(Entry::program("same", 2002).set("user", "nobody").set("cps", "0 0"))
            .with(Entry::program("other", 2003).set("cps", "0 0"));
        let daemon = world.start(&config);
        let mut attack = dial("127.0.0.1", 2001).expect("the stopper");
        assert_eq!(attack.read_count(6).bytes, b"ready\n");
        let victims: Vec<_> = (0..30).filter_map(|_| dial("127.0.0.1", 2002).ok()).collect();
        for _ in 0..10 {
            assert_eq!(talk("127.0.0.1", 2003, b""), Answer::closed("served\n"), "a service of another user");
        }
        assert!(daemon.runs());
        assert!(daemon.count("same", "/accepted") >= 1, "the victims have been started");
        drop((victims, attack));
    });
}
