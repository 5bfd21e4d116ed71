//! Services on unix sockets: what is served over them, who is told to be there, whose their files are and how long they live.
//! xinetd has none.

use portreeve_compliance::client::talk;
use portreeve_compliance::wait::must;
use portreeve_compliance::{Answer, Config, Daemon, End, Ended, Entry, Start, World, ours, signals};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketType, connect, recv, send, sendmsg, socket, sockopt,
};
use std::io::{IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::time::Duration;

/// A service as usual, at a unix socket.
fn at(place: &str, entry: Entry) -> Entry {
    entry.unset("port").unset("protocol").unset("type").set("bind", place)
}

/// A file in the world's directory, as the service names it.
fn here(name: &str) -> String {
    format!("/run/w/{name}")
}

fn read_all(mut stream: UnixStream) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a deadline");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    text
}

fn get(world: &World, name: &str) -> String {
    read_all(UnixStream::connect(world.path(name)).unwrap_or_else(|error| panic!("{name}: {error}")))
}

fn inode(world: &World, name: &str) -> u64 {
    std::fs::symlink_metadata(world.path(name)).map_or(0, |meta| meta.ino())
}

fn upgraded(daemon: &Daemon<'_>) {
    let answer = daemon.control("upgrade");
    assert!(answer.contains("\"ok\":true"), "{answer}");
}

/// Each kind of socket, with programs for one connection and for all, and built-in; and what they are told.
#[test]
fn what_is_served() {
    ours(|world| {
        let config = Config::of(at(
            &here("env"),
            Entry::shell("env", 1, "env|sort|grep${IFS}-E${IFS}'UNIX|REMOTE_HOST'"),
        ))
        .with(at("@portreeve-test", Entry::program("name", 1)))
        .with(at(&here("seq"), Entry::shell("seq", 1, "cat").set("socket_type", "seqpacket")))
        .with(
            at(&here("all"), Entry::probe("all", 1, "accept"))
                .set("wait", "yes")
                .set("server", "/bin/sh")
                .set("server_args", "-c exit"),
        )
        .with(
            at(&here("dgram"), Entry::bare("dgram", 1))
                .set("socket_type", "dgram")
                .set("wait", "yes")
                .set("user", "root")
                .set("server", "/usr/bin/head")
                .set("server_args", "-c 5"),
        )
        .with(at(&here("echo"), Entry::internal("echo", "echo", 1, "stream")).set("type", "INTERNAL"));
        let daemon = world.start(&config);
        let told = get(world, "env");
        let own = std::process::id();
        assert!(
            told.starts_with("PROTO=UNIX\nUNIXLOCALPATH=/run/w/env\nUNIXREMOTEEGID=0\nUNIXREMOTEEUID=0\n"),
            "{told}"
        );
        assert!(!told.contains("REMOTE_HOST") && !told.contains(&format!("PID={own}\n")), "{told}");

        let name = SocketAddr::from_abstract_name("portreeve-test").expect("a name");
        world.enter();
        assert_eq!(read_all(UnixStream::connect_addr(&name).expect("the name")), "served\n");

        let seq = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).expect("a socket");
        connect(&seq, &SocketAddrUnix::new(world.path("seq")).expect("a path")).expect("to connect");
        let mut answer = [0; 16];
        for word in ["one", "three"] {
            send(&seq, word.as_bytes(), SendFlags::empty()).expect("to send");
            let (_, n) = recv(&seq, &mut answer[..], RecvFlags::empty()).expect("an answer");
            assert_eq!(&answer[..n], word.as_bytes());
        }
        drop(seq);

        let sender = UnixDatagram::unbound().expect("a socket");
        sender.send_to(b"word\n", world.path("dgram")).expect("to send");
        must("the datagram was taken", || {
            daemon.count("dgram", "/accepted") >= 1 && daemon.count("dgram", "/running") == 0
        });

        // Its program ends without having accepted, so the socket is given to one after another until the rate trips.
        let _client = UnixStream::connect(world.path("all")).expect("to connect");
        must("the program was started", || daemon.count("all", "/accepted") >= 1);

        let mut echo = UnixStream::connect(world.path("echo")).expect("to connect");
        echo.write_all(b"back").expect("to write");
        echo.shutdown(std::net::Shutdown::Write).expect("to shut");
        assert_eq!(read_all(echo), "back");

        must("the client is named", || {
            let log = world.read("log/name");
            log.contains(" from=<no address> peer_pid=") && log.contains(" peer_uid=0 peer_gid=0\n")
        });
        let status = daemon.service_status("seq");
        assert_eq!((&status["address"], &status["protocol"]), (&"/run/w/seq".into(), &"unix".into()));
        assert!(daemon.control("explain name uid=1000").contains("\"verdict\":\"admit\""));
        assert!(daemon.control("explain name 127.0.0.1").contains("uid=1000"));
    });
}

