//! A service in words: where it listens, what it does, as whom, within which limits. Decides nothing; the texts are
//! not escaped, the table does that.

use portreeve_conf::{Action, AddressEntry, Builtin, LogType, Service, SocketType, Target, Text, Window};

/// The socket: `[::]:69/udp`, with `wait` and a family restriction where there is one.
pub fn listens(service: &Service) -> String {
    let listen = &service.listen;
    if service.mux.is_some() {
        return "behind tcpmux".to_owned();
    }
    let mut text = match listen.is_local() {
        true => format!("{} {}", listen.summary(), listen.protocol.0),
        false => format!("{}/{}", place(service), listen.protocol.0),
    };
    if listen.is_local() && listen.socket == SocketType::Dgram {
        text.push_str(" dgram");
    }
    if let Some(rpc) = &service.rpc {
        text.push_str(&format!(" RPC program {} versions {}", rpc.program, rpc.versions_text()));
    }
    if listen.v6only {
        text.push_str(" v6only");
    }
    if matches!(listen.socket, SocketType::Raw | SocketType::Seqpacket) {
        text.push_str(if listen.socket == SocketType::Raw { " raw" } else { " seqpacket" });
    }
    if service.wait {
        text.push_str(" wait");
    }
    text
}

/// Where: without a port where the kernel chooses one and rpcbind tells it.
pub fn place(service: &Service) -> String {
    if service.mux.is_some() {
        return "tcpmux".to_owned();
    }
    let all = service.listen.summary();
    if service.rpc.is_none() || service.listen.port != 0 {
        return all;
    }
    let bare = |word: &str| word.strip_suffix(":0").unwrap_or(word).to_owned();
    all.split(' ').map(bare).collect::<Vec<_>>().join(" ")
}

/// What is done with a client: the program with its arguments, a built-in, a sensor.
pub fn does(service: &Service) -> String {
    let tls = service.tls.as_ref();
    let clients = if tls.is_some_and(|tls| !tls.pairs.is_empty()) { "TLS: " } else { "" };
    let target = if tls.is_some_and(|tls| tls.connect.is_some()) { " by TLS" } else { "" };
    format!("{clients}{}{target}", in_the_clear(service))
}

fn in_the_clear(service: &Service) -> String {
    match &service.action {
        Action::External { server, argv } => {
            let mut words = vec![server.as_str()];
            words.extend(argv.iter().skip(1).map(Text::as_str));
            words.join(" ")
        }
        Action::Internal(builtin) => format!("built-in {}", builtin_name(*builtin)),
        Action::Mux => "tcpmux: the client names the service".to_owned(),
        Action::Sensor => "sensor: refuses and remembers".to_owned(),
        Action::Redirect(targets) => {
            let shown = |target: &Target| match target {
                Target::Host { addresses, .. } if target.is_named() => {
                    let all: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
                    format!("{target} ({})", all.join(" "))
                }
                _ => target.to_string(),
            };
            let all: Vec<String> = targets.iter().map(shown).collect();
            format!("redirect to {}", all.join(", else "))
        }
    }
}

/// The kind of action, for JSON.
pub fn action_word(service: &Service) -> &'static str {
    match &service.action {
        Action::External { .. } => "program",
        Action::Internal(_) | Action::Mux => "built-in",
        Action::Sensor => "sensor",
        Action::Redirect(_) => "redirect",
    }
}

fn builtin_name(builtin: Builtin) -> &'static str {
    match builtin {
        Builtin::Echo => "echo",
        Builtin::Discard => "discard",
        Builtin::Chargen => "chargen",
        Builtin::Daytime => "daytime",
        Builtin::Time => "time",
        Builtin::Servers => "servers",
        Builtin::Services => "services",
        Builtin::Xadmin => "xadmin",
        Builtin::Trap => "trap",
        Builtin::Tarpit => "tarpit",
    }
}

/// The user it runs as; `-` where none is written.
pub fn runs_as(service: &Service) -> String {
    service.ids.user.as_ref().map_or_else(|| "-".to_owned(), |user| user.name.clone())
}

/// The limits and lists that are set, the default rate left out.
pub fn limits(service: &Service) -> String {
    let mut parts = Vec::new();
    if let Some(n) = service.limits.instances.value {
        parts.push(format!("instances {n}"));
    }
    if let Some(n) = service.limits.per_source.value {
        parts.push(format!("per_source {n}"));
    }
    if let Some(n) = service.starts_per_minute.value {
        parts.push(format!("starts_per_minute {n}"));
    }
    if let Some(sandbox) = &service.sandbox {
        parts.push(format!("sandbox of {}", sandbox.words.len()));
    }
    if let Some(n) = service.source_starts_per_minute.value {
        parts.push(format!("source_starts_per_minute {n}"));
    }
    if service.limits.cps.place.is_some() {
        parts.push(format!("cps {} {}", service.limits.cps.value.0, service.limits.cps.value.1));
    }
    if let Some(load) = &service.max_load {
        parts.push(format!("max_load {}", load.value));
    }
    if let Some(windows) = &service.access_times {
        parts.push(format!("hours {}", hours(&windows.value)));
    }
    if let Some(list) = &service.limits.only_from {
        parts.push(format!("only_from {}", words(list)));
    }
    if let Some(list) = &service.no_access {
        parts.push(format!("no_access {}", words(list)));
    }
    if matches!(service.log_type, LogType::None) {
        parts.push("no log".to_owned());
    }
    parts.join(", ")
}

/// `08:00-17:30 20:00-21:00`.
pub fn hours(windows: &[Window]) -> String {
    let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
    windows.iter().map(|w| format!("{}-{}", clock(w.from), clock(w.to))).collect::<Vec<_>>().join(" ")
}

/// The first words of an address list and how many there are.
fn words(list: &[AddressEntry]) -> String {
    match list {
        [] => "nobody".to_owned(),
        [one] => one.text.to_string(),
        [one, two] => format!("{} {}", one.text, two.text),
        [one, two, rest @ ..] => format!("{} {} and {} more", one.text, two.text, rest.len()),
    }
}
