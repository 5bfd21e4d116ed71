//! Listeners and datagram sockets on loopback, with ports of the kernel's choice.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use portreeve_sys::socket::{
    ListenOptions, address_towards, bind_dgram, bind_raw, listen_stream, peek_source, protocol, send_now,
    share, v6only_unsaid,
};
use rustix::io::Errno;
use rustix::net::sockopt;
use std::io::Read;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};

fn local(fd: impl AsFd) -> SocketAddr {
    SocketAddr::try_from(rustix::net::getsockname(fd).unwrap()).unwrap()
}

fn listen(options: ListenOptions) -> (OwnedFd, SocketAddr) {
    let fd = listen_stream("127.0.0.1:0".parse().unwrap(), 0, options).unwrap();
    let address = local(&fd);
    (fd, address)
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap()
}

#[test]
fn the_protocol_is_the_one_that_is_asked_for() {
    let any = "127.0.0.1:0".parse().unwrap();
    for (asked, is) in [(0, 6), (6, 6)] {
        assert_eq!(protocol(listen_stream(any, asked, ListenOptions::default()).unwrap()).unwrap(), is);
    }
    assert_eq!(protocol(bind_dgram(any, 0, ListenOptions::default()).unwrap()).unwrap(), 17);
    // MPTCP and SCTP, which a kernel may lack; another in their place it never is.
    for asked in [262, 132] {
        match listen_stream(any, asked, ListenOptions::default()) {
            Ok(fd) => assert_eq!(protocol(fd).unwrap(), asked),
            Err(error) => assert!(
                matches!(errno(error), Errno::PROTONOSUPPORT | Errno::INVAL | Errno::NOPROTOOPT),
                "{asked}"
            ),
        }
    }
}

#[test]
fn accepted_sockets_inherit_the_options() {
    for wanted in [false, true] {
        let options = ListenOptions { nodelay: wanted, keepalive: wanted, ..ListenOptions::default() };
        let (fd, address) = listen(options);
        assert_eq!(errno(rustix::net::accept(&fd).unwrap_err().into()), Errno::AGAIN, "nonblocking");
        let _client = TcpStream::connect(address).unwrap();
        let accepted = rustix::net::accept(&fd).unwrap();
        assert_eq!(sockopt::tcp_nodelay(&accepted).unwrap(), wanted);
        assert_eq!(sockopt::socket_keepalive(&accepted).unwrap(), wanted);
        assert!(!rustix::fs::fcntl_getfl(&accepted).unwrap().contains(rustix::fs::OFlags::NONBLOCK));
    }
}

#[test]
fn the_queue_is_as_long_as_the_kernel_allows() {
    let allowed: usize =
        std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap().trim().parse().unwrap();
    let (fd, address) = listen(ListenOptions::default());
    // xinetd stops at 64; nobody accepts here.
    let wanted = 300.min(allowed);
    let clients: Vec<TcpStream> = (0..wanted).map(|_| TcpStream::connect(address).unwrap()).collect();
    let accepted = std::iter::from_fn(|| rustix::net::accept(&fd).ok()).count();
    assert_eq!(accepted, clients.len());
}

#[test]
fn an_address_in_use_is_an_error_and_a_restart_is_not() {
    let (fd, address) = listen(ListenOptions::default());
    let again = listen_stream(address, 0, ListenOptions::default());
    assert_eq!(errno(again.unwrap_err()), Errno::ADDRINUSE);
    let client = TcpStream::connect(address).unwrap();
    drop(rustix::net::accept(&fd).unwrap()); // leaves TIME-WAIT on our side
    drop((fd, client));
    listen_stream(address, 0, ListenOptions::default()).unwrap();
    let absent = "192.0.2.1:0".parse().unwrap();
    assert_eq!(errno(listen_stream(absent, 0, ListenOptions::default()).unwrap_err()), Errno::ADDRNOTAVAIL);
}

#[test]
fn v6only_means_what_it_says() {
    let Ok(both) = listen_stream("[::]:0".parse().unwrap(), 0, ListenOptions::default()) else {
        return assert!(!std::path::Path::new("/proc/net/if_inet6").exists(), "IPv6 is there but refused");
    };
    assert!(TcpStream::connect(("127.0.0.1", local(&both).port())).is_ok());
    let options = ListenOptions { v6only: true, ..ListenOptions::default() };
    let only = listen_stream("[::]:0".parse().unwrap(), 0, options).unwrap();
    assert!(TcpStream::connect(("127.0.0.1", local(&only).port())).is_err());
    assert!(TcpStream::connect(("::1", local(&only).port())).is_ok());
}

#[test]
fn what_a_socket_does_without_a_word_need_not_be_said() {
    let Some(unsaid) = v6only_unsaid() else {
        return assert!(!std::path::Path::new("/proc/net/if_inet6").exists(), "IPv6 is there but refused");
    };
    for v6only in [false, true] {
        for v6only_unsaid in [None, Some(unsaid)] {
            let options = ListenOptions { v6only, v6only_unsaid, ..ListenOptions::default() };
            let fd = listen_stream("[::]:0".parse().unwrap(), 0, options).unwrap();
            assert_eq!(sockopt::ipv6_v6only(&fd).unwrap(), v6only, "{options:?}");
        }
    }
}

