//! A message whose descriptor finds no number: a process of its own, since the limit is the whole process's.

use portreeve_sys::seqpacket;
use rustix::process::{Resource, Rlimit, setrlimit};
use std::os::fd::{AsFd, AsRawFd};

#[test]
fn the_message_comes_without_it_and_says_so() {
    let (a, b) = seqpacket::pair().expect("a pair");
    let (read, write) = rustix::pipe::pipe().expect("a pipe");
    seqpacket::send(&a, b"with one", Some(write.as_fd())).expect("to send");
    seqpacket::send(&a, b"with one", Some(write.as_fd())).expect("to send");
    drop(write);
    let before = rustix::process::getrlimit(Resource::Nofile);
    // No number is below this that is not taken.
    setrlimit(Resource::Nofile, Rlimit { current: Some(3), maximum: before.maximum }).expect("a lower limit");
    let received = seqpacket::recv(&b, &mut [0; 16]).expect("a message");
    assert_eq!((received.len, received.fd.is_none(), received.lost), (8, true, true));
    setrlimit(Resource::Nofile, before).expect("the former limit");
    let received = seqpacket::recv(&b, &mut [0; 16]).expect("a message");
    assert_eq!((received.len, received.fd.is_some(), received.lost), (8, true, false));
    drop(received);
    assert_eq!(rustix::io::read(&read, &mut [0; 1]), Ok(0), "the lost one is closed");

    // Of three, the last one finds none.
    let ends: Vec<_> = (0..3).map(|_| rustix::pipe::pipe().expect("a pipe")).collect();
    seqpacket::send_all(&a, b"with three", &[ends[0].1.as_fd(), ends[1].1.as_fd(), ends[2].1.as_fd()])
        .expect("to send");
    let free = [(); 2].map(|()| rustix::io::dup(&a).expect("a number"));
    let most = free.each_ref().map(AsRawFd::as_raw_fd).into_iter().max().expect("two");
    drop(free);
    let lower = Rlimit { current: Some(most as u64 + 1), maximum: before.maximum };
    setrlimit(Resource::Nofile, lower).expect("a lower limit");
    let received = seqpacket::recv_all(&b, &mut [0; 16]);
    setrlimit(Resource::Nofile, before).expect("the former limit");
    let received = received.expect("a message");
    assert_eq!((received.len, received.fds.len(), received.lost), (10, 2, true));
    let reads: Vec<_> = ends.into_iter().map(|(read, _)| read).collect();
    for (read, fd) in reads.iter().zip(&received.fds) {
        rustix::io::write(fd, b"x").expect("its pipe");
        assert_eq!(rustix::io::read(read, &mut [0; 2]), Ok(1), "in their order");
    }
    assert_eq!(rustix::io::read(&reads[2], &mut [0; 1]), Ok(0), "the lost one is closed");
}
