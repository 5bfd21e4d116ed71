//! USERID and IDONLY: what the ident server of an admitted client said, in the service's log (reference xinetd §10.3), and
//! whether a client without one may stay.

use crate::admit::Client;
use crate::supervisor::Supervisor;
use portreeve_workers::protocol::IdentAnswer;

impl Supervisor {
    /// Logs whose the client is, if the service wants to know. False when it must not be served without.
    pub fn may_stay(&mut self, client: &Client) -> bool {
        let Some(slot) = self.slots.get(&client.slot) else { return false };
        if !slot.service.log_success.userid {
            return true;
        }
        let failed =
            |why: &str| format!("NOID: {} {} {why}", crate::escape::escaped(slot.id()), client.peer.ip());
        let (known, line) = match &client.known.ident {
            Some(IdentAnswer::Line { text: Some(text), .. }) => {
                let text = String::from_utf8_lossy(text);
                let (id, text) = (crate::escape::escaped(slot.id()), crate::escape::escaped(&text));
                (true, format!("USERID: {id} {text}"))
            }
            Some(IdentAnswer::Line { text: None, .. }) => (false, failed("bad response")),
            Some(IdentAnswer::Failed(why)) => (false, failed(why.text())),
            Some(IdentAnswer::Unavailable) | None => (false, failed("system error")),
        };
        self.sinks.write(slot.sink, &self.stamp, line.as_bytes());
        known || !slot.service.flags.contains(&"IDONLY")
    }
}
