//! The conversation with the resolver: questions to the name services, and their answers.
//!
//! A temporary failure is never an empty answer: [`NamesAnswer::Unavailable`] and [`Answer::Unavailable`] say that nobody
//! could be asked, and where it could change a verdict the client is refused (design §2).

use super::answers::{Answer, put_answer, take_answer};
use super::identity::{HostName, IdentAnswer};
use super::referee::{Missing, put_ready, tag, take_ready};
use super::wire::{BadMessage, Reader, Writer, check_host};
use std::net::{IpAddr, SocketAddr};

/// The most names in one answer.
pub const MAX_NAMES: usize = 16;

const REVERSE: u8 = 65;
const LOOKUP: u8 = 66;
const HOST: u8 = 67;
const IDENT: u8 = 68;
const PING: u8 = 69;

/// Which addresses of a name are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// Any.
    Any,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

/// One question to a database of the name service switch. Names are at most [`super::MAX_NAME`] bytes without control
/// characters; host names have only their usual characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// getpwnam(3). Answered by [`Answer::User`].
    User(String),
    /// getpwuid(3). Answered by [`Answer::User`].
    UserById(u32),
    /// getgrnam(3). Answered by [`Answer::Group`].
    Group(String),
    /// getgrouplist(3) of a user and a primary group. Answered by [`Answer::Groups`].
    GroupsOf(String, u32),
    /// getservbyname(3) of a service and a protocol. Answered by [`Answer::Port`].
    ServicePort(String, String),
    /// getprotobyname(3). Answered by [`Answer::Protocol`].
    Protocol(String),
    /// getrpcbyname(3). Answered by [`Answer::RpcNumber`].
    RpcNumber(String),
    /// getnetbyname(3). Answered by [`Answer::Network`].
    Network(String),
    /// getaddrinfo(3) of a host name. Answered by [`Answer::Addresses`].
    Addresses(String, Family),
    /// The same of the target of a redirected service. Answered by [`Answer::Target`].
    Target(String, Family),
    /// innetgr(3) of a netgroup and a host. Answered by [`Answer::Member`].
    InNetgroup(String, String),
}

/// What the supervisor asks of the resolver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToResolver {
    /// The forward-confirmed host names of an address. Answered by [`FromResolver::Names`] with the same ticket.
    Reverse {
        /// The supervisor's mark of this question.
        ticket: u64,
        /// A mapped IPv4 address is unwrapped by the resolver.
        address: IpAddr,
    },
    /// A look-up. Answered by [`FromResolver::Answer`] with the same ticket.
    Lookup {
        /// The supervisor's mark of this question.
        ticket: u64,
        /// What is asked.
        question: Question,
    },
    /// The host name of an address as hosts.allow and hosts.deny see it. Answered by [`FromResolver::Host`].
    Host {
        /// The supervisor's mark of this question.
        ticket: u64,
        /// The address, an IPv6 one with its scope; its port counts for nothing.
        address: SocketAddr,
    },
    /// The user at the other end of a connection, by RFC 1413. Answered by [`FromResolver::User`].
    Ident {
        /// The supervisor's mark of this question.
        ticket: u64,
        /// Our end, from whose address is asked.
        ours: SocketAddr,
        /// The other end, at whose address is asked.
        theirs: SocketAddr,
        /// How long it may take, in seconds.
        seconds: u16,
    },
    /// Are you there? Answered by [`FromResolver::Pong`] at once, whoever else is waited for.
    Ping {
        /// The supervisor's mark of this question.
        ticket: u64,
    },
}

/// The host names of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamesAnswer {
    /// Names whose own addresses contain the client's; empty is a true negative.
    Known(Vec<String>),
    /// Nobody could be asked.
    Unavailable,
}

