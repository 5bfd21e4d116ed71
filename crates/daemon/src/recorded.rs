//! What a reading of the configuration asked of the machine, with the answers: kept for as long as a service of it runs, so
//! that the next version of the executable reads the very configuration that is in force, whatever has happened to the files
//! and without asking a name service. Decides nothing about either.

use crate::machine::{Machine, error_text};
use portreeve_conf::{DirEntry, Family, Host, SystemError, User};
use portreeve_handover::{Bytes, Field, from_bytes, to_bytes};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::net::IpAddr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Questions and answers, sorted by question.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answers(pub Vec<(Bytes, Bytes)>);

/// The kinds of questions. A number is never given another meaning: a former version may have written it.
mod kind {
    pub(super) const READ: u8 = 1;
    pub(super) const DIRECTORY: u8 = 2;
    pub(super) const IS_DIRECTORY: u8 = 3;
    pub(super) const EXECUTABLE: u8 = 4;
    pub(super) const USER: u8 = 5;
    pub(super) const USER_BY_ID: u8 = 6;
    pub(super) const GROUP: u8 = 7;
    pub(super) const GROUPS_OF: u8 = 8;
    pub(super) const PORT: u8 = 9;
    pub(super) const PROTOCOL: u8 = 10;
    pub(super) const RPC: u8 = 11;
    pub(super) const ADDRESSES: u8 = 12;
    pub(super) const NETWORK: u8 = 13;
    pub(super) const VARIABLE: u8 = 14;
    pub(super) const TABLES: u8 = 15;
    pub(super) const LINK: u8 = 16;
}

/// A machine whose answers are written down.
#[derive(Debug)]
pub struct Recorder<'a> {
    machine: &'a Machine,
    answers: RefCell<BTreeMap<Vec<u8>, Vec<u8>>>,
}

/// A machine that answers what was written down; what was not asked then, the files of now, and no name service.
#[derive(Debug)]
pub struct Replay<'a> {
    answers: HashMap<&'a [u8], &'a [u8]>,
    now: Machine,
}

/// Where a question is answered: with its bytes, and by whom if nobody has written it down.
trait Source {
    fn answer<T: Field>(&self, question: Vec<u8>, ask: impl FnOnce(&Machine) -> T) -> T;
}

impl<'a> Recorder<'a> {
    /// Writes down what this machine says.
    pub fn new(machine: &'a Machine) -> Self {
        Self { machine, answers: RefCell::default() }
    }

    /// What it has said.
    pub fn answers(self) -> Answers {
        let answers = self.answers.into_inner();
        Answers(answers.into_iter().map(|(question, answer)| (Bytes(question), Bytes(answer))).collect())
    }
}

impl<'a> Replay<'a> {
    /// Answers with these.
    pub fn new(answers: &'a Answers) -> Self {
        let all = answers.0.iter().map(|(question, answer)| (&*question.0, &*answer.0)).collect();
        Self { answers: all, now: Machine::default() }
    }
}

impl Source for Recorder<'_> {
    /// What was asked before is not asked again: a reading sees one machine, and a thousand services of one program are one question.
    fn answer<T: Field>(&self, question: Vec<u8>, ask: impl FnOnce(&Machine) -> T) -> T {
        let before = self.answers.borrow().get(&question).and_then(|answer| from_bytes(answer).ok());
        if let Some(answer) = before {
            return answer;
        }
        let answer = ask(self.machine);
        self.answers.borrow_mut().insert(question, to_bytes(&answer));
        answer
    }
}

impl Source for Replay<'_> {
    fn answer<T: Field>(&self, question: Vec<u8>, ask: impl FnOnce(&Machine) -> T) -> T {
        let written = self.answers.get(&*question).and_then(|answer| from_bytes(answer).ok());
        written.unwrap_or_else(|| ask(&self.now))
    }
}

fn question(kind: u8, words: &[&[u8]], number: u32) -> Vec<u8> {
    let words: Vec<Bytes> = words.iter().map(|word| Bytes(word.to_vec())).collect();
    let mut bytes = vec![kind];
    bytes.extend(to_bytes(&(words, number)));
    bytes
}

fn of_path(kind: u8, path: &Path) -> Vec<u8> {
    question(kind, &[path.as_os_str().as_bytes()], 0)
}

/// A value or an errno, as fields.
type Fallible<T> = (Option<T>, i32);

fn fallible<T, U>(result: Result<T, SystemError>, write: impl FnOnce(T) -> U) -> Fallible<U> {
    match result {
        Ok(value) => (Some(write(value)), 0),
        Err(error) => (None, error.number),
    }
}

fn result<T, U>(answer: Fallible<T>, read: impl FnOnce(T) -> U) -> Result<U, SystemError> {
    let (value, number) = answer;
    value
        .map(read)
        .ok_or_else(|| SystemError { number, text: error_text(&std::io::Error::from_raw_os_error(number)) })
}

fn user(answer: Option<(String, (u32, u32))>) -> Option<User> {
    answer.map(|(name, (uid, gid))| User { name, uid, gid })
}

fn fields(user: Option<User>) -> Option<(String, (u32, u32))> {
    user.map(|user| (user.name, (user.uid, user.gid)))
}