/// Owner, group and mode, from the configuration and after a reload; nobody else gets in.
#[test]
fn who_may_connect() {
    ours(|world| {
        let entry = || at(&here("s1"), Entry::program("s1", 1));
        let daemon = world.start(&Config::of(entry()));
        let rights = || {
            let meta = std::fs::symlink_metadata(world.path("s1")).expect("the socket");
            (meta.permissions().mode() & 0o7777, meta.uid(), meta.gid())
        };
        assert_eq!(rights(), (0o600, 0, 0));
        let before = inode(world, "s1");
        let stranger = |path: &str| {
            let script = format!("use Socket; socket(S,1,1,0); exit !connect(S,sockaddr_un('{path}'))");
            let argv = [
                "/usr/bin/setpriv",
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
                "/usr/bin/perl",
                "-e",
                &script,
            ];
            world.run(&argv, &[]).0
        };
        assert_eq!(stranger("/run/w/s1"), Ended::Status(1));
        daemon.reload(&Config::of(
            entry().set("socket_mode", "660").set("socket_owner", "nobody").set("socket_group", "5"),
        ));
        assert_eq!((rights(), inode(world, "s1")), ((0o660, 65534, 5), before), "the same socket");
        assert_eq!(stranger("/run/w/s1"), Ended::Status(0));
        daemon.reload(&Config::of(entry().set("socket_mode", "606").set("socket_owner", "1")));
        assert_eq!(rights(), (0o606, 1, 0));
        assert_eq!(stranger("/run/w/s1"), Ended::Status(0));
        assert_eq!(get(world, "s1"), "served\n");
    });
}

/// A socket that nobody serves is replaced. One that somebody serves, and whatever is no socket, is left alone and said; so is a
/// directory that others may write. What is in the way is waited out.
#[test]
fn what_stands_there() {
    ours(|world| {
        drop(UnixListener::bind(world.path("stale")).expect("to bind"));
        let live = UnixListener::bind(world.path("live")).expect("to bind");
        world.write("file", "text");
        symlink("/run/w/elsewhere", world.path("link")).expect("a link");
        std::fs::create_dir(world.path("open")).expect("a directory");
        std::fs::set_permissions(world.path("open"), std::fs::Permissions::from_mode(0o777))
            .expect("to open it");
        let names = ["stale", "live", "file", "link", "open/s"];
        let config = Config::new()
            .with_all(names.map(|name| at(&here(name), Entry::program(&name.replace('/', "-"), 1))));
        let daemon = world.start(&config);
        assert_eq!(get(world, "stale"), "served\n");
        for (service, text) in [
            ("live", "/run/w/live: another process serves this socket"),
            ("file", "/run/w/file: exists and is not a socket"),
            ("link", "/run/w/link: exists and is not a socket"),
            ("open-s", "/run/w/open: others may write this directory (mode 777, owner 0)"),
        ] {
            let status = daemon.service_status(service);
            assert_eq!(status["state"], "retrying", "{status}");
            assert!(status["note"].as_str().unwrap_or("").contains(text), "{status}");
            assert!(world.daemon_log().iter().any(|line| line.contains(text)), "{text}");
        }
        assert_eq!(world.read("file"), "text");
        assert!(
            !world.path("elsewhere").exists()
                && world.path("link").is_symlink()
                && !world.path("open/s").exists()
        );
        drop(live);
        must("the other has gone", || UnixStream::connect(world.path("live")).is_ok());
        assert_eq!(get(world, "live"), "served\n");
    });
}