/// What the resolver says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromResolver {
    /// First message: it is confined and waits for questions.
    Ready {
        /// What of the confinement is missing.
        missing: Vec<Missing>,
    },
    /// To [`ToResolver::Reverse`].
    Names {
        /// Of the question.
        ticket: u64,
        /// The names.
        names: NamesAnswer,
    },
    /// To [`ToResolver::Lookup`].
    Answer {
        /// Of the question.
        ticket: u64,
        /// The answer.
        answer: Answer,
    },
    /// To [`ToResolver::Host`].
    Host {
        /// Of the question.
        ticket: u64,
        /// The name.
        host: HostName,
    },
    /// To [`ToResolver::Ident`].
    User {
        /// Of the question.
        ticket: u64,
        /// What the ident server said.
        answer: IdentAnswer,
    },
    /// To [`ToResolver::Ping`].
    Pong {
        /// Of the question.
        ticket: u64,
    },
}

impl ToResolver {
    /// Writes the message into `out`, replacing what it held.
    ///
    /// # Errors
    /// A name that is too long or has characters a name cannot have: the asker answers such a question itself.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), BadMessage> {
        let mut writer;
        match self {
            ToResolver::Reverse { ticket, address } => {
                writer = Writer::new(out, REVERSE);
                writer.u64(*ticket);
                writer.ip(*address);
            }
            ToResolver::Lookup { ticket, question } => {
                writer = Writer::new(out, LOOKUP);
                writer.u64(*ticket);
                put_question(&mut writer, question)?;
            }
            ToResolver::Ping { ticket } => {
                writer = Writer::new(out, PING);
                writer.u64(*ticket);
            }
            ToResolver::Host { ticket, address } => {
                writer = Writer::new(out, HOST);
                writer.u64(*ticket);
                writer.socket_address(*address);
            }
            ToResolver::Ident { ticket, ours, theirs, seconds } => {
                writer = Writer::new(out, IDENT);
                writer.u64(*ticket);
                writer.socket_address(*ours);
                writer.socket_address(*theirs);
                writer.u16(*seconds);
            }
        }
        writer.finish()
    }

    /// Reads a message.
    ///
    /// # Errors
    /// Bytes that are no such message.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadMessage> {
        let (tag, mut input) = Reader::new(bytes)?;
        let message = match tag {
            REVERSE => ToResolver::Reverse { ticket: input.u64()?, address: input.ip()? },
            LOOKUP => ToResolver::Lookup { ticket: input.u64()?, question: take_question(&mut input)? },
            PING => ToResolver::Ping { ticket: input.u64()? },
            HOST => ToResolver::Host { ticket: input.u64()?, address: input.socket_address()? },
            IDENT => ToResolver::Ident {
                ticket: input.u64()?,
                ours: input.socket_address()?,
                theirs: input.socket_address()?,
                seconds: input.u16()?,
            },
            other => return Err(BadMessage::UnknownTag(other)),
        };
        input.finish()?;
        Ok(message)
    }
}

impl FromResolver {
    /// Writes the message into `out`, replacing what it held.
    ///
    /// # Errors
    /// A list or name beyond the protocol's bounds.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), BadMessage> {
        let mut writer;
        match self {
            FromResolver::Ready { missing } => {
                writer = Writer::new(out, tag::READY);
                put_ready(&mut writer, missing);
            }
            FromResolver::Names { ticket, names } => {
                writer = Writer::new(out, tag::NAMES);
                writer.u64(*ticket);
                match names {
                    NamesAnswer::Unavailable => writer.flag(false),
                    NamesAnswer::Known(list) => {
                        writer.flag(true);
                        writer.count("names", list.len(), MAX_NAMES)?;
                        for name in list {
                            writer.host("host name", name)?;
                        }
                    }
                }
            }
            FromResolver::Answer { ticket, answer } => {
                writer = Writer::new(out, tag::ANSWER);
                writer.u64(*ticket);
                put_answer(&mut writer, answer)?;
            }
            FromResolver::Pong { ticket } => {
                writer = Writer::new(out, tag::PONG);
                writer.u64(*ticket);
            }
            FromResolver::Host { ticket, host } => {
                writer = Writer::new(out, tag::HOST);
                writer.u64(*ticket);
                host.put(&mut writer)?;
            }
            FromResolver::User { ticket, answer } => {
                writer = Writer::new(out, tag::USER);
                writer.u64(*ticket);
                answer.put(&mut writer)?;
            }
        }
        writer.finish()
    }

    /// Reads a message.
    ///
    /// # Errors
    /// Bytes that are no such message.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadMessage> {
        let (tag, mut input) = Reader::new(bytes)?;
        let message = match tag {
            tag::READY => FromResolver::Ready { missing: take_ready(&mut input)? },
            tag::NAMES => {
                let ticket = input.u64()?;
                let names = if input.flag("names answer")? {
                    NamesAnswer::Known(input.list("names", MAX_NAMES, |input| input.host("host name"))?)
                } else {
                    NamesAnswer::Unavailable
                };
                FromResolver::Names { ticket, names }
            }
            tag::ANSWER => FromResolver::Answer { ticket: input.u64()?, answer: take_answer(&mut input)? },
            tag::PONG => FromResolver::Pong { ticket: input.u64()? },
            tag::HOST => FromResolver::Host { ticket: input.u64()?, host: HostName::take(&mut input)? },
            tag::USER => FromResolver::User { ticket: input.u64()?, answer: IdentAnswer::take(&mut input)? },
            other => return Err(BadMessage::UnknownTag(other)),
        };
        input.finish()?;
        Ok(message)
    }

    /// Whether `name` is one that [`NamesAnswer::Known`] may carry.
    pub fn is_host_name(name: &str) -> bool {
        check_host("host name", name).is_ok()
    }
}

