//! Tables that are odder than people write them: lines joined and cut in any place, lists nested in EXCEPT, brackets and
//! at-signs where they do not belong, bytes that are no text, lengths around each buffer of the original. What is around
//! them (client, daemon, arguments, files) is drawn as in `tables`.

use super::Case;
use super::draw::Draw;
use super::{tables, words};

/// Lengths around the buffers of the original: a line, a field, a word of a list, stdio's.
const EDGES: &[usize] =
    &[127, 128, 255, 256, 1023, 1024, 2040, 2044, 2045, 2046, 2047, 2048, 4095, 4096, 8191];

/// Words that mean something at another place; bars between them.
const MISPLACED: &str = "@|@@|@@trustedhosts|@trustedhosts@ALL|ALL@@trustedhosts|d@|@d@10.1.2.3|joe@@nested|\
    joe@/run/twc/list|@/run/twc/list|ALL@ALL@ALL|KNOWN@KNOWN|UNKNOWN@UNKNOWN|ALL@KNOWN|KNOWN@ALL|\
    LOCAL@LOCAL|PARANOID@ALL|ALL@PARANOID|ALL@.|ALL@*|*@*|?@?|@*|*@|d@d@d|22@ALL|0@ALL|[::1]@ALL|\
    ALL@[::1]|ALL@[::]/0|joe@[fe80::1%lo]|ALL@10.0.0.0/8|ALL@10.|ALL@/8|/|//|/.|/run/twc/|\
    /run/twc/list/|/run//twc/list|./list|list|~root|EXCEPT@ALL|ALL@EXCEPT|EXCEPTx|xEXCEPT|ExCePt|\
    EXCEPT,|ALL,|,ALL|,,,|ALL;|!ALL|-ALL|+ALL|ALL.|.ALL|all.|KNOWN.|.KNOWN|LOCAL.|Local|Paranoid|\
    Unknown|known|NONE|ANY|deny|allow|spawn|=|%a|%|$x|`x`|'x'|\"x\"|(x)|{x}|a\\b|\\x|x\\|\
    10.1.2.3-10.1.2.9|10.1.2.3:22|1.2.3.4,5|1-9|22-23|22,23|10.1.2.*|10.1.*.3|*.1.2.3|10.?.2.3|\
    10.1.2.3*|*10.1.2.3|10.1.2.?|1?.1.2.3|10..2.3|.10.1.2.3|10.1.2.3..|..example.com|.example..com|\
    example.com.|.EXAMPLE.com.|alpha.|ALPHA.EXAMPLE.COM|Alpha.Example.Com.|*.EXAMPLE.*|*.example.com.|\
    .com|.COM|com|.c|alpha*|a?pha";

/// Bracketed words that are nearly addresses or nets.
const BRACKETED: &str = "[|]|[]|[]/|[]/0|[[::1]]|[::1]]|[[::1]|[::1]x|x[::1]|[::1]/128/1|[::1]/128x|[::1]/0x80|[::1]/ 128|\
    [ ::1]|[::1 ]|[::1]/-0|[::1]/000|[::1]/128.0|[::1]/ffff:ffff::|[::1]//128|[::1%]|[::1%lo]/128|\
    [fe80::1%lo]|[fe80::1%lo]/64|[fe80::%lo]/10|[fe80::1%LO]|[fe80::1%1]|[fe80::1%01]|[fe80::1%lo%lo]|\
    [FE80::1]|[::FFFF:10.1.2.3]|[::ffff:10.1.2.3]/128|[::ffff:10.1.0.0]/112|[::ffff:0:0]/95|\
    [::10.1.2.3]|[::a01:203]|[10.1.2.3]/32|[10.1.2.3|10.1.2.3]|[10.1.2.0]/24|[10.1.2.]|[ALL]|[*]|[::*]|\
    [2001:db8:*]|[2001:db8:]|[2001:db8::]/32|[2001:0db8::]/32|[2001:db8::10]|[2001:db8:0:0:0:0:0:10]|\
    [2001:db8::0010]|[2001:db8::00010]|[1:2:3:4:5:6:7:8]|[1:2:3:4:5:6:7:8:9]|[::1:]|[:::1]|[::]/129|\
    [::]/4294967296|[::]/+0|[::]/ |[::]/\t0|2001:db8::/32|::/0|fe80::1%lo|[::1]@[::1]|[a:b|a]:b|[x:y]";

