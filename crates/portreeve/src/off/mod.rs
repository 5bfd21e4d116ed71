//! One reversible step that stops what listens, now and at the next boot: whom a word means (`target`), what is to be done and what undoes
//! it (`plan`), doing it or all of it back (`act`), and what was before (`journal`).

pub mod act;
pub mod journal;
pub mod plan;
pub mod session;
pub mod target;
