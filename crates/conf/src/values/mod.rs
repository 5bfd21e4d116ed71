//! What a value means: one function for each attribute, called with the words of a line whose shape was checked against
//! the table. Each either changes the draft or says why not; none decides what follows from that.

mod access;
pub(crate) mod limits;
pub(crate) mod logging;
mod network;
pub(crate) mod process;
mod redirect;
mod sandbox;
mod tls;

use crate::ast::{Operator, Word};
use crate::attribute::{Attribute, Id, Kind};
use crate::codes::{self, Code};
use crate::diagnostic::{Classic, Level};
use crate::draft::Draft;
use crate::host::Host;
use crate::nearest;
use crate::place::Place;
use crate::report::Finding;
use crate::service::Set;
use crate::text::Text;
use crate::verify::Verify;
pub(crate) use network::is_interface;

/// A line whose value is to be read.
pub(crate) struct Line<'a> {
    pub(crate) host: &'a dyn Host,
    pub(crate) attribute: &'static Attribute,
    pub(crate) operator: Operator,
    /// The name as it was written.
    pub(crate) name: &'a Word,
    /// The values, without a trailing comment.
    pub(crate) values: &'a [Word],
    /// What there is to say although the line is used.
    pub(crate) remarks: Vec<Finding>,
}

/// Whether a section has other files than the host's where its program is, in whichever of its lines.
pub(crate) fn moves_program(assignments: &[crate::ast::Assignment]) -> bool {
    let of = assignments.iter().filter(|line| line.name.text.eq_ignore_ascii_case("sandbox"));
    let removes = |line: &&crate::ast::Assignment| line.operator != Operator::Remove;
    let words = of.filter(removes).flat_map(|line| line.values.iter());
    words.filter_map(|given| crate::sandbox::word(&given.text).ok()).any(|word| word.moves())
}

/// Why a value cannot be used.
#[derive(Debug)]
pub(crate) struct Bad {
    code: &'static Code,
    word: Option<usize>,
    message: String,
    help: Option<String>,
    classics: Vec<(Level, String)>,
}

impl Bad {
    /// With xinetd's own message.
    fn new(message: impl Into<String>, classic: impl Into<String>) -> Self {
        let classics = vec![(Level::Error, classic.into())];
        Self { code: &codes::BAD_VALUE, word: Some(0), message: message.into(), help: None, classics }
    }

    /// Where xinetd accepts the value or does not know the attribute.
    fn ours(message: impl Into<String>) -> Self {
        Self {
            code: &codes::BAD_VALUE,
            word: Some(0),
            message: message.into(),
            help: None,
            classics: Vec::new(),
        }
    }

    fn code(self, code: &'static Code) -> Self {
        Self { code, ..self }
    }

    fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    fn word(self, index: usize) -> Self {
        Self { word: Some(index), ..self }
    }

    fn level(mut self, level: Level) -> Self {
        for (own, _) in &mut self.classics {
            *own = level;
        }
        self
    }

    fn then(mut self, classic: impl Into<String>) -> Self {
        self.classics.push((Level::Error, classic.into()));
        self
    }

    /// The finding for it.
    pub(crate) fn finding(self, line: &Line<'_>) -> Finding {
        let place =
            self.word.and_then(|index| line.values.get(index)).map_or(&line.name.place, |word| &word.place);
        let finding = Finding::new(self.code, place.clone(), self.message).maybe_help(self.help);
        let at = |(level, text): (Level, String)| Classic::at(level, &text, &line.name.place);
        self.classics.into_iter().map(at).fold(finding, Finding::classic)
    }
}

