//! One question to the name service, and what counts as an answer: a true negative, an entry, or nobody could be asked.

use super::lifetime::{is_about, lifetime};
use crate::protocol::{
    Answer, Family, FromResolver, HostName, MAX_ADDRESSES, MAX_GROUPS, Mismatch, NamesAnswer, Question,
};
use portreeve_sys::names::{self, HostEntry, NameError, Spelling};
use std::net::{IpAddr, SocketAddr};

/// The name service, or a test's idea of one.
pub(super) trait Lookup: Send + Sync + 'static {
    /// getnameinfo.
    fn reverse(&self, address: IpAddr) -> Result<String, NameError>;
    /// getaddrinfo.
    fn addresses(&self, name: &str, family: Family) -> Result<Vec<IpAddr>, NameError>;
    /// getnameinfo, with the scope of an IPv6 address.
    fn name_of(&self, address: SocketAddr) -> Result<Vec<u8>, NameError>;
    /// getaddrinfo in the family of `like`, with the official name.
    fn host_entry(&self, name: &[u8], like: SocketAddr) -> Result<HostEntry, NameError>;
    /// An answer of the domain name system about a name that it has to say of, as it came.
    fn domain(&self, name: &str, v6: bool) -> Option<Vec<u8>>;
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

    fn name_of(&self, address: SocketAddr) -> Result<Vec<u8>, NameError> {
        names::host_name_of(address)
    }

    fn host_entry(&self, name: &[u8], like: SocketAddr) -> Result<HostEntry, NameError> {
        let family = if like.is_ipv4() { names::Family::V4 } else { names::Family::V6 };
        names::host_entry(name, family, Spelling::Name)
    }

    fn domain(&self, name: &str, v6: bool) -> Option<Vec<u8>> {
        if is_local(name) { None } else { names::dns_answer(name, v6) }
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
            Question::Target(name, family) => target(self, name, *family)?,
            Question::InNetgroup(group, host) => {
                Answer::Member(names::in_netgroup(group.as_bytes(), host.as_bytes())?)
            }
        })
    }
}

/// Whether the hosts file has the name. What is not read of a huge one is not known to be there.
fn is_local(name: &str) -> bool {
    use std::io::{BufRead, BufReader, Read};
    /// So much of it is read.
    const MOST: u64 = 16 << 20;
    let Ok(file) = std::fs::File::open("/etc/hosts") else { return false };
    let mut lines = BufReader::new(file.take(MOST)).split(b'\n').map_while(Result::ok);
    lines.any(|line| is_about(&String::from_utf8_lossy(&line), name))
}

/// The addresses of a name by the order of sources of this host, and for how many seconds the domain name system lets them hold, where they
/// are its own: another source says no time.
pub(super) fn target(service: &dyn Lookup, name: &str, family: Family) -> Result<Answer, NameError> {
    let addresses = service.addresses(name, family)?;
    let own = || {
        let message = service.domain(name, family == Family::V6)?;
        let (seconds, said) = lifetime(&message)?;
        said.iter().any(|address| addresses.contains(address)).then_some(seconds)
    };
    let lasts = own();
    Ok(Answer::Target(addresses, lasts))
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

/// The host name of `address` for hosts.allow and hosts.deny, with the checks of TCP Wrappers (reference tcp-wrappers A11) in
/// their order. What could not be asked for is neither unknown nor paranoid.
pub(super) fn host(service: &dyn Lookup, address: SocketAddr) -> HostName {
    let paranoid = HostName::Paranoid;
    let name = match service.name_of(address) {
        Ok(name) => name,
        Err(NameError::NotFound | NameError::Invalid) => return HostName::Unknown,
        Err(NameError::Temporary(_)) => return HostName::Unavailable,
    };
    let Some(text) = std::str::from_utf8(&name).ok().filter(|name| FromResolver::is_host_name(name)) else {
        return paranoid(Mismatch::NoName);
    };
    // In any spelling that the system takes for an address, not only in the usual one.
    if names::host_entry(&name, names::Family::Any, Spelling::Numeric).is_ok() {
        return paranoid(Mismatch::NoName);
    }
    let entry = match service.host_entry(&name, address) {
        Ok(entry) => entry,
        Err(NameError::NotFound | NameError::Invalid) => return paranoid(Mismatch::NoAddress),
        Err(NameError::Temporary(_)) => return HostName::Unavailable,
    };
    let same = |other: &[u8]| name.eq_ignore_ascii_case(other);
    if !same(&entry.canonical) && !same(b"localhost") {
        return paranoid(Mismatch::OtherName);
    }
    let scope = |address: &SocketAddr| match address {
        SocketAddr::V6(v6) => v6.scope_id(),
        SocketAddr::V4(_) => 0,
    };
    let leads_back =
        entry.addresses.iter().any(|other| other.ip() == address.ip() && scope(other) == scope(&address));
    if leads_back { HostName::Name(text.to_owned()) } else { paranoid(Mismatch::OtherAddress) }
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
        Ok(Answer::Target(list, _)) if list.is_empty() => Answer::NotFound,
        Ok(Answer::Target(mut list, lasts)) => {
            list.truncate(MAX_ADDRESSES);
            Answer::Target(list, lasts)
        }
        Ok(Answer::Groups(list)) if list.len() > MAX_GROUPS => Answer::Unavailable,
        Ok(answer) => answer,
        Err(NameError::NotFound | NameError::Invalid) => Answer::NotFound,
        Err(NameError::Temporary(_)) => Answer::Unavailable,
    }
}
