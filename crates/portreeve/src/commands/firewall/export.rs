//! `portreeve firewall export`: the plan in another program's words. Prints, and loads nothing.

use crate::escape;
use crate::failure::{Exit, Failure};
use crate::firewall::host::{self, Configuration};
use crate::firewall::{iptables, text};
use crate::output::Output;
use crate::ranges::Family;
use std::io::Write;

/// Print the plan for another program
///
/// For `nft -f`, for `iptables-restore --noflush` or for `ip6tables-restore --noflush`. What no rule can say goes to standard error.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// In whose words
    #[arg(long, value_enum)]
    pub to: Language,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub configuration: Configuration,
}

/// Programs that read rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Language {
    /// nftables, both families in one table
    Nft,
    /// iptables-restore: IPv4
    Iptables,
    /// ip6tables-restore: IPv6
    Ip6tables,
}

/// Prints.
pub(super) fn run(arguments: &Arguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let seen = host::look(&arguments.configuration)?;
    let text = match arguments.to {
        Language::Nft => text::transaction(Some(&text::table(&seen.plan))),
        Language::Iptables => iptables::text(&seen.plan, Family::V4),
        Language::Ip6tables => iptables::text(&seen.plan, Family::V6),
    };
    write!(out, "{text}")?;
    out.flush()?;
    let mut found = false;
    for note in &seen.plan.notes {
        found |= note.counts;
        let place = note.place.as_ref().map_or_else(String::new, |place| format!(" ({place})"));
        // A standard error that fails is nothing to report to.
        let _ = writeln!(std::io::stderr(), "portreeve: {}", escape::text(&format!("{}{place}", note.text)));
    }
    Ok(if found { Exit::Found } else { Exit::Fine })
}
