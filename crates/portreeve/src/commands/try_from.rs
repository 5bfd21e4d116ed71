//! `portreeve try-from`: the program of that name. It takes no arguments.

const LONG: &str = "\
Say what the tables see of the connection on standard input (as try-from)

Started by inetd or xinetd as a service, or by a remote shell, it prints eight lines: addresses, host names and user as the \
%-letters of a command would be replaced. Names are looked up and ident is asked. Without a connection all is unknown.

A link to portreeve with the name try-from does the same.";

#[allow(missing_docs)]
#[derive(clap::Args, Debug)]
#[command(about = "Say what the tables see of the connection on standard input (as try-from)", long_about = LONG, after_help = "Exit code: 0.")]
pub struct Arguments {}