#[test]
fn peeking_leaves_the_datagram() {
    let fd = bind_dgram("127.0.0.1:0".parse().unwrap(), 0, ListenOptions::default()).unwrap();
    assert_eq!(peek_source(&fd).unwrap(), None);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(b"longer than one byte", local(&fd)).unwrap();
    client.send_to(b"", local(&fd)).unwrap();
    for _ in 0..2 {
        assert_eq!(peek_source(&fd).unwrap(), Some(client.local_addr().unwrap()));
    }
    let server = UdpSocket::from(fd);
    assert_eq!(server.recv(&mut [0; 64]).unwrap(), 20);
    assert_eq!(peek_source(&server).unwrap(), Some(client.local_addr().unwrap()), "an empty one counts too");
    assert_eq!(server.recv(&mut [0; 64]).unwrap(), 0);
    assert_eq!(peek_source(&server).unwrap(), None);
    assert_eq!(
        errno(bind_dgram(server.local_addr().unwrap(), 0, ListenOptions::default()).unwrap_err()),
        Errno::ADDRINUSE
    );
}

/// While a datagram port may be shared, and afterwards, nobody joins it by SO_REUSEADDR, which asks for no user.
#[test]
fn a_datagram_port_is_shared_with_this_user_alone() {
    // The kernel's choice for every address, so that nobody has it at one.
    let wide = bind_dgram("0.0.0.0:0".parse().unwrap(), 0, ListenOptions::default()).unwrap();
    let everywhere = local(&wide);
    let place = SocketAddr::from(([127, 0, 0, 1], everywhere.port()));
    let anybody = |place: SocketAddr| {
        let family = rustix::net::AddressFamily::INET;
        let socket = rustix::net::socket(family, rustix::net::SocketType::DGRAM, None).unwrap();
        sockopt::set_socket_reuseaddr(&socket, true).unwrap();
        rustix::net::bind(&socket, &place)
    };
    assert_eq!(errno(bind_dgram(place, 0, ListenOptions::default()).unwrap_err()), Errno::ADDRINUSE);
    share(&wide, true).unwrap();
    assert_eq!(anybody(place), Err(Errno::ADDRINUSE), "meanwhile");
    let narrow = bind_dgram(place, 0, ListenOptions { beside: true, ..ListenOptions::default() }).unwrap();
    share(&wide, false).unwrap();
    for place in [place, everywhere, SocketAddr::from(([127, 0, 0, 9], place.port()))] {
        assert_eq!(anybody(place), Err(Errno::ADDRINUSE), "{place}");
    }
    assert_eq!(local(&narrow), place);
}

#[test]
fn sending_never_waits() {
    let (fd, address) = listen(ListenOptions::default());
    let mut client = TcpStream::connect(address).unwrap();
    let accepted = rustix::net::accept(&fd).unwrap();
    assert_eq!(send_now(&accepted, b"banner\r\n").unwrap(), 8);
    let mut got = [0; 8];
    client.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"banner\r\n");
    let full = (0..100_000).find_map(|_| send_now(&accepted, &[0; 65536]).err());
    assert_eq!(full.map(errno), Some(Errno::AGAIN));
    drop(client);
    let gone = (0..100).find_map(|_| match send_now(&accepted, b"x").map_err(errno) {
        Err(Errno::PIPE | Errno::CONNRESET) => Some(()),
        _ => {
            std::thread::yield_now();
            None
        }
    });
    assert!(gone.is_some(), "and no signal ended this process");
}

#[test]
fn raw_sockets_need_a_protocol() {
    let address = "127.0.0.1:0".parse().unwrap();
    for protocol in [0, 256] {
        assert_eq!(errno(bind_raw(address, protocol, ListenOptions::default()).unwrap_err()), Errno::INVAL);
    }
    if rustix::process::geteuid().is_root() {
        bind_raw(address, 253, ListenOptions::default()).unwrap();
    }
}

#[test]
fn a_client_comes_to_the_address_that_leads_to_it() {
    let towards = |bound: &str, peer: &str| {
        let [bound, peer] = [bound, peer].map(|text| text.parse().expect("an address"));
        address_towards(bound, peer).map(|address| address.to_string())
    };
    assert_eq!(towards("192.0.2.1:7", "127.0.0.9:40000").as_deref(), Some("192.0.2.1:7"));
    assert_eq!(towards("0.0.0.0:7", "127.0.0.9:0").as_deref(), Some("127.0.0.1:7"));
    assert_eq!(towards("[::]:7", "[::ffff:127.0.0.9]:0").as_deref(), Some("[::ffff:127.0.0.1]:7"));
}

#[test]
fn a_bound_address_is_seen_and_its_end_too() {
    use portreeve_sys::socket::is_bound;
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    for datagrams in [false, true] {
        let fd = match datagrams {
            false => listen_stream(any, 0, ListenOptions::default()).unwrap(),
            true => bind_dgram(any, 0, ListenOptions::default()).unwrap(),
        };
        let address = SocketAddr::try_from(rustix::net::getsockname(&fd).unwrap()).unwrap();
        assert!(is_bound(address, datagrams));
        let everywhere = SocketAddr::from(([0, 0, 0, 0], address.port()));
        assert!(is_bound(everywhere, datagrams), "the wildcard meets it");
        drop(fd);
        assert!(!is_bound(address, datagrams));
    }
}
