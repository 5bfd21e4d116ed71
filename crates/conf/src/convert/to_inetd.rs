//! A sheet as inetd.conf, one service a line, in the form that Debian's inetd and portreeve read. `nowait/N/0/N` is FreeBSD's
//! and portreeve's; others read `nowait` there.
//!
//! What is written is read again: a service that comes back under another id or with other families says so.

use super::account::{Account, Stop};
use super::from_inetd::from_inetd;
use super::sheet::{Note, Piece, Sheet, Stanza};
use super::unix;
use std::collections::HashMap;
use std::net::IpAddr;

/// Before a service that is switched off, as Debian's update-inetd has it.
const OFF: &str = "#<off>#";

/// The program that asks hosts.allow and hosts.deny.
const TCPD: &str = "/usr/sbin/tcpd";

/// The text of the file, and what it cannot say. `tables`: whether hosts.allow or hosts.deny hold a rule here.
pub fn to_inetd(sheet: &Sheet, tables: bool) -> (String, Vec<Note>) {
    let mut text = String::new();
    let mut notes = Vec::new();
    let mut written: Vec<(usize, &Stanza)> = Vec::new();
    // The number of the next line, as far as lines are counted.
    let (mut number, mut counted) = (1, 0);
    for piece in &sheet.pieces {
        match piece {
            Piece::Blank => text.push('\n'),
            // `#@` would be a policy of IPsec.
            Piece::Comment(comment) if comment.starts_with('@') => text.push_str(&format!("# {comment}\n")),
            Piece::Comment(comment) => text.push_str(&format!("#{comment}\n")),
            Piece::Lost(what) => text.push_str(&format!("# not carried over: {what}\n")),
            Piece::Service(stanza) => {
                let mut account = Account::new(stanza);
                match line(stanza, &mut account, tables) {
                    Err(stop) => {
                        text.push_str(&format!("# not carried over: service {}: {}\n", stanza.id(), stop.1));
                        notes.extend(account.stop(stop));
                    }
                    Ok(line) => {
                        let (said, open) = account.close("inetd.conf");
                        let lost =
                            said.iter().filter(|note| note.lost).filter_map(|note| note.about.as_deref());
                        let mut lost: Vec<&str> = lost.collect();
                        lost.sort_unstable();
                        lost.dedup();
                        if !lost.is_empty() {
                            text.push_str(&format!(
                                "# {}: not carried over: {}\n",
                                stanza.id(),
                                lost.join(" ")
                            ));
                        }
                        number += text.bytes().skip(counted).filter(|byte| *byte == b'\n').count();
                        counted = text.len();
                        written.push((number, stanza));
                        text.push_str(if stanza.off || open { OFF } else { "" });
                        text.push_str(&line);
                        text.push('\n');
                        notes.extend(said);
                    }
                }
            }
        }
    }
    notes.extend(read_again(&text, &written));
    (text, notes)
}

/// What a reader of the lines takes for something else.
fn read_again(text: &str, written: &[(usize, &Stanza)]) -> Vec<Note> {
    let again = from_inetd("", text.as_bytes(), "/usr/sbin");
    let again: HashMap<usize, &Stanza> =
        again.stanzas().map(|stanza| (usize::try_from(stanza.place.line).unwrap_or(0), stanza)).collect();
    let mut notes = Vec::new();
    for (line, stanza) in written {
        let mut note = |about: &str, text: String| {
            let said = stanza.said.iter().find(|said| said.name == about);
            notes.push(Note {
                place: Some(said.map_or(&stanza.place, |said| &said.place).clone()),
                service: Some(stanza.id().to_owned()),
                about: Some(about.to_owned()),
                lost: true,
                text,
            });
        };
        let Some(read) = again.get(line) else {
            note("id", format!("service `{}` does not read as a service there", stanza.id()));
            continue;
        };
        if read.id() != stanza.id() {
            note("id", format!("it is called `{}` in the log", read.id()));
        }
        if read.name != stanza.name && !stanza.has("type", "RPC") {
            note("name", format!("its name is `{}`: a line has a port or a name", read.name));
        }
        let families = |stanza: &Stanza| (stanza.has("flags", "IPv4"), stanza.has("flags", "IPv6"));
        let (before, after) = (families(stanza), families(read));
        if before != after && before != (true, true) {
            note(
                "flags",
                "it serves other address families, because of the lines beside it or its address".to_owned(),
            );
        }
    }
    notes
}

