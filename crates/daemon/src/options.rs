//! The supervisor's command line: xinetd's single-dash options and ours, one table for the names `portreeve run` and
//! `xinetd`; `inetd` has its own, in `inetd_options`.
//! An option that is not in the table is an error, where xinetd starts the daemon regardless (reference xinetd §11.1).

use portreeve_conf::Sources;
use std::ffi::OsString;
use std::path::PathBuf;

/// Where xinetd's configuration is.
const XINETD_CONF: &str = "/etc/xinetd.conf";
/// Where inetd's is.
pub const INETD_CONF: &str = "/etc/inetd.conf";

/// Under which name the supervisor was called; it decides a few defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `portreeve run`: foreground, log on standard error, stopping ends the instances.
    Portreeve,
    /// `xinetd` (a link): background, syslog, SIGTERM leaves external instances running.
    Xinetd,
    /// `inetd` (a link): as xinetd, with the options of openbsd-inetd.
    Inetd,
}

impl Program {
    /// The word in log lines.
    pub fn word(self) -> &'static str {
        match self {
            Self::Portreeve => "portreeve",
            Self::Xinetd => "xinetd",
            Self::Inetd => "inetd",
        }
    }
}

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Options {
    /// Under which name.
    pub program: Program,
    /// `-f FILE`, `-inetd FILE`, `-inetd_compat`, `-systemd PATH`.
    pub sources: Sources,
    /// `-filelog FILE`.
    pub filelog: Option<PathBuf>,
    /// `-syslog FACILITY`, as a shifted facility number.
    pub syslog: Option<u16>,
    /// `-pidfile FILE`.
    pub pidfile: Option<PathBuf>,
    /// `-stayalive`.
    pub stayalive: bool,
    /// `-dontfork`, `-d`, or called as `portreeve run`.
    pub foreground: bool,
    /// `-d` without another log, or `portreeve run`: the log goes to standard error.
    pub log_to_stderr: bool,
    /// `-limit N`.
    pub limit: Option<u32>,
    /// `--control PATH`.
    pub control: Option<PathBuf>,
    /// `--log-refused`: START and EXIT lines around the FAIL line of a client that xinetd refuses in its child.
    pub log_refused: bool,
    /// `--ledger DIR`, or `off`.
    pub ledger: Option<OsString>,
    /// `--watch`: a process of its own holds the sockets and starts the supervisor again.
    pub watch: bool,
    /// The channel to that process.
    pub watched: Option<i32>,
    /// The whole command line, for the next version.
    pub argv: Vec<OsString>,
}

impl Options {
    /// What holds where the command line says nothing.
    pub fn of(program: Program) -> Self {
        let run = program == Program::Portreeve;
        let file = if program == Program::Inetd { INETD_CONF } else { XINETD_CONF };
        Self {
            program,
            sources: Sources::xinetd(file),
            filelog: None,
            syslog: None,
            pidfile: None,
            stayalive: run,
            foreground: run,
            log_to_stderr: run,
            limit: None,
            control: None,
            log_refused: false,
            ledger: None,
            watch: false,
            watched: None,
            argv: Vec::new(),
        }
    }

    /// Relative paths of the configuration are meant from where we were started, now and at each reload.
    pub fn make_absolute(&mut self) {
        let whole = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        self.sources = self.sources.clone().map(whole);
        let directory = self.ledger.take_if(|word| word != "off");
        self.ledger = directory.map(|path| whole(path.into()).into_os_string()).or(self.ledger.take());
    }
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Call {
    /// Serve.
    Serve(Box<Options>),
    /// Print the version and end.
    Version,
}

/// Why the command line cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// Not in the table.
    #[error("unknown option {0}{1}")]
    Unknown(String, String),
    /// The option needs a value.
    #[error("option {0} needs a value: {0} {1}")]
    Missing(&'static str, &'static str),
    /// The value is not what the option takes.
    #[error("option {option}: {value} is not {expected}")]
    Value {
        /// Which option.
        option: &'static str,
        /// What was given.
        value: String,
        /// What would do.
        expected: &'static str,
    },
    /// More than one file where there is one.
    #[error("{0} is one file too many")]
    Extra(String),
    /// Two options that name the inetd.conf.
    #[error("-inetd and -inetd_compat exclude each other")]
    TwoInetds,
    /// Both logs were asked for.
    #[error("-filelog and -syslog exclude each other")]
    TwoLogs,
}

