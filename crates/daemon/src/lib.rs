//! The supervisor: accepts, decides, starts, reaps. One thread, one epoll.
//!
//! It never parses a byte that came from the network, never asks the name service while it serves, and never waits for
//! anything but epoll. `serve` is the loop; `admit` is the life of a connection.
#![forbid(unsafe_code)]
#![allow(unreachable_pub)] // one crate, many files: `pub` here means "for the other files"

mod admit;
mod announce;
mod ban_import; // many bans at once
mod ban_keeping; // the list over restarts, with the ledger
mod ban_kernel; // what the kernel is to drop by the list
mod ban_list; // the list as it changes: who is told, who is protected
mod ban_orders; // what an operator orders about it
mod ban_removal; // all of them removed
mod ban_settings;
mod banner;
mod bans;
mod boot;
mod bounds; // amounts, quotas, weights in the files of a group
mod builtins;
mod by_id;
mod certificates;
mod children;
mod client_variables;
mod connect;
mod control;
mod datagrams;
mod dump;
mod duty;
mod dynamic_users; // numbers that nobody has
mod editions; // the program of a service, and what is older
mod elsewhere; // programs that lie where somebody else answers
mod escape;
mod evidence;
mod explain;
mod flows;
mod groups; // control groups of services
mod handover;
mod hashing; // the digests of programs
mod headers;
mod hire;
mod hosts;
mod identity;
mod inetd_options;
mod json;
mod keepers;
mod launch;
mod leaving;
mod ledger;
mod left;
mod listeners;
mod local;
mod log;
mod machine;
mod mux;
mod named;
mod names;
mod open;
mod options;
mod orphans;
mod pair;
mod passing;
mod path_ways; // connections to unix sockets, beside the loop
mod posting;
mod programs;
mod protection;
mod proxy_header;
mod rates;
mod reading;
mod reap;
mod recorded;
mod recorded_answer;
mod recorded_question;
mod redirects;
mod registrations;
mod rekeyed;
mod reload;
mod sandbox;
mod sandbox_view; // paths without links, and what lies over what
mod seal;
mod seats;
mod sensor;
mod serve;
mod shaking;
mod slot;
mod slots;
mod staff;
mod status;
mod stop;
mod supervisor;
mod target_names;
mod targets;
mod telling;
mod time_servers;
mod timers;
mod translate;
mod trusted; // the list that they are held against
mod unchanged; // what a reload ends with, and the one that changes nothing
mod verify; // whether a program may be started
mod waiting;
mod watchdog;
mod watcher;
mod witnesses;

pub use options::{OPTIONS, Program, usage};

use handover::{Role, Way};
use options::Call;
use std::ffi::OsString;
use std::process::ExitCode;

/// The executable portreeve-gate: `run …`, `xinetd …` and `inetd …` serve, `worker NAME` is one of its own workers.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let mut argv: Vec<OsString> = args.collect();
    let watched = watcher::take_channel(&mut argv);
    let role = Role::take(&mut argv);
    let mut args = argv.clone().into_iter();
    let run = |program, rest: &[OsString]| run(program, rest, role, (argv.clone(), watched));
    let called = args.next().unwrap_or_default();
    let base = std::path::Path::new(&called).file_name().unwrap_or_default();
    for program in [Program::Xinetd, Program::Inetd] {
        if base == program.word() {
            return run(program, &args.collect::<Vec<_>>());
        }
    }
    let verb = args.next().unwrap_or_default();
    let rest: Vec<OsString> = args.collect();
    match verb.to_str() {
        Some("run") => run(Program::Portreeve, &rest),
        Some("xinetd") => run(Program::Xinetd, &rest),
        Some("inetd") => run(Program::Inetd, &rest),
        Some("worker") => match portreeve_sys::stdio::take_third() {
            Some(channel) => portreeve_workers::main(rest, channel),
            None => {
                tell("portreeve-gate: a worker is started by the supervisor\n");
                ExitCode::from(2)
            }
        },
        _ => {
            tell(
                "portreeve-gate is started by `portreeve run`; it takes `run`, `xinetd` or `inetd` and their options\n",
            );
            ExitCode::from(2)
        }
    }
}

fn run(program: Program, args: &[OsString], role: Role, own: (Vec<OsString>, Option<i32>)) -> ExitCode {
    let parsed = match program {
        Program::Inetd => inetd_options::parse(args),
        Program::Portreeve | Program::Xinetd => options::parse(program, args),
    };
    match parsed {
        Ok(Call::Serve(mut options)) => {
            (options.argv, options.watched) = own;
            match role {
                Role::First if options.watch && options.watched.is_none() => watcher::watch(&options),
                Role::First => boot::serve(*options),
                Role::Probe(state) => {
                    options.make_absolute();
                    handover::prober(&options, state)
                }
                Role::Successor(state) => handover::go_on(&options, state, Way::Forward),
                Role::Returned(state) => handover::go_on(&options, state, Way::Back),
                Role::Guard(input) => handover::guard(&options, input),
            }
        }
        Ok(Call::Version) => {
            tell(&format!("{} {}\n", program.word(), env!("CARGO_PKG_VERSION")));
            ExitCode::SUCCESS
        }
        Err(error) => {
            tell(&format!("{}: {error}\n{}", program.word(), usage(program)));
            ExitCode::from(2)
        }
    }
}

fn tell(text: &str) {
    let _ = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
}