fn line(stanza: &Stanza, account: &mut Account<'_>, tables: bool) -> Result<String, Stop> {
    let types = account.words("type");
    let is = |word: &str| types.iter().any(|held| held == word);
    let flags = account.words("flags");
    let has = |word: &str| flags.iter().any(|held| held == word);
    if has("SENSOR") {
        return Stop::new("flags", "a SENSOR has no counterpart in inetd.conf");
    }
    if account.take("redirect").is_some() {
        return Stop::new("redirect", "redirect has no counterpart in inetd.conf");
    }
    if account.take("listen_fds").is_some() {
        return Stop::new("listen_fds", "an inetd gives a program its socket as descriptor 0 alone");
    }
    let internal = is("INTERNAL");
    account.take("id");
    let local = stanza.get("bind").is_some_and(|bind| bind.contains(['/', '@']));
    let (name, (socket, protocol)) = match local {
        true => unix::socket(account)?,
        false => (name(stanza, account, internal, &is)?, protocol(account, &has, is("RPC"))?),
    };
    let address = match account.value("bind") {
        None => String::new(),
        Some(_) if local => String::new(),
        Some(bind) if bind.contains('%') => {
            return Stop::new("bind", format!("`{bind}` names an interface, which no line can"));
        }
        Some(bind)
            if bind.split_whitespace().count() != 1 || bind.contains(['/', '[', ',', '"', '\'', '@']) =>
        {
            return Stop::new("bind", format!("`{bind}` is no address that a line can have"));
        }
        Some(bind) if bind.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6()) => format!("[{bind}]:"),
        Some(bind) if bind.contains(':') => return Stop::new("bind", format!("`{bind}` is no address")),
        Some(bind) => format!("{bind}:"),
    };
    let wait = match account.value("wait") {
        Some(wait) => wait.eq_ignore_ascii_case("yes"),
        None => return Stop::new("wait", "it has no `wait`"),
    };
    let limits = limits(account, wait);
    let user = user(account, internal)?;
    let server = server(account, &flags, internal, wait && socket == "stream", tables)?;
    for flag in &flags {
        match flag.as_str() {
            "IDONLY" => account.opens("flags", "`IDONLY` has no counterpart in inetd.conf"),
            "REUSE" | "NOLIBWRAP" | "NAMEINARGS" | "IPV4" | "IPV6" => {}
            other => account.lost("flags", format!("`{other}` has no counterpart in inetd.conf")),
        }
    }
    let wait = format!("{}{limits}", if wait { "wait" } else { "nowait" });
    Ok(format!("{address}{name}\t{socket}\t{protocol}\t{wait}\t{user}\t{server}"))
}

fn name(
    stanza: &Stanza,
    account: &mut Account<'_>,
    internal: bool,
    is: &dyn Fn(&str) -> bool,
) -> Result<String, Stop> {
    let port = account.value("port");
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let name = stanza.name.as_str();
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.+*".contains(&b));
    if is("RPC") {
        let Some(versions) = account.value("rpc_version") else {
            return Stop::new("rpc_version", "it has no `rpc_version`");
        };
        let program = account.value("rpc_number").unwrap_or(name);
        if !plain && program == name {
            return Stop::new("name", "its name has characters that a line cannot have");
        }
        return Ok(format!("{program}/{versions}"));
    }
    if is("TCPMUX") || is("TCPMUXPLUS") {
        let plus = if is("TCPMUXPLUS") { "+" } else { "" };
        return match plain {
            true => Ok(format!("tcpmux/{plus}{name}")),
            false => Stop::new("name", "its name has characters that a line cannot have"),
        };
    }
    match port {
        Some(_) if internal && is("UNLISTED") => {
            Stop::new("port", "a built-in service has the port of /etc/services in inetd.conf")
        }
        Some(port) if is("UNLISTED") && digits(port) => Ok(port.to_owned()),
        Some(_) if is("UNLISTED") => Stop::new("port", "a line has one port"),
        None if is("UNLISTED") => Stop::new("port", "it is UNLISTED and has no `port`"),
        _ if !plain || digits(name) => Stop::new("name", "its name has characters that a line cannot have"),
        _ => Ok(name.to_owned()),
    }
}

