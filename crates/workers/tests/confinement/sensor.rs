//! The sensor sees packets and sends none: no socket that it has takes anything from it but its channel and netlink.

use crate::again;
use crate::skip::{Reason, skip};
use portreeve_workers::confine;
use portreeve_workers::protocol::{Missing, Worker};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{SendFlags, sendto};
use std::net::UdpSocket;
use std::process::{ExitCode, Stdio};

/// The child's side. A packet socket takes an address of 20 bytes; one of UDP stands in for it, with 16.
pub(crate) fn try_to_send() -> ExitCode {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = socket.local_addr().unwrap();
    let netlink = portreeve_sys::sock_diag::asking().unwrap();
    let missing = confine(Worker::Sensor, None, None).unwrap();
    if missing.contains(&Missing::Seccomp) {
        println!("no seccomp");
        return ExitCode::SUCCESS;
    }
    println!("to an address: {}", sendto(&socket, b"x", SendFlags::DONTWAIT, &to).is_ok());
    println!("without one: {}", rustix::net::send(&socket, b"x", SendFlags::DONTWAIT).is_ok());
    let part = [rustix::io::IoSlice::new(b"x")];
    let message = rustix::net::sendmsg(&socket, &part, &mut Default::default(), SendFlags::DONTWAIT);
    println!("as a message: {}", message.is_ok());
    // An empty question has no answer, and was taken.
    let asked = sendto(&netlink, b"", SendFlags::DONTWAIT, &SocketAddrNetlink::new(0, 0));
    println!("netlink: {}", !matches!(asked, Err(rustix::io::Errno::NOSYS)));
    ExitCode::SUCCESS
}

pub(crate) fn the_sensor_sends_nothing() {
    let output = again(&["mute"]).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    if text == "no seccomp\n" {
        return skip(Reason::NoSeccomp);
    }
    assert_eq!(text, "to an address: false\nwithout one: false\nas a message: false\nnetlink: true\n");
}
