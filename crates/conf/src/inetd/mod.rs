//! inetd's language: one service a line. What each dialect writes there, and its translation to xinetd's language.

pub mod itox;