/// An unchanged socket survives reload and upgrade with its queue; what was removed or moved goes, and so does all at the end.
#[test]
fn the_life_of_a_file() {
    ours(|world| {
        let kept = || at(&here("kept"), Entry::program("kept", 1));
        let config = Config::of(kept())
            .with(at(&here("moved"), Entry::program("moved", 1)))
            .with(at(&here("gone"), Entry::program("gone", 1)))
            .with(at(&here("kind"), Entry::program("kind", 1)));
        let daemon = world.start(&config);
        let before = inode(world, "kept");
        let mut long = Config::of(kept().set("server_args", "again"))
            .with(at(&here("there"), Entry::program("moved", 1)))
            .with(at(&here("kind"), Entry::shell("kind", 1, "cat").set("socket_type", "seqpacket")));
        daemon.reload(&long);
        assert_eq!((inode(world, "kept"), get(world, "kept")), (before, "again\n".to_owned()));
        assert_eq!((inode(world, "gone"), inode(world, "moved")), (0, 0));
        assert_eq!(get(world, "there"), "served\n");
        let wrong = UnixStream::connect(world.path("kind")).expect_err("another kind");
        assert_eq!(wrong.raw_os_error(), Some(91), "EPROTOTYPE: {wrong}");

        assert!(daemon.control("hold kept").contains("\"ok\":true"));
        let waiting = UnixStream::connect(world.path("kept")).expect("to connect");
        upgraded(&daemon);
        assert_eq!(inode(world, "kept"), before);
        assert!(daemon.control("release kept").contains("\"ok\":true"));
        assert_eq!(read_all(waiting), "again\n");
        assert_eq!(get(world, "kept"), "again\n");

        // What somebody else has put there is theirs.
        long = long.with(at(&here("taken"), Entry::program("taken", 1)));
        daemon.reload(&long);
        std::fs::remove_file(world.path("taken")).expect("to remove");
        let _theirs = UnixListener::bind(world.path("taken")).expect("to bind");
        assert_eq!(daemon.stop(), Ended::Status(0));
        let left: Vec<bool> = ["kept", "there", "kind", "taken"].map(|name| inode(world, name) != 0).to_vec();
        assert_eq!(left, [false, false, false, true]);
    });
}

/// The limits count users; lists of addresses, and rules that come later, let nobody in.
#[test]
fn limits_and_lists() {
    ours(|world| {
        let sleeping = |id: &str| at(&here(id), Entry::shell(id, 1, "echo${IFS}in;exec${IFS}sleep${IFS}60"));
        let config = Config::of(sleeping("one").set("per_source", "1").set("per_source_prefix", "8 8"))
            .with(sleeping("two").set("instances", "2"))
            .with(
                at(&here("hours"), Entry::program("hours", 1))
                    .set("access_times", &portreeve_compliance::wait::closed_hours()),
            )
            .with(at(&here("tables"), Entry::program("tables", 1)))
            .with(at(&here("listed"), Entry::program("listed", 1)).set("only_from", "127.0.0.1"))
            .with(Entry::program("inet", 2001))
            .defaults("only_from = 127.0.0.1");
        let daemon = world.start(&config);
        assert_eq!(inode(world, "listed"), 0, "it is not served");
        let first = |name: &str| {
            let mut stream = UnixStream::connect(world.path(name)).expect("to connect");
            let mut bytes = [0; 8];
            stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a deadline");
            let n = stream.read(&mut bytes).unwrap_or(0);
            (String::from_utf8_lossy(&bytes[..n]).into_owned(), stream)
        };
        let held = ["one", "two", "two"].map(first);
        assert!(held.iter().all(|(text, _)| text == "in\n"));
        assert_eq!((first("one").0, first("two").0, first("hours").0), Default::default());
        for (id, word) in [("one", "per_source_limit"), ("two", "service_limit"), ("hours", "time")] {
            let line = format!("FAIL: {id} {word} from=<no address> peer_pid=");
            must(&line, || world.read(&format!("log/{id}")).contains(&line));
        }
        assert_eq!(get(world, "tables"), "served\n");
        world.cover("/etc/hosts.deny", "inet: 192.0.2.1\n");
        must("the rule counts", || daemon.control("explain tables uid=0").contains("\"verdict\":\"refuse\""));
        assert_eq!(first("tables").0, "");
        must("it is said", || world.read("log/tables").contains("FAIL: tables libwrap from=<no address>"));
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer { bytes: b"served\n".to_vec(), end: End::Closed });
    });
}

/// A program that has the socket and is left when serving ends keeps the file too.
#[test]
fn a_program_that_stays_keeps_its_socket() {
    ours(|world| {
        let entry = at(&here("s1"), Entry::shell("s1", 1, "exec${IFS}sleep${IFS}60"))
            .set("wait", "yes")
            .set("stop", "leave");
        let daemon = world.start_with(&Config::of(entry), Start::default());
        let _client = UnixStream::connect(world.path("s1")).expect("to connect");
        must("it has started", || daemon.count("s1", "/running") == 1);
        assert_eq!(daemon.stop(), Ended::Status(0));
        assert_ne!(inode(world, "s1"), 0);
        assert!(UnixStream::connect(world.path("s1")).is_ok());
    });
}

