//! The options of a rule (reference A7): one table, from which the evaluation, the linter and the documentation read.

/// An option.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OptionName {
    /// Grant.
    Allow,
    /// Refuse.
    Deny,
    /// Run a command beside the server.
    Spawn,
    /// Run a command instead of the server.
    Twist,
    /// Ask a command whether the rule stands.
    Aclexec,
    /// Send a text first.
    Banners,
    /// Log differently.
    Severity,
    /// SO_KEEPALIVE.
    Keepalive,
    /// SO_LINGER.
    Linger,
    /// Ask for the user.
    Rfc931,
    /// Lower the priority.
    Nice,
    /// Set a variable.
    Setenv,
    /// Set the file creation mask.
    Umask,
    /// Become a user.
    User,
    /// Become a group.
    Group,
}

/// Whether an option has a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// It must not.
    Nothing,
    /// It may.
    Perhaps,
    /// It must.
    Value,
}

/// What the language says of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionRule {
    /// Which.
    pub name: OptionName,
    /// Its keyword; any case.
    pub keyword: &'static str,
    /// Its value as a manual writes it; empty without one.
    pub value: &'static str,
    /// Whether it has a value.
    pub takes: Takes,
    /// It must be the last.
    pub last: bool,
    /// %-letters in its value are expanded.
    pub expanded: bool,
    /// What it does, in one sentence.
    pub does: &'static str,
}

const fn option(
    name: OptionName,
    keyword: &'static str,
    value: &'static str,
    takes: Takes,
    does: &'static str,
) -> OptionRule {
    OptionRule { name, keyword, value, takes, last: false, expanded: false, does }
}

const fn last(rule: OptionRule) -> OptionRule {
    OptionRule { last: true, ..rule }
}

const fn expanded(rule: OptionRule) -> OptionRule {
    OptionRule { expanded: true, ..rule }
}

/// Every option.
pub const OPTIONS: &[OptionRule] = &[
    last(option(
        OptionName::Allow,
        "allow",
        "",
        Takes::Nothing,
        "Grants, in either table, and ends the evaluation.",
    )),
    last(option(
        OptionName::Deny,
        "deny",
        "",
        Takes::Nothing,
        "Refuses, in either table, and ends the evaluation.",
    )),
    expanded(option(
        OptionName::Spawn,
        "spawn",
        "COMMAND",
        Takes::Value,
        "Runs a shell command with its standard files on /dev/null and waits for it; its exit status does not count.",
    )),
    last(expanded(option(
        OptionName::Twist,
        "twist",
        "COMMAND",
        Takes::Value,
        "Runs a shell command instead of the server, with the client on its standard files.",
    ))),
    expanded(option(
        OptionName::Aclexec,
        "aclexec",
        "COMMAND",
        Takes::Value,
        "Runs a shell command; if it does not exit with 0, no rule of this table matches.",
    )),
    option(
        OptionName::Banners,
        "banners",
        "DIRECTORY",
        Takes::Value,
        "Sends the file of this directory that is named as the daemon; %-letters in it are expanded.",
    ),
    option(
        OptionName::Severity,
        "severity",
        "[FACILITY.]LEVEL",
        Takes::Value,
        "Logs this connection with another facility and level, granted or refused.",
    ),
    option(OptionName::Keepalive, "keepalive", "", Takes::Nothing, "Sets SO_KEEPALIVE on the connection."),
    option(OptionName::Linger, "linger", "SECONDS", Takes::Value, "Sets SO_LINGER on the connection."),
    option(
        OptionName::Rfc931,
        "rfc931",
        "[SECONDS]",
        Takes::Perhaps,
        "Asks the client's host for the user's name now, for at most so long.",
    ),
    option(
        OptionName::Nice,
        "nice",
        "[NUMBER]",
        Takes::Perhaps,
        "Changes the server's priority; by 10 if no number is given.",
    ),
    expanded(option(
        OptionName::Setenv,
        "setenv",
        "NAME VALUE",
        Takes::Value,
        "Sets a variable in the server's environment.",
    )),
    option(OptionName::Umask, "umask", "OCTAL", Takes::Value, "Sets the server's file creation mask."),
    option(
        OptionName::User,
        "user",
        "NAME[.GROUP]",
        Takes::Value,
        "Runs the server as this user, groups set first.",
    ),
    option(OptionName::Group, "group", "NAME", Takes::Value, "Runs the server in this group."),
];

/// The option of a keyword, in any case.
#[must_use]
pub fn find_option(keyword: &[u8]) -> Option<&'static OptionRule> {
    OPTIONS.iter().find(|rule| rule.keyword.as_bytes().eq_ignore_ascii_case(keyword))
}

/// The facilities that `severity` knows, with their codes (not shifted).
pub const FACILITIES: &[(&str, i32)] = &[
    ("kern", 0),
    ("user", 1),
    ("mail", 2),
    ("daemon", 3),
    ("auth", 4),
    ("lpr", 6),
    ("news", 7),
    ("uucp", 8),
    ("cron", 9),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

/// The levels that `severity` knows, with their codes.
pub const LEVELS: &[(&str, i32)] = &[
    ("emerg", 0),
    ("alert", 1),
    ("crit", 2),
    ("err", 3),
    ("warning", 4),
    ("notice", 5),
    ("info", 6),
    ("debug", 7),
];
