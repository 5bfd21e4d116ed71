//! From where a listener can be reached, through the firewalls of the host: table of contents.
//!
//! The rulesets of nftables and iptables are read into one form and followed for all sources at once. What cannot be understood is
//! said, with its rule and chain, and never guessed.

pub mod answer; //   THE answer: who reaches a listener, in words and for machines
pub mod evaluate; // a packet's way through the chains, for all sources at once
pub mod gather; //   the rulesets and interfaces of a network namespace, as they are now
pub mod iptables; // the answer of iptables-save
pub mod model; //    a ruleset in one form
pub mod nft; //      the answer of nft -j list ruleset
mod nft_test; //     one condition of nft
pub mod ranges; //   sets of addresses
pub mod space; //    a network namespace as a packet finds it
pub mod ways; //     how a listener can be reached: as it is bound, redirected, published from another namespace
