//! A filter on a real listener, in a network namespace of its own, with real connects.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod skip;

use portreeve_sys::filter::{allow_sources, attach, detach};
use portreeve_sys::socket::{ListenOptions, listen_stream};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use skip::{Reason, is_root, skip};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::time::Duration;

/// Runs `test` in a thread with loopback of its own: the kernel keeps namespaces per thread.
fn in_namespace(test: fn()) {
    if !is_root() {
        return;
    }
    std::thread::Builder::new()
        .name(std::thread::current().name().unwrap_or_default().to_owned())
        .spawn(move || {
            // SAFETY: NEWNET changes nothing that other threads of this process share.
            if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
                return skip(Reason::NoNamespaces);
            }
            for command in [
                "link set lo up",
                "-6 addr add fd00::1/128 dev lo nodad",
                "-6 addr add fd00::2/128 dev lo nodad",
            ] {
                match Command::new("ip").args(command.split(' ')).status() {
                    Ok(status) if status.success() => {}
                    Ok(_) if command.starts_with("-6") => return skip(Reason::NoIpv6),
                    Ok(status) => panic!("ip {command}: {status}"),
                    Err(_) => return skip(Reason::absent("ip")),
                }
            }
            test();
        })
        .unwrap()
        .join()
        .unwrap();
}

fn listener(address: &str, v6only: bool) -> (OwnedFd, u16) {
    let options = ListenOptions { v6only, ..ListenOptions::default() };
    let fd = listen_stream(address.parse().unwrap(), 0, options).unwrap();
    let port = SocketAddr::try_from(rustix::net::getsockname(&fd).unwrap()).unwrap().port();
    (fd, port)
}

/// Connects from one address to another. A dropped SYN is not answered; the kernel sends it again after a second,
/// so half of that tells the two apart.
fn connect(from: &str, to: &str, port: u16) -> Option<OwnedFd> {
    let (from, to): (IpAddr, IpAddr) = (from.parse().unwrap(), to.parse().unwrap());
    let family = if from.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let fd = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap();
    rustix::net::bind(&fd, &SocketAddr::new(from, 0)).unwrap();
    let _ = rustix::net::connect(&fd, &SocketAddr::new(to, port));
    let mut poll = [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::OUT)];
    let limit = rustix::event::Timespec::try_from(Duration::from_millis(500)).unwrap();
    let ready = rustix::event::poll(&mut poll, Some(&limit)).unwrap();
    (ready == 1 && sockopt::socket_error(&fd).unwrap().is_ok()).then_some(fd)
}

fn connects(from: &str, to: &str, port: u16) -> bool {
    connect(from, to, port).is_some()
}

fn address(text: &str) -> u32 {
    u32::from(text.parse::<std::net::Ipv4Addr>().unwrap())
}

fn address6(text: &str) -> u128 {
    u128::from(text.parse::<std::net::Ipv6Addr>().unwrap())
}

#[test]
fn strangers_are_dropped_before_accept() {
    in_namespace(|| {
        let (fd, port) = listener("127.0.0.1:0", false);
        assert!(connects("127.0.9.9", "127.0.0.1", port));
        let program =
            allow_sources(&[(address("127.0.3.3"), 32)], &[], Some((&[(address("127.0.2.0"), 23)], &[])))
                .unwrap();
        attach(&fd, &program).unwrap();
        for (source, expected) in
            [("127.0.2.1", true), ("127.0.3.2", true), ("127.0.3.3", false), ("127.0.4.1", false)]
        {
            assert_eq!(connects(source, "127.0.0.1", port), expected, "{source}");
        }
        // Put another in its place, then none.
        attach(&fd, &allow_sources(&[(address("127.0.2.1"), 32)], &[], None).unwrap()).unwrap();
        assert!(!connects("127.0.2.1", "127.0.0.1", port) && connects("127.0.4.1", "127.0.0.1", port));
        detach(&fd).unwrap();
        detach(&fd).unwrap();
        assert!(connects("127.0.2.1", "127.0.0.1", port));
    });
}

#[test]
fn one_program_serves_both_families_on_one_socket() {
    in_namespace(|| {
        let (fd, port) = listener("[::]:0", false);
        let program =
            allow_sources(&[(address("127.0.3.0"), 24)], &[(address6("fd00::2"), 128)], None).unwrap();
        attach(&fd, &program).unwrap();
        assert!(connects("127.0.2.1", "127.0.0.1", port), "IPv4, not denied");
        assert!(!connects("127.0.3.1", "127.0.0.1", port), "IPv4, denied");
        assert!(connects("fd00::1", "::1", port), "IPv6, not denied");
        assert!(!connects("fd00::2", "::1", port), "IPv6, denied");
        drop(fd);
        let (fd, port) = listener("[::]:0", true);
        attach(&fd, &allow_sources(&[], &[], Some((&[], &[(address6("fd00::2"), 127)]))).unwrap()).unwrap();
        assert!(connects("fd00::2", "::1", port) && !connects("fd00::1", "::1", port));
    });
}

#[test]
fn who_is_connected_stays_connected() {
    in_namespace(|| {
        let (fd, port) = listener("127.0.0.1:0", false);
        let client = connect("127.0.2.1", "127.0.0.1", port).unwrap();
        let server = rustix::net::accept(&fd).unwrap();
        attach(&fd, &allow_sources(&[(address("127.0.2.1"), 32)], &[], None).unwrap()).unwrap();
        rustix::io::write(&client, b"still here").unwrap();
        assert_eq!(rustix::io::read(&server, &mut [0; 16]).unwrap(), 10);
        assert!(!connects("127.0.2.1", "127.0.0.1", port));
    });
}

#[test]
fn the_kernel_takes_what_the_assembler_makes() {
    in_namespace(|| {
        let (fd, port) = listener("127.0.0.1:0", false);
        let list: Vec<(u32, u8)> = (0..900).map(|i| (address("127.1.0.0") + i * 2, 32)).collect();
        attach(&fd, &allow_sources(&list, &[], None).unwrap()).unwrap();
        assert!(!connects("127.1.0.200", "127.0.0.1", port) && connects("127.1.0.201", "127.0.0.1", port));
        let error = attach(&fd, &[]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
        assert!(!connects("127.1.0.200", "127.0.0.1", port), "the old program stays");
    });
}
