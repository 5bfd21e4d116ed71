//! The machine as the configuration reader sees it from the supervisor: files directly, everything of the name service
//! through the resolver worker. A question without an answer yet is remembered; the file is read again when it is in.
//! So the supervisor never calls the name service and a slow one never stalls its loop.

use portreeve_conf::{DirEntry, Family, Host, SystemError, User};
use portreeve_sys::mounts::Mounts;
use portreeve_workers::protocol::{self, Answer, Question};
use std::cell::RefCell;
use std::collections::HashMap;
use std::io::Read;
use std::net::IpAddr;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Most bytes of one configuration file.
const LARGEST_FILE: u64 = 16 * 1024 * 1024;

/// Answers so far, and what is still to be asked.
#[derive(Debug, Default)]
pub struct Machine {
    answers: HashMap<Question, Answer>,
    wanted: RefCell<Vec<Question>>,
    mounts: Rc<RefCell<Mounts>>,
}

impl Machine {
    /// Nothing is answered yet; the table of mounts is whoever's else it is.
    pub fn with(mounts: &Rc<RefCell<Mounts>>) -> Self {
        Self { mounts: Rc::clone(mounts), ..Self::default() }
    }

    /// What the last reading asked in vain.
    pub fn take_wanted(&mut self) -> Vec<Question> {
        std::mem::take(self.wanted.get_mut())
    }

    /// Whether something was asked in vain.
    pub fn misses(&self) -> bool {
        !self.wanted.borrow().is_empty()
    }

    /// An answer has come.
    pub fn answer(&mut self, question: Question, answer: Answer) {
        self.answers.insert(question, answer);
    }

    fn ask(&self, question: Question) -> Option<&Answer> {
        let answer = self.answers.get(&question);
        if answer.is_none() {
            let mut wanted = self.wanted.borrow_mut();
            if !wanted.contains(&question) {
                wanted.push(question);
            }
        }
        answer
    }

    fn user(&self, question: Question) -> Option<User> {
        match self.ask(question)? {
            Answer::User { name, uid, gid } => Some(User { name: name.clone(), uid: *uid, gid: *gid }),
            _ => None,
        }
    }
}

impl Host for Machine {
    fn read(&self, path: &Path) -> Result<Vec<u8>, SystemError> {
        use std::os::unix::fs::OpenOptionsExt;
        // A FIFO in a file's place must not hold up the supervisor.
        let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
        let file =
            std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(system_error)?;
        // In one piece: a file of thousands of services would be moved as it grows.
        let size = file.metadata().map_or(0, |about| about.len().min(LARGEST_FILE));
        let mut bytes = Vec::with_capacity(usize::try_from(size).map_or(0, |size| size + 1));
        file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(system_error)?;
        if bytes.len() as u64 > LARGEST_FILE {
            return Err(system_error(rustix::io::Errno::FBIG.into()));
        }
        Ok(bytes)
    }

    fn directory(&self, path: &Path) -> Result<Vec<DirEntry>, SystemError> {
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(path).map_err(system_error)? {
            let entry = entry.map_err(system_error)?;
            let regular = std::fs::metadata(entry.path()).is_ok_and(|m| m.is_file());
            entries.push(DirEntry { name: entry.file_name().into_vec(), regular });
        }
        Ok(entries)
    }

    fn is_directory(&self, path: &Path) -> Result<bool, SystemError> {
        if self.mounts.borrow_mut().remote(path).is_some() {
            return Err(system_error(rustix::io::Errno::AGAIN.into()));
        }
        std::fs::metadata(path).map(|m| m.is_dir()).map_err(system_error)
    }

    fn link(&self, path: &Path) -> Option<PathBuf> {
        std::fs::read_link(path).ok()
    }

    fn executable(&self, path: &Path) -> Result<(), SystemError> {
        // Looking it up there could wait for ever: its start will say it.
        if self.mounts.borrow_mut().remote(path).is_some() {
            return Ok(());
        }
        rustix::fs::access(path, rustix::fs::Access::EXEC_OK).map_err(|e| system_error(e.into()))
    }

