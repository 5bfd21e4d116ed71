//! The command line of portreeve: table of contents.
//!
//! It reads files, asks the running daemon over its control socket and prints. It never listens, never changes its
//! own ids, and links nothing of the supervisor: `portreeve run` replaces itself with `portreeve-gate`.
#![forbid(unsafe_code)]

pub mod answer; //    fields of the daemon's JSON answers
pub mod applets; //   what this program does under another program's name
pub mod ban_lists; // lists of bans as files have them
pub mod call; //      argv[0] and the way from arguments to an exit code
pub mod certificates; // what is wrong with the files of TLS
pub mod commands; //  one file for each command
pub mod confinement; // sandboxes that could not be put on here
pub mod control; //   the control socket's client
pub mod demo; //      the demonstration's configuration, files and gate
pub mod describe;
pub mod difference; // two versions of a file
mod digest; //  a service in words
pub mod escape; //    what may reach a terminal
pub mod explaining; // which package explains a change of a file
pub mod failure; //   exit codes and errors for people
pub mod finding; //   a diagnostic, read here or told by the daemon
pub mod firewall; // what may reach this host at all: plan, trial, proof
pub mod gate; //      where portreeve-gate is
pub mod hosts_tables; // hosts.allow and hosts.deny, and what the linter says of them
pub mod labels; //    what a kernel without SELinux cannot serve
pub mod looking; //   what listens, with what the daemon says of its own
pub mod machine; //   the real machine behind `portreeve_conf::Host`
pub mod off; //       what stops something for good, and what puts it back
pub mod output; //    standard output, its colour and width
pub mod overlay; //   a machine on which one file is another
pub mod progress; //  how far a run over many files is
pub mod ranges; //  sets of addresses, exact
pub mod rehearse; //  a decision from a file, without a daemon
mod rehearse_tables; //  the same of hosts.allow and hosts.deny
pub mod remote_targets; // sockets on filesystems that may not answer
pub mod rules; //     from a service as read to the rules that decide
pub mod sealing; //   keys, passphrases and rules of sealed baselines
pub mod settings; //  portreeve.toml
pub mod signing; //   who signs the next baseline
pub mod since; //     moments as people write them
pub mod snippet; //   diagnostics with their source line
pub mod switching; // which entry is to be switched off or on, and may it be
pub mod table;
mod trusting; //     columns for people