/// Bytes that are no text, alone and in words.
const BYTES: &[&[u8]] = &[
    b"\x80",
    b"\xa0",
    b"\xff",
    b"\x85",
    b"\xc3\xa4.example.com",
    b"\xe2\x80\xa8",
    b"\x0b",
    b"\x0c",
    b"\x08",
    b"\x1b[2J",
    b"\x7f",
    b"\x01",
    b"ALL\xa0",
    b"\xa0ALL",
    b"AL\xcc",
    b"d\xff",
    b"\xffd",
    b"*\xff*",
    b"?",
    b"10.1.2.\xb3",
    b".\xff",
    b"\xff.",
    b"@\xff",
    b"[\xff]",
    b"/\xff",
    b"\xff/8",
    b"\0",
    b"a\0b",
    b"\r",
    b"a\rb",
    b"\r\r",
];

/// Options that break where values, names and ends meet.
const OPTIONS: &str = "allow=|allow = |= allow|=|==|allow\tx|\tallow\t|allow\\|\\allow|al\\low|a:llow|deny allow|\
    deny,allow|deny;|severity\tmail.info|severity=\tinfo|severity mail .info|severity mail. info|\
    severity info mail|severity mail.info.x|severity kern.emerg|severity MAIL.INFO|severity auth.panic|\
    severity security.info|severity user.warning|severity lpr.err|severity ftp.error|\
    severity authpriv.debug|severity local8.info|severity local7.notice|severity none|severity *.info|\
    severity 3|severity cron|severity news.alert|linger 0|linger 99999999999|linger 1 2|linger\t3|\
    linger=3|linger = 3 |linger 0x10|linger 010|linger --3|linger 3.5|nice 0|nice +3|nice=3|nice 3 4|\
    nice 99|nice -99|umask 0|umask=077|umask 0777|umask 0x1|umask 07 7|umask 8|setenv|setenv =|\
    setenv A=|setenv  A  b  c |setenv A\tb|setenv=A b|setenv A=%a b|setenv A %z%|setenv %a b|rfc931=5|\
    rfc931 5 6|rfc931 +5|rfc931 99999999999|rfc931=|rfc931 007|keepalive=|keepalive =x|KeepAlive|\
    banners|banners=|banners /run/twc/ban /x|banners %a|banners /run/twc/ban/|spawn=|spawn =|spawn ==x|\
    spawn (x:y)|spawn \\|spawn \\:|spawn \\\\:|spawn x\\:y\\:z|spawn [a:b]|spawn [a:b|spawn a:b]|\
    spawn %|spawn %%%|spawn %%a%a|spawn %A%a%C%c%d%H%h%N%n%p%s%u%%|spawn %r%R%S%U%x|spawn '%a'\t\"%c\"|\
    spawn # x|spawn\\ x|twist=|twist \\:x|twist [::1]|twist %%|twist &|twist > /dev/null|twist x # y|\
    aclexec=|aclexec \\:|aclexec %a:%c|group=|group nosuch.x|user=|user .|user root.|user .root|\
    user root.root.root|user 0|group 0|group +0|#deny|deny#|deny #|# deny|deny\r|\rdeny|d\reny|deny\x0b|\
    \x0cdeny|bogus=|bogus=x y|x\\:y|%a|ALLOW=x|DENY |option|all|ALL|[|]|[]|[:|:]|@|\u{e4}|deny\u{a0}|\
    allow allow";

fn bytes(of: &str) -> Vec<u8> {
    of.as_bytes().to_vec()
}

