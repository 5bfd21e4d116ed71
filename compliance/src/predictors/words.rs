//! Patterns, most of them near the client that asks, so that rules match about as often as not; and the odd ones that
//! the reference names (A3 to A6).

use super::draw::Draw;

/// Daemon names that clients ask for.
pub const DAEMONS: &[&str] =
    &["d", "sshd", "in.telnetd", "in.ftpd", "unknown", "22", "D", "d_d", "portmap", "ALL"];

/// Clients: addresses in several spellings, names with one or more addresses, contradictory names.
pub const CLIENTS: &[&str] = &[
    "10.1.2.3",
    "10.1.2.4",
    "10.1.3.5",
    "192.168.7.7",
    "1.2.3.4",
    "203.0.113.9",
    "127.0.0.1",
    "0.0.0.0",
    "255.255.255.255",
    "010.1.2.3",
    "0x0a.1.2.3",
    "10.0.0.1",
    "172.16.5.4",
    "255.255.255.254",
    "128.0.0.1",
    "::1",
    "2001:db8::10",
    "2001:DB8::1",
    "fe80::1",
    "fe80::1%lo",
    "::ffff:10.1.2.3",
    "::ffff:a01:203",
    "::",
    "2001:db8:ffff::1",
    "fd00:1:2:3::4",
    "alpha.example.com",
    "beta.example.com",
    "trusted",
    "evil.example.net",
    "weird.example.com",
    "localhost",
    "multi.example.com",
    "six.example.com",
    "dual.example.com",
    "mixedcase.example.com",
    "alpha",
    "numname",
    "unknown",
    "paranoid",
    "nosuch.example.com",
    "1.2.3",
];

/// What `/etc/hosts` says of the addresses above, for patterns that are near.
const NAMES: &[(&str, &str)] = &[
    ("10.1.2.3", "alpha.example.com"),
    ("10.1.2.4", "beta.example.com"),
    ("10.1.3.5", "gamma.sub.example.com"),
    ("192.168.7.7", "trusted"),
    ("203.0.113.9", "evil.example.net"),
    ("127.0.0.1", "localhost"),
    ("10.9.9.20", "multi.example.com"),
    ("2001:db8::10", "six.example.com"),
    ("10.9.9.30", "dual.example.com"),
    ("10.9.9.40", "MixedCase.Example.COM"),
    ("10.9.9.9", "weird.example.com"),
    ("10.9.9.11", "numname"),
];

/// Words that stand for themselves in any list.
const SPECIAL: &[&str] = &[
    "ALL",
    "all",
    "KNOWN",
    "UNKNOWN",
    "unknown",
    "LOCAL",
    "local",
    "PARANOID",
    "paranoid",
    "*",
    "**",
    "?",
    "*.*",
    "?*",
    "@trustedhosts",
    "@nested",
    "@anyhost",
    "@onlydom",
    "@nosuch",
    "@",
    "/run/twc/list",
    "/run/twc/none",
    "/run/twc/dir",
    "/run/twc/list/x",
    "/run/twc/more",
    "#",
    "x",
    "EXCEPT",
    "except",
    ".",
    "..",
    "/",
    "\\",
    "[]",
    "[",
    "]",
    "-",
    "!x",
    "10/8",
    "10.1",
    "10",
    "0.0.0.0/0",
    "0.0.0.0/0.0.0.0",
    "255.255.255.255/32",
    "/8",
    "[::]/0",
    "[::]/",
    "[::]/x",
    "[10.0.0.1]",
    "[::ffff:0:0]/96",
    "::1",
    "2001:db8::1",
    "[::1",
    "::1]",
    "1.2.3.4/",
    "FAIL",
    "\x7f\x01",
    "a/b",
];

/// The address of a client and its name, as far as the grammar knows them.
pub fn about(client: &str) -> (&str, &str) {
    let host = client.rsplit('@').next().unwrap_or(client);
    for (address, name) in NAMES {
        if host.eq_ignore_ascii_case(name) || host == *address {
            return (address, name);
        }
    }
    (host, host)
}