/// Connections are carried from a unix socket to a port and to another unix socket; in a circle to nobody.
#[test]
fn redirected() {
    ours(|world| {
        let way = |id: &str, target: &str| {
            at(&here(id), Entry::program(id, 1)).unset("server").unset("server_args").set("redirect", target)
        };
        let config = Config::of(Entry::program("inet", 2001))
            .with(at(&here("local"), Entry::program("local", 1)))
            .with(way("a", "127.0.0.1 2001").set("proxy_protocol", "send"))
            .with(way("b", &here("local")))
            .with(way("round", &here("round")));
        let daemon = world.start(&config);
        assert_eq!((get(world, "a"), get(world, "b")), ("served\n".into(), "served\n".into()));
        assert_eq!(get(world, "round"), "");
        assert!(daemon.count("round", "/accepted") <= 2);
        must("the circle is said", || {
            world.daemon_log().iter().any(|line| line.contains("round: its target leads back to it"))
        });
    });
}

/// servers, services and xadmin tell of services and clients that have no address.
#[test]
fn what_is_running_is_told() {
    ours(|world| {
        let telling =
            |name: &str| at(&here(name), Entry::internal(name, name, 1, "stream")).set("type", "INTERNAL");
        let config = Config::of(telling("servers"))
            .with(telling("services"))
            .with(telling("xadmin"))
            .with(at("@portreeve-held", Entry::shell("held", 1, "cat")));
        let daemon = world.start(&config);
        let name = SocketAddr::from_abstract_name("portreeve-held").expect("a name");
        let _held = UnixStream::connect_addr(&name).expect("to connect");
        must("it runs", || daemon.count("held", "/running") == 1);
        assert_eq!(get(world, "services"), "servers unix 0\nservices unix 0\nxadmin unix 0\nheld unix 0\n");
        let told = get(world, "servers");
        assert!(
            told.contains("held server\n") && told.contains("remote_address = <no address> peer_pid="),
            "{told}"
        );
        let mut xadmin = UnixStream::connect(world.path("xadmin")).expect("to connect");
        xadmin.write_all(b"show avail\nbye\n").expect("to ask");
        let told = read_all(xadmin);
        assert!(told.contains("held       0      @portreeve-held"), "{told}");
    });
}

/// A connection that lingers, put into the queue of a unix socket: whoever closes that last closes it, and would wait.
fn with_something_that_lingers(client: &UnixStream) -> TcpStream {
    let door = TcpListener::bind("127.0.0.1:0").expect("a port");
    let far = TcpStream::connect(door.local_addr().expect("its address")).expect("to connect");
    let (mut near, _) = door.accept().expect("a connection");
    near.set_nonblocking(true).expect("a mode");
    while near.write(&[0; 65536]).is_ok() {}
    sockopt::set_socket_linger(&near, Some(Duration::from_secs(120))).expect("an option");
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [near.as_fd()];
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    sendmsg(client, &[IoSlice::new(b"x")], &mut control, SendFlags::empty()).expect("sent");
    far
}

/// Served and refused: others are answered meanwhile, and nothing of it is said to be a stranger's end.
#[test]
fn what_a_client_sends_along_makes_nobody_wait() {
    ours(|world| {
        let config = Config::of(Entry::program("other", 2001))
            .with(at(&here("quick"), Entry::shell("quick", 1, "exit")))
            .with(at(&here("apart"), Entry::shell("apart", 1, "exit").set("sandbox", "NoNewPrivileges")))
            .with(at(&here("full"), Entry::shell("full", 1, "sleep${IFS}60").set("instances", "1")));
        let daemon = world.start(&config);
        let seated = UnixStream::connect(world.path("full")).expect("to connect");
        must("the seat is taken", || daemon.count("full", "/running") == 1);
        // All of it is there when they are accepted.
        daemon.signal(signals::STOP);
        let mut all = Vec::new();
        for name in ["quick", "apart", "full"].into_iter().cycle().take(30) {
            let client = UnixStream::connect(world.path(name)).expect("to connect");
            let far = with_something_that_lingers(&client);
            all.push((client, far));
        }
        daemon.signal(signals::CONT);
        let begun = std::time::Instant::now();
        must("all are done", || {
            ["quick", "apart"].iter().all(|name| daemon.count(name, "/accepted") == 10)
                && daemon.count("full", "/refused/service_limit") == 10
        });
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed("served\n"));
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
        for (client, _far) in all {
            client.set_read_timeout(Some(Duration::from_secs(20))).expect("a deadline");
            let end = (&client).read(&mut [0]);
            assert!(!end.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock), "it waits");
        }
        let log = world.daemon_log();
        assert!(!log.iter().any(|line| line.contains("unknown child")), "{log:?}");
        drop(seated);
    });
}
