//! `libwrap.so.0`: the C interface of TCP Wrappers 7.6, for programs that are linked to it and are not built again.
//!
//! Everything that is decided is decided by [`hosts_access::evaluate`]; what a decision needs of this process and does to
//! it is `portreeve_wrap`'s. Here C becomes Rust and back: `struct request_info` is read into a request before the
//! evaluation and its caches are filled after it, since programs read them.
//!
//! | file | what |
//! |---|---|
//! | `abi` | the structures of `tcpd.h`, byte for byte |
//! | `data` | the variables that programs set and copy; they live in `shim.c` |
//! | `guard` | no panic leaves the library |
//! | `say` | messages, through the program's own syslog(3) |
//! | `text` | C strings: `split_at`, `xgets`, `percent_m`, addresses |
//! | `request` | attributes of a request, set and read |
//! | `eval` | `eval_*`: one attribute as text, looked up when first asked for |
//! | `socket` | `sock_*`: both ends of a socket |
//! | `world` | what an evaluation asks for and orders |
//! | `access` | `hosts_access`, `hosts_ctl`, `process_options` |
//! | `acts` | `percent_x`, `shell_cmd`, `rfc931`, `fix_options`, the message of `refuse` |
//!
//! `../shim.c` has what Rust cannot write, `../libwrap.map` the list of all symbols, `../link` makes the library.

// Each exported function is called by C with pointers that C keeps valid. What must hold is the same for all of them and
// is said here once; SAFETY comments name it `the caller's pointers`:
// a pointer to a structure of tcpd.h is null or points to one that nobody else writes during the call (one request
// belongs to one thread at a time), and a string is null or ends in NUL.
#![allow(unsafe_code)]

mod abi;
mod access;
mod acts;
mod data;
mod eval;
mod guard;
mod request;
mod say;
mod socket;
mod text;
mod world;
