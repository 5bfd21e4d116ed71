//! What is known of the host firewall beyond the kernel: what was confirmed, what ran before it, and the trial that is under way.
//! One file, replaced whole, so that every change of it happened or did not. Decides nothing; runs nothing.

use crate::failure::{Failure, system_text};
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where it is kept.
pub const DIRECTORY: &str = "/var/lib/portreeve/firewall";
/// Bytes of the file: two rulesets with 200,000 networks each, and the connections of a busy host.
const LONGEST: u64 = 64 << 20;
/// How long a lock is waited for; nobody holds it for longer than a call of nft may take.
const PATIENCE: Duration = Duration::from_secs(40);

/// A ruleset that was confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The table, as nftables reads it.
    pub table: String,
    /// When, in seconds since 1970.
    pub at: i64,
    /// By what: the connection, the console, the probe.
    pub by: String,
}

/// What was found right after the rules were loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// When, in milliseconds since the boot.
    pub at: u64,
    /// The connections that there were: what the kernel tells them apart by.
    pub connections: Vec<u64>,
    /// Whether a witness notes those that begin.
    pub witnessed: bool,
}

/// A trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// What confirms it.
    pub token: String,
    /// The boot in which it began.
    pub boot: String,
    /// When it is taken back, in milliseconds since that boot.
    pub deadline: u64,
    /// The rules on trial.
    pub table: String,
    /// The table that the kernel had; `None` for none.
    pub former: Option<String>,
    /// The process that applies them, and when it began.
    pub applier: (u32, u64),
    /// Once they are loaded.
    pub loaded: Option<Loaded>,
}

/// How a trial ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Which one.
    pub token: String,
    /// Whether it was confirmed.
    pub confirmed: bool,
    /// In words.
    pub why: String,
    /// When, in seconds since 1970.
    pub at: i64,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// What is loaded at boot.
    pub confirmed: Option<Kept>,
    /// The table that ran before it, where something was confirmed; the inner `None`: there was none.
    pub before: Option<Option<String>>,
    /// What is on trial.
    pub pending: Option<Pending>,
    /// How the last trial ended.
    pub last: Option<Outcome>,
}

fn word(value: &Value, name: &str) -> Option<String> {
    value.get(name)?.as_str().map(str::to_owned)
}

impl State {
    fn to_json(&self) -> Value {
        let kept = |kept: &Kept| json!({ "table": kept.table, "at": kept.at, "by": kept.by });
        let loaded = |loaded: &Loaded| json!({ "at": loaded.at, "connections": loaded.connections, "witnessed": loaded.witnessed });
        let pending = |pending: &Pending| {
            json!({
                "token": pending.token, "boot": pending.boot, "deadline": pending.deadline,
                "table": pending.table, "former": pending.former,
                "applier": [pending.applier.0, pending.applier.1],
                "loaded": pending.loaded.as_ref().map(loaded),
            })
        };
        let last = |last: &Outcome| json!({ "token": last.token, "confirmed": last.confirmed, "why": last.why, "at": last.at });
        json!({
            "version": 1,
            "confirmed": self.confirmed.as_ref().map(kept),
            "has_before": self.before.is_some(),
            "before": self.before.as_ref().and_then(Option::as_deref),
            "pending": self.pending.as_ref().map(pending),
            "last": self.last.as_ref().map(last),
        })
    }

    fn read(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        if value.get("version")?.as_u64()? != 1 {
            return None;
        }
        // A part that is there must be whole: half a trial is none that could be taken back.
        fn part<T>(value: &Value, name: &str, read: impl Fn(&Value) -> Option<T>) -> Option<Option<T>> {
            match value.get(name)? {
                Value::Null => Some(None),
                part => read(part).map(Some),
            }
        }
        let kept = |v: &Value| {
            Some(Kept { table: word(v, "table")?, at: v.get("at")?.as_i64()?, by: word(v, "by")? })
        };
        let loaded = |v: &Value| {
            let connections =
                v.get("connections")?.as_array()?.iter().map(Value::as_u64).collect::<Option<_>>()?;
            // A trial of a former version has none.
            let witnessed = v.get("witnessed").map_or(Some(false), Value::as_bool)?;
            Some(Loaded { at: v.get("at")?.as_u64()?, connections, witnessed })
        };
        let pending = |v: &Value| {
            let applier = v.get("applier")?.as_array()?;
            Some(Pending {
                token: word(v, "token")?,
                boot: word(v, "boot")?,
                deadline: v.get("deadline")?.as_u64()?,
                table: word(v, "table")?,
                former: word(v, "former"),
                applier: (u32::try_from(applier.first()?.as_u64()?).ok()?, applier.get(1)?.as_u64()?),
                loaded: part(v, "loaded", loaded)?,
            })
        };
        let last = |v: &Value| {
            Some(Outcome {
                token: word(v, "token")?,
                confirmed: v.get("confirmed")?.as_bool()?,
                why: word(v, "why")?,
                at: v.get("at")?.as_i64()?,
            })
        };
        Some(State {
            confirmed: part(&value, "confirmed", kept)?,
            before: value.get("has_before")?.as_bool()?.then(|| word(&value, "before")),
            pending: part(&value, "pending", pending)?,
            last: part(&value, "last", last)?,
        })
    }
}

