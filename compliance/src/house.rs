//! A world with an ssh server and a host firewall that keeps its state to itself: for trials of rules over real logins. Decides
//! where the files are; the rules are the test's.

use crate::neighbour::{HERE as ADDRESS, Neighbour};
use crate::wait::must;
use crate::world::{Ended, World};
use std::path::{Path, PathBuf};

/// Where ssh listens.
pub const SSH: u16 = 2222;
const PATH: &str = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";

/// The world with its server.
pub struct House<'a> {
    /// The world.
    pub world: &'a World,
    /// The host beside it.
    pub next: Neighbour<'a>,
    program: PathBuf,
}

/// What a command said, and its exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Said {
    pub code: i64,
    pub text: String,
}

impl<'a> House<'a> {
    /// Makes it, with a neighbour of these addresses.
    ///
    /// # Panics
    /// When ssh cannot be started.
    pub fn new(world: &'a World, addresses: &[&str]) -> House<'a> {
        let next = world.neighbour(addresses);
        let script = format!(
            "set -e; mount -t tmpfs tmpfs /var/lib; mkdir -p /run/sshd; cd /run/w; \
             ssh-keygen -q -t ed25519 -N '' -f host; ssh-keygen -q -t ed25519 -N '' -f key; cp key.pub keys; \
             printf '%s\\n' 'Port {SSH}' 'HostKey /run/w/host' 'AuthorizedKeysFile /run/w/keys' 'StrictModes no' 'UsePAM no' \
             'PermitRootLogin yes' 'PidFile none' 'LoginGraceTime 60' > sshd_config; /usr/sbin/sshd -f /run/w/sshd_config"
        );
        let (how, said) = world.run(&["/bin/sh", "-c", &script], &[PATH]);
        assert_eq!(how, Ended::Status(0), "{said}");
        let own = std::env::var_os("PORTREEVE")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist/portreeve"), PathBuf::from);
        let program = own.canonicalize().unwrap_or(own);
        let house = House { world, next, program };
        must("ssh answers", || house.ssh(&[], "true").code == 0);
        house
    }

    /// The path of our command line.
    pub fn program(&self) -> &str {
        self.program.to_str().expect("a path of UTF-8")
    }

    /// Runs a line of the shell in the world.
    pub fn shell(&self, line: &str) -> Said {
        let (how, text) = self.world.run(&["/bin/sh", "-c", line], &[PATH]);
        said(how, text)
    }

    /// Runs our command line in the world, without any login above it.
    pub fn portreeve(&self, words: &str) -> Said {
        self.shell(&format!("exec {} firewall {words}", self.program()))
    }

    /// The command of a login from the neighbour, with these options, that runs `line`.
    pub fn login(&self, options: &[&str], line: &str) -> String {
        format!(
            "exec ip netns exec next ssh -n -F none -i /run/w/key -p {SSH} -o BatchMode=yes -o StrictHostKeyChecking=no \
             -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ConnectTimeout=4 {} root@{ADDRESS} '{line}'",
            options.join(" ")
        )
    }

    /// Logs in from the neighbour and runs a line there.
    pub fn ssh(&self, options: &[&str], line: &str) -> Said {
        self.shell(&self.login(options, line))
    }

    /// Our command line over a login.
    pub fn portreeve_by_ssh(&self, options: &[&str], words: &str) -> Said {
        self.ssh(options, &format!("{} firewall {words}", self.program()))
    }

    /// Every rule that the kernel has, without counts.
    pub fn ruleset(&self) -> String {
        self.shell("nft -s list ruleset").text
    }

    /// What is kept of trials, as it stands in its file.
    pub fn portreeve_state(&self) -> String {
        std::fs::read_to_string(self.world.inside("/var/lib/portreeve/firewall/state.json"))
            .unwrap_or_default()
    }

    /// The watchdogs that run.
    pub fn watchdogs(&self) -> Vec<u32> {
        self.world.processes("firewall watch ")
    }
}

fn said(how: Ended, text: String) -> Said {
    let code = match how {
        Ended::Status(code) => code,
        Ended::Signal(signal) => 128 + signal,
    };
    Said { code, text }
}
