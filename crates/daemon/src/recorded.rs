//! What a reading of the configuration asked of the machine, with the answers: kept for as long as a service of it runs, so
//! that the next version of the executable reads the very configuration that is in force, whatever has happened to the files
//! and without asking a name service. Decides nothing about either.

use crate::machine::Machine;
use crate::recorded_answer::{Fallible, Recorded, fallible, result};
use crate::recorded_question::{Key, kind, of_names, of_path, question};
use portreeve_conf::{Content, DirEntry, Family, Host, SystemError, User};
use portreeve_handover::{Bytes, Field, from_bytes, to_bytes};
use portreeve_workers::protocol::{self, Answer, Question};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::net::IpAddr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Questions and answers, sorted by question.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answers(Vec<(Bytes, Recorded)>);

/// Answers by their questions, while they are gathered.
#[derive(Debug, Default)]
pub struct Known {
    asked: HashMap<Vec<u8>, Recorded>,
    /// What was asked for another reason: whoever asks it hears the same.
    heard: HashMap<Vec<u8>, Recorded>,
}

impl Known {
    /// The same, and nothing was asked yet.
    pub fn unasked(mut self) -> Self {
        self.heard.extend(self.asked.drain());
        self
    }

    /// What was said to a question, which has been asked by now.
    fn to<T>(&mut self, question: &[u8], read: impl Fn(&Recorded) -> Option<T>) -> Option<T> {
        if let Some(said) = self.asked.get(question) {
            return read(said);
        }
        let (question, said) = self.heard.remove_entry(question)?;
        read(self.asked.entry(question).or_insert(said))
    }
}

/// A machine whose answers are written down.
#[derive(Debug)]
pub struct Recorder<'a> {
    machine: &'a Machine,
    known: RefCell<Known>,
}

/// A machine that answers what was written down; what was not asked then, the files of now, and no name service.
#[derive(Debug)]
pub struct Replay<'a> {
    answers: HashMap<&'a [u8], &'a Recorded>,
    now: Machine,
}

/// Where a question is answered: with its bytes, and by whom if nobody has written it down.
trait Source {
    fn answer<T: Field>(&self, question: Key, ask: impl FnOnce(&Machine) -> T) -> T;
    fn file(&self, path: &Path) -> Result<Content, SystemError>;
}

impl<'a> Recorder<'a> {
    /// Writes down what this machine says, beside what is known already.
    pub fn new(machine: &'a Machine, known: Known) -> Self {
        Self { machine, known: RefCell::new(known) }
    }

    /// What it has said of files: it will be said again, while what names mean may have been asked for in vain.
    pub fn of_files(self) -> Known {
        let mut known = self.known.into_inner();
        known.asked.retain(|question, _| question.first().is_some_and(|kind| !of_names(*kind)));
        known
    }

    /// Whether it was asked what it does not know yet.
    pub fn misses(&self) -> bool {
        self.machine.misses()
    }

    /// Asks all that was asked before. True when the machine says the same. Where a file differs, no name is asked for: those of
    /// a configuration that is gone may have no answer any more, and the new one would wait for it.
    pub fn agrees(&self, before: &Answers) -> bool {
        let same = |names: bool| {
            let is = move |question: &Bytes| question.0.first().is_some_and(|kind| of_names(*kind)) == names;
            let these = before.0.iter().filter(move |(question, _)| is(question));
            these.clone().for_each(|(question, _)| self.ask_again(&question.0));
            let now = &self.known.borrow().asked;
            these.into_iter().all(|(question, answer)| now.get(&question.0).is_some_and(|now| now == answer))
        };
        same(false) && same(true)
    }