/// What became of a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trial {
    /// It is under way.
    Running(Box<Pending>),
    /// It was confirmed or taken back.
    Ended,
    /// The file is not there, or not what was written.
    Unknown,
}

/// The directory.
#[derive(Clone, Debug)]
pub struct Store {
    directory: PathBuf,
}

/// Held by whoever changes the state or the kernel's table; given back when dropped.
#[derive(Debug)]
pub struct Lock(File);

impl Lock {
    /// The same lock for a process that this one starts: it is free when both have ended.
    pub fn shared(&self) -> Option<File> {
        self.0.try_clone().ok()
    }

    /// Writes down for which trial this seat is held.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn sign(&self, token: &str) -> io::Result<()> {
        self.0.set_len(0)?;
        self.0.write_all_at(token.as_bytes(), 0)
    }
}

impl Store {
    /// The directory of this host, made where it is not there and root asks.
    ///
    /// # Errors
    /// It cannot be made, or others may write it.
    pub fn open() -> Result<Self, Failure> {
        Self::at(Path::new(DIRECTORY))
    }

    fn at(directory: &Path) -> Result<Self, Failure> {
        let wrong = |what: String| Failure::new(format!("{}: {what}", directory.display()));
        if std::fs::symlink_metadata(directory).is_err() {
            if let Some(parent) = directory.parent() {
                let _ = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(parent);
            }
            let made = std::fs::DirBuilder::new().mode(0o700).create(directory);
            made.or_else(
                |error| if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) },
            )
            .map_err(|error| wrong(system_text(&error)))?;
        }
        let found = std::fs::symlink_metadata(directory).map_err(|error| wrong(system_text(&error)))?;
        let own = rustix::process::geteuid().as_raw();
        if !found.is_dir() || found.uid() != own || found.mode() & 0o022 != 0 {
            return Err(wrong("it must be a directory of root's that nobody else may write".to_owned()));
        }
        Ok(Self { directory: directory.to_owned() })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn failed(&self, name: &str, error: &io::Error) -> Failure {
        Failure::new(format!("{}: {}", self.file(name).display(), system_text(error)))
    }

    /// What is kept; nothing where nothing was.
    ///
    /// # Errors
    /// It cannot be read, or is not what was written.
    pub fn read(&self) -> Result<State, Failure> {
        let mut text = String::new();
        match File::open(self.file("state.json")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::default()),
            Err(error) => return Err(self.failed("state.json", &error)),
            Ok(file) => file
                .take(LONGEST)
                .read_to_string(&mut text)
                .map_err(|error| self.failed("state.json", &error))?,
        };
        State::read(&text).ok_or_else(|| {
            let path = self.file("state.json");
            Failure::with_help(
                format!("{}: it is not what portreeve wrote there", path.display()),
                "look at the rules (`nft list table inet portreeve_host`), then move the file away",
            )
        })
    }

    /// What became of the trial of this token.
    pub fn trial(&self, token: &str) -> Trial {
        match self.read() {
            Ok(State { pending: Some(now), .. }) if now.token == token => Trial::Running(Box::new(now)),
            Ok(_) if self.file("state.json").exists() => Trial::Ended,
            Ok(_) | Err(_) => Trial::Unknown,
        }
    }

    /// Puts `state` in the place of what is kept, on the disk too.
    ///
    /// # Errors
    /// It could not be written; what was kept is then as it was.
    pub fn write(&self, _lock: &Lock, state: &State) -> Result<(), Failure> {
        let new = self.file("state.json.new");
        let _ = std::fs::remove_file(&new);
        let write = || {
            let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
            file.write_all(state.to_json().to_string().as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, self.file("state.json"))?;
            File::open(&self.directory)?.sync_all()
        };
        write().map_err(|error| self.failed("state.json", &error))
    }

    fn lock_file(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::open(self.file(name), flags, Mode::from_raw_mode(0o600))?;
        Ok(File::from(file))
    }

    /// Waits for the lock.
    ///
    /// # Errors
    /// Somebody holds it for too long.
    pub fn lock(&self) -> Result<Lock, Failure> {
        self.lock_within(PATIENCE)?.ok_or_else(|| {
            Failure::new(format!("{}: another `portreeve firewall` holds it", self.file("lock").display()))
        })
    }

    /// The same with a time; `None` when it is over.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn lock_within(&self, patience: Duration) -> Result<Option<Lock>, Failure> {
        let file = self.lock_file("lock").map_err(|error| self.failed("lock", &error))?;
        let begun = Instant::now();
        while flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            if begun.elapsed() >= patience {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Some(Lock(file)))
    }

    /// The processes that hold the lock, this one left out: those with a descriptor that the kernel shows it on. One that
    /// waits has the file open, too, and does not hold it.
    pub fn lock_holders(&self) -> Vec<u32> {
        let Ok(file) = std::fs::metadata(self.file("lock")) else { return Vec::new() };
        let own = std::process::id();
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(process) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let holds = |fd: std::fs::DirEntry| {
                let same = std::fs::metadata(fd.path())
                    .is_ok_and(|there| (there.dev(), there.ino()) == (file.dev(), file.ino()));
                let info = entry.path().join("fdinfo").join(fd.file_name());
                same && std::fs::read_to_string(info)
                    .is_ok_and(|text| text.lines().any(|line| line.starts_with("lock:")))
            };
            let mut fds = std::fs::read_dir(entry.path().join("fd")).into_iter().flatten().flatten();
            if process != own && fds.any(holds) {
                found.push(process);
            }
        }
        found
    }

    /// Takes the seat of a watchdog; `None` where one sits there.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn seat(&self, number: u8) -> Result<Option<Lock>, Failure> {
        let name = format!("watch.{number}");
        let file = self.lock_file(&name).map_err(|error| self.failed(&name, &error))?;
        Ok(flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok().then_some(Lock(file)))
    }

    /// For which trial that seat was taken last.
    pub fn seated(&self, number: u8) -> Option<String> {
        std::fs::read_to_string(self.file(&format!("watch.{number}"))).ok()
    }
}

