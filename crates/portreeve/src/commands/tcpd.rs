//! `portreeve tcpd`: the program of that name, in front of one program. As a link named tcpd it is called by inetd instead.

use crate::applets::tcpd;
use crate::failure::{Exit, Failure};
use std::ffi::{OsStr, OsString};

const LONG: &str = "\
Stand in front of a program: ask hosts.allow and hosts.deny, log, then become it (as tcpd)

  portreeve tcpd -- /path/daemon arguments

This is for socket activation, or by hand; `tcpd -- /path/daemon`, through a link to portreeve with the name tcpd, does the \
same.

Under inetd and xinetd the link is the server, and argv[0] is the daemon: its name, looked for in REAL_DAEMON_DIR, or its \
path.

  inetd.conf:   telnet stream tcp nowait root /usr/sbin/tcpd in.telnetd

  xinetd:       server = /usr/sbin/tcpd
                flags = NAMEINARGS
                server_args = /usr/sbin/in.telnetd

  systemd:      StandardInput=socket
                ExecStart=-/usr/sbin/tcpd -- /usr/sbin/in.telnetd

The client is on standard input. The daemon's name in the tables is the last part of its path. A client that is granted is \
logged and meets the daemon; one that is refused is logged and meets nothing: after five seconds the connection is closed, \
and of a refused datagram service the waiting datagram is read away. Exit code 0 in each case. The options of the rule are \
carried out: banners, spawn, twist, user and the others. Lines go to the system log under the daemon's name, facility \
daemon, severity info or warning unless a rule says otherwise.

A connection with an IP source route is shut down; other IP options are cleared and logged.

REAL_DAEMON_DIR is /usr/sbin, unless another directory was chosen when this was built (PORTREEVE_REAL_DAEMON_DIR) or \
/etc/portreeve/portreeve.toml has a line

  real_daemon_dir = \"/usr/libexec\"

If that file cannot be understood, the client is refused and the log says where.";

#[allow(missing_docs)]
#[derive(clap::Args, Debug)]
#[command(about = "Stand in front of a program, as tcpd", long_about = LONG)]
pub struct Arguments {
    /// The program, a path or a name in REAL_DAEMON_DIR, and its arguments
    #[arg(value_name = "PROGRAM", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub program: Vec<OsString>,
}

/// Becomes the program or ends; comes back only when the program is tcpd itself.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let words: Vec<OsString> =
        std::iter::once("--".into()).chain(arguments.program.iter().cloned()).collect();
    let _ = tcpd::run(OsStr::new("tcpd"), &words);
    Err(Failure::new("tcpd cannot stand in front of itself"))
}
