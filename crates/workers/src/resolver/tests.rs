//! The resolver in a thread with a name service that a test controls.

use super::lookup::{Lookup, host_names};
use super::*;
use crate::protocol::{Answer, Family, HostName, Mismatch, NamesAnswer, Question};
use portreeve_sys::names::{Cause, HostEntry, NameError};
use rustix::event::Timespec;
use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Condvar, Mutex};

const TEMPORARY: NameError = NameError::Temporary(Cause::Errno(11));

/// Answers by the last octet of 192.0.2.x.
struct Zone;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

impl Lookup for Zone {
    fn reverse(&self, address: IpAddr) -> Result<String, NameError> {
        match address.to_string().as_str() {
            "192.0.2.1" => Ok("good.example".into()),
            "192.0.2.2" => Ok("liar.example".into()),
            "192.0.2.3" => Ok("gone.example".into()),
            "192.0.2.4" => Ok("later.example".into()),
            "192.0.2.5" => Err(TEMPORARY),
            "192.0.2.6" => Ok("evil\nFAIL: x".into()),
            "192.0.2.7" => Ok("127.0.0.1".into()),
            "192.0.2.8" => Ok("dot.example.".into()),
            "192.0.2.9" => Ok("x".repeat(256)),
            "2001:db8::1" => Ok("six.example".into()),
            _ => Err(NameError::NotFound),
        }
    }

    fn addresses(&self, name: &str, _: Family) -> Result<Vec<IpAddr>, NameError> {
        match name {
            "good.example" => Ok(vec![ip("198.51.100.1"), ip("::ffff:192.0.2.1")]),
            "liar.example" => Ok(vec![ip("198.51.100.1")]),
            "later.example" => Err(TEMPORARY),
            "dot.example" => Ok(vec![ip("192.0.2.8")]),
            "six.example" => Ok(vec![ip("2001:db8::1")]),
            "127.0.0.1" => Ok(vec![ip("192.0.2.7")]),
            _ => Err(NameError::NotFound),
        }
    }

    fn domain(&self, name: &str, v6: bool) -> Option<Vec<u8>> {
        let records: &[(&str, u8)] = match name {
            "dot.example" => &[("192.0.2.8", 30)],
            // The hosts file, or another source, has others.
            "good.example" => &[("192.0.2.99", 30)],
            _ => return None,
        };
        let mut message = vec![0, 7, 0x81, 0x80, 0, 0, 0, records.len() as u8, 0, 0, 0, 0];
        for (address, seconds) in records {
            let IpAddr::V4(address) = ip(address) else { continue };
            message.extend([0, 0, 1, 0, 1, 0, 0, 0, *seconds, 0, 4]);
            message.extend(address.octets());
        }
        (!v6).then_some(message)
    }

    fn name_of(&self, address: SocketAddr) -> Result<Vec<u8>, NameError> {
        match address.to_string().as_str() {
            "192.0.2.10:0" => Ok(b"alias.example".to_vec()),
            "192.0.2.11:0" => Ok(b"LocalHost".to_vec()),
            "192.0.2.12:0" => Ok(b"0x7f.1".to_vec()),
            "[fe80::1%2]:0" => Ok(b"link.example".to_vec()),
            _ => self.reverse(address.ip()).map(String::into_bytes),
        }
    }

    fn host_entry(&self, name: &[u8], like: SocketAddr) -> Result<HostEntry, NameError> {
        let text = String::from_utf8_lossy(name).into_owned();
        let (canonical, addresses) = match text.as_str() {
            "alias.example" => ("official.example".to_owned(), vec!["192.0.2.10:0".parse().unwrap()]),
            "LocalHost" => ("other".to_owned(), vec!["192.0.2.11:0".parse().unwrap()]),
            "link.example" => (text, vec!["[fe80::1%1]:0".parse().unwrap()]),
            "good.example" => ("GOOD.example".to_owned(), vec!["192.0.2.1:0".parse().unwrap()]),
            other => {
                let found = self.addresses(other, Family::Any)?;
                (text.clone(), found.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect())
            }
        };
        assert_eq!(like.port(), 0);
        Ok(HostEntry { canonical: canonical.into_bytes(), addresses })
    }

    fn entry(&self, _: &Question) -> Result<Answer, NameError> {
        Ok(Answer::Group(7))
    }
}