/// A host pattern for a client.
pub fn host(draw: &mut Draw, client: &str) -> String {
    let (address, name) = about(client);
    let near = match draw.below(14) {
        0..=2 => draw.pick(SPECIAL).to_owned(),
        3 => address.to_owned(),
        4 | 5 => quad(draw, address),
        6 | 7 => net(draw, address),
        8 | 9 if address.contains(':') || draw.chance(30) => v6(draw, address),
        10 => name.to_owned(),
        11 => suffix(draw, name),
        12 => {
            let text = if draw.chance(50) { name } else { address };
            glob(draw, text)
        }
        _ => host_of_another(draw),
    };
    changed(draw, near)
}

fn host_of_another(draw: &mut Draw) -> String {
    let other = draw.pick(CLIENTS);
    match draw.below(3) {
        0 => other.to_owned(),
        1 => net(draw, other),
        _ => suffix(draw, other),
    }
}

fn quads(address: &str) -> Option<[u8; 4]> {
    let address = address.strip_prefix("::ffff:").unwrap_or(address);
    let mut parts = address.split('.').map(|part| part.parse::<u8>());
    let mut next = || parts.next()?.ok();
    Some([next()?, next()?, next()?, next()?])
}

/// Prefixes and spellings of an IPv4 address.
fn quad(draw: &mut Draw, address: &str) -> String {
    let [a, b, c, d] = quads(address).unwrap_or([10, 1, 2, 3]);
    match draw.below(12) {
        0 => format!("{a}."),
        1 => format!("{a}.{b}."),
        2 => format!("{a}.{b}.{c}."),
        3 => format!("{a}.{b}.{c}.{d}."),
        4 => format!("{a}.{b}.{c}"),
        5 => format!("{a}.{b}.{c}.0{d}"),
        6 => format!(".{d}"),
        7 => format!(".{c}.{d}"),
        8 => format!("0{a:o}.{b}.{c}.{d}"),
        9 => format!("{a}.{b}.{c}.{}", d.wrapping_add(1)),
        10 => format!("::ffff:{a}.{b}.{c}.{d}"),
        _ => format!("{a}.{b}.{c}.{d}"),
    }
}

/// A net around an IPv4 address, with every oddity of masks and lengths.
fn net(draw: &mut Draw, address: &str) -> String {
    let number = u32::from_be_bytes(quads(address).unwrap_or([10, 1, 2, 3]));
    let length = draw.below(34);
    let mask = if length == 0 {
        0
    } else {
        u32::MAX.checked_shl(32 - u32::try_from(length.min(32)).unwrap_or(0)).unwrap_or(u32::MAX)
    };
    let kept = if draw.chance(80) { number & mask } else { number };
    let text = |number: u32| {
        let [a, b, c, d] = number.to_be_bytes();
        format!("{a}.{b}.{c}.{d}")
    };
    let left = match draw.below(12) {
        0 => {
            let [a, b, c, _] = kept.to_be_bytes();
            format!("{a}.{b}.{c}")
        }
        1 => {
            let [a, b, c, d] = kept.to_be_bytes();
            format!("0{a:o}.{b}.{c}.{d}")
        }
        2 => {
            let [a, b, c, d] = kept.to_be_bytes();
            format!("0x{a:x}.{b}.{c}.{d}")
        }
        _ => text(kept),
    };
    let right = match draw.below(16) {
        0..=4 => text(mask),
        5 => format!("0{length}"),
        6 => format!("+{length}"),
        7 => format!("{length}x"),
        8 => format!("{length}.0"),
        9 => format!("{}", 4_294_967_296_u64 + length as u64),
        10 => draw
            .pick(&[
                "",
                "x",
                "-1",
                "0",
                "33",
                "255.255.255.255",
                "255.255.255",
                "8/24",
                "255.0.255.0",
                "0xff.0.0.0",
            ])
            .to_owned(),
        11 => text(!mask),
        _ => length.to_string(),
    };
    format!("{left}/{right}")
}