impl<'a> Line<'a> {
    /// The value at this index; empty where the shape allows it to be missing.
    fn text(&self, index: usize) -> &'a str {
        self.values.get(index).map_or("", |word| word.text.as_str())
    }

    /// The same, to keep.
    fn kept(&self, index: usize) -> Text {
        self.values.get(index).map(|word| word.text.clone()).unwrap_or_default()
    }

    fn place(&self) -> Option<Place> {
        Some(self.values.first().map_or(&self.name.place, |word| &word.place).clone())
    }

    fn set<T>(&self, value: T) -> Option<Set<T>> {
        Some(Set { value, place: self.place() })
    }

    fn remark(&mut self, code: &'static Code, index: usize, message: String, help: Option<String>) {
        let place = self.values.get(index).map_or(&self.name.place, |word| &word.place).clone();
        self.remarks.push(Finding::new(code, place, message).maybe_help(help));
    }

    fn remark_classic(
        &mut self,
        code: &'static Code,
        index: usize,
        message: String,
        help: Option<&str>,
        (level, classic): (Level, &str),
    ) {
        let place = self.values.get(index).map_or(&self.name.place, |word| &word.place).clone();
        let classic = Classic::at(level, classic, &self.name.place);
        self.remarks.push(Finding::new(code, place, message).maybe_help(help).classic(classic));
    }

    /// `yes` or `no`.
    fn yes_no(&self, classic: &str) -> Result<bool, Bad> {
        let text = self.text(0);
        match text {
            _ if text.eq_ignore_ascii_case("yes") => Ok(true),
            _ if text.eq_ignore_ascii_case("no") => Ok(false),
            _ => {
                let message = format!("`{text}` is neither `yes` nor `no`");
                Err(Bad::new(message, format!("{classic}: {text}")))
            }
        }
    }

    /// The index of a word in the attribute's closed set.
    fn word_index(&self, index: usize) -> Option<usize> {
        let Kind::Words(words) = self.attribute.kind else { return None };
        let text = self.text(index);
        words.iter().position(|word| word.eq_ignore_ascii_case(text))
    }

    fn unknown_word(&self, index: usize, classic: Option<(Level, &str)>) -> Bad {
        let text = self.text(index);
        let message = format!("`{text}` is not a value of {}", self.attribute.name);
        let bad = match classic {
            Some((level, classic)) => Bad::new(message, format!("{classic}: {text}")).level(level),
            None => Bad::ours(message),
        };
        let help = match text.starts_with('#') && !self.attribute.takes_comment() {
            true => "`#` does not start a comment in a list; put the comment on a line of its own".to_owned(),
            false => nearest::help(text, self.attribute.words()),
        };
        bad.help(help).word(index)
    }
}