    fn user(&self, name: &str) -> Option<User> {
        self.user(Question::User(name.to_owned()))
    }

    fn user_by_id(&self, uid: u32) -> Option<User> {
        self.user(Question::UserById(uid))
    }

    fn group(&self, name: &str) -> Option<u32> {
        match self.ask(Question::Group(name.to_owned()))? {
            Answer::Group(gid) => Some(*gid),
            _ => None,
        }
    }

    fn groups_of(&self, user: &str, primary: u32) -> Option<Vec<u32>> {
        match self.ask(Question::GroupsOf(user.to_owned(), primary))? {
            Answer::Groups(groups) => Some(groups.clone()),
            _ => None,
        }
    }

    fn service_port(&self, name: &str, protocol: &str) -> Option<u16> {
        match self.ask(Question::ServicePort(name.to_owned(), protocol.to_owned()))? {
            Answer::Port(port) => Some(*port),
            _ => None,
        }
    }

    fn protocol(&self, name: &str) -> Option<i32> {
        // The two that every service names need no database.
        match name {
            "tcp" => return Some(6),
            "udp" => return Some(17),
            _ => {}
        }
        match self.ask(Question::Protocol(name.to_owned()))? {
            Answer::Protocol(number) => Some(*number),
            _ => None,
        }
    }

    fn rpc_number(&self, name: &str) -> Option<u32> {
        match self.ask(Question::RpcNumber(name.to_owned()))? {
            Answer::RpcNumber(number) => Some(*number),
            _ => None,
        }
    }

    fn addresses(&self, name: &str, family: Family) -> Vec<IpAddr> {
        let family = match family {
            Family::Any => protocol::Family::Any,
            Family::V4 => protocol::Family::V4,
            Family::V6 => protocol::Family::V6,
        };
        match self.ask(Question::Addresses(name.to_owned(), family)) {
            Some(Answer::Addresses(list)) => list.clone(),
            _ => Vec::new(),
        }
    }

    fn network(&self, name: &str) -> Option<u32> {
        match self.ask(Question::Network(name.to_owned()))? {
            Answer::Network(number) => Some(*number),
            _ => None,
        }
    }

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn hosts_tables_active(&self) -> bool {
        ["/etc/hosts.allow", "/etc/hosts.deny"].iter().any(|path| match self.read(Path::new(path)) {
            Ok(bytes) => bytes.split(|&b| b == b'\n').any(|line| {
                let line = line.trim_ascii();
                !line.is_empty() && line[0] != b'#'
            }),
            // An unreadable table may hold a rule: closed.
            Err(error) => error.number != rustix::io::Errno::NOENT.raw_os_error(),
        })
    }
}

fn system_error(error: std::io::Error) -> SystemError {
    let number = error.raw_os_error().unwrap_or(0);
    SystemError { number, text: error_text(&error) }
}

/// strerror(3)'s text, without the ` (os error N)` that std adds.
pub fn error_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

/// An error as xinetd's `%m` prints it.
pub fn percent_m(error: &std::io::Error) -> String {
    format!("{} (errno = {})", error_text(error), error.raw_os_error().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_remembered_once_and_answered_the_next_time() {
        let mut machine = Machine::default();
        assert_eq!(Host::user(&machine, "joe"), None);
        assert_eq!(Host::user(&machine, "joe"), None);
        let wanted = machine.take_wanted();
        assert_eq!(wanted, [Question::User("joe".into())]);
        machine.answer(wanted[0].clone(), Answer::User { name: "joe".into(), uid: 7, gid: 8 });
        assert_eq!(Host::user(&machine, "joe").map(|u| u.uid), Some(7));
        assert!(machine.take_wanted().is_empty());
    }

    #[test]
    fn errors_read_as_xinetd_writes_them() {
        let error = std::io::Error::from_raw_os_error(2);
        assert_eq!(percent_m(&error), "No such file or directory (errno = 2)");
    }
}
