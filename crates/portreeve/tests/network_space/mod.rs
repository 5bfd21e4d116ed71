//! Network namespaces of a test: made, entered by a thread, asked by other programs, and removed. Decides nothing about what is found in them.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

use super::skip;
use rustix::fd::AsFd;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

/// A named network namespace, removed when dropped.
pub struct Space(pub String);

impl Space {
    fn new(word: &str) -> Option<Space> {
        let name = format!("portreeve-{word}-{}", std::process::id());
        let space = ip(&["netns", "add", &name]).then_some(Space(name))?;
        // An address beyond the loopback: without one, all that listens is this host's alone.
        let up = ip(&["-n", &space.0, "link", "set", "lo", "up"])
            && ip(&["-n", &space.0, "link", "add", "eth0", "type", "veth", "peer", "name", "eth1"])
            && ip(&["-n", &space.0, "addr", "add", "192.0.2.1/24", "dev", "eth0"])
            && ip(&["-n", &space.0, "link", "set", "eth0", "up"]);
        up.then_some(space)
    }

    /// Runs in the namespace, in a thread of its own.
    pub fn inside<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        let file = File::open(Path::new("/run/netns").join(&self.0)).expect("its name");
        let run = || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).expect("entered");
            body()
        };
        std::thread::scope(|scope| scope.spawn(run).join().expect("no panic inside"))
    }

    /// What a program says inside: its lines, as words.
    pub fn lines(&self, program: &str, arguments: &[&str]) -> Vec<Vec<String>> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0, program]).args(arguments).env("LC_ALL", "C");
        let output = command.output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        ip(&["netns", "del", &self.0]);
    }
}

fn ip(arguments: &[&str]) -> bool {
    Command::new("ip").args(arguments).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Two namespaces; none where this machine has none or lacks a program, and the test is skipped.
pub fn pair(programs: &[&'static str]) -> Option<(Space, Space)> {
    if !rustix::process::geteuid().is_root() {
        skip::skip(skip::Reason::NoRoot);
        return None;
    }
    if !skip::has_programs(&["ip"]) || !skip::has_programs(programs) {
        return None;
    }
    let word = std::thread::current().name().map_or(0, str::len).to_string();
    let both = Space::new(&format!("a{word}")).zip(Space::new(&format!("b{word}")));
    if both.is_none() {
        skip::skip(skip::Reason::NoNamespaces);
    }
    both
}