/// Reads the value of a line into the draft.
pub(crate) fn apply(draft: &mut Draft, line: &mut Line<'_>) -> Result<(), Bad> {
    if let Some(index) = line.values.iter().position(|word| !word.utf8) {
        return Err(Bad::ours("the value is not UTF-8").code(&codes::NOT_UTF8).word(index));
    }
    match line.attribute.id {
        Id::Ident => draft.id = Some(line.kept(0)),
        Id::Disable => draft.disable = Some(line.yes_no("Bad value")?),
        Id::Type => network::types(draft, line)?,
        Id::Flags => network::flags(draft, line)?,
        Id::SocketType => network::socket_type(draft, line)?,
        Id::Protocol => network::protocol(draft, line)?,
        Id::Port => network::port(draft, line)?,
        Id::Bind => network::bind(draft, line)?,
        Id::SocketMode => process::socket_mode(draft, line)?,
        Id::SocketOwner => process::socket_owner(draft, line)?,
        Id::SocketGroup => draft.rights.group = Some(process::group_id(line)?),
        Id::V6only => draft.v6only = Some(line.yes_no("Bad value for v6only")?),
        Id::Wait => draft.wait = Some(line.yes_no("Bad value for wait")?),
        Id::Redirect => redirect::targets(draft, line)?,
        Id::ProxyProtocol => redirect::proxy_protocol(draft, line)?,
        Id::Transparent => draft.transparent = Some(line.yes_no("Bad value for transparent")?),
        Id::RpcVersion => network::rpc_version(draft, line)?,
        Id::RpcNumber => network::rpc_number(draft, line)?,
        Id::Server => process::server(draft, line)?,
        Id::ServerArgs => process::server_args(draft, line)?,
        Id::User => process::user(draft, line)?,
        Id::Group => process::group(draft, line)?,
        Id::Groups => draft.groups = Some(line.yes_no("Bad value for groups")?),
        Id::Umask => process::umask(draft, line)?,
        Id::Nice => process::nice(draft, line)?,
        Id::Env => process::env(draft, line)?,
        Id::Passenv => process::passenv(draft, line)?,
        Id::Banner => draft.banner = line.set(line.kept(0)),
        Id::BannerSuccess => draft.banner_success = line.set(line.kept(0)),
        Id::BannerFail => draft.banner_fail = line.set(line.kept(0)),
        Id::RlimitAs | Id::RlimitCpu | Id::RlimitData | Id::RlimitRss | Id::RlimitStack | Id::RlimitFiles => {
            limits::rlimit(draft, line)?;
        }
        Id::RlimitCore
        | Id::RlimitFsize
        | Id::RlimitNproc
        | Id::RlimitMemlock
        | Id::RlimitLocks
        | Id::RlimitSigpending
        | Id::RlimitMsgqueue
        | Id::RlimitNice
        | Id::RlimitRtprio
        | Id::RlimitRttime => limits::rlimit_of_ours(draft, line)?,
        Id::Sandbox => sandbox::sandbox(draft, line)?,
        Id::Instances | Id::PerSource => limits::instances(draft, line)?,
        Id::PerSourcePrefix => limits::per_source_prefix(draft, line)?,
        Id::StartsPerMinute | Id::SourceStartsPerMinute => limits::starts_per_minute(draft, line)?,
        Id::Cps => limits::cps(draft, line)?,
        Id::MaxLoad => limits::max_load(draft, line)?,
        Id::IdleTimeout => limits::idle_timeout(draft, line)?,
        Id::Overload | Id::OnRemove | Id::Stop => limits::choice(draft, line)?,
        Id::OnlyFrom | Id::NoAccess | Id::Protect | Id::ProxyFrom => access::addresses(draft, line)?,
        Id::WatchScans => draft.watch_scans = Some(line.yes_no("Bad value for watch_scans")?),
        Id::AccessTimes => access::access_times(draft, line)?,
        Id::DenyTime => access::deny_time(draft, line)?,
        Id::Libwrap => draft.libwrap = Some(line.kept(0)),
        Id::LogType => logging::log_type(draft, line)?,
        Id::LogOnSuccess => logging::log_on_success(draft, line)?,
        Id::LogOnFailure => logging::log_on_failure(draft, line)?,
        Id::TlsCert => draft.tls.certificates = tls::files(line)?,
        Id::TlsKey => draft.tls.keys = tls::files(line)?,
        Id::TlsClientCa => draft.tls.client_ca = Some(tls::file(line, 0)?),
        Id::TlsAlpn => tls::alpn(draft, line)?,
        Id::Tls => tls::connect(draft, line)?,
        Id::TlsCa => draft.tls.target_ca = Some(tls::file(line, 0)?),
        Id::ListenFds => process::listen_fds(draft, line)?,
        Id::Enabled => names(&mut draft.enabled, line),
        Id::Disabled => names(&mut draft.disabled, line),
        Id::ProtectGroups => names(&mut draft.protect_groups, line),
        Id::Evidence => draft.evidence = Some(line.yes_no("Bad value for evidence")?),
        Id::VerifyServer => {
            let word = line.word_index(0).ok_or_else(|| line.unknown_word(0, None))?;
            draft.verify_server = Verify::ALL.get(word).copied();
        }
        Id::TrustedPrograms => draft.trusted_programs = Some(tls::file(line, 0)?.value),
        Id::ProtectOnlyFrom => {
            draft.protect_only_from = Some(line.yes_no("Bad value for protect_only_from")?)
        }
    }
    Ok(())
}

/// `enabled` and `disabled` only ever grow, whatever the operator.
fn names(list: &mut Option<Vec<String>>, line: &Line<'_>) {
    list.get_or_insert_default().extend(line.values.iter().map(|word| word.text.to_string()));
}

/// `attribute X expects at least 1 value`.
fn needs_a_value(line: &Line<'_>) -> Result<(), Bad> {
    if !line.values.is_empty() {
        return Ok(());
    }
    let name = line.attribute.name;
    let classic = format!("attribute {name} expects at least 1 value and none was given.");
    Err(Bad::new(format!("{name} needs a value"), classic).level(Level::Warning).help(line.attribute.form))
}
