//! May this arrival have this service now?
//!
//! Pure: the clock, names and load are given by the caller, nothing is read and nothing is opened. The order of the
//! checks is xinetd's own (reference xinetd §3.1), so that the first reason found is the same one.
#![forbid(unsafe_code)]

mod arrival;
mod contract;

pub use arrival::{Arrival, Facts, Names, Now};
pub use contract::*;
