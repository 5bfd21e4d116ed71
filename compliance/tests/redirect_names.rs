//! The addresses of a target's name hold as long as their TTL: told by a name server of the test's own. What the hosts file says is looked
//! at each minute; what the name server does not answer keeps the last addresses. xinetd looks a name up once.

use portreeve_compliance::client::talk;
use portreeve_compliance::wait::must;
use portreeve_compliance::{Answer, Config, Daemon, Entry, World, ours};
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Of a name: the last number of its address, its TTL, and how often it was asked for; nobody answers where there is no number.
#[derive(Clone, Copy, Debug)]
struct Record {
    name: &'static str,
    number: Option<u8>,
    ttl: u32,
    asked: u32,
}

#[derive(Debug)]
struct Zone {
    records: Vec<Record>,
    over: bool,
}

/// The answer to a question; none is sent for what nobody answers.
fn answer(question: &[u8], zone: &mut Zone) -> Option<Vec<u8>> {
    let (mut at, mut labels) = (12, Vec::new());
    loop {
        let length = usize::from(*question.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(question.get(at..at + length)?).into_owned());
        at += length;
    }
    let kind = u16::from_be_bytes([*question.get(at)?, *question.get(at + 1)?]);
    let name = labels.join(".");
    let record = zone.records.iter_mut().find(|record| record.name == name);
    let data = match record {
        Some(record) if kind == 1 => {
            record.asked += 1;
            Some((record.ttl, record.number?))
        }
        _ => None,
    };
    let mut out = question.get(..2)?.to_vec();
    out.extend_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(data.is_some()), 0, 0, 0, 0]);
    out.extend_from_slice(question.get(12..at + 4)?);
    if let Some((ttl, number)) = data {
        out.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1]);
        out.extend_from_slice(&ttl.to_be_bytes());
        out.extend_from_slice(&[0, 4]);
        out.extend_from_slice(&Ipv4Addr::new(127, 0, 1, number).octets());
    }
    Some(out)
}

fn name_server(socket: &UdpSocket, zone: &Mutex<Zone>) {
    socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
    let mut question = [0; 512];
    loop {
        let heard = socket.recv_from(&mut question);
        let mut zone = zone.lock().expect("the zone");
        if zone.over {
            return;
        }
        let Ok((length, from)) = heard else { continue };
        if let Some(answer) = answer(&question[..length], &mut zone) {
            let _ = socket.send_to(&answer, from);
        }
    }
}

/// Says its number to each client, at port 3001.
fn target(number: u8) {
    let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 1, number), 3001)).expect("the target's socket");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.write_all(&[b'0' + number]);
        }
    });
}

fn with_name_server(world: &World, records: Vec<Record>, body: impl FnOnce(&Mutex<Zone>)) {
    world.write(
        "etc/nsswitch.conf",
        "passwd: files\ngroup: files\nhosts: files dns\nprotocols: files\nservices: files\nnetworks: files\n",
    );
    world.write("etc/resolv.conf", "nameserver 127.0.0.53\noptions timeout:1 attempts:1\n");
    let socket = UdpSocket::bind("127.0.0.53:53").expect("the name server's port");
    let zone = Mutex::new(Zone { records, over: false });
    std::thread::scope(|scope| {
        scope.spawn(|| name_server(&socket, &zone));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| body(&zone)));
        let held = zone.lock();
        held.unwrap_or_else(std::sync::PoisonError::into_inner).over = true;
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
}

fn redirected(id: &str, port: u16, name: &str) -> Entry {
    Entry::redirected(id, port, &format!("{name} 3001")).first("flags = IPv4")
}

fn served(port: u16) -> String {
    talk("127.0.0.1", port, b"").text()
}

fn record(name: &'static str, ttl: u32) -> Record {
    Record { name, number: Some(1), ttl, asked: 0 }
}

fn asked(zone: &Mutex<Zone>, name: &str) -> u32 {
    zone.lock().expect("the zone").records.iter().find(|record| record.name == name).map_or(0, |r| r.asked)
}

fn change(zone: &Mutex<Zone>, change: impl Fn(&mut Record)) {
    zone.lock().expect("the zone").records.iter_mut().for_each(change);
}

/// One with a TTL of five seconds is followed within it, one of 300 is not asked about again; neither is one of the hosts file of which
/// the name server says a short time.
#[test]
fn a_name_is_looked_up_when_its_ttl_is_over() {
    ours(|world| {
        (1..=3).for_each(target);
        let hosts = world.read("etc/hosts") + "127.0.1.1 local.example.net\n";
        world.write("etc/hosts", hosts);
        let records = vec![
            record("short.example.net", 5),
            record("long.example.net", 300),
            record("local.example.net", 5),
        ];
        with_name_server(world, records, |zone| {
            let config = Config::new()
                .with(redirected("short", 2001, "short.example.net"))
                .with(redirected("long", 2002, "long.example.net"))
                .with(redirected("local", 2003, "local.example.net"));
            let daemon = world.start(&config);
            assert_eq!([served(2001), served(2002), served(2003)], ["1", "1", "1"]);
            // The first look comes soon after the start, and tells how long they hold.
            must("all have been looked up", || {
                ["short.example.net", "long.example.net"].iter().all(|name| asked(zone, name) >= 3)
            });
            let (before, began) = (asked(zone, "long.example.net"), Instant::now());
            change(zone, |record| record.number = Some(2));
            must("the short one is followed", || served(2001) == "2");
            assert!(began.elapsed() < Duration::from_secs(30), "long before a minute");
            let short = asked(zone, "short.example.net");
            must("and again", || asked(zone, "short.example.net") >= short + 6);
            assert_eq!((served(2002), asked(zone, "long.example.net")), ("1".to_owned(), before), "it holds");
            assert_eq!(
                (served(2003), asked(zone, "local.example.net")),
                ("1".to_owned(), 0),
                "of the hosts file"
            );
            followed_over_an_upgrade(&daemon, zone, before);
            // Nobody answers: the last good addresses serve on, and it is said once.
            change(zone, |record| record.number = None);
            let said = "the target short.example.net cannot be looked up";
            must("it is said", || world.daemon_log_count(said) >= 1);
            assert_eq!(served(2001), "3");
            assert_eq!(world.daemon_log_count(said), 1);
        });
    });
}

/// What was found, and how long it holds, goes over: the file was read when the names had other addresses.
fn followed_over_an_upgrade(daemon: &Daemon<'_>, zone: &Mutex<Zone>, before: u32) {
    change(zone, |record| record.number = Some(3));
    must("it is followed", || served(2001) == "3");
    let answer = daemon.control("upgrade");
    assert!(answer.contains("\"ok\":true"), "{answer}");
    assert_eq!([served(2001), served(2002)], ["3", "1"]);
    assert_eq!(asked(zone, "long.example.net"), before, "its time is not over");
    assert_eq!(talk("127.0.0.1", 2003, b""), Answer::closed("1"));
}