    fn ask_again(&self, question: &[u8]) {
        let Some((&kind, rest)) = question.split_first() else { return };
        let Ok((words, number)) = from_bytes::<(Vec<Bytes>, u32)>(rest) else { return };
        let word = |index: usize| words.get(index).map_or(&[][..], |word: &Bytes| word.0.as_slice());
        let path = Path::new(OsStr::from_bytes(word(0)));
        let (Ok(text), Ok(second)) = (std::str::from_utf8(word(0)), std::str::from_utf8(word(1))) else {
            return self.ask_of_file(kind, path);
        };
        match kind {
            kind::USER => drop(self.user(text)),
            kind::USER_BY_ID => drop(self.user_by_id(number)),
            kind::GROUP => drop(self.group(text)),
            kind::GROUPS_OF => drop(self.groups_of(text, number)),
            kind::PORT => drop(self.service_port(text, second)),
            kind::PROTOCOL => drop(Host::protocol(self, text)),
            kind::RPC => drop(self.rpc_number(text)),
            kind::ADDRESSES => {
                let family = match number {
                    4 => Family::V4,
                    6 => Family::V6,
                    _ => Family::Any,
                };
                drop(self.addresses(text, family));
            }
            kind::NETWORK => drop(self.network(text)),
            kind::VARIABLE => drop(self.variable(text)),
            kind::TABLES => drop(self.hosts_tables_active()),
            _ => self.ask_of_file(kind, path),
        }
    }

    fn ask_of_file(&self, kind: u8, path: &Path) {
        match kind {
            kind::READ => drop(self.file(path)),
            kind::DIRECTORY => drop(self.directory(path)),
            kind::IS_DIRECTORY => drop(self.is_directory(path)),
            kind::EXECUTABLE => drop(self.executable(path)),
            kind::LINK => drop(self.link(path)),
            _ => {}
        }
    }

    /// What it has said.
    pub fn answers(self) -> Answers {
        let answers = self.known.into_inner().asked;
        let mut answers: Vec<_> =
            answers.into_iter().map(|(question, said)| (Bytes(question), said)).collect();
        answers.sort_unstable_by(|(a, _), (b, _)| a.0.cmp(&b.0));
        Answers(answers)
    }
}

impl Answers {
    /// As they are handed over.
    pub fn written(&self) -> Vec<(Bytes, Bytes)> {
        self.0.iter().map(|(question, said)| (question.clone(), Bytes(said.written().into_owned()))).collect()
    }

    /// As they were handed over.
    pub fn of_written(all: Vec<(Bytes, Bytes)>) -> Self {
        let said = |(question, answer): (Bytes, Bytes)| {
            let file = question.0.first() == Some(&kind::READ);
            let bytes = file.then(|| from_bytes::<Fallible<Bytes>>(&answer.0).ok()?.0).flatten();
            let said = bytes.map_or(Recorded::Written(answer.0), |bytes| Recorded::File(bytes.0.into()));
            (question, said)
        };
        Self(all.into_iter().map(said).collect())
    }

    /// What was said to a question of the name service; `None` where it was not asked.
    pub fn to(&self, asked: &Question) -> Option<Answer> {
        let answer = match asked {
            Question::User(name) => self.user(&question(kind::USER, &[name.as_bytes()], 0))?,
            Question::UserById(uid) => self.user(&question(kind::USER_BY_ID, &[], *uid))?,
            Question::Group(name) => {
                self.find::<Option<u32>>(&question(kind::GROUP, &[name.as_bytes()], 0))?.map(Answer::Group)
            }
            Question::GroupsOf(user, primary) => {
                let key = question(kind::GROUPS_OF, &[user.as_bytes()], *primary);
                self.find::<Option<Vec<u32>>>(&key)?.map(Answer::Groups)
            }
            Question::ServicePort(name, protocol) => {
                let key = question(kind::PORT, &[name.as_bytes(), protocol.as_bytes()], 0);
                self.find::<Option<u16>>(&key)?.map(Answer::Port)
            }
            Question::Protocol(name) => {
                let key = question(kind::PROTOCOL, &[name.as_bytes()], 0);
                self.find::<Option<i32>>(&key)?.map(Answer::Protocol)
            }
            Question::RpcNumber(name) => {
                self.find::<Option<u32>>(&question(kind::RPC, &[name.as_bytes()], 0))?.map(Answer::RpcNumber)
            }
            Question::Network(name) => self
                .find::<Option<u32>>(&question(kind::NETWORK, &[name.as_bytes()], 0))?
                .map(Answer::Network),
            Question::Addresses(name, family) => {
                let number = match family {
                    protocol::Family::Any => 0,
                    protocol::Family::V4 => 4,
                    protocol::Family::V6 => 6,
                };
                let list: Vec<IpAddr> = self.find(&question(kind::ADDRESSES, &[name.as_bytes()], number))?;
                (!list.is_empty()).then_some(Answer::Addresses(list))
            }
            Question::InNetgroup(..) | Question::Target(..) => return None,
        };
        Some(answer.unwrap_or(Answer::NotFound))
    }

