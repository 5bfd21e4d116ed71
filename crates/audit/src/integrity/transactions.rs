//! What dpkg's log or rpm's database says was done, and when: an explanation of a change wants somebody who made it. Reads the log and the one
//! before it. Root can write there too: a log explains, it proves nothing.

use super::rpm::Record;
use crate::bounded;
use portreeve_sys::clock;
use std::collections::BTreeMap;
use std::path::Path;

/// Most bytes of a log.
const MOST: usize = 32 << 20;

/// The last thing that was done with a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Local time, as the log has it.
    pub when: String,
    /// As `upgrade 1.0 -> 1.1`, `install 1.0`.
    pub what: String,
    /// The run of the package manager that this was a part of: what is done together has the same.
    pub run: String,
}

/// What was done since a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transactions {
    by_package: BTreeMap<String, Transaction>,
    /// The log reaches back to that moment.
    whole: bool,
}

impl Transactions {
    /// What was done below `root` since a moment, in seconds since 1970.
    pub fn since(root: &Path, moment: i64) -> Self {
        let since = local(moment);
        let logs = ["var/log/dpkg.log.1", "var/log/dpkg.log"];
        let bytes = logs.into_iter().filter_map(|name| bounded::file(&root.join(name), MOST).ok());
        Self::read(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()), &since)
    }

    /// What rpm's database says of these packages since a moment. It keeps no former version.
    pub fn of_rpm(record: &Record, moment: i64) -> Self {
        let since = record.packages.iter().filter(|(_, known)| known.installed >= moment);
        let one = |(name, known): (&String, &super::rpm::Known)| {
            let done = Transaction {
                when: local(known.installed),
                what: format!("install {}", known.version),
                run: known.transaction.to_string(),
            };
            (name.clone(), done)
        };
        Transactions { by_package: since.map(one).collect(), whole: true }
    }

    fn read<T: AsRef<str>>(texts: impl Iterator<Item = T>, since: &str) -> Self {
        let mut found = Transactions::default();
        let mut run = String::new();
        for text in texts {
            for line in text.as_ref().lines() {
                let mut words = line.split(' ');
                let (Some(day), Some(time)) = (words.next(), words.next()) else { continue };
                let when = format!("{day} {time}");
                if !is_time(&when) {
                    continue;
                }
                // A log that begins later may have lost what we ask for.
                if when.as_str() <= since {
                    found.whole = true;
                    continue;
                }
                let (Some(action), Some(package), Some(from)) = (words.next(), words.next(), words.next())
                else {
                    continue;
                };
                if (action, package) == ("startup", "archives") {
                    run.clone_from(&when);
                }
                let Some(to) = words.next() else { continue };
                let what = match action {
                    "install" => format!("install {to}"),
                    "upgrade" => format!("upgrade {from} -> {to}"),
                    _ => continue,
                };
                let name = package.split(':').next().unwrap_or(package);
                found.by_package.insert(name.to_owned(), Transaction { when, what, run: run.clone() });
            }
        }
        found
    }

    /// What was done with a package.
    pub fn of(&self, package: &str) -> Done<'_> {
        let name = package.split(':').next().unwrap_or(package);
        match self.by_package.get(name) {
            Some(transaction) => Done::By(transaction),
            None if self.whole => Done::Nothing,
            None => Done::Unknown,
        }
    }
}

/// What was done with a package since a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done<'a> {
    /// This, last.
    By(&'a Transaction),
    /// The log would say it, and says nothing.
    Nothing,
    /// The log does not reach back to then.
    Unknown,
}

/// A moment as the log has it.
fn local(moment: i64) -> String {
    let c = clock::local(moment);
    format!("{:04}-{:02}-{:02} {:02}:{:02}:{:02}", c.year, c.month, c.day, c.hour, c.minute, c.second)
}

/// `2026-11-28 16:30:45`
fn is_time(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    text.len() == 19 && digits == 14
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
2026-11-28 16:30:42 startup archives unpack
2026-11-28 16:30:43 upgrade tzdata:all 2026b 2026f
2026-11-28 16:30:44 status half-configured tzdata:all 2026b
2026-11-28 16:30:45 install cron:amd64 <none> 3.0
junk
2026-11-28 16:30:46 upgrade x
";

    #[test]
    fn what_was_done_since_is_known_where_the_log_reaches_back() {
        let read = |since| Transactions::read([LOG].into_iter(), since);
        // The run began before that moment: what it did since is a part of it, whose beginning is not told.
        let upgrade = Transaction {
            when: "2026-11-28 16:30:43".into(),
            what: "upgrade 2026b -> 2026f".into(),
            run: String::new(),
        };
        let whole = read("2026-11-28 16:30:42");
        assert_eq!(whole.of("tzdata"), Done::By(&upgrade));
        assert!(matches!(whole.of("cron:amd64"), Done::By(done) if done.what == "install 3.0"));
        assert_eq!(whole.of("x"), Done::Nothing);
        let run = |text: &str| match read("2026-11-28 16:30:41").of(text) {
            Done::By(done) => done.run.clone(),
            _ => String::new(),
        };
        assert_eq!(
            (run("tzdata").as_str(), run("cron").as_str()),
            ("2026-11-28 16:30:42", "2026-11-28 16:30:42")
        );
        let later = read("2026-11-28 16:30:44");
        assert_eq!(later.of("tzdata"), Done::Nothing);
        assert!(matches!(later.of("cron"), Done::By(_)));
        // The log begins after that moment: another may have been before it.
        assert_eq!(read("2026-11-01 00:00:00").of("x"), Done::Unknown);
        assert_eq!(Transactions::default().of("x"), Done::Unknown);
    }
}
