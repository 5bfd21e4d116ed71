//! What the tables would say to a client, for `explain`: the evaluation itself, which asks nobody and does nothing.

use super::consult::{SETTINGS, request};
use super::known::{Known, Want};
use super::surroundings::Surroundings;
use crate::slot::SlotId;
use crate::supervisor::Supervisor;
use hosts_access::{End, Settings, Verdict, Why, explain};
use portreeve_policy::{Cause, Origin, Tables};
use portreeve_sys::socket;
use portreeve_workers::protocol::{IdentAnswer, IdentFailure};
use std::net::SocketAddr;

impl Supervisor {
    /// The tables' word on a client from `peer`, and why, in words.
    pub fn explain_tables(&mut self, id: SlotId, peer: SocketAddr) -> (Tables, String) {
        self.refresh_tables();
        let Some(slot) = self.slots.get(&id) else { return (Tables::Off, String::new()) };
        // A stream's client comes to one of our addresses; of datagrams nobody asks to which.
        let mut listeners = slot.listeners.iter().filter_map(|listener| listener.address().address());
        let local =
            listeners.find(|a| a.is_ipv4() == peer.is_ipv4()).and_then(|address| match slot.is_stream() {
                true => socket::address_towards(address, peer),
                false => Some(address),
            });
        let ids = self.hook_ids(slot);
        let daemon = slot.service.wrap_name.clone();
        let mut request = request(&daemon, peer, local);
        let mut known = Known::default();
        // A worker decides on its datagrams itself: nobody can have a user there, and no list can be read.
        let by_worker = slot.manner().owner().is_some();
        if by_worker {
            known.ident = Some(IdentAnswer::Failed(IdentFailure::NoServer));
        }
        let settings = Settings { resident: self.hosts.resident, ..SETTINGS };
        let (tables, lists) = self.hosts.texts();
        // A claimed sender of a datagram is asked for nothing.
        let mut world = Surroundings::new(lists, &known, !slot.is_stream(), ids);
        let found = explain(&tables, &mut request, &mut world, &settings);
        let want = world.want.take();
        let lacking = world.lacking;
        let listed = world.listed;
        self.hosts.finish();
        let decision = found.decision;
        let rule =
            decision.by.map(|place| Origin { file: self.hosts.path(place.which).into(), line: place.line });
        let text = found.steps.iter().rev().find(|step| Some(step.place) == decision.by);
        let text =
            text.map(|step| format!("`{}`", String::from_utf8_lossy(&step.rule).trim())).unwrap_or_default();
        let named = format!("as {daemon}: ");
        if by_worker && listed {
            let why = "rules hang on a list in a file, which is not read for datagrams of a built-in";
            return (Tables::Refused(Cause::HostsUnavailable, None), format!("{named}{why}"));
        }
        match decision.verdict {
            Verdict::Pending => (Tables::NotAsked, format!("{named}it hangs on {}", words(want))),
            Verdict::Granted if decision.why == Why::NoRule => {
                (Tables::Granted, format!("{named}no rule matches"))
            }
            Verdict::Granted => (Tables::Granted, format!("{named}{text} matches")),
            Verdict::Delegated => (Tables::Granted, format!("{named}{text} answers instead of the service")),
            Verdict::Denied => {
                let why = match decision.why {
                    Why::NoRule | Why::Rule => format!("{text} matches"),
                    Why::BadOption => format!("an option of {text} is wrong"),
                    Why::BrokenTable => "the table cannot be read beyond this line".to_owned(),
                    Why::Unavailable => {
                        format!(
                            "{text} hangs on {}, which could not be asked for",
                            lacking.unwrap_or("an answer")
                        )
                    }
                };
                let cause = match decision.why {
                    Why::Unavailable => Cause::HostsUnavailable,
                    _ => Cause::HostsTables,
                };
                (Tables::Refused(cause, rule), format!("{named}{why}"))
            }
        }
    }
}

fn words(want: Option<Want>) -> &'static str {
    match want {
        Some(Want::Names | Want::Name(End::Client)) => "the client's host name",
        Some(Want::Name(End::Server)) => "our own host name",
        Some(Want::User(_) | Want::Identity | Want::Culprit) => "the client's user",
        Some(Want::Netgroup(..)) => "a netgroup",
        Some(Want::Entry(_)) => "a user or group",
        Some(Want::Command(_)) => "the exit status of an aclexec command",
        Some(Want::Nothing) | None => "an answer",
    }
}
