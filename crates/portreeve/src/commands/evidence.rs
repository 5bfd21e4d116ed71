//! `portreeve evidence`: an instance tells of its own client, by the descriptor that it was given; root tells of an address, by the
//! control socket. Whom an instance tells of is the daemon's to know, so nothing of that is sent.

use crate::answer::{number, text};
use crate::control::Socket;
use crate::escape;
use crate::failure::{Exit, Failure, system_text};
use crate::output::Output;
use portreeve_policy::evidence::Kind;
use std::io::Write;
use std::net::IpAddr;

/// Names the descriptor; the daemon sets it for services with `evidence = yes`.
const VARIABLE: &str = "PORTREEVE_EVIDENCE_FD";

/// Tell that a client has failed to log in, or has misbehaved otherwise
///
/// In a program of a service with `evidence = yes`, or in one that it starts: `portreeve evidence` tells of the client that this
/// instance serves. Kinds are login (a failed login, the default), user (nobody has that name), abuse, and success (a login that
/// succeeded: held against nobody). Enough of it bans the client; see `[bans]` in portreeve.toml.
///
/// Root can name an ADDRESS: `portreeve evidence 192.0.2.1 login`.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// What happened; or an address, for root
    #[arg(value_name = "KIND|ADDRESS", default_value = "login", value_parser = subject)]
    pub subject: Subject,
    /// What is held against the address
    #[arg(value_name = "KIND", value_parser = kind)]
    pub kind: Option<Kind>,
    /// The service that it is about, whose thresholds count
    #[arg(long, value_name = "ID")]
    pub service: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub socket: Socket,
    /// Answer in JSON, as the daemon gives it
    #[arg(long)]
    pub json: bool,
}

/// About whom.
#[derive(Clone, Debug)]
pub enum Subject {
    /// The client of this instance.
    Client(Kind),
    /// An address.
    Address(IpAddr),
}

fn known() -> String {
    Kind::TOLD.map(Kind::word).join(", ")
}

fn kind(word: &str) -> Result<Kind, String> {
    let found = Kind::of_word(word).filter(|kind| Kind::TOLD.contains(kind));
    found.ok_or_else(|| {
        match Kind::TOLD.iter().find(|kind| kind.word().starts_with(word.get(..1).unwrap_or(" "))) {
            Some(near) => format!("known are {}; did you mean {near}?", known()),
            None => format!("known are {}", known()),
        }
    })
}

fn subject(word: &str) -> Result<Subject, String> {
    match word.parse::<IpAddr>() {
        Ok(address) => Ok(Subject::Address(address)),
        Err(_) => kind(word).map(Subject::Client),
    }
}

/// Tells.
pub fn run(arguments: &Arguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    match (&arguments.subject, arguments.kind, &arguments.service) {
        (Subject::Client(kind), None, None) => tell(*kind),
        (Subject::Client(_), ..) => Err(Failure::with_help(
            "an instance tells of its own client and of no other",
            "write `portreeve evidence KIND`, or as root `portreeve evidence ADDRESS KIND`",
        )),
        (Subject::Address(address), kind, service) => order(
            arguments,
            &format!(
                "evidence {address} {} {}",
                kind.unwrap_or(Kind::Login),
                service.as_deref().unwrap_or_default()
            ),
            out,
        ),
    }
}

fn tell(kind: Kind) -> Result<Exit, Failure> {
    let Some(number) = std::env::var_os(VARIABLE) else {
        return Err(Failure::with_help(
            format!("this is no instance of a service with `evidence = yes`: {VARIABLE} is not set"),
            "root can name an address: `portreeve evidence ADDRESS KIND`",
        ));
    };
    let number = number.to_str().and_then(|number| number.parse().ok()).filter(|number: &i32| *number > 2);
    let Some(number) = number else {
        return Err(Failure::new(format!("{VARIABLE} holds no number of a descriptor")));
    };
    portreeve_sys::seqpacket::send_by_number(number, kind.word().as_bytes()).map_err(|error| {
        let why = system_text(&error);
        Failure::with_help(
            format!("descriptor {number} does not take it: {why}"),
            "it is closed when the daemon has heard enough of this instance, and where a program closes what it does not know",
        )
    })?;
    Ok(Exit::Fine)
}

fn order(arguments: &Arguments, request: &str, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let answer = arguments.socket.ask(request.trim_end())?;
    if arguments.json {
        out.json(&answer)?;
        return Ok(Exit::Fine);
    }
    let address = escape::text(text(&answer, "address"));
    let score = number(&answer, "score_percent").unwrap_or(0);
    match text(&answer, "outcome") {
        "banned" => writeln!(out, "{} is banned", escape::text(text(&answer, "network")))?,
        "banned before" => writeln!(out, "{address} is banned already")?,
        "spared" => writeln!(out, "{address} is not banned: {}", escape::text(text(&answer, "why")))?,
        _ => writeln!(out, "{address}: noted, {score} % of what a ban takes")?,
    }
    Ok(Exit::Fine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_or_a_kind() {
        assert!(matches!(subject("192.0.2.1"), Ok(Subject::Address(_))));
        assert!(matches!(subject("user"), Ok(Subject::Client(Kind::User))));
        assert_eq!(
            subject("logon").unwrap_err(),
            "known are login, user, abuse, success; did you mean login?"
        );
        assert_eq!(
            kind("sensor").unwrap_err(),
            "known are login, user, abuse, success; did you mean success?"
        );
        assert_eq!(kind("x").unwrap_err(), "known are login, user, abuse, success");
    }
}
