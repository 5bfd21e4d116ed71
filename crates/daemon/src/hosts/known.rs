//! What was found out about one client for the sake of the tables and of USERID: answers, kept while it is parked and
//! judged again. Asks nobody itself.

use hosts_access::{Answer, Done, End, Field};
use portreeve_policy::Names;
use portreeve_workers::protocol::{self, HostName, IdentAnswer, Question};

/// Questions that one client may cost; beyond them whatever is asked is unavailable.
pub const ROUNDS: u32 = 16;

/// What is asked next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// The confirmed names of the client, for only_from and no_access.
    Names,
    /// The host name of one end, for the tables.
    Name(End),
    /// The user by ident, within so many seconds; for a rule.
    User(u32),
    /// The user by ident, for the log: the client is admitted.
    Identity,
    /// The user by ident, for the log: the client is refused.
    Culprit,
    /// Whether a host is in a netgroup.
    Netgroup(String, String),
    /// An entry of the user or group database.
    Entry(Question),
    /// The exit status of an `aclexec` command.
    Command(Vec<u8>),
    /// Nothing that could be asked for.
    Nothing,
}

/// What is known of one client.
#[derive(Debug, Default)]
pub struct Known {
    /// Forward-confirmed names, for only_from and no_access.
    pub names: Names,
    /// How many questions were asked.
    pub rounds: u32,
    /// It has asked for too much: whatever else is asked is unavailable.
    pub exhausted: bool,
    /// The answer of its ident server.
    pub ident: Option<IdentAnswer>,
    client: Option<Answer<Field>>,
    server: Option<Answer<Field>>,
    netgroups: Vec<(String, String, Answer<bool>)>,
    entries: Vec<(Question, protocol::Answer)>,
    commands: Vec<(Vec<u8>, Done)>,
}

impl Known {
    /// The host name of an end, if it was asked for.
    pub fn name(&self, end: End) -> Option<Answer<Field>> {
        match end {
            End::Client => self.client,
            End::Server => self.server,
        }
    }

    /// The user, if it was asked for.
    pub fn user(&self) -> Option<Answer<Field>> {
        self.ident.as_ref().map(|answer| match answer {
            IdentAnswer::Line { user: Some(user), .. } => Answer::Known(Field::new(user)),
            IdentAnswer::Line { user: None, .. } | IdentAnswer::Failed(_) => {
                Answer::Known(Field::from("unknown"))
            }
            IdentAnswer::Unavailable => Answer::Unavailable,
        })
    }

    /// Membership in a netgroup, if it was asked for.
    pub fn netgroup(&self, group: &str, host: &str) -> Option<Answer<bool>> {
        self.netgroups.iter().find(|(g, h, _)| g == group && h == host).map(|(_, _, answer)| *answer)
    }

    /// An entry of a database, if it was asked for.
    pub fn entry(&self, question: &Question) -> Option<&protocol::Answer> {
        self.entries.iter().find(|(asked, _)| asked == question).map(|(_, answer)| answer)
    }

    /// What became of a command, if it was run.
    pub fn command(&self, command: &[u8]) -> Option<&Done> {
        self.commands.iter().find(|(asked, _)| asked == command).map(|(_, done)| done)
    }

    /// The resolver has answered with the name of an end.
    pub fn set_name(&mut self, end: End, host: &HostName) {
        let answer = match host {
            HostName::Name(name) => Answer::Known(Field::from(name.as_str())),
            HostName::Unknown => Answer::Known(Field::from("unknown")),
            HostName::Paranoid(_) => Answer::Known(Field::from("paranoid")),
            HostName::Unavailable => Answer::Unavailable,
        };
        match end {
            End::Client => self.client = Some(answer),
            End::Server => self.server = Some(answer),
        }
    }

    /// The resolver has answered a question to a database.
    pub fn set_entry(&mut self, want: Want, answer: protocol::Answer) {
        match want {
            Want::Netgroup(group, host) => {
                let member = match answer {
                    protocol::Answer::Member(member) => Answer::Known(member),
                    _ => Answer::Unavailable,
                };
                self.netgroups.push((group, host, member));
            }
            Want::Entry(question) => self.entries.push((question, answer)),
            _ => {}
        }
    }

    /// A command has ended.
    pub fn set_command(&mut self, command: Vec<u8>, done: Done) {
        self.commands.push((command, done));
    }

    /// It could not be asked, or took too long.
    pub fn set_unavailable(&mut self, want: Want) {
        match want {
            Want::Nothing => self.exhausted = true,
            Want::Names => self.names = Names::Unavailable,
            Want::Name(end) => self.set_name(end, &HostName::Unavailable),
            Want::User(_) | Want::Identity | Want::Culprit => self.ident = Some(IdentAnswer::Unavailable),
            Want::Command(command) => self.set_command(command, Done::Unavailable),
            want @ (Want::Netgroup(..) | Want::Entry(_)) => {
                self.set_entry(want, protocol::Answer::Unavailable);
            }
        }
    }
}
