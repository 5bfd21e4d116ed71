//! One question to the name service, and what counts as an answer: a true negative, an entry, or nobody could be asked.

use crate::protocol::{Answer, Family, FromResolver, MAX_ADDRESSES, MAX_GROUPS, NamesAnswer, Question};
use portreeve_sys::names::{self, NameError};
use std::net::IpAddr;

/// The name service, or a test's idea of one.
pub(super) trait Lookup: Send + Sync + 'static {
    /// getnameinfo.
    fn reverse(&self, address: IpAddr) -> Result<String, NameError>;
    /// getaddrinfo.
    fn addresses(&self, name: &str, family: Family) -> Result<Vec<IpAddr>, NameError>;
    /// The databases of this host.
    fn entry(&self, question: &Question) -> Result<Answer, NameError>;
}

/// This host's name service.
#[derive(Debug)]
pub(super) struct NameService;

impl Lookup for NameService {
    fn reverse(&self, address: IpAddr) -> Result<String, NameError> {
        names::reverse(address)
    }

    fn addresses(&self, name: &str, family: Family) -> Result<Vec<IpAddr>, NameError> {
        let family = match family {
            Family::Any => names::Family::Any,
            Family::V4 => names::Family::V4,
            Family::V6 => names::Family::V6,
        };
        names::addresses(name, family)
    }

    fn entry(&self, question: &Question) -> Result<Answer, NameError> {
        let user = |user: names::User| Answer::User { name: user.name, uid: user.uid, gid: user.gid };
        Ok(match question {
            Question::User(name) => user(names::user(name)?),
            Question::UserById(uid) => user(names::user_by_id(*uid)?),
            Question::Group(name) => Answer::Group(names::group(name)?.gid),
            Question::GroupsOf(name, primary) => Answer::Groups(names::group_list(name, *primary)?),
            Question::ServicePort(name, protocol) => Answer::Port(names::service_port(name, protocol)?),
            Question::Protocol(name) => Answer::Protocol(names::protocol(name)?),
            Question::RpcNumber(name) => Answer::RpcNumber(names::rpc_number(name)?),
            Question::Network(name) => Answer::Network(names::network(name)?),
            Question::Addresses(name, family) => Answer::Addresses(self.addresses(name, *family)?),
        })
    }
}

/// The host names of `address` that are confirmed: whoever owns the reverse zone can write any name there, so a name counts
/// only if its own addresses contain the address. An unconfirmed name is no name; a confirmation that could not be asked
/// for leaves all open.
pub(super) fn host_names(service: &dyn Lookup, address: IpAddr) -> NamesAnswer {
    let address = address.to_canonical();
    let name = match service.reverse(address) {
        Ok(name) => name,
        Err(NameError::NotFound | NameError::Invalid) => return NamesAnswer::Known(Vec::new()),
        Err(NameError::Temporary(_)) => return NamesAnswer::Unavailable,
    };
    // A final dot is DNS's own; rules are written without it.
    let name = name.strip_suffix('.').unwrap_or(&name);
    // A name that reads as an address is a zone owner's attempt to match an address rule.
    if !FromResolver::is_host_name(name) || name.parse::<IpAddr>().is_ok() {
        return NamesAnswer::Known(Vec::new());
    }
    match service.addresses(name, Family::Any) {
        Ok(found) if found.iter().any(|other| other.to_canonical() == address) => {
            NamesAnswer::Known(vec![name.to_owned()])
        }
        Ok(_) | Err(NameError::NotFound | NameError::Invalid) => NamesAnswer::Known(Vec::new()),
        Err(NameError::Temporary(_)) => NamesAnswer::Unavailable,
    }
}

/// The entry of a database, cut to what a message holds where a cut is harmless. More groups than fit are not: a process
/// would run with fewer rights than it has been given, so nobody can say.
pub(super) fn entry(service: &dyn Lookup, question: &Question) -> Answer {
    match service.entry(question) {
        Ok(Answer::Addresses(list)) if list.is_empty() => Answer::NotFound,
        Ok(Answer::Addresses(mut list)) => {
            list.truncate(MAX_ADDRESSES);
            Answer::Addresses(list)
        }
        Ok(Answer::Groups(list)) if list.len() > MAX_GROUPS => Answer::Unavailable,
        Ok(answer) => answer,
        Err(NameError::NotFound | NameError::Invalid) => Answer::NotFound,
        Err(NameError::Temporary(_)) => Answer::Unavailable,
    }
}
