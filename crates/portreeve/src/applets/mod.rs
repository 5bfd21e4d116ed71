//! What this program does under another program's name, with that program's arguments, output and exit codes. This file
//! only lists them; argv\[0\] is read in `call.rs`.

pub mod itox; //        inetd.conf in, xinetd.conf out
pub mod safe_finger; // finger for rules that finger back
pub mod tcpd; //        stands in front of a daemon
pub mod tcpdchk; //     checks the tables, as TCP Wrappers did
pub mod tcpdmatch; //   predicts what the tables say of a client
pub mod try_from; //    says what the tables see of a connection

mod getopt; //  arguments as getopt(3) takes them
mod hosts; //   a host that an argument or a pattern names
mod inetd; //   what inetd.conf says of wrapped programs
mod inspect; // a path and who may write to it
mod notice; //  output with the diagnostics inline
mod predict; // what an evaluation asks and orders when nothing is to be done
