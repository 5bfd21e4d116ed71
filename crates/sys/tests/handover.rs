//! A child that has descriptors of ours. Alone in its process: they stay open over every exec meanwhile, whoever does it.

#![allow(clippy::unwrap_used)] // in the tests of this file

use portreeve_sys::handover::{keep_over_exec, number, start_beside};
use std::ffi::OsString;
use std::fs::File;

#[test]
fn a_child_beside_has_what_stays_open_and_its_own_input() {
    let (input, told) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let (answer, says) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    keep_over_exec(&[number(&says)], true);
    let shell = File::open("/bin/sh").unwrap();
    let script = format!("cat >&{}", number(&says));
    let argv = ["sh", "-c", &script].map(OsString::from);
    let pid = start_beside(&shell, &argv, &input).unwrap();
    keep_over_exec(&[number(&says)], false);
    rustix::io::write(&told, b"x").unwrap();
    let mut byte = [0; 1];
    assert_eq!(rustix::io::read(&answer, &mut byte), Ok(1));
    drop((told, input));
    let child = rustix::process::Pid::from_raw(pid);
    rustix::process::waitpid(child, rustix::process::WaitOptions::empty()).unwrap();
}
