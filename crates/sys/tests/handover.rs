//! Children that have descriptors of ours. Alone in its process: they stay open over every exec meanwhile, whoever does it.

#![allow(clippy::unwrap_used)] // in the tests of this file

use portreeve_sys::handover::{keep_over_exec, number, start_apart, start_beside};
use portreeve_sys::process::is_child;
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
    assert!(is_child(pid));
    let child = rustix::process::Pid::from_raw(pid);
    rustix::process::waitpid(child, rustix::process::WaitOptions::empty()).unwrap();
    is_no_child_apart(&shell);
}

/// The number is that of the one that was executed, and its parent another from the start.
fn is_no_child_apart(shell: &File) {
    let (input, told) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let (answer, says) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    keep_over_exec(&[number(&says)], true);
    let script = format!("echo $$ $PPID >&{}; cat", number(&says));
    let argv = ["sh", "-c", &script].map(OsString::from);
    let pid = start_apart(shell, &argv, &input).unwrap();
    keep_over_exec(&[number(&says)], false);
    drop((says, input));
    assert!(!is_child(pid));
    let mut said = [0; 64];
    let len = rustix::io::read(&answer, &mut said).unwrap();
    let said = String::from_utf8_lossy(&said[..len]).into_owned();
    let numbers: Vec<i32> = said.split_whitespace().map(|word| word.parse().unwrap()).collect();
    assert_eq!(numbers[0], pid);
    assert_ne!(numbers[1], i32::try_from(std::process::id()).unwrap());
    // Nobody is left behind either: the one between was reaped.
    assert!(rustix::process::wait(rustix::process::WaitOptions::NOHANG).is_err());
    drop(told);
}
