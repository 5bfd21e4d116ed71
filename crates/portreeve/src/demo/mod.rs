//! The demonstration: a configuration of its own, on loopback, in a private directory, that shows each thing the gate
//! does. Owns its files and its gate; leaves neither behind.

pub mod house; //     the private directory
pub mod ports; //     free ports on loopback
pub mod services; //  what is served, and a line to try each
pub mod teller; //    what is printed
pub mod watch; //     the gate, its events, and the end
