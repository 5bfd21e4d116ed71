//! The host firewall: table of contents. What may reach this host is decided by [`plan`], which is pure; looking, loading and
//! keeping are apart from it. One table of nf_tables is ours, `inet portreeve_host`, and during a trial its witness,
//! `inet portreeve_trial`; no other is ever changed.

pub mod host; //     this host, looked at for a plan
pub mod iptables; // a plan as iptables-restore reads it
mod matching; //      whether a match of a rule holds for a packet
pub mod nft; //      nft(8) and its like, with a time limit
pub mod plan; //     THE decision: from what is served to rules
pub mod port; //     ports as people write them
pub mod proof; //    what confirms a trial
pub mod ruleset; //  the whole ruleset of the kernel, and where it sends ports elsewhere
mod services; //     the rules of our own services
pub mod sessions; // connections, and the one that this was typed in
mod sources; //      address lists as exact sets
pub mod state; //    what is kept beyond the kernel
pub mod text; //     a plan as nftables reads it
pub mod trial; //    armed, loaded, confirmed or taken back
pub mod walk; //     what the kernel's chains do with a packet
pub mod watchdog; // the processes that take it back
pub mod witness; //  which connections began under rules on trial

/// Our table, of family inet. The bans have one of their own.
pub const TABLE: &str = "portreeve_host";