/// Milliseconds since the boot, sleep included; no clock that anybody sets.
pub fn since_boot() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1000).saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000)
}

/// What tells this boot from every other.
pub fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> State {
        let kept = Kept { table: "table\n\t\"x\"".to_owned(), at: -5, by: "probe".to_owned() };
        let loaded = Loaded { at: 7, connections: vec![1, u64::MAX], witnessed: true };
        State {
            confirmed: Some(kept),
            before: Some(None),
            pending: Some(Pending {
                token: "t".to_owned(),
                boot: "b".to_owned(),
                deadline: u64::MAX,
                table: "new".to_owned(),
                former: Some("old".to_owned()),
                applier: (3, 4),
                loaded: Some(loaded),
            }),
            last: Some(Outcome { token: "s".to_owned(), confirmed: false, why: "time".to_owned(), at: 9 }),
        }
    }

    #[test]
    fn what_is_written_reads_back_and_half_of_it_does_not() {
        for state in
            [State::default(), full(), State { before: Some(Some("x".to_owned())), ..State::default() }]
        {
            assert_eq!(State::read(&state.to_json().to_string()), Some(state));
        }
        let mut value = full().to_json();
        value["pending"]["deadline"] = "soon".into();
        assert_eq!(State::read(&value.to_string()), None);
        let mut value = full().to_json();
        let loaded = value["pending"]["loaded"].as_object_mut().unwrap();
        loaded.insert("witnessed".to_owned(), "yes".into());
        assert_eq!(State::read(&value.to_string()), None);
        value["pending"]["loaded"].as_object_mut().unwrap().remove("witnessed");
        let former = State::read(&value.to_string()).unwrap().pending.unwrap().loaded.unwrap();
        assert_eq!(former, Loaded { at: 7, connections: vec![1, u64::MAX], witnessed: false });
        assert_eq!(State::read(""), None);
        assert_eq!(State::read("{\"version\": 2}"), None);
        let text = full().to_json().to_string();
        assert!((0..text.len()).all(|end| State::read(&text[..end]).is_none()));
    }

    #[test]
    fn the_store_is_replaced_whole_and_locked() {
        let directory = std::env::temp_dir().join(format!("portreeve-firewall-{}", std::process::id()));
        let store = Store::at(&directory).unwrap();
        assert_eq!(store.read().unwrap(), State::default());
        let lock = store.lock().unwrap();
        assert!(store.lock_within(Duration::from_millis(50)).unwrap().is_none());
        // A program that was given it holds it on.
        let mut sleeper =
            std::process::Command::new("sleep").arg("600").stdout(lock.shared().unwrap()).spawn().unwrap();
        store.write(&lock, &full()).unwrap();
        drop(lock);
        assert!(store.lock_within(Duration::from_millis(50)).unwrap().is_none());
        assert_eq!(store.lock_holders(), [sleeper.id()]);
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        drop(store.lock().unwrap());
        assert!(store.lock_holders().is_empty());
        assert_eq!(store.read().unwrap(), full());
        let seat = store.seat(0).unwrap();
        assert!(seat.is_some() && store.seat(0).unwrap().is_none() && store.seat(1).unwrap().is_some());
        std::fs::write(directory.join("state.json"), "{}").unwrap();
        assert!(store.read().is_err());
        std::fs::remove_dir_all(&directory).unwrap();
        std::os::unix::fs::symlink("/tmp", &directory).unwrap();
        assert!(Store::at(&directory).is_err());
        std::fs::remove_file(&directory).unwrap();
    }
}
