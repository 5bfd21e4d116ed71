//! USERID and IDONLY: what a client's ident server said, in the service's log (reference xinetd §10.3), and whether a client
//! without one may stay.

use crate::admit::Client;
use crate::slot::{Manner, Slot, SlotId};
use crate::supervisor::Supervisor;
use portreeve_conf::{Builtin, Level};
use portreeve_policy::{Peer, Reason};
use portreeve_workers::protocol::IdentAnswer;

/// Whether the ident server of an admitted client is asked. xinetd asks in the process that it has for the client, and for
/// daytime and time it has none.
pub fn asks(slot: &Slot) -> bool {
    let has_process = !matches!(slot.manner(), Manner::Builtin(Builtin::Daytime | Builtin::Time));
    slot.service.log_success.userid && has_process && !slot.is_local()
}

/// Whether the ident server of a refused client is asked: where xinetd's own process refuses it.
pub fn asks_refused(slot: &Slot, reason: Reason) -> bool {
    slot.service.log_failure.userid
        && !slot.is_local()
        && !matches!(reason, Reason::Address | Reason::Libwrap | Reason::Fork | Reason::Tls)
}

impl Supervisor {
    /// Whether an admitted client may stay; one without a user may not where the service has IDONLY, which is said.
    pub fn may_stay(&mut self, client: &Client) -> bool {
        let Some(slot) = self.slots.get(&client.slot) else { return false };
        if !asks(slot) || !slot.service.flags.contains("IDONLY") {
            return true;
        }
        let why = match &client.known.ident {
            Some(IdentAnswer::Line { good: true, .. }) => return true,
            Some(IdentAnswer::Line { good: false, .. }) => "bad response",
            Some(IdentAnswer::Failed(why)) => why.text(),
            Some(IdentAnswer::Unavailable) | None => "system error",
        };
        let line = format!("NOID: {} {} {why}", crate::escape::escaped(slot.id()), client.peer);
        self.sinks.write(slot.sink, &self.stamp, line.as_bytes());
        false
    }

    /// What a client's ident server said: in the service's log, or, where that makes no sense, in ours.
    pub fn log_identity(&mut self, id: SlotId, peer: Peer, answer: Option<&IdentAnswer>) {
        let Some(IdentAnswer::Line { good, text, .. }) = answer else { return };
        let text = String::from_utf8_lossy(text).into_owned();
        if *good {
            let Some(slot) = self.slots.get(&id) else { return };
            let (id, text) = (crate::escape::escaped(slot.id()), crate::escape::escaped(&text));
            let line = format!("USERID: {id} {text}");
            self.sinks.write(slot.sink, &self.stamp, line.as_bytes());
        } else {
            let text = format!("Bad line received from identity server at {peer}: {text}");
            self.say(Level::Error, &text);
        }
    }
}