    fn user(&self, key: &[u8]) -> Option<Option<Answer>> {
        let user = self.find::<Option<(String, (u32, u32))>>(key)?;
        Some(user.map(|(name, (uid, gid))| Answer::User { name, uid, gid }))
    }

    fn find<T: Field>(&self, key: &[u8]) -> Option<T> {
        let at = self.0.binary_search_by(|(question, _)| question.0.as_slice().cmp(key)).ok()?;
        self.0.get(at)?.1.read()
    }
}

impl<'a> Replay<'a> {
    /// Answers with these.
    pub fn new(answers: &'a Answers) -> Self {
        let all = answers.0.iter().map(|(question, answer)| (&*question.0, answer)).collect();
        Self { answers: all, now: Machine::default() }
    }
}

impl Source for Recorder<'_> {
    /// What was asked before is not asked again: a reading sees one machine, and a thousand services of one program are one question.
    fn answer<T: Field>(&self, question: Key, ask: impl FnOnce(&Machine) -> T) -> T {
        let before = self.known.borrow_mut().to(&question, Recorded::read);
        if let Some(answer) = before {
            return answer;
        }
        let answer = ask(self.machine);
        let said = Recorded::Written(to_bytes(&answer));
        self.known.borrow_mut().asked.insert(question.to_vec(), said);
        answer
    }

    fn file(&self, path: &Path) -> Result<Content, SystemError> {
        let question = of_path(kind::READ, path);
        if let Some(answer) = self.known.borrow_mut().to(&question, Recorded::file) {
            return answer;
        }
        let answer = self.machine.content(path);
        let said = match &answer {
            Ok(content) => Recorded::File(content.clone()),
            Err(error) => Recorded::Written(to_bytes(&(None::<Bytes>, error.number))),
        };
        self.known.borrow_mut().asked.insert(question.to_vec(), said);
        answer
    }
}

