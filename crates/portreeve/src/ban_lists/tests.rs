//! Each form as the program itself writes it, and where a text is wrong.

use super::*;

const NOW: i64 = 1_764_334_800;

fn shown(text: &str) -> Vec<String> {
    let time = |time: Option<Time>| match time {
        None => "-".to_owned(),
        Some(Time::Forever) => "forever".to_owned(),
        Some(Time::Seconds(seconds)) => seconds.to_string(),
    };
    let show = |one: Listed| format!("{} {} {}", one.network, time(one.time), one.reason);
    read(text, NOW).unwrap().into_iter().map(show).collect()
}

#[test]
fn each_form_is_read() {
    assert_eq!(
        shown("# ours\n192.0.2.0/24 forever two #words\n\n ::ffff:192.0.2.9\n2001:db8::/32 ; SBL1\n"),
        ["192.0.2.0/24 forever two #words", "192.0.2.9 - ", "2001:db8::/32 - "]
    );
    assert_eq!(
        shown("ALL: 192.0.2. 198.51.100.0/255.255.255.0, [2001:db8::]/32\nall : 10.0.0.1 : DENY\n"),
        [
            "192.0.2.0/24 - hosts.deny",
            "198.51.100.0/24 - hosts.deny",
            "2001:db8::/32 - hosts.deny",
            "10.0.0.1 - hosts.deny"
        ]
    );
    let status = "Status for the jail: sshd\n|- Filter\n|  `- File list:\t/var/log/auth.log\n`- Actions\n   |- Currently banned:\t2\n   `- Banned IP list:\t192.0.2.1 2001:db8::1\n";
    assert_eq!(shown(status), ["192.0.2.1 - fail2ban sshd", "2001:db8::1 - fail2ban sshd"]);
    let raw = "id,source,ip,reason,action,country,as,events_count,expiration,simulated,alert_id\n\
               7,crowdsec,Ip:192.0.2.1,crowdsecurity/ssh-bf,ban,US,\"4242 A, Inc\",6,3h59m57.6s,false,2\n\
               8,cscli,Range:198.51.100.0/24,manual,captcha,,,1,1m0s,false,3\n";
    assert_eq!(shown(raw), ["192.0.2.1 14397 crowdsec crowdsecurity/ssh-bf"]);
    let json = r#"[{"id":1,"decisions":[{"duration":"59m1s","scenario":"x/y","scope":"Ip","type":"ban","value":"192.0.2.1"}]}]"#;
    assert_eq!(shown(json), ["192.0.2.1 3541 crowdsec x/y"]);
}

/// As fail2ban 1.0.2 writes them.
#[test]
fn what_fail2ban_says_is_read() {
    let banned = "[{'sshd': ['192.0.2.1', '2001:db8::1']}, {'recidive': []}, {'nginx': ['192.0.2.3']}]\n";
    assert_eq!(
        shown(banned),
        ["192.0.2.1 - fail2ban sshd", "2001:db8::1 - fail2ban sshd", "192.0.2.3 - fail2ban nginx"]
    );
    assert!(shown("[]\n").is_empty());
    // In local time, whatever that is here.
    let at = |moment: i64| {
        let local = portreeve_sys::clock::local(moment);
        let day = crate::since::local(moment * 1_000_000);
        assert!(local.offset.abs() < 86_400);
        day.split('.').next().unwrap().to_owned()
    };
    let timed = format!(
        "192.0.2.1 \t{} + 600 = {}\n192.0.2.2 \t{} + -1 = 9999-12-31 23:59:59\n192.0.2.4 \t{} + 60 = {}\n",
        at(NOW - 100),
        at(NOW + 500),
        at(NOW),
        at(NOW - 600),
        at(NOW - 540)
    );
    assert_eq!(
        shown(&timed),
        ["192.0.2.1 500 fail2ban", "192.0.2.2 forever fail2ban", "192.0.2.4 1 fail2ban"]
    );
    let dump = "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCREATE TABLE bips(ip TEXT NOT NULL);\n\
        INSERT INTO bans VALUES('sshd','198.51.100.1',1764334000,600,1,'{}');\n\
        INSERT INTO bips VALUES('192.0.2.1','sshd',1764334700,600,1,'{\"matches\": [\"it''s, bad\"], \"failures\": 5}');\n\
        INSERT INTO bips VALUES('192.0.2.2','sshd',1764330000,600,1,'{}');\n\
        INSERT INTO bips VALUES('2001:db8::7','nginx, bad',1764330000,-1,2,NULL);\nCOMMIT;\n";
    assert_eq!(shown(dump), ["192.0.2.1 500 fail2ban sshd", "2001:db8::7 forever fail2ban nginx, bad"]);
    let older =
        "BEGIN TRANSACTION;\nINSERT INTO \"bans\" VALUES('sshd','198.51.100.1',1764334700,600,1,'{}');\n";
    assert_eq!(shown(older), ["198.51.100.1 500 fail2ban sshd"]);
}

