//! A request met in this very process: its names are looked up here, ident is asked, and what the matched rule orders is
//! done to this process. For tcpd and libwrap, which are such processes; the supervisor never links it.

#![forbid(unsafe_code)]

pub mod tables;
