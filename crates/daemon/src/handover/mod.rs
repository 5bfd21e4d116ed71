//! The next version of the executable, in the place of this one: same process, same children, same sockets.
//!
//! ```text
//! upgrade → probe: the new executable, as a child, reads the state and says whether it could go on from it
//!         → leave: the state as it is now, in a sealed file; descriptors stay open; exec
//!         → resume: the new executable takes over what it finds, or executes the old one again
//! guard beside: the old executable, in case that the new one dies or stands still there
//! ```
//! Nobody is refused in between: the kernel's queues take the clients, and what runs is our child before and after.

mod ends;
mod evidence;
mod going;
mod guard;
mod leave;
mod probe;
mod resume;
mod settle;
mod take_over;
mod workers;

pub use going::Upgrade;
pub use guard::guard;
pub use leave::{fd, path};
pub use resume::{Way, go_on, prober};
pub use workers::missing;

use std::ffi::OsString;

/// How this process was started by a supervisor, told by its last argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// By a person or a service manager.
    First,
    /// As a child that reads a state and says whether it could go on from it.
    Probe(i32),
    /// In the place of a former version.
    Successor(i32),
    /// In the place of a newer version that could not go on.
    Returned(i32),
    /// Beside a newer version, until that stands.
    Guard(i32),
}

const PROBE: &str = "--probe-handover=";
const SUCCEED: &str = "--handover=";
const RETURN: &str = "--handover-back=";
const GUARD: &str = "--handover-guard=";

impl Role {
    /// The role, taken off the end of the arguments.
    pub fn take(args: &mut Vec<OsString>) -> Self {
        let last = args.last().and_then(|word| word.to_str()).unwrap_or_default();
        let number = |prefix: &str| last.strip_prefix(prefix).and_then(|n| n.parse().ok());
        let role = None
            .or(number(PROBE).map(Self::Probe))
            .or(number(SUCCEED).map(Self::Successor))
            .or(number(RETURN).map(Self::Returned))
            .or(number(GUARD).map(Self::Guard));
        let Some(role) = role else { return Self::First };
        args.pop();
        role
    }

    fn word(self) -> Option<OsString> {
        let (prefix, fd) = match self {
            Self::First => return None,
            Self::Probe(fd) => (PROBE, fd),
            Self::Successor(fd) => (SUCCEED, fd),
            Self::Returned(fd) => (RETURN, fd),
            Self::Guard(fd) => (GUARD, fd),
        };
        Some(format!("{prefix}{fd}").into())
    }

    /// These arguments for this role.
    pub fn arguments(self, argv: &[OsString]) -> Vec<OsString> {
        argv.iter().cloned().chain(self.word()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_the_last_argument_and_nothing_else() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        for (text, role) in [
            ("gate run -f x --probe-handover=0", Role::Probe(0)),
            ("gate run --handover=4100", Role::Successor(4100)),
            ("gate run --handover-back=7", Role::Returned(7)),
            ("gate run --handover-guard=0", Role::Guard(0)),
        ] {
            let mut args = words(text);
            assert_eq!(Role::take(&mut args), role);
            assert_eq!(role.arguments(&args), words(text));
        }
        for text in ["gate run --handover=7 -f x", "gate run --handover=", "gate run --handover=x", "gate"] {
            let mut args = words(text);
            assert_eq!(Role::take(&mut args), Role::First);
            assert_eq!(args, words(text));
        }
    }
}
