//! `transparent = yes`: the target of a `redirect` sees the client's address. Three networks: the client's, ours between, and the
//! target's, whose gateway we are.

use portreeve_compliance::wait::must;
use portreeve_compliance::{Config, DEADLINE, Ended, Entry, World, ours};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;

fn run(world: &World, words: &str) {
    let argv: Vec<&str> = ["/usr/bin/env"].into_iter().chain(words.split(' ')).collect();
    let (how, output) = world.run(&argv, &[]);
    assert_eq!(how, Ended::Status(0), "{words}: {output}");
}

/// A network of its own, joined to ours by a pair of interfaces NAME (ours) and NAME1, with these addresses at its end, and us as gateway.
fn network(world: &World, name: &str, v4: &str, v6: &str) -> u32 {
    let pid = world.spawn(name, &["/usr/bin/env", "unshare", "-n", "sleep", "60"], &[]);
    let own = |pid: &str| std::fs::read_link(world.inside(&format!("/proc/{pid}/ns/net"))).ok();
    must("it has its network", || own(&pid.to_string()).is_some_and(|net| Some(net) != own("1")));
    run(world, &format!("ip link add {name} type veth peer name {name}1 netns {pid}"));
    run(world, &format!("ip link set {name} up"));
    run(world, &format!("ip address add {v4}.1/24 dev {name}"));
    run(world, &format!("ip address add {v6}::1/64 dev {name} nodad"));
    let there = |words: &str| run(world, &format!("nsenter -t {pid} -n ip {words}"));
    there(&format!("link set {name}1 up"));
    there(&format!("address add {v4}.2/24 dev {name}1"));
    there(&format!("address add {v6}::2/64 dev {name}1 nodad"));
    there(&format!("route add default via {v4}.1"));
    there(&format!("-6 route add default via {v6}::1"));
    pid
}

fn enter(net: &File) {
    move_into_link_name_space(net.as_fd(), Some(LinkNameSpaceType::Network)).expect("to enter it");
}

#[test]
fn the_target_sees_the_client() {
    ours(|world| {
        let client = network(world, "clients", "192.0.2", "2001:db8:1");
        let target = network(world, "targets", "198.51.100", "2001:db8:2");
        for ip in ["ip", "ip -6"] {
            run(world, &format!("{ip} rule add iif targets lookup 100"));
            run(world, &format!("{ip} route add local default dev lo table 100"));
        }
        let net = |pid: u32| File::open(world.inside(&format!("/proc/{pid}/ns/net"))).expect("a network");
        let (there, here) = (net(target), net(client));
        let (ready, listens) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            enter(&there);
            let listener = TcpListener::bind("[::]:3001").expect("the target's socket");
            ready.send(()).expect("somebody who waits");
            for mut stream in listener.incoming().map_while(Result::ok) {
                let peer = stream.peer_addr().map(|peer| peer.ip().to_canonical().to_string());
                let _ = stream.write_all(peer.unwrap_or_default().as_bytes());
            }
        });
        listens.recv_timeout(DEADLINE).expect("the target listens");
        let redirected = |id: &str, port, targets: &str, transparent: &str| {
            Entry::bare(id, port)
                .set("type", "UNLISTED")
                .set("socket_type", "stream")
                .set("protocol", "tcp")
                .set("wait", "no")
                .set("user", "nobody")
                .set("redirect", targets)
                .set("transparent", transparent)
        };
        let both = "198.51.100.2 3001 2001:db8:2::2 3001";
        let config = Config::new()
            .with(redirected("plain", 2001, both, "no"))
            .with(redirected("clear", 2002, both, "yes"))
            .with(redirected("other", 2003, "198.51.100.2 3001", "yes"));
        let daemon = world.start(&config);
        let asking = std::thread::spawn(move || {
            enter(&here);
            let ask = |to: &str| {
                let mut stream = TcpStream::connect(to).expect("a connection");
                stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
                let mut seen = String::new();
                stream.read_to_string(&mut seen).expect("an end");
                seen
            };
            ["192.0.2.1:2001", "192.0.2.1:2002", "[2001:db8:1::1]:2002", "[2001:db8:1::1]:2003"].map(ask)
        });
        let seen = asking.join().expect("the client");
        assert_eq!(seen, ["198.51.100.1", "192.0.2.2", "2001:db8:1::2", ""]);
        // The IPv4 target was passed over for the IPv6 client, and is well.
        for id in ["clear", "other"] {
            assert_eq!(daemon.service_status(id)["targets"][0]["state"], "well", "{id}");
        }
        assert_eq!(world.daemon_log_count("Address family not supported"), 2);
        world.signal(client, 9);
        world.signal(target, 9);
    });
}
