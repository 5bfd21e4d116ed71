//! Whole cases: a client and a daemon, tables with rules near them, the files that rules name, and the ways in which
//! tables are broken (reference A1 to A9).

use super::Case;
use super::draw::Draw;
use super::words::{self, CLIENTS, DAEMONS};

const SEPARATORS: &[&str] = &[" ", " ", " ", ",", ", ", "\t", " , ", "\r", ",,"];

/// Options with values, right and wrong. None of them is one that the original would really do in a prediction, or that
/// would end it: `user` and `group` name root or nobody there is (reference A7).
const OPTIONS: &[&str] = &[
    "allow",
    "deny",
    "ALLOW",
    "Deny",
    "allow x",
    "allow =",
    "spawn echo %a %c",
    "spawn=(x -l @%h | y) &",
    "spawn",
    "twist x %d",
    "twist=/bin/echo %u@%n",
    "twist",
    "aclexec x %A %H %N",
    "aclexec",
    "banners /run/twc/ban",
    "banners /run/twc/none",
    "banners=/run/twc",
    "severity info",
    "severity mail.info",
    "severity local3.crit",
    "severity bogus",
    "severity mail.",
    "severity .info",
    "severity warn",
    "severity",
    "keepalive",
    "keepalive x",
    "linger 3",
    "linger -1",
    "linger x",
    "linger +4",
    "linger 4294967297",
    "linger",
    "rfc931",
    "rfc931 10",
    "rfc931 x",
    "rfc931 0",
    "rfc931 -1",
    "nice",
    "nice 5",
    "nice x",
    "nice -5",
    "setenv A b %a",
    "setenv A",
    "setenv A=b",
    "setenv A = b",
    "setenv A=b c",
    "umask 022",
    "umask 8",
    "umask 1000",
    "umask 777",
    "umask -1",
    "umask",
    "user root",
    "user nosuchuser",
    "user root.nosuchgroup",
    "user root.root",
    "user",
    "group root",
    "group nosuchgroup",
    "group",
    "bogus",
    "bogus x",
    "",
    " ",
    "=allow",
    "spawn %z",
    "spawn %",
    "spawn %%",
    "spawn a%",
    "spawn %p %s %r %R",
    "spawn a\\:b",
    "spawn a\\\\:b",
    "spawn a\\b",
    "spawn [a",
    "spawn a;`b`$c",
    "  allow  ",
    "severity = info",
    "severity == info",
    "severity  =  mail.info",
    "user == root",
    "# x",
    "spawn %z ",
    "setenv A %z",
    "\x0ballow",
    "allow\x0c",
    "spawn %u %n",
    "twist %c-%s",
    "spawn \x7f",
    "KEEPALIVE",
    "Severity INFO",
    "severity MAIL.info",
    "options",
];

/// The case of this number.
pub fn case(number: u64) -> Case {
    let draw = &mut Draw::new(number);
    let daemon = draw.pick(DAEMONS);
    let client = draw.pick(CLIENTS);
    let server = if draw.chance(25) {
        Some(draw.pick(&[
            "127.0.0.1",
            "localhost",
            "::1",
            "10.1.2.3",
            "alpha.example.com",
            "six.example.com",
            "unknown",
            "1.2.3.4",
            "multi.example.com",
            "numname",
        ]))
    } else {
        None
    };
    let user = if draw.chance(25) {
        Some(draw.pick(&["joe", "root", "unknown", "j.doe", "joe smith", "", "KNOWN"]))
    } else {
        None
    };
    let mut case = Case { tool: "tcpdmatch", ..Case::default() };
    let about = (daemon, client, server.unwrap_or("unknown"));
    if draw.chance(95) {
        let table = table(draw, about);
        case.files.push(("hosts.allow".to_owned(), table));
    }
    if draw.chance(80) {
        let table = if draw.chance(30) { b"ALL: ALL\n".to_vec() } else { table(draw, about) };
        case.files.push(("hosts.deny".to_owned(), table));
    }
    for path in ["/run/twc/list", "/run/twc/more"] {
        if draw.chance(70) {
            let list = list_file(draw, client, path == "/run/twc/list");
            case.files.push((path.to_owned(), list));
        }
    }
    if draw.chance(30) {
        let banner = draw.pick(&[
            "Hi %a\n",
            "no newline %d",
            "\0\0x %c\n[ %h\ny\n",
            "",
            "%z%%\n",
            "a\r\n\n",
            "%n %u %s %p\n",
        ]);
        for name in [daemon, "daemon_name"] {
            case.files.push((format!("/run/twc/ban/{name}"), banner.as_bytes().to_vec()));
        }
    }
    if draw.chance(15) {
        case.tool = "tcpdchk";
    }
    arguments(draw, &mut case, daemon, server, user, client);
    if case.tool == "tcpdmatch" && draw.chance(1) {
        deadly(draw, &mut case);
    }
    case
}