/// Bracketed IPv6 forms.
fn v6(draw: &mut Draw, address: &str) -> String {
    let address = if address.contains(':') {
        address
    } else {
        draw.pick(&["::1", "2001:db8::", "fe80::", "::", "::ffff:10.1.2.3", "::ffff:0:0"])
    };
    let plain = address.split('%').next().unwrap_or(address);
    let inner = match draw.below(8) {
        0 => plain.to_ascii_uppercase(),
        1 => plain.replacen("::", ":0:0::", 1),
        2 => format!("{plain}%{}", draw.pick(&["lo", "1", "bogus", "", "0"])),
        3 => draw.pick(&["2001:db8::", "fe80::", "::", "fd00::", "2000::"]).to_owned(),
        4 => format!("{plain}x"),
        _ => plain.to_owned(),
    };
    match draw.below(10) {
        0..=3 => format!("[{inner}]"),
        4 => format!("[{inner}"),
        5 => format!(
            "[{inner}]/{}",
            draw.pick(&["", "x", "-1", "129", "+8", "64x", "ffff::", "0128", "4294967297"])
        ),
        6 => format!("{inner}/{}", draw.below(130)),
        _ => format!("[{inner}]/{}", draw.pick(&[0, 1, 8, 10, 16, 32, 48, 63, 64, 96, 127, 128])),
    }
}

/// Endings and beginnings of a name.
fn suffix(draw: &mut Draw, name: &str) -> String {
    let dot = name.find('.');
    match (draw.below(4), dot) {
        (0, Some(dot)) => name.get(dot..).unwrap_or(name).to_owned(),
        (1, Some(dot)) => name.get(..=dot).unwrap_or(name).to_owned(),
        (2, Some(dot)) => name.get(dot + 1..).unwrap_or(name).to_owned(),
        (3, _) => format!(".{name}"),
        _ => format!("{name}."),
    }
}

/// The text with some of it behind `*` and `?`.
fn glob(draw: &mut Draw, text: &str) -> String {
    let mut out = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match draw.below(8) {
            0 => out.push('?'),
            1 => {
                out.push('*');
                for _ in 0..draw.below(6) {
                    rest.next();
                }
            }
            _ => out.push(c),
        }
    }
    if draw.chance(10) { out + draw.pick(&["*", "?", "**", "*?"]) } else { out }
}

/// Sometimes in another case, or with a byte too many or too few.
fn changed(draw: &mut Draw, word: String) -> String {
    match draw.below(30) {
        0 => word.to_ascii_uppercase(),
        1 => word.to_ascii_lowercase(),
        2 => format!("{word}x"),
        3 => word.chars().skip(1).collect(),
        4 => format!("{word}."),
        5 => format!(".{word}"),
        _ => word,
    }
}

/// A word of a client list.
pub fn client(draw: &mut Draw, client: &str) -> String {
    let host = host(draw, client);
    match draw.below(14) {
        0 => format!(
            "{}@{host}",
            draw.pick(&[
                "joe", "j*", "ALL", "KNOWN", "UNKNOWN", "LOCAL", ".oe", "j.", "@x", "root", "", "?oe", "JOE",
                "/x", "22"
            ])
        ),
        1 if draw.chance(30) => format!("a@b@{host}"),
        _ => host,
    }
}

/// A word of a daemon list.
pub fn daemon(draw: &mut Draw, daemon: &str, server: &str) -> String {
    let word = match draw.below(12) {
        0..=3 => daemon.to_owned(),
        4 => "ALL".to_owned(),
        5 => draw.pick(DAEMONS).to_owned(),
        6 => draw
            .pick(&["0", "+0", "00", "-0", "22", "65536", "4294967296", "022", "0x16", "22x", "4294967318"])
            .to_owned(),
        7 => glob(draw, daemon),
        8 => suffix(draw, daemon),
        9 => draw.pick(SPECIAL).to_owned(),
        10 => draw
            .pick(&["in.", ".telnetd", "KNOWN", "UNKNOWN", "@d", "d@", "d]", "[d", "d d", "EXCEPT", "*"])
            .to_owned(),
        _ => draw.pick(&["ALL", "*", "KNOWN"]).to_owned(),
    };
    let word = changed(draw, word);
    if draw.chance(12) {
        let host = host(draw, server);
        format!("{word}@{host}")
    } else {
        word
    }
}