/// The options: name without dashes, the value's name (empty: none), what it does.
pub const OPTIONS: &[(&str, &str, &str)] = &[
    ("f", "FILE", "configuration file (default /etc/xinetd.conf)"),
    ("inetd", "FILE", "serve this inetd.conf; after the configuration file where -f names one"),
    (
        "systemd",
        "PATH",
        "serve the sockets of this directory of units, or of this .socket; may be repeated, earlier ones win",
    ),
    ("inetd_compat", "", "serve /etc/inetd.conf too, after the configuration file"),
    ("filelog", "FILE", "write the daemon's log to FILE"),
    ("syslog", "FACILITY", "send the daemon's log to syslog under FACILITY"),
    ("pidfile", "FILE", "write the process id to FILE"),
    ("stayalive", "", "keep running with no service"),
    ("dontfork", "", "stay in the foreground; implies -stayalive"),
    ("d", "", "stay in the foreground and log to standard error"),
    ("limit", "N", "start at most N programs at once, over all services"),
    ("control", "PATH", "control socket (default /run/portreeve/control)"),
    ("log-refused", "", "log START and EXIT also for clients that are refused by address"),
    ("ledger", "DIR", "keep the journal of events in DIR, or `off` (default: what portreeve.toml says)"),
    ("watch", "", "stay in the foreground, hold the sockets, start the daemon again if it crashes"),
    ("logprocs", "N", "accepted for xinetd's sake, without effect"),
    ("cc", "SECONDS", "accepted for xinetd's sake, without effect"),
    ("reuse", "", "accepted for xinetd's sake, without effect"),
    ("shutdownprocs", "N", "accepted for xinetd's sake, without effect"),
    ("version", "", "print the version"),
];

/// The usage text.
pub fn usage(program: Program) -> String {
    let name = match program {
        Program::Portreeve => "portreeve run",
        Program::Xinetd => "xinetd",
        Program::Inetd => return crate::inetd_options::USAGE.to_owned(),
    };
    let mut text = format!("Usage: {name} [OPTIONS]\n");
    for (option, value, does) in OPTIONS {
        let left = if value.is_empty() { format!("-{option}") } else { format!("-{option} {value}") };
        text.push_str(&format!("  {left:<20} {does}\n"));
    }
    text
}

/// Reads the command line. Options take one or two dashes.
pub fn parse(program: Program, args: &[OsString]) -> Result<Call, UsageError> {
    let mut options = Options::of(program);
    let (mut main, mut inetd, mut compat, mut units) = (None, None, false, Vec::new());
    let mut rest = args.iter();
    while let Some(word) = rest.next() {
        let text = word.to_string_lossy();
        let name = text.strip_prefix("--").or_else(|| text.strip_prefix('-'));
        let Some(&(option, value_name, _)) = name.and_then(|n| OPTIONS.iter().find(|(o, _, _)| *o == n))
        else {
            return Err(unknown(&text));
        };
        let value = if value_name.is_empty() {
            OsString::new()
        } else {
            rest.next().cloned().ok_or(UsageError::Missing(option, value_name))?
        };
        match option {
            "f" => main = Some(PathBuf::from(value)),
            "inetd" => inetd = Some(PathBuf::from(value)),
            "systemd" => units.push(PathBuf::from(value)),
            "inetd_compat" => compat = true,
            "filelog" => options.filelog = Some(value.into()),
            "syslog" => options.syslog = Some(facility(&value)?),
            "pidfile" => options.pidfile = Some(value.into()),
            "stayalive" => options.stayalive = true,
            "dontfork" | "d" => {
                options.foreground = true;
                options.stayalive = true;
                options.log_to_stderr |= option == "d";
            }
            "limit" => options.limit = Some(number("limit", &value)?),
            "control" => options.control = Some(value.into()),
            "log-refused" => options.log_refused = true,
            "ledger" => options.ledger = Some(value),
            "watch" => {
                options.watch = true;
                options.foreground = true;
            }
            "logprocs" | "cc" | "shutdownprocs" => {
                number(option, &value)?;
            }
            "version" => return Ok(Call::Version),
            _ => {}
        }
    }
    if options.filelog.is_some() && options.syslog.is_some() {
        return Err(UsageError::TwoLogs);
    }
    if compat {
        if inetd.is_some() {
            return Err(UsageError::TwoInetds);
        }
        main.get_or_insert_with(|| XINETD_CONF.into());
        inetd = Some(INETD_CONF.into());
    }
    if let Some(sources) = Sources::named(main.as_deref(), inetd.as_deref(), &units) {
        options.sources = sources;
    }
    if let Some(inetd) = options.sources.inetd.as_mut() {
        inetd.optional = compat;
    }
    Ok(Call::Serve(Box::new(options)))
}

fn unknown(text: &str) -> UsageError {
    let bare = text.trim_start_matches('-');
    let near = OPTIONS.iter().find(|(o, _, _)| o.len() > 1 && (o.starts_with(bare) || bare.starts_with(o)));
    let hint = match near {
        Some((o, _, _)) if !bare.is_empty() => format!("; did you mean -{o}?"),
        _ => String::new(),
    };
    UsageError::Unknown(crate::escape::escaped(text).into_owned(), hint)
}