/// A list that ends the original where it is read: one that includes itself, or a word longer than its buffer
/// (reference A6.3).
fn deadly(draw: &mut Draw, case: &mut Case) {
    let word = if draw.chance(50) { "/run/twc/list".to_owned() } else { "x".repeat(8300 + draw.below(3000)) };
    let mut list = draw.pick(&["", "10. ", "ALL ", "x.y "]).to_owned();
    list += &word;
    list += draw.pick(&["\n", " ALL\n", ""]);
    for (_, table) in case.files.iter_mut().filter(|(path, _)| path == "hosts.allow") {
        table.splice(0..0, *b"ALL: /run/twc/list\n");
    }
    case.files.retain(|(path, _)| path != "/run/twc/list");
    case.files.push(("/run/twc/list".to_owned(), list.into_bytes()));
}

fn arguments(
    draw: &mut Draw,
    case: &mut Case,
    daemon: &str,
    server: Option<&str>,
    user: Option<&str>,
    client: &str,
) {
    let mut arguments = vec!["-d".to_owned()];
    if draw.chance(10) {
        arguments.extend(["-i", "inetd.conf"].map(str::to_owned));
        let text = inetd(draw);
        case.files.push(("inetd.conf".to_owned(), text));
    }
    if case.tool == "tcpdchk" {
        arguments.extend(["-v", "-a"].iter().filter(|_| draw.chance(70)).map(|option| (*option).to_owned()));
    } else {
        let path = draw.chance(3);
        let host = server.map(|server| format!("@{server}")).unwrap_or_default();
        let mut daemon = format!("{}{daemon}{host}", if path { "/usr/sbin/" } else { "" });
        let mut client = format!("{}{client}", user.map(|user| format!("{user}@")).unwrap_or_default());
        if draw.chance(3) {
            daemon = odd(draw, &daemon);
        }
        if draw.chance(3) {
            client = odd(draw, &client);
        }
        arguments.extend([daemon, client]);
        if draw.chance(2) {
            let at = draw.below(arguments.len() + 1);
            arguments.insert(
                at,
                draw.pick(&["-d", "--", "-", "-z", "-i", "-dd", "x", "-iinetd.conf", "--help"]).to_owned(),
            );
        }
    }
    case.arguments = arguments.into_iter().map(String::into_bytes).collect();
}

/// An argument that was mistyped.
fn odd(draw: &mut Draw, word: &str) -> String {
    match draw.below(10) {
        0 => draw
            .pick(&[
                "",
                " ",
                "@",
                "@d",
                "d@",
                "d@@x",
                "/",
                "/a/",
                "a@b@c",
                "0",
                "1..2",
                "[::1]",
                "::1%lo",
                "1.2.3.4 x",
            ])
            .to_owned(),
        1 => format!(
            "{word}{}",
            draw.pick(&[";", "*", "$", " ", ".", "\\", "@x", "'", "\u{1b}[2J", "%s", "]"])
        ),
        2 => format!("{}{word}", draw.pick(&["[", "/x/", "@", " ", "-", "."])),
        3 => word.repeat(1 + 130 / word.len().max(1)),
        4 => word.to_ascii_uppercase(),
        5 => format!("[{word}]@10.1.2.3"),
        6 => words::host(draw, word),
        7 => words::client(draw, word),
        _ => words::daemon(draw, word, word),
    }
}