/// Only addresses that are the domain name system's own hold for the time that it says.
#[test]
fn a_target_lasts_as_long_as_its_own_addresses() {
    let asked = |name: &str, family| lookup::target(&Zone, name, family);
    let dot = Answer::Target(vec![ip("192.0.2.8")], Some(30));
    assert_eq!(asked("dot.example", Family::V4), Ok(dot));
    assert_eq!(asked("dot.example", Family::V6), Ok(Answer::Target(vec![ip("192.0.2.8")], None)));
    let good = asked("good.example", Family::V4).unwrap();
    assert!(matches!(good, Answer::Target(list, None) if list.len() == 2));
    assert_eq!(asked("later.example", Family::V4), Err(TEMPORARY));
}

#[test]
fn a_name_counts_only_if_it_leads_back() {
    let known = |name: &str| NamesAnswer::Known(vec![name.into()]);
    let none = NamesAnswer::Known(Vec::new());
    let table = [
        ("192.0.2.1", known("good.example")),
        ("::ffff:192.0.2.1", known("good.example")),
        ("192.0.2.8", known("dot.example")),
        ("2001:db8::1", known("six.example")),
        ("192.0.2.2", none.clone()),
        ("192.0.2.3", none.clone()),
        ("192.0.2.6", none.clone()),
        ("192.0.2.7", none.clone()),
        ("192.0.2.9", none.clone()),
        ("192.0.2.99", none),
        ("192.0.2.4", NamesAnswer::Unavailable),
        ("192.0.2.5", NamesAnswer::Unavailable),
    ];
    for (address, names) in table {
        assert_eq!(host_names(&Zone, ip(address)), names, "{address}");
    }
}

#[test]
fn the_tables_see_a_name_or_what_is_wrong_with_it() {
    let name = |name: &str| HostName::Name(name.into());
    let table = [
        ("192.0.2.1:0", name("good.example")),
        ("192.0.2.2:0", HostName::Paranoid(Mismatch::OtherAddress)),
        ("192.0.2.3:0", HostName::Paranoid(Mismatch::NoAddress)),
        ("192.0.2.4:0", HostName::Unavailable),
        ("192.0.2.5:0", HostName::Unavailable),
        ("192.0.2.6:0", HostName::Paranoid(Mismatch::NoName)),
        ("192.0.2.7:0", HostName::Paranoid(Mismatch::NoName)),
        ("192.0.2.10:0", HostName::Paranoid(Mismatch::OtherName)),
        ("192.0.2.11:0", name("LocalHost")),
        ("192.0.2.12:0", HostName::Paranoid(Mismatch::NoName)),
        ("192.0.2.99:0", HostName::Unknown),
        ("[2001:db8::1]:0", name("six.example")),
        ("[fe80::1%2]:0", HostName::Paranoid(Mismatch::OtherAddress)),
    ];
    for (address, wanted) in table {
        assert_eq!(lookup::host(&Zone, address.parse().unwrap()), wanted, "{address}");
    }
}

/// A name service whose slow look-ups wait until the gate opens.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    news: Condvar,
}

impl Lookup for Gate {
    fn reverse(&self, _: IpAddr) -> Result<String, NameError> {
        let mut open = self.open.lock().unwrap();
        while !*open {
            open = self.news.wait(open).unwrap();
        }
        Err(NameError::NotFound)
    }

    fn addresses(&self, _: &str, _: Family) -> Result<Vec<IpAddr>, NameError> {
        Err(NameError::NotFound)
    }

    fn domain(&self, _: &str, _: bool) -> Option<Vec<u8>> {
        None
    }

    fn name_of(&self, address: SocketAddr) -> Result<Vec<u8>, NameError> {
        self.reverse(address.ip()).map(String::into_bytes)
    }

    fn host_entry(&self, _: &[u8], _: SocketAddr) -> Result<HostEntry, NameError> {
        Err(NameError::NotFound)
    }

    fn entry(&self, question: &Question) -> Result<Answer, NameError> {
        match question {
            Question::Group(name) if name == "broken" => Err(TEMPORARY),
            Question::Group(_) => Err(NameError::NotFound),
            Question::Addresses(..) => Ok(Answer::Addresses(vec![ip("192.0.2.1"); 2000])),
            Question::GroupsOf(..) => Ok(Answer::Groups(vec![1; 5000])),
            Question::User(_) => Ok(Answer::User { name: "a\u{7}b".into(), uid: 1, gid: 1 }),
            _ => Ok(Answer::Port(70)),
        }
    }
}