/// The socket type and the protocol with its families.
fn protocol(
    account: &mut Account<'_>,
    has: &dyn Fn(&str) -> bool,
    rpc: bool,
) -> Result<(&'static str, String), Stop> {
    let protocol = account.value("protocol").map(str::to_ascii_lowercase);
    let socket = account.value("socket_type").map(str::to_ascii_lowercase);
    let socket = match (socket.as_deref(), protocol.as_deref()) {
        (Some("stream"), _) | (None, Some("tcp")) => "stream",
        (Some("dgram"), _) | (None, Some("udp")) => "dgram",
        (Some("raw"), _) => "raw",
        (Some("seqpacket"), _) => "seqpacket",
        _ => return Stop::new("socket_type", "it has neither `socket_type` nor `protocol`"),
    };
    let protocol = match (protocol, socket) {
        (Some(protocol), _) => protocol,
        (None, "stream") => "tcp".to_owned(),
        (None, "dgram") => "udp".to_owned(),
        _ => return Stop::new("protocol", "it has no `protocol`"),
    };
    let numbered = protocol == "tcp" || protocol == "udp";
    let mut v6only = account.value("v6only").is_some_and(|word| word.eq_ignore_ascii_case("yes"));
    let four = account.value("bind").is_some_and(|bind| bind.parse::<std::net::Ipv4Addr>().is_ok());
    if v6only && (four || has("IPV4") && !has("IPV6")) {
        account.told("v6only", "`v6only` has no effect on IPv4");
        v6only = false;
    }
    let family = match (has("IPV4"), has("IPV6"), v6only) {
        (false, false, false) => "",
        (true, false, _) => "4",
        (true, true, false) | (false, true, false) => "46",
        (_, true, true) | (false, false, true) => "6",
    };
    if !numbered && !family.is_empty() {
        return Stop::new("flags", format!("a line cannot say the address family of `{protocol}`"));
    }
    Ok((socket, format!("{}{protocol}{family}", if rpc { "rpc/" } else { "" })))
}

/// `/N/N/N` behind `nowait`, or `.N` behind either.
fn limits(account: &mut Account<'_>, wait: bool) -> String {
    let mut read = |name| {
        let value = account.value(name)?;
        match value.parse::<u32>() {
            // There 0 is no limit.
            Ok(0) => {
                account.opens(name, format!("`{name} = 0` refuses everybody, which no line can"));
                None
            }
            Ok(number) => Some(number),
            Err(_) => None,
        }
    };
    let (instances, per_source) = (read("instances"), read("per_source"));
    let (minute, from_one) = (read("starts_per_minute"), read("source_starts_per_minute"));
    let minute = minute.map(|number| format!(".{number}"));
    if wait {
        let alone = "with `wait` one program runs at a time";
        for (name, limit) in
            [("instances", instances), ("per_source", per_source), ("source_starts_per_minute", from_one)]
        {
            if limit.is_some() {
                account.lost(name, format!("`{name}`: {alone}"));
            }
        }
        return minute.unwrap_or_default();
    }
    let limits = match (instances, from_one, per_source) {
        (None, None, None) => return minute.unwrap_or_default(),
        (Some(all), None, None) => format!("/{all}"),
        (all, Some(rate), None) => format!("/{}/{rate}", all.unwrap_or(0)),
        (all, rate, Some(source)) => format!("/{}/{}/{source}", all.unwrap_or(0), rate.unwrap_or(0)),
    };
    if minute.is_some() {
        account.lost("starts_per_minute", "`nowait.N` cannot stand beside the other limits");
    }
    limits
}

