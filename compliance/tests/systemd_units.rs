//! Directories of systemd's units, served as they are (`run -systemd`), and programs that take their sockets by
//! sd_listen_fds(3), beside systemd-socket-activate.

use portreeve_compliance::client::{talk, talk_to};
use portreeve_compliance::init::{HERE, PROBE};
use portreeve_compliance::skip::has_programs;
use portreeve_compliance::wait::must;
use portreeve_compliance::{Answer, Config, Daemon, Entry, Start, World, ours, signals};
use serde_json::Value;
use std::io::Read;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::Duration;

const ON: &str = "[Install]\nWantedBy=sockets.target\n";

fn unit(world: &World, name: &str, text: &str) {
    let path = world.path(&format!("units/{name}"));
    std::fs::create_dir_all(path.parent().expect("a directory")).expect("directories");
    std::fs::write(path, text).expect("to write");
}

fn start<'a>(world: &'a World, config: &Config) -> Daemon<'a> {
    let options = vec!["-systemd".to_owned(), format!("{HERE}/units")];
    world.start_with(config, Start { options, ..Start::default() })
}

fn report(answer: &Answer) -> Value {
    serde_json::from_str(&answer.text()).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

/// Accept=yes and Accept=no, drop-ins, a mask, a socket that is off; places in `explain`; a reload.
#[test]
fn a_directory_is_served() {
    ours(|world| {
        unit(
            world,
            "a.socket",
            &format!("[Socket]\nListenStream=127.0.0.1:2001\nAccept=yes\nMaxConnections=3\n{ON}"),
        );
        unit(
            world,
            "a@.service",
            &format!("[Service]\nExecStart=-{PROBE} one $WORD\nEnvironment=WORD=two\nStandardInput=socket\n"),
        );
        unit(world, "a@.service.d/user.conf", "[Service]\nUser=65534\n");
        unit(world, "socket.d/all.conf", "[Socket]\nIPAddressDeny=127.0.0.9\n");
        unit(world, "off.socket", "[Socket]\nListenStream=127.0.0.1:2002\nAccept=yes\n");
        unit(world, "off@.service", "[Service]\nDynamicUser=yes\n");
        unit(world, "masked.socket", "");
        unit(world, "broken.socket", &format!("[Socket]\nListenStream=127.0.0.1:2003\nAccept=yes\n{ON}"));
        unit(
            world,
            "broken@.service",
            "[Service]\nRootImage=/srv\nExecStart=/bin/true\nStandardInput=socket\n",
        );
        let daemon = start(world, &Config::of(Entry::program("own", 2004)));
        let said = report(&talk("127.0.0.1", 2001, b""));
        assert_eq!(said["argv"], serde_json::json!([said["argv"][0], "one", "two"]));
        assert_eq!(said["uid"], "65534 65534 65534 65534");
        assert_eq!(talk("127.0.0.9", 2001, b"").text(), "", "the drop-in for every socket denies it");
        assert_eq!(talk("127.0.0.1", 2004, b""), Answer::closed("served\n"), "the file of xinetd beside it");
        for port in [2002, 2003] {
            assert_eq!(talk("127.0.0.1", port, b""), Answer::refused(), "{port}");
        }
        assert!(world.read("daemon.log").contains("`broken.socket` is not served: `RootImage=`"));
        let explained = daemon.control("explain a 127.0.0.9");
        assert!(explained.contains("units/socket.d/all.conf"), "{explained}");
        assert!(
            daemon.control("status").contains("\"units\":[\"/run/w/units\"]"),
            "{}",
            daemon.control("status")
        );
        // A drop-in more, and the limit is another; a mask, and it is gone.
        unit(world, "a.socket.d/more.conf", "[Socket]\nMaxConnections=1\nIPAddressDeny=\n");
        daemon.signal(signals::HUP);
        must("the drop-in holds", || daemon.control("explain a 127.0.0.1").contains("0 of 1 running"));
        assert_eq!(report(&talk("127.0.0.9", 2001, b""))["argv"][1], "one");
        unit(world, "a.socket", "");
        daemon.signal(signals::HUP);
        must("a masked socket is not served", || talk("127.0.0.1", 2001, b"") == Answer::refused());
        assert!(daemon.runs());
    });
}

/// What a program finds, without what differs between any two super-servers.
fn given(said: &Value) -> Value {
    let fds: Vec<Value> = said["start"]["fds"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|fd| fd["fd"].as_u64() >= Some(3))
        .cloned()
        .collect();
    serde_json::json!([said["for_me"], said["count"], said["names"], fds])
}

/// LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES with two sockets, and the same from systemd's own tool.
#[test]
fn sockets_from_descriptor_three() {
    ours(|world| {
        unit(
            world,
            "fds.socket",
            &format!(
                "[Socket]\nListenStream=127.0.0.1:2001\nListenStream=127.0.0.2:2001\nFileDescriptorName=web\n{ON}"
            ),
        );
        unit(
            world,
            "fds.service",
            &format!("[Service]\nType=notify\nUser=65534\nExecStart={PROBE} listen-fds 2\n"),
        );
        let daemon = start(world, &Config::default());
        let first = report(&talk("127.0.0.1", 2001, b""));
        let second = report(&talk_to("127.0.0.1", "127.0.0.2", 2001));
        assert_eq!(
            (&first["for_me"], &first["count"], &first["names"]),
            (&true.into(), &"2".into(), &"web:web".into())
        );
        assert_eq!((&first["at"], &second["at"]), (&0.into(), &1.into()), "in the order of the unit");
        for number in 0..3 {
            assert_eq!(first["start"]["fds"][number]["is"], "/dev/null");
        }
        assert_eq!(first["start"]["fds"].as_array().map(Vec::len), Some(5), "{first}");
        assert_eq!(first["start"]["uid"], "65534 65534 65534 65534");
        // The program has ended: the next client starts another one.
        assert_eq!(given(&report(&talk("127.0.0.1", 2001, b""))), given(&first));
        assert!(daemon.runs());
        if !has_programs(&["systemd-socket-activate"]) {
            return;
        }
        let peer = [
            // In a session of this world: the one around it is not to be seen from here.
            "/usr/bin/setsid",
            "/usr/bin/systemd-socket-activate",
            "-l",
            "127.0.0.1:2002",
            "-l",
            "127.0.0.2:2002",
            "--fdname=web:web",
            PROBE,
            "listen-fds",
            "1",
        ];
        world.spawn("activate", &peer, &["PATH=/usr/bin"]);
        let mut theirs = Value::Null;
        must("systemd's tool serves", || {
            let answer = talk("127.0.0.1", 2002, b"");
            theirs = serde_json::from_str(&answer.text()).unwrap_or_default();
            theirs["for_me"] == true
        });
        assert_eq!(given(&first), given(&theirs));
    });
}

/// A connection of its own as descriptor 3, by the attribute: `wait = no`.
#[test]
fn a_connection_as_descriptor_three() {
    ours(|world| {
        let entry = Entry::probe("s1", 2001, "listen-fds").first("listen_fds = connection");
        let _daemon = world.start(&Config::of(entry));
        let said = report(&talk("127.0.0.1", 2001, b""));
        assert_eq!(
            (&said["for_me"], &said["count"], &said["names"]),
            (&true.into(), &"1".into(), &"connection".into())
        );
        assert_eq!(said["start"]["fds"][3]["is"], "socket 0");
        let environment = said["start"]["env"].to_string();
        assert!(environment.contains("REMOTE_HOST=::ffff:127.0.0.1"), "{environment}");
    });
}

/// Units of unix sockets: each kind, the mode that systemd gives where nothing is written, and what is said of that.
#[test]
fn unix_sockets() {
    ours(|world| {
        let socket = |name: &str, lines: &str| {
            unit(world, &format!("{name}.socket"), &format!("[Socket]\n{lines}\n{ON}"));
            let service = format!("[Service]\nUser=65534\nExecStart={PROBE} listen-fds 1\n");
            unit(world, &format!("{name}.service"), &service);
        };
        socket("all", &format!("ListenStream={HERE}/all\nListenStream={HERE}/more"));
        socket(
            "own",
            &format!(
                "ListenStream={HERE}/own\nSocketUser=65534\nSocketGroup=7\nSocketMode=0640\nRemoveOnStop=yes"
            ),
        );
        socket("name", "ListenStream=@portreeve-unit");
        unit(
            world,
            "seq.socket",
            &format!("[Socket]\nListenSequentialPacket={HERE}/seq\nSocketMode=0600\nAccept=yes\n{ON}"),
        );
        unit(world, "seq@.service", "[Service]\nStandardInput=socket\nExecStart=/bin/cat\n");
        let daemon = start(world, &Config::default());
        let get = |stream: std::io::Result<UnixStream>| -> Value {
            let mut text = String::new();
            let mut stream = stream.expect("to connect");
            stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a deadline");
            stream.read_to_string(&mut text).expect("an answer");
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
        };
        let rights = |name: &str| {
            let meta = std::fs::symlink_metadata(world.path(name)).expect(name);
            (meta.mode() & 0o7777, meta.uid(), meta.gid())
        };
        let first = get(UnixStream::connect(world.path("all")));
        assert_eq!((&first["for_me"], &first["count"], &first["at"]), (&true.into(), &"2".into(), &0.into()));
        assert_eq!(get(UnixStream::connect(world.path("more")))["at"], 1, "in the order of the unit");
        assert_eq!((rights("all"), rights("more")), ((0o666, 0, 0), (0o666, 0, 0)), "systemd's own default");
        assert_eq!(get(UnixStream::connect(world.path("own")))["names"], "own.socket");
        assert_eq!(rights("own"), (0o640, 65534, 7));
        let name = SocketAddr::from_abstract_name("portreeve-unit").expect("a name");
        assert_eq!(get(UnixStream::connect_addr(&name))["at"], 0);
        assert_eq!(rights("seq").0, 0o600);
        let kind = rustix::net::SocketType::SEQPACKET;
        let seq = rustix::net::socket(rustix::net::AddressFamily::UNIX, kind, None).expect("a socket");
        let address = rustix::net::SocketAddrUnix::new(world.path("seq")).expect("an address");
        rustix::net::connect(&seq, &address).expect("to connect");
        rustix::net::send(&seq, b"ping", rustix::net::SendFlags::NOSIGNAL).expect("to send");
        let mut buffer = [0u8; 8];
        let (length, _) =
            rustix::net::recv(&seq, &mut buffer, rustix::net::RecvFlags::empty()).expect("an echo");
        assert_eq!(&buffer[..length], b"ping");
        assert!(daemon.runs());
    });
}
