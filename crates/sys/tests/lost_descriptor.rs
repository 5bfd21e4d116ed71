//! A message whose descriptor finds no number: a process of its own, since the limit is the whole process's.

use portreeve_sys::seqpacket;
use rustix::process::{Resource, Rlimit, setrlimit};
use std::os::fd::AsFd;

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
}
