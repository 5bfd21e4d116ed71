//! HUP while the name server is silent: whoever a list refuses by name stays refused, and what the files say anew does not wait for the
//! names that they said before.

use portreeve_compliance::client::talk;
use portreeve_compliance::wait::{must, until};
use portreeve_compliance::{Answer, Config, Entry, World, ours, signals};
use std::net::UdpSocket;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

const SERVED: &str = "served\n";
const STANDS: &str = "the resolver did not answer for host bad.example.net: what it said before stands";

const ANSWERS: u8 = 0;
const SILENT: u8 = 1;
const DENIES: u8 = 2;
const STOP: u8 = 3;

/// bad.example.net is 127.0.0.22, and the other way round; there is no other name.
fn name_server(socket: &UdpSocket, mode: &AtomicU8) {
    socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a deadline");
    let mut buffer = [0_u8; 1500];
    while mode.load(Ordering::Relaxed) != STOP {
        let Ok((count, from)) = socket.recv_from(&mut buffer) else { continue };
        let mode = mode.load(Ordering::Relaxed);
        if mode != SILENT
            && let Some(answer) = answer(&buffer[..count], mode == ANSWERS)
        {
            let _ = socket.send_to(&answer, from);
        }
    }
}

fn answer(question: &[u8], knows: bool) -> Option<Vec<u8>> {
    const NAME: &[u8] = b"\x03bad\x07example\x03net\0";
    let end = 12 + question.get(12..)?.iter().position(|&byte| byte == 0)? + 1;
    let name = &question[12..end];
    let kind = u16::from_be_bytes([*question.get(end)?, *question.get(end + 1)?]);
    let data: Option<&[u8]> = match kind {
        1 if name == NAME => Some(&[127, 0, 0, 22]),
        12 if name == b"\x0222\x010\x010\x03127\x07in-addr\x04arpa\0" => Some(NAME),
        _ => None,
    };
    let data = data.filter(|_| knows);
    let code = if knows && name == NAME || data.is_some() { 0 } else { 3 };
    let mut out = question.get(..2)?.to_vec();
    out.extend_from_slice(&[0x81, 0x80 | code, 0, 1, 0, u8::from(data.is_some()), 0, 0, 0, 0]);
    out.extend_from_slice(question.get(12..end + 4)?);
    if let Some(data) = data {
        out.extend_from_slice(&[0xc0, 12]);
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
        out.extend_from_slice(&u16::try_from(data.len()).ok()?.to_be_bytes());
        out.extend_from_slice(data);
    }
    Some(out)
}

/// Runs `body` with a name server that it may silence. The resolver waits `timeout` seconds for it.
fn with_name_server(world: &World, timeout: u32, body: impl FnOnce(&AtomicU8)) {
    world.write(
        "etc/nsswitch.conf",
        "passwd: files\ngroup: files\nhosts: files dns\nprotocols: files\nservices: files\nnetworks: files\n",
    );
    let text = format!("nameserver 127.0.0.53\noptions timeout:{timeout} attempts:1\n");
    world.write("etc/resolv.conf", text);
    let socket = UdpSocket::bind("127.0.0.53:53").expect("the name server's port");
    let mode = AtomicU8::new(ANSWERS);
    std::thread::scope(|scope| {
        scope.spawn(|| name_server(&socket, &mode));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| body(&mode)));
        mode.store(STOP, Ordering::Relaxed);
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
}

fn kept_out(port: u16) -> Entry {
    Entry::program("no", port).first("flags = IPv4").set("no_access", "bad.example.net").set("cps", "0 0")
}

fn refused_and_served() {
    assert_eq!(talk("127.0.0.22", 2001, b""), Answer::closed(""), "kept out by name");
    assert_eq!(talk("127.0.0.20", 2001, b""), Answer::closed(SERVED));
}

/// The name server is silent at the reload, of the same files and of others: the entry of the list stays, and it is said. Where the
/// server says that there is no such name, the entry goes, as in xinetd.
#[test]
fn an_outage_takes_no_name_off_a_list() {
    ours(|world| {
        with_name_server(world, 1, |mode| {
            let config = Config::of(kept_out(2001));
            let more = Config::of(kept_out(2001)).with(Entry::program("more", 2002).first("flags = IPv4"));
            let daemon = world.start(&config);
            refused_and_served();
            for (times, config, services) in [(1, &config, "new=0 old=1"), (2, &more, "new=1 old=1")] {
                mode.store(SILENT, Ordering::Relaxed);
                daemon.reload(config);
                must("it is said", || world.daemon_log_count(STANDS) == times);
                assert_eq!(world.daemon_log_count(&format!("Reconfigured: {services}")), 1);
                assert_eq!(talk("127.0.0.22", 2001, b""), Answer::closed(""), "during the outage");
                mode.store(ANSWERS, Ordering::Relaxed);
                must("the others are served again", || {
                    talk("127.0.0.20", 2001, b"") == Answer::closed(SERVED)
                });
                refused_and_served();
            }
            assert_eq!(world.daemon_log_count("failed to parse"), 0);
            mode.store(DENIES, Ordering::Relaxed);
            daemon.reload(&more);
            assert_eq!(world.daemon_log_count("failed to parse"), 1, "there is no such name");
            assert_eq!(talk("127.0.0.22", 2001, b""), Answer::closed(SERVED));
        });
    });
}

/// The resolver hangs for longer than a reading waits: what is given up is what it was.
#[test]
fn a_question_that_is_given_up_takes_no_name_off_a_list() {
    ours(|world| {
        with_name_server(world, 90, |mode| {
            let daemon = world.start(&Config::of(kept_out(2001)));
            refused_and_served();
            mode.store(SILENT, Ordering::Relaxed);
            daemon.signal(signals::HUP);
            let done = || (world.daemon_log_count("Reconfigured: new=0 old=1 dropped=0") == 1).then_some(());
            assert!(until(Duration::from_secs(90), done).is_some(), "{:?}", world.daemon_log());
            assert_eq!(world.daemon_log_count(STANDS), 1);
            assert_eq!(world.daemon_log_count("failed to parse"), 0);
        });
    });
}

/// Names of the former configuration hang; the new one names nobody but a local user, and is in force at once.
#[test]
fn former_names_hold_up_no_new_configuration() {
    ours(|world| {
        world.cover("/etc/passwd", "root:x:0:0::/:/bin/sh\ngames:x:5:60::/:/bin/sh\n");
        with_name_server(world, 90, |mode| {
            let daemon = world.start(&Config::of(kept_out(2001)));
            refused_and_served();
            mode.store(SILENT, Ordering::Relaxed);
            let entry = Entry::program("local", 2002).first("flags = IPv4").set("user", "games");
            daemon.reload(&Config::of(entry));
            assert_eq!(world.daemon_log_count("Unknown user"), 0);
            assert_eq!(world.daemon_log_count("the name service did not answer"), 0);
            assert_eq!(talk("127.0.0.20", 2002, b""), Answer::closed(SERVED));
        });
    });
}

/// Where no name is asked for, a reload starts nobody to ask.
#[test]
fn a_configuration_without_names_needs_no_resolver() {
    ours(|world| {
        let echo = || Entry::internal("echo", "e", 2001, "stream").unset("user");
        let daemon = world.start(&Config::of(echo()));
        let asked = || world.processes("worker resolver").len();
        assert_eq!(asked(), 0, "the start needed none");
        daemon.reload(&Config::of(echo().set("instances", "7")));
        assert_eq!(world.daemon_log_count("Reconfigured: new=0 old=1"), 1);
        assert_eq!(asked(), 0);
    });
}