#[test]
fn what_crowdsec_does_not_enforce_is_left_out() {
    let raw = "id,source,ip,reason,action,country,as,events_count,expiration,simulated,alert_id\n\
               7,crowdsec,Ip:192.0.2.1,x,ban,US,\"A\",6,3h,true,2\n7,crowdsec,Ip:192.0.2.2,x,ban,US,A,6,-5m3s,false,2\n\
               8,cscli,Range:198.51.100.0/24,manual,ban,,,1,1m0s,false,3\n";
    assert_eq!(shown(raw), ["198.51.100.0/24 60 crowdsec manual"]);
    let json = r#"[{"id":1,"decisions":[
        {"duration":"59m1s","scenario":"x/y","scope":"Ip","type":"ban","value":"192.0.2.1","simulated":true},
        {"duration":"-1m","scenario":"x/y","scope":"Ip","type":"ban","value":"192.0.2.2"},
        {"duration":"4h0m0.5s","scenario":"x/y","scope":"Range","type":"ban","value":"2001:db8::/48"}]}]"#;
    assert_eq!(shown(json), ["2001:db8::/48 14400 crowdsec x/y"]);
    assert!(shown("null\n").is_empty());
}

/// As ipset 7.17 and nft 1.0.6 write them.
#[test]
fn sets_are_read() {
    let save = "create bad hash:net family inet hashsize 1024 maxelem 65536 timeout 600 bucketsize 12 initval 0xf0b166e2\n\
        add bad 198.51.100.7 timeout 0\nadd bad 192.0.2.0/24 timeout 599\ncreate lst hash:ip family inet hashsize 1024\n\
        add lst 203.0.113.1 comment \"ssh brute, timeout 9\"\n";
    let same = ["198.51.100.7 forever ipset bad", "192.0.2.0/24 599 ipset bad"];
    assert_eq!(shown(save)[..2], same);
    let list = "Name: bad\nType: hash:net\nRevision: 7\nHeader: family inet\nSize in memory: 584\nReferences: 0\n\
        Number of entries: 2\nMembers:\n198.51.100.7 timeout 0\n192.0.2.0/24 timeout 599\n\nName: v6\nType: hash:ip\n\
        Members:\n2001:db8::1\n";
    assert_eq!(shown(list), [same[0], same[1], "2001:db8::1 - ipset v6"]);
    let nft = "table inet f2b-table {\n\tset addr-set-sshd {\n\t\ttype ipv4_addr\n\t\telements = { 192.0.2.1, 192.0.2.2 }\n\t}\n\n\
        \tset c {\n\t\ttype ipv4_addr\n\t\tflags interval\n\t\tauto-merge\n\t\telements = { 198.51.100.0/24, 203.0.113.5-203.0.113.9 }\n\t}\n\n\
        \tset t {\n\t\ttype ipv6_addr\n\t\tflags timeout\n\t\telements = { 2001:db8::1 timeout 1h expires 59m59s992ms,\n\
        \t\t\t     2001:db8::2 timeout 30m expires 29m59s992ms comment \"x, } y\" }\n\t}\n}\n";
    assert_eq!(
        shown(nft),
        [
            "192.0.2.1 - nft addr-set-sshd",
            "192.0.2.2 - nft addr-set-sshd",
            "198.51.100.0/24 - nft c",
            "203.0.113.5 - nft c",
            "203.0.113.6/31 - nft c",
            "203.0.113.8/31 - nft c",
            "2001:db8::1 3599 nft t",
            "2001:db8::2 1799 nft t"
        ]
    );
    let json = r#"{"nftables": [{"metainfo": {"version": "1.0.6"}}, {"set": {"family": "inet", "name": "t", "elem": [{"elem": {"val": "2001:db8::1", "timeout": 3600, "expires": 3599}}, "192.0.2.9", {"prefix": {"addr": "192.0.2.0", "len": 30}}, {"range": ["10.0.0.0", "10.0.0.1"]}]}}]}"#;
    assert_eq!(
        shown(json),
        ["2001:db8::1 3599 nft t", "192.0.2.9 - nft t", "192.0.2.0/30 - nft t", "10.0.0.0/31 - nft t"]
    );
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (text, line, column, what) in [
        ("192.0.2.1\n  192.0.2.1/24 60\n", 2, 3, "bits set behind"),
        ("host.example\n", 1, 1, "no IPv4 or IPv6 address"),
        ("192.0.2.1 soon\n", 1, 11, "`forever`"),
        ("192.0.2.1 0\n", 1, 11, "seconds"),
        ("ALL: 192.0.2.1 ALL\n", 1, 16, "\"ALL\" is no"),
        ("sshd: 192.0.2.1\n", 1, 1, "only rules for ALL"),
        ("ALL: 192.0.2.0/255.0.255.0\n", 1, 6, "no length"),
        ("Status for the jail: a\n`- Banned IP list: x\n", 2, 20, "no IPv4"),
        ("id,source\n", 1, 1, "no column"),
        ("[{\"decisions\":\n[{\"type\":\"ban\",\"value\":\"x\"}]}]", 2, 24, "no IPv4"),
        ("[{}]", 1, 1, "no `decisions`"),
        ("[1,", 1, 3, "no JSON"),
        ("fe80::1%eth0\n", 1, 1, "has a zone"),
        ("[{'sshd': ['192.0.2.1', 'x']}]\n", 1, 26, "no IPv4"),
        ("INSERT INTO bips VALUES('192.0.2.1','sshd',soon,1,1,'');\n", 1, 25, "no numbers"),
        ("INSERT INTO bips VALUES('192.0.2.1');\n", 1, 25, "were expected"),
        ("192.0.2.1 \t2026-11-28 + 600 = soon\n", 1, 12, "a moment"),
        ("add ports 192.0.2.1,tcp:22\n", 1, 11, "addresses or networks alone"),
        ("create x hash:ip\ndrop x\n", 2, 1, "`ipset save`"),
        ("table ip t {\n\tset p {\n\t\telements = { 192.0.2.1 . 22 }\n\t}\n}\n", 3, 1, "addresses alone"),
        ("table ip t {\n\telements = { 192.0.2.1,\n\t\thost }\n}\n", 3, 1, "no IPv4"),
        ("table ip t {\n\telements = { 192.0.2.1,\n", 2, 1, "no end"),
        ("table ip t {\n\telements = { 192.0.2.9-192.0.2.1 }\n}\n", 2, 1, "no range"),
        ("{\"nftables\": [{\"set\": {\"name\": \"p\", \"elem\": [22]}}]}", 1, 1, "\"22\" is no"),
    ] {
        let wrong = read(text, NOW).unwrap_err();
        assert_eq!((wrong.line, wrong.column), (line, column), "{text}: {wrong:?}");
        assert!(wrong.what.contains(what), "{text}: {wrong:?}");
    }
    let long: String = (0..=MOST as u32).map(|n| format!("{}\n", Ipv4Addr::from(n + (1 << 24)))).collect();
    assert_eq!(read(&long, NOW).unwrap_err().line, MOST + 1);
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "(\\PC|[\n\t,:\\[{\"]|ALL: |id,ip,reason,action,expiration\n|Status for the jail:)*") {
        let _ = read(&text, NOW);
    }
}

#[test]
fn what_is_no_text_is_told_with_its_place() {
    assert_eq!(utf8(b"192.0.2.1\n".to_vec()), Ok("192.0.2.1\n".to_owned()));
    for (bytes, line, column) in
        [(&b"\xff"[..], 1, 1), (b"192.0.2.1\n# \xc3\xa9 \xe9\n", 2, 6), (b"a\n\xc3", 2, 1)]
    {
        let wrong = utf8(bytes.to_vec()).unwrap_err();
        assert_eq!((wrong.line, wrong.column), (line, column), "{bytes:?}");
    }
}
