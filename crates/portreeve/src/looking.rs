//! The inventory of listeners with what the running daemon says of its own. Looks only; a daemon that does not answer is a gap.

use crate::answer::{items, number, text};
use crate::control::{Socket, Unanswered};
use crate::failure::{Failure, system_text};
use portreeve_audit::inventory::{self, Daemon, Inventory, Places};

/// Takes it.
///
/// # Errors
/// The kernel or /proc does not answer.
pub fn take(socket: &Socket) -> Result<Inventory, Failure> {
    let (daemon, gap) = match socket.ask("status") {
        Ok(answer) => (daemon(&answer), None),
        Err(Unanswered::NoDaemon(_)) => (Daemon::default(), None),
        Err(Unanswered::Failed(failure)) => (Daemon::default(), Some(failure)),
    };
    let mut inventory = inventory::take(Places::default(), &daemon)
        .map_err(|error| Failure::new(format!("the sockets cannot be listed: {}", system_text(&error))))?;
    if let Some(failure) = gap {
        inventory.gaps.push(format!("which services are ours is not known: {failure}"));
    }
    Ok(inventory)
}

fn daemon(answer: &serde_json::Value) -> Daemon {
    let pid = |object| number(object, "pid").and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0);
    let service = |service| {
        let word = |name| text(service, name).to_owned();
        (word("protocol"), word("address"), word("id"))
    };
    Daemon {
        pids: pid(answer).into_iter().chain(items(answer, "workers").iter().filter_map(pid)).collect(),
        services: items(answer, "services").iter().map(service).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_daemons_answer_is_read_leniently() {
        let answer = json!({"pid": 5, "workers": [{"pid": 6}, {"pid": 0}, {}], "services": [
            {"id": "echo-stream", "protocol": "tcp", "address": "0.0.0.0:7"}, {}]});
        let daemon = daemon(&answer);
        assert_eq!(daemon.pids, [5, 6]);
        assert_eq!(daemon.services[0], ("tcp".to_owned(), "0.0.0.0:7".to_owned(), "echo-stream".to_owned()));
        assert!(super::daemon(&json!(null)).pids.is_empty());
    }
}