macro_rules! host {
    ($machine:ident) => {
        impl Host for $machine<'_> {
            fn read(&self, path: &Path) -> Result<Vec<u8>, SystemError> {
                let ask = |m: &Machine| fallible(m.read(path), Bytes);
                result(self.answer(of_path(kind::READ, path), ask), |bytes| bytes.0)
            }

            fn directory(&self, path: &Path) -> Result<Vec<DirEntry>, SystemError> {
                let write =
                    |all: Vec<DirEntry>| all.into_iter().map(|e| (Bytes(e.name), e.regular)).collect();
                let ask = |m: &Machine| fallible(m.directory(path), write);
                let read = |all: Vec<(Bytes, bool)>| {
                    all.into_iter().map(|(name, regular)| DirEntry { name: name.0, regular }).collect()
                };
                result(self.answer(of_path(kind::DIRECTORY, path), ask), read)
            }

            fn is_directory(&self, path: &Path) -> Result<bool, SystemError> {
                let ask = |m: &Machine| fallible(m.is_directory(path), |is| is);
                result(self.answer(of_path(kind::IS_DIRECTORY, path), ask), |is| is)
            }

            fn link(&self, path: &Path) -> Option<PathBuf> {
                let write = |path: PathBuf| Bytes(path.into_os_string().into_vec());
                let answer = self.answer(of_path(kind::LINK, path), |m| m.link(path).map(write));
                answer.map(|bytes| OsString::from_vec(bytes.0).into())
            }

            fn executable(&self, path: &Path) -> Result<(), SystemError> {
                let ask = |m: &Machine| fallible(m.executable(path), |()| true);
                result(self.answer(of_path(kind::EXECUTABLE, path), ask), |_| ())
            }

            fn user(&self, name: &str) -> Option<User> {
                let ask = |m: &Machine| fields(Host::user(m, name));
                user(self.answer(question(kind::USER, &[name.as_bytes()], 0), ask))
            }

            fn user_by_id(&self, uid: u32) -> Option<User> {
                let ask = |m: &Machine| fields(m.user_by_id(uid));
                user(self.answer(question(kind::USER_BY_ID, &[], uid), ask))
            }

            fn group(&self, name: &str) -> Option<u32> {
                self.answer(question(kind::GROUP, &[name.as_bytes()], 0), |m| m.group(name))
            }

            fn groups_of(&self, user: &str, primary: u32) -> Option<Vec<u32>> {
                let question = question(kind::GROUPS_OF, &[user.as_bytes()], primary);
                self.answer(question, |m| m.groups_of(user, primary))
            }

            fn service_port(&self, name: &str, protocol: &str) -> Option<u16> {
                let question = question(kind::PORT, &[name.as_bytes(), protocol.as_bytes()], 0);
                self.answer(question, |m| m.service_port(name, protocol))
            }

            fn protocol(&self, name: &str) -> Option<i32> {
                self.answer(question(kind::PROTOCOL, &[name.as_bytes()], 0), |m| m.protocol(name))
            }

            fn rpc_number(&self, name: &str) -> Option<u32> {
                self.answer(question(kind::RPC, &[name.as_bytes()], 0), |m| m.rpc_number(name))
            }

            fn addresses(&self, name: &str, family: Family) -> Vec<IpAddr> {
                let number = match family {
                    Family::Any => 0,
                    Family::V4 => 4,
                    Family::V6 => 6,
                };
                let question = question(kind::ADDRESSES, &[name.as_bytes()], number);
                self.answer(question, |m| m.addresses(name, family))
            }

            fn network(&self, name: &str) -> Option<u32> {
                self.answer(question(kind::NETWORK, &[name.as_bytes()], 0), |m| m.network(name))
            }

            fn variable(&self, name: &str) -> Option<String> {
                self.answer(question(kind::VARIABLE, &[name.as_bytes()], 0), |m| m.variable(name))
            }

            fn hosts_tables_active(&self) -> bool {
                self.answer(question(kind::TABLES, &[], 0), Machine::hosts_tables_active)
            }
        }
    };
}

host!(Recorder);
host!(Replay);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_said_again_whatever_the_files_hold_now() {
        let path = std::env::temp_dir().join(format!("portreeve-recorded-{}", std::process::id()));
        std::fs::write(&path, "service a\n").unwrap();
        let machine = Machine::default();
        let recorder = Recorder::new(&machine);
        let missing = Path::new("/nonexistent/file");
        assert_eq!(recorder.read(&path).unwrap(), b"service a\n");
        let error = recorder.read(missing).unwrap_err();
        assert!(recorder.executable(&path).is_err());
        assert_eq!(Host::protocol(&recorder, "tcp"), Some(6));
        let answers = recorder.answers();
        std::fs::remove_file(&path).unwrap();
        let replay = Replay::new(&answers);
        assert_eq!(replay.read(&path).unwrap(), b"service a\n");
        assert_eq!(replay.read(missing).unwrap_err(), error);
        assert!(replay.read(Path::new("/dev/null")).is_ok(), "what was not asked is asked now");
        assert_eq!(Host::protocol(&replay, "tcp"), Some(6));
    }
}