fn put_question(writer: &mut Writer<'_>, question: &Question) -> Result<(), BadMessage> {
    match question {
        Question::User(name) => {
            writer.u8(0);
            writer.name("user", name)
        }
        Question::UserById(uid) => {
            writer.u8(1);
            writer.u32(*uid);
            Ok(())
        }
        Question::Group(name) => {
            writer.u8(2);
            writer.name("group", name)
        }
        Question::GroupsOf(user, primary) => {
            writer.u8(3);
            writer.name("user", user)?;
            writer.u32(*primary);
            Ok(())
        }
        Question::ServicePort(name, protocol) => {
            writer.u8(4);
            writer.name("service", name)?;
            writer.name("protocol", protocol)
        }
        Question::Protocol(name) => {
            writer.u8(5);
            writer.name("protocol", name)
        }
        Question::RpcNumber(name) => {
            writer.u8(6);
            writer.name("rpc program", name)
        }
        Question::Network(name) => {
            writer.u8(7);
            writer.name("network", name)
        }
        Question::Addresses(name, family) => {
            writer.u8(8);
            put_host(writer, name, *family)
        }
        Question::Target(name, family) => {
            writer.u8(10);
            put_host(writer, name, *family)
        }
        Question::InNetgroup(group, host) => {
            writer.u8(9);
            writer.name("netgroup", group)?;
            writer.name("host", host)
        }
    }
}

fn put_host(writer: &mut Writer<'_>, name: &str, family: Family) -> Result<(), BadMessage> {
    writer.host("host name", name)?;
    writer.u8(match family {
        Family::Any => 0,
        Family::V4 => 4,
        Family::V6 => 6,
    });
    Ok(())
}

fn take_host(input: &mut Reader<'_>) -> Result<(String, Family), BadMessage> {
    let name = input.host("host name")?;
    let family = match input.u8()? {
        0 => Family::Any,
        4 => Family::V4,
        6 => Family::V6,
        _ => return Err(BadMessage::BadValue("family")),
    };
    Ok((name, family))
}

fn take_question(input: &mut Reader<'_>) -> Result<Question, BadMessage> {
    Ok(match input.u8()? {
        0 => Question::User(input.name("user")?),
        1 => Question::UserById(input.u32()?),
        2 => Question::Group(input.name("group")?),
        3 => Question::GroupsOf(input.name("user")?, input.u32()?),
        4 => Question::ServicePort(input.name("service")?, input.name("protocol")?),
        5 => Question::Protocol(input.name("protocol")?),
        6 => Question::RpcNumber(input.name("rpc program")?),
        7 => Question::Network(input.name("network")?),
        8 => {
            let (name, family) = take_host(input)?;
            Question::Addresses(name, family)
        }
        10 => {
            let (name, family) = take_host(input)?;
            Question::Target(name, family)
        }
        9 => Question::InNetgroup(input.name("netgroup")?, input.name("host")?),
        _ => return Err(BadMessage::BadValue("question")),
    })
}
