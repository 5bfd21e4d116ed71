//! What the demonstration serves: one service for each thing worth seeing, its entry in xinetd's language, and a line
//! that tries it with what a bare system has.

use crate::demo::ports;
use crate::failure::Failure;
use std::fmt::Write;
use std::path::Path;

/// One service of the demonstration.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Its name and id.
    pub name: &'static str,
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// What it shows.
    pub shows: &'static str,
    /// A command that tries it.
    pub attempt: String,
    entry: String,
}

/// What the entries depend on.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// The user that runs it all.
    pub user: &'a str,
    /// The script of the service `hello`.
    pub script: &'a Path,
    /// The minute of the local day, 0..1440.
    pub minute: u16,
}

/// The script of the service `hello`: what a started program gets.
pub const HELLO: &str =
    "#!/bin/sh\necho \"hello $REMOTE_HOST, this is process $$, started for you by portreeve\"\n";

/// The services, on free ports that are not `avoided`.
pub fn all(scene: Scene<'_>, avoided: &[u16]) -> Result<Vec<Shown>, Failure> {
    let mut taken = avoided.to_vec();
    let mut shown = Vec::new();
    for (name, wish, shows, entry) in entries(scene) {
        let port = ports::free(wish, &taken)?;
        taken.push(port);
        shown.push(Shown { name, port, shows, attempt: attempt(name, port), entry });
    }
    Ok(shown)
}

fn entries(scene: Scene<'_>) -> [(&'static str, u16, &'static str, String); 6] {
    let program = format!("user = {}\n\tserver = {}", scene.user, scene.script.display());
    [
        (
            "hello",
            1,
            "starts a program for each client",
            format!("type = UNLISTED\n\t{program}\n\tinstances = 5"),
        ),
        ("echo", 7, "a built-in, in a confined process of its own", "type = INTERNAL UNLISTED".to_owned()),
        ("daytime", 13, "another built-in", "type = INTERNAL UNLISTED".to_owned()),
        (
            "elsewhere",
            22,
            "refused: only 192.0.2.0/24 may",
            format!("type = UNLISTED\n\t{program}\n\tonly_from = 192.0.2.0/24"),
        ),
        (
            "hours",
            23,
            "refused: not at this hour",
            format!("type = UNLISTED\n\t{program}\n\taccess_times = {}", another_time(scene.minute)),
        ),
        (
            "tripwire",
            79,
            "a sensor: who touches it is denied everywhere for a minute",
            "type = INTERNAL UNLISTED\n\tflags = SENSOR\n\tdeny_time = 1".to_owned(),
        ),
    ]
}

fn attempt(name: &str, port: u16) -> String {
    match name {
        "echo" => {
            format!("bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}; echo anyone there >&3; head -n 1 <&3'")
        }
        _ => format!("bash -c 'cat </dev/tcp/127.0.0.1/{port}'"),
    }
}

/// A window of one minute that lies about half a day from now.
fn another_time(minute: u16) -> String {
    let from = (minute % 1440 + 720) % 1440;
    let from = from.min(1438); // a window ends on the day on which it begins
    let to = from + 1;
    format!("{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60)
}

/// The configuration file. Service records go to the gate's standard output.
pub fn configuration(shown: &[Shown]) -> String {
    let mut text = String::from(
        "# The configuration of `portreeve demo`, in the language of xinetd.conf(5).\n\
         defaults\n{\n\tlog_type = FILE /dev/stdout\n\tlog_on_success = HOST PID EXIT DURATION\n\tlog_on_failure = HOST\n}\n",
    );
    for service in shown {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\n# {}\nservice {}\n{{\n\tsocket_type = stream\n\tprotocol = tcp\n\twait = no\n\tport = {}\n\tbind = 127.0.0.1\n\t{}\n}}\n",
            service.shows, service.name, service.port, service.entry
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closed_hour_is_never_now() {
        for minute in 0..1440u16 {
            let window = another_time(minute);
            let clock = |text: &str| -> u16 {
                let (h, m) = text.split_once(':').unwrap();
                h.parse::<u16>().unwrap() * 60 + m.parse::<u16>().unwrap()
            };
            let (from, to) = window.split_once('-').map(|(a, b)| (clock(a), clock(b))).unwrap();
            assert!(from < to && to < 1440, "{window}");
            assert!(!(from..=to).contains(&minute), "{window} at {minute}");
        }
    }
}