impl Source for Replay<'_> {
    fn answer<T: Field>(&self, question: Key, ask: impl FnOnce(&Machine) -> T) -> T {
        let written = self.answers.get(&*question).and_then(|answer| answer.read());
        written.unwrap_or_else(|| ask(&self.now))
    }

    fn file(&self, path: &Path) -> Result<Content, SystemError> {
        let written = self.answers.get(&*of_path(kind::READ, path)).and_then(|answer| answer.file());
        written.unwrap_or_else(|| self.now.content(path))
    }
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
                self.file(path).map(|content| content.bytes().to_vec())
            }

            fn content(&self, path: &Path) -> Result<Content, SystemError> {
                self.file(path)
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
    fn names_are_asked_again_and_another_answer_shows() {
        let mut machine = Machine::default();
        machine.answer(Question::Group("none".into()), Answer::NotFound);
        machine.answer(Question::User("joe".into()), Answer::User { name: "joe".into(), uid: 7, gid: 8 });
        machine.answer(Question::ServicePort("a".into(), "udp".into()), Answer::Port(9));
        machine.answer(Question::GroupsOf("joe".into(), 8), Answer::Groups(vec![8, 9]));
        let recorder = Recorder::new(&machine, Known::default());
        assert_eq!(Host::user(&recorder, "joe").map(|user| user.uid), Some(7));
        assert_eq!(recorder.service_port("a", "udp"), Some(9));
        assert_eq!(recorder.groups_of("joe", 8), Some(vec![8, 9]));
        assert_eq!(recorder.variable("PORTREEVE_NO_SUCH"), None);
        assert_eq!(recorder.group("none"), None);
        let answers = recorder.answers();
        for (question, said) in [
            (Question::User("joe".into()), Some(Answer::User { name: "joe".into(), uid: 7, gid: 8 })),
            (Question::ServicePort("a".into(), "udp".into()), Some(Answer::Port(9))),
            (Question::GroupsOf("joe".into(), 8), Some(Answer::Groups(vec![8, 9]))),
            (Question::Group("none".into()), Some(Answer::NotFound)),
            (Question::Group("other".into()), None),
        ] {
            assert_eq!(answers.to(&question), said, "{question:?}");
        }
        assert!(Recorder::new(&machine, Known::default()).agrees(&answers));
        machine.answer(Question::User("joe".into()), Answer::User { name: "joe".into(), uid: 6, gid: 8 });
        assert!(!Recorder::new(&machine, Known::default()).agrees(&answers));
        assert!(machine.take_wanted().is_empty());
        assert!(!Recorder::new(&Machine::default(), Known::default()).agrees(&answers), "nothing is known");
        // What was said in vain is not said again; what was read stays.
        let recorder = Recorder::new(&machine, Known::default());
        let _ = (recorder.is_directory(Path::new("/")), recorder.service_port("b", "tcp"));
        let known = recorder.of_files();
        assert_eq!(known.asked.len(), 1);
        // Asked for another reason, it is heard again, and counts once it is asked.
        let recorder = Recorder::new(&machine, known.unasked());
        assert_eq!(recorder.known.borrow().heard.len(), 1);
        assert_eq!(recorder.is_directory(Path::new("/")), Ok(true));
        assert_eq!(recorder.answers().0.len(), 1);
    }

    #[test]
    fn what_was_said_is_said_again_whatever_the_files_hold_now() {
        let path = std::env::temp_dir().join(format!("portreeve-recorded-{}", std::process::id()));
        std::fs::write(&path, "service a\n").unwrap();
        let machine = Machine::default();
        let recorder = Recorder::new(&machine, Known::default());
        let missing = Path::new("/nonexistent/file");
        assert_eq!(recorder.read(&path).unwrap(), b"service a\n");
        let error = recorder.read(missing).unwrap_err();
        assert!(recorder.executable(&path).is_err());
        assert_eq!(Host::protocol(&recorder, "tcp"), Some(6));
        let answers = recorder.answers();
        assert!(Recorder::new(&machine, Known::default()).agrees(&answers));
        let written = answers.written();
        let of_file = written.iter().find(|(question, _)| question.0 == *of_path(kind::READ, &path)).unwrap();
        assert_eq!(
            of_file.1.0,
            to_bytes(&(Some(Bytes(b"service a\n".to_vec())), 0)),
            "as a former version wrote it"
        );
        assert_eq!(Answers::of_written(written), answers);
        std::fs::write(&path, "service b\n").unwrap();
        assert!(!Recorder::new(&machine, Known::default()).agrees(&answers), "a file has another text");
        std::fs::remove_file(&path).unwrap();
        let replay = Replay::new(&answers);
        assert_eq!(replay.read(&path).unwrap(), b"service a\n");
        assert_eq!(replay.read(missing).unwrap_err(), error);
        assert!(replay.read(Path::new("/dev/null")).is_ok(), "what was not asked is asked now");
        assert_eq!(Host::protocol(&replay, "tcp"), Some(6));
    }
}