fn table(draw: &mut Draw, about: (&str, &str, &str)) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..draw.below(5) {
        let mut line = match draw.below(20) {
            0 => draw
                .pick(&[
                    "# comment",
                    "#",
                    "",
                    "  ",
                    "\t#x: ALL",
                    "no colon",
                    ":",
                    "::",
                    "d:",
                    ": ALL",
                    "\\",
                    "d: ALL :",
                    "\x0c",
                ])
                .as_bytes()
                .to_vec(),
            1 => draw
                .pick(&[
                    "d: ::1",
                    "d: *::1",
                    "ALL: ALL # note : deny",
                    "d: [::1 1.2.3.4 : deny",
                    "[d: ALL",
                    "d]: ALL",
                    "d: 2001:db8::1",
                ])
                .as_bytes()
                .to_vec(),
            _ => rule(draw, about),
        };
        if draw.chance(4) {
            let at = draw.below(line.len() + 1);
            line.splice(
                at..at,
                draw.pick(&["\\\n", "\\\r\n", "\\ \n", "\\\\\n", "\0", "\0x\n", "\r", "\u{b}"]).bytes(),
            );
        }
        if draw.chance(1) {
            let wanted = 2040 + draw.below(12);
            while line.len() < wanted {
                line.push(b' ');
            }
        }
        out.extend_from_slice(&line);
        out.extend_from_slice(draw.pick(&["\n", "\n", "\n", "\n", "\n", "\n", "\n", "\r\n"]).as_bytes());
    }
    if draw.chance(4) {
        out.pop();
    }
    out
}

fn rule(draw: &mut Draw, (daemon, client, server): (&str, &str, &str)) -> Vec<u8> {
    let daemons = list(draw, 3, |draw| words::daemon(draw, daemon, server));
    let clients = list(draw, 5, |draw| words::client(draw, client));
    let mut line = draw.pick(&["", "", "", "", " ", "\t"]).to_owned()
        + &daemons
        + draw.pick(&[":", ": ", " : ", "\t:\t"])
        + &clients;
    if draw.chance(35) {
        for _ in 0..=draw.below(3) {
            line += draw.pick(&[":", ": ", " : "]);
            line += draw.pick(OPTIONS);
        }
    }
    line.into_bytes()
}

fn list(draw: &mut Draw, most: usize, mut word: impl FnMut(&mut Draw) -> String) -> String {
    let separator = draw.pick(SEPARATORS);
    let mut out = String::new();
    for number in 0..=draw.below(most) {
        if number > 0 {
            out += if draw.chance(15) { " EXCEPT " } else { separator };
        }
        out += &word(draw);
    }
    out
}

/// The words of a `/file` list. Only the outer one may name the other: a loop ends the original (reference A6.3).
fn list_file(draw: &mut Draw, client: &str, outer: bool) -> Vec<u8> {
    let mut out = String::new();
    for _ in 0..draw.below(5) {
        let word = words::host(draw, client);
        let names_a_list = word.starts_with("/run/twc/list") || (!outer && word.starts_with("/run/twc/more"));
        out += if names_a_list { "x" } else { &word };
        out += draw.pick(&[" ", "\n", "\t", "\r\n", ",", " # ", " : deny\n", " EXCEPT "]);
    }
    out.into_bytes()
}

/// Lines of inetd.conf.
fn inetd(draw: &mut Draw) -> Vec<u8> {
    let mut out = String::new();
    for _ in 0..draw.below(5) {
        let daemon = draw.pick(DAEMONS);
        let path = draw.pick(&[
            "/usr/sbin/tcpd",
            "/bin/sh",
            "/nonexistent/x",
            "/usr/sbin/tcpdmatch",
            "internal",
            "?/usr/sbin/tcpd",
            "12",
            "/etc/passwd",
            "tcpd",
        ]);
        let name = draw.pick(&[daemon, "in.x", "/bin/sh", "tcpd", "rexd", "12", "/nonexistent/y"]);
        let protocol = draw.pick(&["tcp", "udp", "rpc/tcp"]);
        let service = draw.pick(&["ftp stream", "stream", "x dgram", "# c", ""]);
        let end = draw.pick(&["", " -l", " sh"]);
        out += &format!(
            "{service} {protocol} nowait root {path} {name}{end}{}",
            draw.pick(&["\n", "\n", "\n", "\\\n", "\r\n"])
        );
    }
    out.into_bytes()
}
