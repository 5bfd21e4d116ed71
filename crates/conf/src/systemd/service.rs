//! What the service unit of a socket says, in portreeve's attributes.

use super::command;
use super::limits;
use super::pair::Out;
use super::sandbox;
use super::specifier::expand;
use super::unit::{Setting, Unit, boolean};
use super::words::split;

const SECTION: &str = "Service";

/// The variables of `Environment=`.
fn environment(unit: &Unit, name: &str, out: &mut Out<'_>) -> Vec<(String, String)> {
    let mut variables: Vec<(String, String)> = Vec::new();
    for setting in unit.list(SECTION, "Environment") {
        let words =
            split(&setting.value).and_then(|words| words.iter().map(|word| expand(word, name)).collect());
        let words: Vec<String> = match words {
            Ok(words) => words,
            Err(why) => {
                out.lost(setting, &why);
                continue;
            }
        };
        for word in words {
            match word.split_once('=') {
                Some((key, value)) if !key.is_empty() => {
                    variables.retain(|(known, _)| known != key);
                    variables.push((key.to_owned(), value.to_owned()));
                }
                _ => out.lost(setting, &format!("`{word}` is no `NAME=VALUE`")),
            }
        }
    }
    variables
}

fn odd(text: &str) -> bool {
    text.is_empty() || text.chars().any(|c| c.is_whitespace() || c.is_control())
}

/// How the socket is handed over, as the socket unit says.
pub(super) struct Passing {
    /// A connection, not the socket that listens.
    pub(super) accept: bool,
    /// The name of the descriptors.
    pub(super) descriptors: String,
}

/// The program with its ids, environment and limits: `attribute = value`. An error is why the pair is no service here.
pub(super) fn service(
    unit: &Unit,
    name: &str,
    passing: &Passing,
    out: &mut Out<'_>,
) -> Result<Vec<(&'static str, String)>, String> {
    if unit.last(SECTION, "RootImage").is_some_and(|setting| !setting.value.is_empty()) {
        let why = "`RootImage=` is a file system in a file, which portreeve neither verifies nor mounts: mount it, and name the place in \
             `RootDirectory=`";
        return Err(why.to_owned());
    }
    let variables = environment(unit, name, out);
    let commands = unit.list(SECTION, "ExecStart");
    let [start] = commands.as_slice() else {
        return Err(format!("it has {} commands in `ExecStart=`, not one", commands.len()));
    };
    let mut command = command::read(&start.value, name, &variables)
        .map_err(|why| format!("{}: `ExecStart=`: {why}", start.place))?;
    let mut said = Vec::new();
    input_and_output(unit, start, passing, &mut said, out)?;
    life(unit, passing, out)?;
    ids(unit, name, command.privileged, &mut said, out)?;
    let mut flags = vec!["NOLIBWRAP"];
    if command.path.rsplit('/').next() == Some("tcpd") && command.argv.len() > 1 {
        // As in inetd.conf: the tables are asked before it starts.
        flags.clear();
        command.argv.remove(0);
        command.path = command.argv.first().cloned().unwrap_or_default();
        if !command.path.starts_with('/') {
            command.path = format!("/usr/sbin/{}", command.path);
        }
        let last = command.path.rsplit('/').next().unwrap_or_default().to_owned();
        command.argv.splice(..1, [last]);
    }
    if command.path.ends_with('/') {
        return Err(format!("`ExecStart=`: `{}` is a directory", command.path.escape_debug()));
    }
    if odd(&command.path) {
        return Err(format!("`ExecStart=`: the path `{}` holds blanks", command.path.escape_debug()));
    }
    if let Some(word) = command.argv.iter().find(|word| odd(word)) {
        let word = word.escape_debug();
        return Err(format!(
            "`ExecStart=`: the argument `{word}` holds blanks: put the command into a script"
        ));
    }
    let last = command.path.rsplit('/').next().unwrap_or_default();
    if command.argv.first().is_some_and(|first| first == last) {
        command.argv.remove(0);
    } else {
        flags.push("NAMEINARGS");
    }
    said.push(("server", command.path));
    ["server", "server_args"].into_iter().for_each(|name| out.at(name, start));
    if !command.argv.is_empty() {
        said.push(("server_args", command.argv.join(" ")));
    }
    variables_said(unit, variables, &mut said, out);
    limits_said(unit, &mut said, out);
    let words = sandbox::read(unit, name, out)?;
    if words.is_some() && start.value.trim_start_matches(['-', '@', ':']).starts_with('+') {
        out.told(
            start,
            "the command has `+`: systemd confines it to nothing, portreeve to what the unit says",
        );
    }
    said.extend(words.map(|words| ("sandbox", words)));
    said.push(("flags", flags.join(" ")));
    Ok(said)
}

