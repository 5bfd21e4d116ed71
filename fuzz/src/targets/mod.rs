//! The targets by name. Each takes any bytes and panics when something that must hold does not.

pub mod address_set;
pub mod address_words;
pub mod certificate_facts;
pub mod conversions;
pub mod dns_answer;
pub mod handover_state;
pub mod hosts_expand;
pub mod hosts_image;
pub mod hosts_tables;
pub mod mux_line;
pub mod packet;
pub mod proxy_header;
pub mod read_config;
pub mod rpcbind_answers;
pub mod switches;
pub mod units;

/// A target: its name and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const ALL: &[Target] = &[
    ("read_config", read_config::run),
    ("address_words", address_words::run),
    ("address_set", address_set::run),
    ("hosts_tables", hosts_tables::run),
    ("handover_state", handover_state::run),
    ("hosts_image", hosts_image::run),
    ("hosts_expand", hosts_expand::run),
    ("rpcbind_answers", rpcbind_answers::run),
    ("packet", packet::run),
    ("proxy_header", proxy_header::run),
    ("mux_line", mux_line::run),
    ("certificate_facts", certificate_facts::run),
    ("units", units::run),
    ("switches", switches::run),
    ("conversions", conversions::run),
    ("dns_answer", dns_answer::run),
];
