//! Farewells to clients who would like them to be long.

use super::*;
use crate::flight::MOST_IN_FLIGHT;
use crate::image::ImageBuilder;
use crate::spawn::{Spawner, Stdio};
use rustix::io::ioctl_fionbio;
use rustix::net::sockopt::set_socket_linger;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    accept_with, bind, connect, getsockname, listen, sendmsg, socket_with, socketpair,
};
use std::fs::File;
use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::sync::mpsc;
use std::time::Duration;

/// A connection whose other end takes nothing, and that lingers for five minutes; and that end.
fn lingers() -> (OwnedFd, OwnedFd) {
    let tcp = || socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    let (door, far) = (tcp(), tcp());
    bind(&door, &std::net::SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    listen(&door, 1).unwrap();
    connect(&far, &getsockname(&door).unwrap()).unwrap();
    let near = accept_with(&door, SocketFlags::CLOEXEC).unwrap();
    ioctl_fionbio(&near, true).unwrap();
    while rustix::io::write(&near, &[0; 65536]).is_ok() {}
    set_socket_linger(&near, Some(Duration::from_secs(300))).unwrap();
    (near, far)
}

/// A client that has sent such a connection, of which it keeps the other end; and our end.
fn hostile() -> ([OwnedFd; 2], OwnedFd) {
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    let (near, far) = lingers();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [near.as_fd()];
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    sendmsg(&theirs, &[IoSlice::new(b"x")], &mut control, SendFlags::empty()).unwrap();
    ([theirs, far], ours)
}

/// Has it done in a thread of its own; it must come to an end in a minute, which is long before anybody's lingering.
fn in_time<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, hear) = mpsc::channel();
    std::thread::spawn(move || {
        crate::stdio::seal_inherited().unwrap();
        signals::block_all();
        tell.send(what())
    });
    hear.recv_timeout(Duration::from_secs(60)).expect("somebody lingers")
}

fn is_at_its_end(client: OwnedFd) -> bool {
    // What it sent was not read, and so it is told that the connection was reset.
    let end = File::from(client).read_to_end(&mut Vec::new());
    end.is_ok() || end.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
}

#[test]
fn nobody_waits_for_what_a_client_has_sent() {
    for share in [true, false] {
        let ([client, _far], ours) = hostile();
        in_time(move || {
            let farewells = Rc::new(Farewells::default());
            drop(farewells.connection(ours, true));
            assert_eq!(farewells.waiting.borrow().len(), 1);
            let pid = farewells.held(share).unwrap();
            assert!(farewells.waiting.borrow().is_empty());
            farewells.ending.borrow_mut().push(pid);
            while !farewells.ending.borrow().is_empty() {
                farewells.collect();
            }
        });
        assert!(is_at_its_end(client));
    }
}

/// However it comes to its end: refused, started beside others, waited for.
#[test]
fn nobody_waits_for_a_client_that_was_served() {
    let (clients, ours): (Vec<_>, Vec<_>) = (0..MOST_IN_FLIGHT + 1).map(|_| hostile()).unzip();
    in_time(move || {
        let mut spawner = Spawner::new().unwrap();
        let argv = vec![c"sh".into(), c"-c".into(), c"exit 0".into()];
        let image =
            Rc::new(ImageBuilder { path: c"/bin/sh".into(), argv, ..ImageBuilder::default() }.build());
        let ended = |pid| rustix::process::waitpid(Some(pid), WaitOptions::empty()).unwrap();
        for (number, ours) in ours.into_iter().enumerate() {
            let client = spawner.connection(ours, true);
            if number == 0 {
                let pid = spawner.spawn(&image, &[], Stdio::Client(client.as_fd())).unwrap();
                ended(pid);
            } else {
                let pid = spawner.launch(&image, &[], client, 0).unwrap();
                ended(pid);
            }
        }
        assert!(spawner.land().is_empty());
        assert!(spawner.farewells.waiting.borrow().is_empty());
    });
    for [client, _far] in clients {
        assert!(is_at_its_end(client));
    }
}

/// One that has a program's option: it is sent what there is, and nobody waits for that.
#[test]
fn a_connection_lingers_for_nobody() {
    let (near, far) = lingers();
    in_time(move || drop(Connection::from(near)));
    assert!(File::from(far).read_to_end(&mut Vec::new()).unwrap() > 65536);
}

#[test]
fn who_passes_it_on_has_it() {
    let farewells = Rc::new(Farewells::default());
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let passed = farewells.connection(write, true).into_fd();
    assert!(farewells.waiting.borrow().is_empty());
    assert_eq!(rustix::io::write(&passed, b"x"), Ok(1));
    drop((passed, read));
}
