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

/// Sends such a connection to whoever reads this, who alone has it then; its other end.
fn send_along(client: &OwnedFd) -> OwnedFd {
    let (near, far) = lingers();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [near.as_fd()];
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    sendmsg(client, &[IoSlice::new(b"x")], &mut control, SendFlags::empty()).unwrap();
    far
}

/// A client that has sent such a connection, of which it keeps the other end; and our end.
fn hostile() -> ([OwnedFd; 2], OwnedFd) {
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    let far = send_along(&theirs);
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

/// One that has such an option, which is its program's: it stays, what there is is sent, and nobody waits for that.
#[test]
fn a_connection_lingers_for_nobody() {
    let (near, far) = lingers();
    let program = rustix::io::fcntl_dupfd_cloexec(&near, 3).unwrap();
    in_time(move || {
        let farewells = Rc::new(Farewells::default());
        let again = rustix::io::fcntl_dupfd_cloexec(&program, 3).unwrap();
        drop(farewells.connection(near, false));
        farewells.say();
        assert_eq!(socket_linger(&program), Ok(Some(Duration::from_secs(300))));
        drop(farewells.connection(program, false));
        drop(farewells.connection(again, false));
        assert_eq!(farewells.waiting.borrow().len(), 2);
        farewells.say();
        assert_eq!(farewells.waiting(), 0);
    });
    assert!(File::from(far).read_to_end(&mut Vec::new()).unwrap() > 65536);
}

/// Reading gives what was sent along to whoever reads: it is let go of with the connection.
#[test]
fn what_is_read_beside_what_was_sent_along_is() {
    let ([client, _far], ours) = hostile();
    in_time(move || {
        let farewells = Rc::new(Farewells::default());
        let connection = farewells.connection(ours, true);
        let mut chunk = [0; 8];
        assert_eq!(connection.receive(&mut chunk), Ok(1));
        assert_eq!(farewells.waiting.borrow().len(), 1);
        assert_eq!(connection.receive(&mut chunk), Err(Errno::AGAIN));
        connection.end();
        // Before it is closed.
        assert!(is_at_its_end(client));
        drop(connection);
        assert_eq!(farewells.waiting.borrow().len(), 2);
        farewells.say();
    });
}

/// Clients that nobody has accepted yet go with the listener; its name is free at once.
#[test]
fn nobody_waits_for_what_is_in_a_queue() {
    use rustix::net::SocketAddrUnix;
    let name = format!("portreeve-farewell-{}", std::process::id());
    let address = SocketAddrUnix::new_abstract_name(name.as_bytes()).unwrap();
    let unix = || socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    let (door, theirs) = (unix(), unix());
    bind(&door, &address).unwrap();
    listen(&door, 4).unwrap();
    connect(&theirs, &address).unwrap();
    let far = send_along(&theirs);
    in_time(move || {
        let farewells = Rc::new(Farewells::default());
        farewells.part_from(door, true);
        // A process that another test is starting may have it for a moment.
        let again = unix();
        while bind(&again, &address).is_err() {
            std::thread::yield_now();
        }
    });
    assert!(is_at_its_end(theirs));
    drop(far);
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
