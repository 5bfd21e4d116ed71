//! The TCP Wrappers language: two tables, `hosts.allow` and `hosts.deny`, that say who may use which daemon.
//!
//! Pure: it opens no file, asks no name service and starts no process. What a rule needs to know and what it orders go
//! through [`World`], which the caller implements: a process that blocks (tcpd, libwrap), a daemon that answers
//! [`Answer::Pending`] and asks again, a predictor that only prints.
//!
//! Verdicts are those of TCP Wrappers 7.6 with options, IPv6 and Debian's extensions, odd ones included
//! (reference tcp-wrappers.md sections A and E).
//!
//! ```
//! use hosts_access::{Act, Answer, Content, Done, End, Field, ListFile, Message, Request, Settings, Table, Tables};
//! use hosts_access::{Verdict, World, evaluate};
//! use std::borrow::Cow;
//!
//! /// A world in which nothing has a name.
//! struct Nameless;
//!
//! impl World for Nameless {
//!     fn name(&mut self, _: End, _: &Request) -> Answer<Field> {
//!         Answer::Known(Field::from("unknown"))
//!     }
//!     fn user(&mut self, _: &Request, _: Option<u32>) -> Answer<Field> {
//!         Answer::Known(Field::from("unknown"))
//!     }
//!     fn in_netgroup(&mut self, _: &[u8], _: &[u8]) -> Answer<bool> {
//!         Answer::Known(false)
//!     }
//!     fn list(&mut self, _: &[u8]) -> ListFile<Cow<'_, [u8]>> {
//!         ListFile::Absent
//!     }
//!     fn act(&mut self, _: &Act, _: &mut Request) -> Done {
//!         Done::Done
//!     }
//!     fn say(&mut self, message: Message) {
//!         eprintln!("{message:?}");
//!     }
//! }
//!
//! let tables = Tables {
//!     allow: Table { path: b"/etc/hosts.allow", content: Content::Text(b"sshd: 10.0.0.0/8 EXCEPT 10.6.6.6\n") },
//!     deny: Table { path: b"/etc/hosts.deny", content: Content::Text(b"ALL: ALL\n") },
//! };
//! let mut request = Request { daemon: Field::from("sshd"), ..Request::default() };
//! request.client.addr = Field::from("10.1.2.3");
//! let settings = Settings { options: true, verbose: 0, resident: true };
//! let decision = evaluate(&tables, &mut request, &mut Nameless, &settings);
//! assert_eq!(decision.verdict, Verdict::Granted);
//! ```

#![forbid(unsafe_code)]

// What goes in and out.
mod field;
mod message;
mod request;
mod table;
mod verdict;
mod world;

// From bytes to words: the syntax, for whoever reads tables (evaluation, index, linter, tcpdchk).
pub mod lines;
pub mod list;
mod marks;
mod scan;
pub mod split;

// What a word means.
pub mod address;
pub mod glob;
pub mod pattern;
pub mod text;
mod truth;

// What a rule orders.
mod banner;
mod expand;
pub mod option_syntax;
mod option_table;
pub mod option_value;
mod process;

// The decision.
mod candidates;
mod evaluate;
mod explain;
mod inquiry;
mod matching;

// The compiled form.
pub mod image;
mod index;

// For worlds.
pub mod ident;

// For whoever keeps the tables.
pub mod lint;

pub use banner::banner;
pub use evaluate::{Settings, evaluate};
pub use expand::{ExpandError, LONGEST_EXPANSION, clean, expand, is_clean};
pub use explain::{Explanation, MOST_STEPS, Outcome, Step, explain};
pub use field::Field;
pub use index::View;
pub use inquiry::MOST_GROUPS;
pub use matching::{DEEPEST_LIST, LONGEST_WORD, MOST_LISTED};
pub use message::Message;
pub use option_table::{FACILITIES, LEVELS, OPTIONS, OptionName, OptionRule, Takes, find_option};
pub use process::{Processed, process_options};
pub use request::{Host, Request};
pub use table::{Content, Place, Table, Tables, Which};
pub use truth::Truth;
pub use verdict::{Decision, Verdict, Why};
pub use world::{Act, Answer, Done, End, ListFile, World};