pub fn number(option: &'static str, value: &OsString) -> Result<u32, UsageError> {
    value.to_str().and_then(|v| v.parse().ok()).ok_or_else(|| UsageError::Value {
        option,
        value: value.to_string_lossy().into_owned(),
        expected: "a number",
    })
}

/// Syslog facilities by name (syslog(3), reference xinetd §10.4), already shifted.
const FACILITIES: &[(&str, u16)] = &[
    ("daemon", 3 << 3),
    ("auth", 4 << 3),
    ("authpriv", 10 << 3),
    ("user", 1 << 3),
    ("mail", 2 << 3),
    ("lpr", 6 << 3),
    ("news", 7 << 3),
    ("uucp", 8 << 3),
    ("ftp", 11 << 3),
    ("local0", 16 << 3),
    ("local1", 17 << 3),
    ("local2", 18 << 3),
    ("local3", 19 << 3),
    ("local4", 20 << 3),
    ("local5", 21 << 3),
    ("local6", 22 << 3),
    ("local7", 23 << 3),
];

fn facility(value: &OsString) -> Result<u16, UsageError> {
    let text = value.to_string_lossy();
    FACILITIES
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(&text))
        .map(|&(_, number)| number)
        .ok_or_else(|| UsageError::Value {
            option: "syslog",
            value: text.into_owned(),
            expected: "a syslog facility such as daemon or local0",
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use portreeve_conf::{Inetd, InetdUse};

    fn call(program: Program, words: &[&str]) -> Result<Call, UsageError> {
        parse(program, &words.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn xinetds_own_options_are_taken() {
        let words = [
            "-f",
            "/c",
            "-filelog",
            "/l",
            "-pidfile",
            "/p",
            "-dontfork",
            "-limit",
            "7",
            "-cc",
            "3",
            "-reuse",
        ];
        let Ok(Call::Serve(o)) = call(Program::Xinetd, &words) else { panic!() };
        assert_eq!(o.sources, Sources::xinetd("/c"));
        assert_eq!(o.limit, Some(7));
        assert!(o.foreground && o.stayalive && !o.log_to_stderr);
        let Ok(Call::Serve(o)) = call(Program::Xinetd, &["-d"]) else { panic!() };
        assert!(o.foreground && o.log_to_stderr);
    }

    #[test]
    fn an_unknown_option_is_an_error_with_a_hint() {
        let error = call(Program::Xinetd, &["-stay"]).expect_err("unknown").to_string();
        assert_eq!(error, "unknown option -stay; did you mean -stayalive?");
        assert!(call(Program::Xinetd, &["-help"]).is_err());
        assert!(call(Program::Xinetd, &["stray"]).is_err());
        assert!(call(Program::Xinetd, &["-f"]).is_err());
        assert!(call(Program::Xinetd, &["-filelog", "/l", "-syslog", "daemon"]).is_err());
    }

    #[test]
    fn what_is_served_alone_or_after_the_file() {
        let sources = |words: &[&str]| match call(Program::Xinetd, words) {
            Ok(Call::Serve(options)) => options.sources,
            other => panic!("{other:?}"),
        };
        let both = |main: &str, inetd: &str, optional| {
            let inetd = Inetd { path: inetd.into(), usage: InetdUse::default(), optional };
            Sources { inetd: Some(inetd), ..Sources::xinetd(main) }
        };
        assert_eq!(sources(&[]), Sources::xinetd(XINETD_CONF));
        assert_eq!(sources(&["-inetd_compat"]), both(XINETD_CONF, INETD_CONF, true));
        assert_eq!(sources(&["-inetd_compat", "-f", "/c"]), both("/c", INETD_CONF, true));
        assert_eq!(sources(&["-f", "/c", "--inetd", "/i"]), both("/c", "/i", false));
        assert_eq!(sources(&["-inetd", "/i"]), Sources::of_inetd("/i", InetdUse::default()));
        let units = sources(&["-systemd", "/a", "--systemd", "/b"]);
        assert_eq!((units.main, units.inetd), (None, None));
        assert_eq!(units.units, [PathBuf::from("/a"), PathBuf::from("/b")]);
        assert_eq!(sources(&["-f", "/c", "-systemd", "/a"]).paths().count(), 2);
        assert!(call(Program::Xinetd, &["-inetd", "/i", "-inetd_compat"]).is_err());
    }

    #[test]
    fn option_names_are_unique() {
        for (i, (name, _, _)) in OPTIONS.iter().enumerate() {
            assert!(OPTIONS[i + 1..].iter().all(|(other, _, _)| other != name), "{name} stands twice");
        }
    }
}
