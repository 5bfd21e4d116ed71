//! The inventory of listeners with what the running daemon says of its own, and what the ledger says of who was served. Looks only; a
//! daemon that does not answer is a gap, a ledger that is not there is none.

use crate::answer::{items, number, text};
use crate::control::{Socket, Unanswered};
use crate::failure::{Failure, system_text};
use crate::settings;
use portreeve_audit::inventory::{self, Daemon, Inventory, Places, Served};
use portreeve_ledger::{DEFAULT_DIRECTORY, FILE, Keep, Reader};
use std::path::{Path, PathBuf};

/// The last events of the ledger that are counted.
const MOST_EVENTS: i64 = 200_000;

/// Takes it without firewalls and ledger: what listens, and whose that is.
///
/// # Errors
/// The kernel or /proc does not answer.
pub fn take(socket: &Socket) -> Result<Inventory, Failure> {
    look(socket, None, false)
}

/// Takes it with all that is known: who reaches each listener, and when it served last. A ledger, instead of the one that portreeve.toml
/// names.
///
/// # Errors
/// The kernel or /proc does not answer.
pub fn all(socket: &Socket, ledger: Option<&Path>) -> Result<Inventory, Failure> {
    look(socket, ledger, true)
}

fn look(socket: &Socket, ledger: Option<&Path>, all: bool) -> Result<Inventory, Failure> {
    let (mut daemon, gap) = match socket.ask("status") {
        Ok(answer) => (daemon(&answer), None),
        Err(Unanswered::NoDaemon(_)) => (Daemon::default(), None),
        Err(Unanswered::Failed(failure)) => (Daemon::default(), Some(failure)),
    };
    let unread = if all { served(ledger, &mut daemon) } else { None };
    let places = Places { firewalls: all, ..Places::default() };
    let mut inventory = inventory::take(places, &daemon)
        .map_err(|error| Failure::new(format!("the sockets cannot be listed: {}", system_text(&error))))?;
    if let Some(failure) = gap {
        inventory.gaps.push(format!("which services are ours is not known: {failure}"));
    }
    inventory.gaps.extend(unread);
    Ok(inventory)
}

/// Who was served, by the ledger; what keeps it from being read.
fn served(ledger: Option<&Path>, daemon: &mut Daemon) -> Option<String> {
    let directory = match ledger {
        Some(directory) => directory.to_owned(),
        None => match settings::ledger(Path::new(settings::PATH)).map(|settings| settings.keep) {
            Ok(Keep::In(directory)) => directory,
            Ok(Keep::IfThere) => PathBuf::from(DEFAULT_DIRECTORY),
            Ok(Keep::Off) => return None,
            Err(why) => return Some(format!("when services served last: {why}")),
        },
    };
    if ledger.is_none() && !directory.join(FILE).exists() {
        return None;
    }
    let read = Reader::open(&directory).and_then(|reader| reader.served(MOST_EVENTS));
    match read {
        Ok(served) => {
            daemon.served_since = served.since;
            let times = |times| u64::try_from(times).unwrap_or(0);
            let all = served.services.into_iter();
            daemon.served = all.map(|(name, last, n)| (name, Served { last, times: times(n) })).collect();
            None
        }
        Err(fault) => Some(format!("when services served last: {}: {fault}", directory.join(FILE).display())),
    }
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
        ..Daemon::default()
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
