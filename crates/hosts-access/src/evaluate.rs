//! THE evaluation: both tables, top-down, first match wins (reference A1). tcpd, libwrap, the daemon and the predictors all
//! call it.

use crate::request::Request;
use crate::table::Tables;
use crate::verdict::{Decision, Verdict, Why};
use crate::world::World;

/// How to evaluate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Options after the client list (the build of every distribution), or one shell command.
    pub options: bool,
    /// 0; 1 says each option; 2 says the matched line too.
    pub verbose: u8,
    /// A resident process (one that has evaluated before) may not `twist`.
    pub resident: bool,
}

/// Decides on `request`.
pub fn evaluate(
    tables: &Tables<'_>,
    request: &mut Request,
    world: &mut dyn World,
    settings: &Settings,
) -> Decision {
    let _ = (tables, request, world, settings);
    Decision { verdict: Verdict::Denied, why: Why::BrokenTable, by: None }
}