struct Client {
    channel: OwnedFd,
}

impl Client {
    fn of(names: Arc<dyn Lookup>) -> Self {
        let (channel, theirs) = seqpacket::pair().unwrap();
        std::thread::spawn(move || run(theirs, names));
        Client { channel }
    }

    fn ask(&self, question: &ToResolver) {
        let mut bytes = Vec::new();
        question.encode(&mut bytes).unwrap();
        loop {
            match seqpacket::send(&self.channel, &bytes, None) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait(PollFlags::OUT),
                other => return other.unwrap(),
            }
        }
    }

    fn wait(&self, flags: PollFlags) {
        let limit = Timespec { tv_sec: 30, tv_nsec: 0 };
        let n = poll(&mut [PollFd::new(&self.channel, flags)], Some(&limit)).unwrap();
        assert_eq!(n, 1, "the resolver says nothing");
    }

    fn hear(&self) -> FromResolver {
        self.wait(PollFlags::IN);
        let mut buffer = vec![0; MAX_MESSAGE];
        let received = seqpacket::recv(&self.channel, &mut buffer).unwrap();
        FromResolver::decode(&buffer[..received.len]).unwrap()
    }

    fn answer(&self, question: Question) -> Answer {
        self.ask(&ToResolver::Lookup { ticket: 9, question });
        match self.hear() {
            FromResolver::Answer { ticket: 9, answer } => answer,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn slow_names_neither_stall_the_databases_nor_grow_the_queue() {
    let gate = Arc::new(Gate::default());
    let client = Client::of(gate.clone());
    // More than all threads and all places in the queue.
    let asked = queue::WAITING as u64 + 10;
    for ticket in 0..asked {
        let address = IpAddr::from([10, 0, (ticket >> 8) as u8, ticket as u8]);
        client.ask(&ToResolver::Reverse { ticket, address });
    }
    let mut answered = HashSet::new();
    for _ in 0..10 {
        match client.hear() {
            FromResolver::Names { ticket, names: NamesAnswer::Unavailable } => answered.insert(ticket),
            other => panic!("{other:?}"),
        };
    }
    *gate.open.lock().unwrap() = true;
    gate.news.notify_all();
    for _ in 10..asked {
        match client.hear() {
            FromResolver::Names { ticket, names: NamesAnswer::Known(_) } => answered.insert(ticket),
            other => panic!("{other:?}"),
        };
    }
    assert_eq!(answered.len() as u64, asked, "each question has one answer");
}

#[test]
fn databases_answer_while_names_are_slow() {
    let gate = Arc::new(Gate::default());
    let client = Client::of(gate.clone());
    for ticket in 0..20 {
        client.ask(&ToResolver::Reverse { ticket, address: IpAddr::from([10, 0, 0, ticket as u8]) });
    }
    assert_eq!(client.answer(Question::ServicePort("gopher".into(), "tcp".into())), Answer::Port(70));
    assert_eq!(client.answer(Question::Group("none".into())), Answer::NotFound);
    assert_eq!(client.answer(Question::Group("broken".into())), Answer::Unavailable);
    *gate.open.lock().unwrap() = true;
    gate.news.notify_all();
}

#[test]
fn answers_that_do_not_fit_are_cut_only_where_that_is_harmless() {
    let client = Client::of(Arc::new(Gate::default()));
    match client.answer(Question::Addresses("many.example".into(), Family::Any)) {
        Answer::Addresses(list) => assert_eq!(list.len(), crate::protocol::MAX_ADDRESSES),
        other => panic!("{other:?}"),
    }
    assert_eq!(client.answer(Question::GroupsOf("many".into(), 1)), Answer::Unavailable);
    assert_eq!(client.answer(Question::User("odd".into())), Answer::Unavailable);
}

#[test]
fn the_real_name_service_knows_this_host() {
    let client = Client::of(Arc::new(lookup::NameService));
    assert_eq!(
        client.answer(Question::User("root".into())),
        Answer::User { name: "root".into(), uid: 0, gid: 0 }
    );
    assert_eq!(client.answer(Question::User("no-such-user-here".into())), Answer::NotFound);
    assert_eq!(
        client.answer(Question::Addresses("127.0.0.1".into(), Family::V4)),
        Answer::Addresses(vec![ip("127.0.0.1")])
    );
    drop(client);
}