/// What the program finds on its descriptors.
fn input_and_output(
    unit: &Unit,
    start: &Setting,
    passing: &Passing,
    said: &mut Vec<(&'static str, String)>,
    out: &mut Out<'_>,
) -> Result<(), String> {
    let input = unit.last(SECTION, "StandardInput");
    let by_socket = match input.map_or("null", |input| input.value.as_str()) {
        "socket" => true,
        "null" => false,
        other => {
            return Err(format!("`StandardInput={other}`: portreeve gives a program its socket or nothing"));
        }
    };
    if !by_socket {
        let name = &passing.descriptors;
        if odd(name) || name.contains(':') {
            return Err("`FileDescriptorName=` is no name".to_owned());
        }
        said.push(("listen_fds", name.clone()));
        out.at("listen_fds", input.unwrap_or(start));
    }
    let mut quiet = false;
    for key in ["StandardOutput", "StandardError"] {
        let Some(setting) = unit.last(SECTION, key) else { continue };
        match setting.value.as_str() {
            "socket" | "inherit" if by_socket => {}
            "null" if !by_socket => quiet = true,
            "inherit" if !by_socket => {}
            "socket" => return Err(format!("`{key}=socket` with another standard input has no counterpart")),
            _ if by_socket => out.lost(setting, "the program's output and errors go to the client"),
            _ => {
                out.lost(setting, "the program's output and errors go to /dev/null");
                quiet = true;
            }
        }
    }
    if !by_socket && !quiet {
        out.told(start, "the program's output and errors go to /dev/null, not into a journal");
    }
    Ok(())
}

/// How systemd tells that the program lives. One that has its socket from the start needs none of it, unless it hands the
/// socket on and ends.
fn life(unit: &Unit, passing: &Passing, out: &mut Out<'_>) -> Result<(), String> {
    let Some(setting) = unit.last(SECTION, "Type") else { return Ok(()) };
    if setting.value == "forking" && !passing.accept {
        return Err("`Type=forking`: the program goes to the background, and portreeve would listen beside it; have it stay in the foreground".to_owned());
    }
    out.told(setting, "a program that has its socket is not waited for, whatever the type");
    Ok(())
}

fn ids(
    unit: &Unit,
    name: &str,
    privileged: bool,
    said: &mut Vec<(&'static str, String)>,
    out: &mut Out<'_>,
) -> Result<(), String> {
    let read = |key| {
        let Some(setting) = unit.last(SECTION, key) else { return Ok(None) };
        let value = expand(&setting.value, name).map_err(|why| format!("`{key}=`: {why}"))?;
        if odd(&value) { Err(format!("`{key}=` is no name")) } else { Ok(Some((setting, value))) }
    };
    let (user, group) = (read("User")?, read("Group")?);
    if unit.last(SECTION, "DynamicUser").is_some_and(|setting| boolean(&setting.value) == Some(true)) {
        if privileged {
            return Err("`ExecStart=` has `+` or `!`, and `DynamicUser=` makes a user for it".to_owned());
        }
        for (setting, _) in user.iter().chain(&group) {
            out.told(
                setting,
                "the user that `DynamicUser=` makes has a number and no name, whoever has this one",
            );
        }
        // Who may nothing, for whoever reads this and knows no `sandbox`.
        said.extend([("user", "nobody".to_owned()), ("groups", "no".to_owned())]);
        return Ok(());
    }
    for (name, found) in [("user", &user), ("groups", &user), ("group", &group)] {
        found.iter().for_each(|(setting, _)| out.at(name, setting));
    }
    match (&user, privileged) {
        (Some((setting, _)), true) => {
            out.told(setting, "the command has `+` or `!`: it runs as root whatever `User=` says");
            said.push(("user", "root".to_owned()));
        }
        (Some((_, user)), false) => {
            said.push(("user", user.clone()));
            said.extend(group.map(|(_, group)| ("group", group)));
        }
        (None, _) => {
            said.push(("user", "root".to_owned()));
            said.extend(group.filter(|_| !privileged).map(|(_, group)| ("group", group)));
        }
    }
    // systemd gives a program the groups of the user that is named.
    said.push(("groups", if user.is_some() { "yes" } else { "no" }.to_owned()));
    for setting in unit.list(SECTION, "SupplementaryGroups") {
        out.lost(setting, "`groups = yes` gives the program the groups that its user has, and no others");
    }
    Ok(())
}

fn variables_said(
    unit: &Unit,
    variables: Vec<(String, String)>,
    said: &mut Vec<(&'static str, String)>,
    out: &mut Out<'_>,
) {
    let last = unit.list(SECTION, "Environment").last().copied();
    let (fit, blank): (Vec<_>, Vec<_>) = variables
        .into_iter()
        .partition(|(key, value)| !odd(key) && !value.chars().any(|c| c.is_whitespace() || c.is_control()));
    for (key, _) in blank {
        let why = format!("the value of `{}` holds blanks, which `env` cannot", key.escape_debug());
        last.into_iter().for_each(|setting| out.lost(setting, &why));
    }
    let fit: Vec<String> = fit.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    if !fit.is_empty() {
        said.push(("env", fit.join(" ")));
        last.into_iter().for_each(|setting| out.at("env", setting));
    }
    for setting in unit.list(SECTION, "EnvironmentFile") {
        out.lost(setting, "a file of variables is not read: write them into `env`");
    }
    let passed = unit.list(SECTION, "PassEnvironment");
    // Of systemd's own variables a program gets none but what it is given; PATH is always there.
    let mut names: Vec<&str> = Vec::new();
    for name in passed.iter().flat_map(|setting| setting.value.split_ascii_whitespace()).chain(["PATH"]) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.iter().any(|name| odd(name)) {
        passed.iter().for_each(|setting| out.lost(setting, "it holds control bytes"));
        names = vec!["PATH"];
    }
    said.push(("passenv", names.join(" ")));
    passed.iter().for_each(|setting| out.at("passenv", setting));
}

fn limits_said(unit: &Unit, said: &mut Vec<(&'static str, String)>, out: &mut Out<'_>) {
    if let Some(setting) = unit.last(SECTION, "Nice") {
        match setting.value.parse::<i8>() {
            Ok(nice) => {
                said.push(("nice", nice.to_string()));
                out.at("nice", setting);
            }
            Err(_) => out.lost(setting, "it is no number"),
        }
    }
    if let Some(setting) = unit.last(SECTION, "UMask") {
        let mask = u32::from_str_radix(&setting.value, 8).ok().filter(|mask| *mask <= 0o777);
        match mask {
            Some(mask) => {
                said.push(("umask", format!("{mask:03o}")));
                out.at("umask", setting);
            }
            None => out.lost(setting, "it is no mode in octal"),
        }
    }
    for (key, name) in RESOURCES {
        let Some(setting) = unit.last(SECTION, key) else { continue };
        match limits::resource(key, &setting.value) {
            Some((value, differ)) => {
                if differ {
                    out.lost(setting, "soft and hard limit are one in portreeve: the soft one is taken");
                }
                said.push((name, value));
                out.at(name, setting);
            }
            None => out.lost(setting, "it is no limit that can be carried over"),
        }
    }
}

/// Resource limits that both have; 0 is no limit of the first six here.
pub(super) const RESOURCES: &[(&str, &str)] = &[
    ("LimitAS", "rlimit_as"),
    ("LimitCPU", "rlimit_cpu"),
    ("LimitDATA", "rlimit_data"),
    ("LimitRSS", "rlimit_rss"),
    ("LimitSTACK", "rlimit_stack"),
    ("LimitNOFILE", "rlimit_files"),
    ("LimitCORE", "rlimit_core"),
    ("LimitFSIZE", "rlimit_fsize"),
    ("LimitNPROC", "rlimit_nproc"),
    ("LimitMEMLOCK", "rlimit_memlock"),
    ("LimitLOCKS", "rlimit_locks"),
    ("LimitSIGPENDING", "rlimit_sigpending"),
    ("LimitMSGQUEUE", "rlimit_msgqueue"),
    ("LimitNICE", "rlimit_nice"),
    ("LimitRTPRIO", "rlimit_rtprio"),
    ("LimitRTTIME", "rlimit_rttime"),
];