fn user(account: &mut Account<'_>, internal: bool) -> Result<String, Stop> {
    let groups = account.value("groups").is_some_and(|word| word.eq_ignore_ascii_case("yes"));
    let group = account.value("group");
    let user = match account.value("user") {
        Some(user) => user,
        None if internal => "root",
        None => return Stop::new("user", "it has no `user`"),
    };
    let odd = |word: &str| word.contains([':', '/', '"', '\'']);
    if odd(user) || group.is_some_and(odd) || (group.is_none() && user.contains('.')) {
        return Stop::new("user", format!("the name `{user}` reads as something else in a line"));
    }
    if !groups && !internal {
        account.lost("groups", "`groups = no`: inetd gives a program the groups of its user");
    }
    Ok(group.map_or_else(|| user.to_owned(), |group| format!("{user}:{group}")))
}

fn server(
    account: &mut Account<'_>,
    flags: &[String],
    internal: bool,
    accepts: bool,
    tables: bool,
) -> Result<String, Stop> {
    let has = |word: &str| flags.iter().any(|held| held == word);
    let unasked = |account: &mut Account<'_>, why: &str| {
        let text = format!("hosts.allow and hosts.deny are not asked: {why}");
        if tables { account.opens("flags", text) } else { account.lost("flags", text) }
    };
    let libwrap = account.value("libwrap");
    if internal {
        account.take("server");
        account.take("server_args");
        if !has("NOLIBWRAP") {
            unasked(account, "inetd answers by itself");
        }
        return Ok("internal".to_owned());
    }
    let Some(path) = account.value("server") else { return Stop::new("server", "it has no `server`") };
    let last = path.rsplit('/').next().unwrap_or(path);
    let mut argv: Vec<&str> =
        account.value("server_args").map(|args| args.split(' ').collect()).unwrap_or_default();
    if !has("NAMEINARGS") {
        argv.insert(0, last);
    }
    let Some((first, arguments)) = argv.split_first() else {
        return Stop::new("server_args", "it has NAMEINARGS and no `server_args`");
    };
    let arguments = arguments.iter().copied().map(quoted).collect::<Result<Vec<_>, _>>()?;
    let name = quoted(first)?;
    if path == "internal" || path.contains(['"', '\'']) || last == "tcpd" {
        return Stop::new("server", format!("`{path}` reads as something else in a line"));
    }
    let words = |first: Vec<String>| first.into_iter().chain(arguments.clone()).collect::<Vec<_>>().join(" ");
    let direct = || words(vec![path.to_owned(), name.clone()]);
    if has("NOLIBWRAP") {
        if libwrap.is_some() {
            account.told("libwrap", "`libwrap` has no effect with NOLIBWRAP");
        }
        return Ok(direct());
    }
    if accepts {
        unasked(account, "the program accepts by itself");
        return Ok(direct());
    }
    if libwrap.unwrap_or(last) != last || *first != last {
        unasked(account, "tcpd knows a program by the last part of its path alone");
        if libwrap.is_some() {
            account.lost("libwrap", "`libwrap` has no counterpart in inetd.conf");
        }
        return Ok(direct());
    }
    Ok(words(vec![TCPD.to_owned(), path.to_owned()]))
}

/// A word that a quote at its start would make another.
fn quoted(word: &str) -> Result<String, Stop> {
    match word.chars().next() {
        Some('"') if !word.contains('\'') => Ok(format!("'{word}'")),
        Some('\'') if !word.contains('"') => Ok(format!("\"{word}\"")),
        Some('"' | '\'') => {
            Stop::new("server_args", format!("the argument `{word}` has quotes of both kinds"))
        }
        _ => Ok(word.to_owned()),
    }
}
