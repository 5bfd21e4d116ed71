//! The worker's loop on a table that everybody can change, as before kernel 5.12, in a network namespace of the test's own.

#[path = "../../../../compliance/src/skip.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with tests that need more of it")]
mod skip;

use super::enforcer::{Enforcer, OPEN};
use super::engine::{Engine, Goes};
use crate::protocol::ToFirewall;
use portreeve_policy::Prefix;
use portreeve_sys::{clock, netlink, seqpacket};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command};
use std::time::Duration;

/// Holds a network namespace, which ends with the value.
struct Apart(Child);

impl Apart {
    /// Puts the calling thread, and the programs that it starts, into one; none where that cannot be.
    fn enter() -> Option<Apart> {
        if !rustix::process::geteuid().is_root() {
            skip::skip(skip::Reason::NoRoot);
            return None;
        }
        if !skip::has_programs(&["nft", "unshare"]) {
            return None;
        }
        let works = Command::new("unshare").args(["-n", "nft", "list", "ruleset"]).output();
        if !works.is_ok_and(|ended| ended.status.success()) {
            skip::skip(skip::Reason::NoNamespaces);
            return None;
        }
        let apart = Apart(Command::new("unshare").args(["-n", "sleep", "60"]).spawn().expect("it starts"));
        let theirs = format!("/proc/{}/ns/net", apart.0.id());
        let own = std::fs::read_link("/proc/self/ns/net").expect("a namespace");
        for _ in 0..200 {
            if std::fs::read_link(&theirs).is_ok_and(|theirs| theirs != own) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let network = File::open(theirs).expect("its network");
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).expect("to enter it");
        Some(apart)
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn nft(command: &str) -> String {
    let ended = Command::new("nft").args(command.split(' ')).output().expect("nft starts");
    assert!(ended.status.success(), "{command}: {}", String::from_utf8_lossy(&ended.stderr));
    String::from_utf8_lossy(&ended.stdout).into_owned()
}

/// Until a look is over.
fn settle(engine: &mut Engine) {
    for _ in 0..5000 {
        if engine.rests() {
            return;
        }
        engine.turn().expect("it looks");
    }
    panic!("the look does not end");
}

fn host(n: u32) -> Prefix {
    Prefix::host(Ipv4Addr::from_bits(n).into())
}

fn tell(channel: &OwnedFd, message: &ToFirewall) {
    let mut bytes = Vec::new();
    message.encode(&mut bytes).expect("it is one");
    seqpacket::send(channel, &bytes, None).expect("there is room");
}

fn has(network: Prefix) -> bool {
    let element = format!("get element inet portreeve v4_32 {{ {} }}", network.address());
    Command::new("nft").args(element.split(' ')).output().is_ok_and(|ended| ended.status.success())
}

/// Whoever is banned for what he does now waits neither for a list nor for a look.
#[test]
fn one_ban_goes_before_a_list_and_between_the_steps_of_a_look() {
    let Some(_apart) = Apart::enter() else { return };
    let (ours, theirs) = seqpacket::pair().expect("a channel");
    let mut engine = Engine::new(theirs, OPEN);
    let (asking, looking) = (netlink::asking().expect("a socket"), netlink::asking().expect("a socket"));
    let listening = netlink::listening_but_to(&asking).expect("a socket");
    let many = (0..5000).map(|n| (host(0x0a00_0000 + n), None));
    let enforcer = Enforcer::begin_open((asking, looking), many, clock::monotonic()).expect("a table");
    engine.stand(enforcer, listening);
    let (listed, alone) = (host(0xc000_0201), host(0xc000_0202));
    tell(&ours, &ToFirewall::Bans { bans: vec![(listed, None), (alone, Some(1))], more: true });
    tell(&ours, &ToFirewall::Bans { bans: vec![(alone, None)], more: false });
    engine.turn().expect("a turn");
    assert!(has(alone) && !has(listed), "the list goes on");
    tell(&ours, &ToFirewall::Bans { bans: Vec::new(), more: false });
    engine.turn().expect("a turn");
    assert!(has(alone) && has(listed));
    assert!(!nft("get element inet portreeve v4_32 { 192.0.2.2 }").contains("expires"), "the later word");
    // Our own changes are no news, whatever they are.
    assert!(engine.rests());
    nft("delete element inet portreeve v4_32 { 192.0.2.1 }");
    engine.turn().expect("it hears");
    for n in 1.. {
        assert!(n < 100, "it begins to look");
        if engine.looks() {
            break;
        }
        engine.turn().expect("it looks");
    }
    let another = host(0xc000_0203);
    tell(&ours, &ToFirewall::Bans { bans: vec![(another, None)], more: false });
    tell(&ours, &ToFirewall::Pardon(vec![alone]));
    engine.turn().expect("a turn");
    assert!(engine.looks() && has(another) && !has(alone), "and it looks on");
    settle(&mut engine);
    assert!(has(another) && has(listed) && !has(alone));
}

#[test]
fn what_others_do_to_their_tables_is_no_news_and_what_they_do_to_ours_is_mended() {
    let Some(_apart) = Apart::enter() else { return };
    let (ours, theirs) = seqpacket::pair().expect("a channel");
    let mut engine = Engine::new(theirs, OPEN);
    let ban = ("192.0.2.1".parse().expect("a network"), None);
    let sockets = (netlink::asking().expect("a socket"), netlink::asking().expect("a socket"));
    let enforcer = Enforcer::begin_open(sockets, [ban], clock::monotonic()).expect("a table");
    engine.stand(enforcer, netlink::listening().expect("a socket"));
    // A busy firewall beside us.
    nft("add table inet other");
    nft("add set inet other s { type ipv4_addr; }");
    for n in 1..20 {
        nft(&format!("add element inet other s {{ 198.51.100.{n} }}"));
        assert_eq!(engine.turn().expect("a turn"), Goes::On);
        assert!(engine.rests(), "after {n}");
    }
    nft("delete element inet portreeve v4_32 { 192.0.2.1 }");
    assert!(!nft("list set inet portreeve v4_32").contains("192.0.2.1"));
    engine.turn().expect("it hears");
    assert!(!engine.rests(), "it looks soon");
    settle(&mut engine);
    assert!(nft("list set inet portreeve v4_32").contains("192.0.2.1"));
    // Its own repair tells it nothing.
    for _ in 0..2 {
        nft("add table inet another");
        nft("delete table inet another");
        engine.turn().expect("it hears of itself and of others");
        assert!(engine.rests());
    }
    nft("flush ruleset");
    engine.turn().expect("it hears");
    assert!(!engine.rests(), "it looks soon");
    settle(&mut engine);
    assert!(nft("list set inet portreeve v4_32").contains("192.0.2.1"));
    drop(ours);
}

/// Whoever has himself banned again and again would else put off that the others are dropped again.
#[test]
fn a_repair_makes_way_to_nobody_who_goes_on_being_banned() {
    let Some(_apart) = Apart::enter() else { return };
    let many = |count: u32| (0..count).map(|n| (host(0x0a00_0000 + n), None));
    let began = |count: u32, hears: bool| {
        let (ours, theirs) = seqpacket::pair().expect("a channel");
        let mut engine = Engine::new(theirs, OPEN);
        let (asking, looking) = (netlink::asking().expect("a socket"), netlink::asking().expect("a socket"));
        // The second one is told nothing.
        let listening = if hears { netlink::listening_but_to(&asking) } else { netlink::asking() };
        let enforcer =
            Enforcer::begin_open((asking, looking), many(count), clock::monotonic()).expect("a table");
        engine.stand(enforcer, listening.expect("a socket"));
        (ours, engine)
    };
    let mut news = 0xc000_0200;
    let mut ban = |ours: &OwnedFd| {
        news += 1;
        tell(ours, &ToFirewall::Bans { bans: vec![(host(news), None)], more: false });
        let mut answer = [0; 4096];
        while seqpacket::recv(ours.as_fd(), &mut answer).is_ok_and(|received| received.len > 0) {}
        host(news)
    };

    // Told of, and everything missing.
    let (ours, mut engine) = began(5000, true);
    nft("flush set inet portreeve v4_32");
    engine.turn().expect("it hears");
    let (mut steps, mut last) = (0, host(0));
    while !engine.rests() {
        if engine.looks() && !engine.looks_for_strangers() {
            (steps, last) = (steps + 1, ban(&ours));
        }
        engine.turn().expect("a turn");
        assert!(engine.looks_for_strangers() || !engine.makes_way(), "in step {steps}");
        assert!(steps < 10_000, "the look does not end");
    }
    assert!(steps > 8 && has(host(0x0a00_0000)) && has(host(0x0a00_1387)) && has(last));

    // Told of while a long list is looked through for those whom somebody has put there: that begins anew, and is not forgotten.
    let (ours, mut engine) = began(20_000, true);
    let mut until = |engine: &mut Engine, seeks: bool| {
        for _ in 0..20_000 {
            if engine.looks_for_strangers() == seeks {
                return;
            }
            ban(&ours);
            engine.turn().expect("a turn");
        }
        panic!("it does not happen");
    };
    nft("add element inet portreeve v4_32 { 198.51.100.7 }");
    until(&mut engine, true);
    for _ in 0..5 {
        engine.turn().expect("a turn");
    }
    assert!(engine.looks_for_strangers());
    nft("delete element inet portreeve v4_32 { 10.0.0.1 }");
    until(&mut engine, false);
    until(&mut engine, true);
    assert!(has(host(0x0a00_0001)), "it waits for none that nobody wants");
    settle(&mut engine);
    assert!(!has(host(0xc633_6407)));

    // Nobody told of it: found by routine, and mended at once.
    let (ours, mut engine) = began(5000, false);
    nft("flush set inet portreeve v4_32");
    tell(&ours, &ToFirewall::Stand);
    engine.turn().expect("it begins to look");
    while engine.looks() && !engine.looks_for_strangers() {
        ban(&ours);
        engine.turn().expect("a turn");
        assert!(engine.looks_for_strangers() || !engine.makes_way());
    }
    assert!(has(host(0x0a00_0000)) && has(host(0x0a00_1387)));
}

/// Who was let in while the kernel took nothing is on no list any more: only a look for strangers finds him.
#[test]
fn who_is_let_in_while_the_kernel_refuses_is_let_in_by_the_next_look() {
    let Some(_apart) = Apart::enter() else { return };
    let (ours, theirs) = seqpacket::pair().expect("a channel");
    let mut engine = Engine::new(theirs, OPEN);
    let (asking, looking) = (netlink::asking().expect("a socket"), netlink::asking().expect("a socket"));
    let listening = netlink::listening_but_to(&asking).expect("a socket");
    let many = (0..20_000).map(|n| (host(0x0a00_0000 + n), None));
    let enforcer = Enforcer::begin_open((asking, looking), many, clock::monotonic()).expect("a table");
    engine.stand(enforcer, listening);
    let user = |number| {
        let (root, user) = (rustix::process::Uid::ROOT, rustix::process::Uid::from_raw(number));
        rustix::thread::set_thread_res_uid(root, user, root).expect("another user");
    };
    tell(&ours, &ToFirewall::Pardon(vec![host(0x0a00_0001)]));
    // This thread may not change the tables for a moment.
    user(65_534);
    engine.turn().expect("it is refused");
    user(0);
    assert!(has(host(0x0a00_0001)));
    tell(&ours, &ToFirewall::Stand);
    settle(&mut engine);
    assert!(!has(host(0x0a00_0001)) && has(host(0x0a00_0002)));
}

/// One dump may leave out what another would tell of.
#[test]
fn who_was_put_there_is_looked_for_twice() {
    let Some(_apart) = Apart::enter() else { return };
    let (ours, theirs) = seqpacket::pair().expect("a channel");
    let mut engine = Engine::new(theirs, OPEN);
    let (asking, looking) = (netlink::asking().expect("a socket"), netlink::asking().expect("a socket"));
    let listening = netlink::listening_but_to(&asking).expect("a socket");
    let many = (0..20_000).map(|n| (host(0x0a00_0000 + n), None));
    let enforcer = Enforcer::begin_open((asking, looking), many, clock::monotonic()).expect("a table");
    engine.stand(enforcer, listening);
    let dumps = |engine: &mut Engine| {
        let mut dumps = false;
        for _ in 0..20_000 {
            engine.turn().expect("a turn");
            dumps |= engine.looks_for_strangers();
            if engine.rests() {
                return dumps;
            }
        }
        panic!("it does not rest");
    };
    nft("add element inet portreeve v4_32 { 198.51.100.7 }");
    assert!(dumps(&mut engine));
    assert!(!has(host(0xc633_6407)));
    for again in [true, false] {
        tell(&ours, &ToFirewall::Stand);
        assert_eq!(dumps(&mut engine), again, "a long list is not told without a reason");
    }
}

/// A ban that the kernel ends later than the list is no reason to keep its end for the next one of the same network.
#[test]
fn who_is_banned_again_while_the_kernel_has_him_still_is_banned_for_as_long_as_said() {
    let Some(_apart) = Apart::enter() else { return };
    let (asking, looking) = (netlink::asking().expect("a socket"), netlink::asking().expect("a socket"));
    let begun = clock::monotonic();
    let (again, let_in) = (host(0xc000_0202), host(0xc000_0203));
    let soon = Some(begun + Duration::from_millis(300));
    let mut enforcer =
        Enforcer::begin_open((asking, looking), [(again, soon), (let_in, soon)], begun).expect("a table");
    // As a kernel has them that was given them late.
    for address in ["192.0.2.2", "192.0.2.3"] {
        nft(&format!("delete element inet portreeve v4_32 {{ {address} }}"));
        nft(&format!("add element inet portreeve v4_32 {{ {address} timeout 30s }}"));
    }
    enforcer.late = Duration::from_secs(30);
    std::thread::sleep(Duration::from_millis(400));
    let now = clock::monotonic();
    enforcer.expire(now);
    assert!(enforcer.is_empty() && has(again) && has(let_in));
    enforcer.ban(&[(again, None)], now).expect("it is banned");
    assert!(!nft("get element inet portreeve v4_32 { 192.0.2.2 }").contains("expires"), "for ever");
    enforcer.pardon(&[let_in], now).expect("it is let in");
    assert!(!has(let_in));
}

/// After a slow change the list takes all that has ended since for something that the kernel may have still. That it has not is no reason to
/// make each change by itself: whoever is to be banned would wait for all of them.
#[test]
fn many_that_have_ended_are_one_change() {
    let Some(_apart) = Apart::enter() else { return };
    let (asking, looking) = (netlink::asking().expect("a socket"), netlink::asking().expect("a socket"));
    let begun = clock::monotonic();
    let soon = Some(begun + Duration::from_millis(300));
    let all: Vec<Prefix> = (0..100).map(|n| host(0xc000_0200 + n)).collect();
    let (again, let_in) = all.split_at(50);
    let ending = all.iter().map(|prefix| (*prefix, soon));
    let mut enforcer = Enforcer::begin_open((asking, looking), ending, begun).expect("a table");
    enforcer.late = Duration::from_secs(30);
    std::thread::sleep(Duration::from_millis(600));
    let now = clock::monotonic();
    let mut changes = |change: &mut dyn FnMut(&mut Enforcer)| {
        let before = enforcer.netlink.generation().expect("a number");
        change(&mut enforcer);
        enforcer.netlink.generation().expect("a number") - before
    };
    let bans: Vec<_> = again.iter().map(|prefix| (*prefix, None)).collect();
    assert_eq!(changes(&mut |enforcer| enforcer.ban(&bans, now).expect("they are banned")), 1);
    assert_eq!(changes(&mut |enforcer| enforcer.pardon(let_in, now).expect("they are let in")), 1);
    assert!(again.iter().all(|one| has(*one)) && !let_in.iter().any(|one| has(*one)));
}