/// One of the words between bars.
fn one(draw: &mut Draw, of: &'static str) -> &'static str {
    let words: Vec<_> = of.split('|').collect();
    draw.pick(&words)
}

/// One word of a list.
fn word(draw: &mut Draw, near: &str, daemon: bool, server: &str) -> Vec<u8> {
    let mut word = match draw.below(20) {
        0..=2 => bytes(one(draw, MISPLACED)),
        3 | 4 => bytes(one(draw, BRACKETED)),
        5 => draw.pick(BYTES).to_vec(),
        6 if daemon => [near.as_bytes(), b"@", one(draw, BRACKETED).as_bytes()].concat(),
        6 => [draw.pick(&["joe@", "@", "ALL@", "*@", "KNOWN@"]).as_bytes(), one(draw, BRACKETED).as_bytes()]
            .concat(),
        7 => bytes(draw.pick(&["ALL", "KNOWN", "LOCAL", "UNKNOWN", "PARANOID"])),
        _ if daemon => bytes(&words::daemon(draw, near, server)),
        _ => bytes(&words::client(draw, near)),
    };
    match draw.below(40) {
        0 => word.insert(draw.below(word.len() + 1), draw.pick(b"*?.@/[]\\%#,:\xff\x0b\r")),
        1 if !word.is_empty() => {
            word.remove(draw.below(word.len()));
        }
        2 => {
            let edge = draw.pick(EDGES);
            let fill = draw.pick(b"x1.*?@");
            word.resize(edge.saturating_sub(draw.below(3)), fill);
        }
        3 => word = word.repeat(2),
        4 => word.iter_mut().for_each(|byte| *byte ^= if byte.is_ascii_alphabetic() { 0x20 } else { 0 }),
        _ => {}
    }
    word
}

/// A list, with EXCEPT in any place and depth.
fn list(draw: &mut Draw, near: &str, daemon: bool, server: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let nested = draw.chance(35);
    for number in 0..draw.below(if nested { 9 } else { 4 }) + usize::from(draw.chance(97)) {
        if number > 0 || draw.chance(3) {
            out.extend_from_slice(draw.pick(&[
                &b" "[..],
                b"\t",
                b",",
                b" , ",
                b"\r",
                b", \t",
                b"\x0b",
                b"\x0c",
                b"\\\n ",
                b"\\\n",
                b" \\\n#",
                b";",
            ]));
        }
        if nested && draw.chance(40) {
            let except =
                draw.pick(&["EXCEPT ", "except,", "Except\t", "EXCEPT EXCEPT ", "EXCEPT, ", "EXCEPT\\\n "]);
            out.extend_from_slice(except.as_bytes());
        }
        out.extend(word(draw, near, daemon, server));
    }
    if nested && draw.chance(8) {
        out.extend_from_slice(b" EXCEPT");
    }
    out
}

fn rule(draw: &mut Draw, daemon: &str, client: &str, server: &str) -> Vec<u8> {
    let mut line = Vec::new();
    // Often a plain daemon: otherwise few clients are looked at.
    line.extend(if draw.chance(60) {
        bytes(draw.pick(&["ALL", daemon, "*"]))
    } else {
        list(draw, daemon, true, server)
    });
    line.extend_from_slice(
        draw.pick(&[":", ": ", " :", "\t:\t", "\\\n:", ":\\\n", "::", " : : "]).as_bytes(),
    );
    line.extend(if draw.chance(25) { bytes("ALL") } else { list(draw, client, false, "") });
    if draw.chance(50) {
        let most = if draw.chance(5) { 40 } else { 4 };
        for _ in 0..=draw.below(most) {
            line.extend_from_slice(draw.pick(&[":", " : ", ":\t", ":\\\n", "\\\n:", "\\:", "::"]).as_bytes());
            line.extend_from_slice(one(draw, OPTIONS).as_bytes());
        }
    }
    if draw.chance(4) {
        let edge = draw.pick(EDGES) + draw.below(3);
        let filler = draw.pick(&[&b" "[..], b"x", b" x", b"\t", b",", b"#", b"\\\n ", b":", b"%a", b"\\"]);
        let at = draw.below(line.len() + 1);
        let missing = edge.saturating_sub(line.len()) / filler.len();
        line.splice(at..at, filler.repeat(missing));
    }
    line
}

fn table(draw: &mut Draw, daemon: &str, client: &str, server: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..draw.below(6) {
        match draw.below(12) {
            0 => out.extend_from_slice(
                draw.pick(&[
                    "# x \\\nALL: ALL",
                    "#\\",
                    " # x",
                    "\\\n#x: ALL",
                    "\\\n",
                    "\\\\",
                    "\\\r",
                    "x\\ ",
                    ":\\\n:",
                    "\t\\\n\t",
                    "\r",
                    "\x0c",
                    "#\0x: ALL",
                    "\\\n\\\n",
                ])
                .as_bytes(),
            ),
            _ => out.extend(rule(draw, daemon, client, server)),
        }
        if draw.chance(3) {
            let at = draw.below(out.len() + 1);
            out.splice(
                at..at,
                draw.pick(&[&b"\0"[..], b"\n", b"\r", b"\\\n", b"\\", b"\xff", b":", b"#", b"[", b"]"])
                    .iter()
                    .copied(),
            );
        }
        out.extend_from_slice(
            draw.pick(&["\n", "\n", "\n", "\n", "\n", "\n", "\r\n", "\n\n", "\\\n\n", " \n"]).as_bytes(),
        );
    }
    if draw.chance(5) {
        out.extend_from_slice(draw.pick(&["x", "\\", "#", "ALL: ALL", " ", "\\\n", "\0", "\r"]).as_bytes());
    }
    out
}

/// Words of a `/file` list, without one that names a list.
fn listed(draw: &mut Draw, client: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..draw.below(7) {
        let word = word(draw, client, false, "");
        let names_a_list =
            word.windows(3).any(|part| part == b"twc") || word.contains(&b'/') && word.len() > 200;
        out.extend(if names_a_list { bytes("x") } else { word });
        out.extend_from_slice(draw.pick(&[
            &b" "[..],
            b"\n",
            b"\t",
            b"\r\n",
            b",",
            b"\\\n",
            b" EXCEPT ",
            b"\x0b",
            b"\x0c",
            b"\n\n",
            b" #",
            b":",
            b"\0",
            b"\n#",
        ]));
    }
    // From 8192 bytes on a word is beyond the buffer of the original, which may or may not crash.
    if out.split(u8::is_ascii_whitespace).any(|word| word.len() > 8191) { bytes("x\n") } else { out }
}

/// The case of this number.
pub fn case(number: u64) -> Case {
    let draw = &mut Draw::new(number ^ 0x0dd0_dd0d_d0dd_0dd0);
    let mut case = tables::case(number);
    let text = |at: usize| {
        case.arguments.get(at).map(|word| String::from_utf8_lossy(word).into_owned()).unwrap_or_default()
    };
    let count = case.arguments.len();
    let (named, client) = if case.tool == "tcpdmatch" {
        (text(count.saturating_sub(2)), text(count.saturating_sub(1)))
    } else {
        ("d".to_owned(), draw.pick(words::CLIENTS).to_owned())
    };
    let (daemon, server) = named.split_once('@').unwrap_or((&named, "unknown"));
    case.files.retain(|(name, _)| {
        !name.starts_with("hosts.")
            && !name.starts_with("/run/twc/list")
            && !name.starts_with("/run/twc/more")
    });
    for name in ["hosts.allow", "hosts.deny"] {
        if draw.chance(85) {
            case.files.push((name.to_owned(), table(draw, daemon, &client, server)));
        }
    }
    for path in ["/run/twc/list", "/run/twc/more"] {
        if draw.chance(70) {
            case.files.push((path.to_owned(), listed(draw, &client)));
        }
    }
    case
}
