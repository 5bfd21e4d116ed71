//! THE table of findings on hosts.allow and hosts.deny: the stable word of each, how grave it is, what it says, why that is
//! so in this language, and the remedy. The table is the only source of findings; docs/guide/hosts-access.md has it.

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing; the table does what it says.
    Note,
    /// The table may be read otherwise than its author thinks.
    Warning,
    /// A rule does not do what it says: it never matches, matches too much, or refuses because it is wrong.
    Error,
}

/// A kind of finding.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// The stable word, e.g. `host-bits`.
    pub word: &'static str,
    /// How grave, where the finding does not say otherwise.
    pub severity: Severity,
    /// What it says.
    pub meaning: &'static str,
    /// Why it is so.
    pub why: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

macro_rules! codes {
    ($($constant:ident $severity:ident $word:literal $meaning:literal $why:literal $remedy:literal)*) => {
        $(pub(crate) static $constant: Code = Code {
            word: $word, severity: Severity::$severity, meaning: $meaning, why: $why, remedy: $remedy,
        };)*
        static ALL: &[&Code] = &[$(&$constant),*];
    };
}

codes! {
    // Files and lines.
    UNREADABLE Error "table-unreadable"
        "The table is there and cannot be opened."
        "An unreadable hosts.deny refuses everybody; an unreadable hosts.allow allows nobody."
        "Correct its permissions."
    UNTERMINATED Error "unterminated-line"
        "The last line has no line end."
        "The line counts as broken and the table ends before it. When the scan gets there, hosts.deny refuses every client of every daemon; a rule of hosts.allow is lost."
        "End the file with a newline."
    TOO_LONG Error "line-too-long"
        "A line, with its continuations, is longer than 2046 bytes."
        "The line and everything below it is ignored, comments included. When the scan gets there, hosts.deny refuses every client of every daemon."
        "Make several rules of it, or put the hosts into a file and write its path as a client."
    NUL Error "nul-byte"
        "A line holds a NUL byte."
        "The rest of the line is lost with its line end, so the next line is glued on."
        "Remove the byte."
    CRLF Note "crlf"
        "The lines end in CR LF."
        "Rules work so, but a backslash at the line end does not continue the line, and the original tcpdchk misreads the last word."
        "Convert the file to Unix line ends."
    CONTINUATION Error "broken-continuation"
        "A backslash stands before blanks or a CR at the line end and does not continue the line."
        "Only a backslash directly before the newline joins two lines. Here it is a word of the list, and the next line is a rule of its own."
        "Remove what stands behind the backslash."
    COMMENT_CONTINUES Warning "comment-continues"
        "A comment ends in a backslash and swallows the next line."
        "Lines are joined before comments are looked for."
        "Remove the backslash."
    NO_COMMENT Warning "indented-comment"
        "A `#` behind blanks starts no comment."
        "Only a `#` in the first column does. The line is read as a rule: skipped when it has no colon, in force when it has one."
        "Move the `#` to the first column."
    HASH Warning "hash-is-no-comment"
        "A `#` in a rule starts no comment."
        "It and the words behind it are patterns; a colon behind it starts the options, and a wrong option refuses."
        "Put the comment on a line of its own."
    ODD_BLANK Warning "odd-blank"
        "A form feed, vertical tab, no-break space or byte order mark stands in a rule."
        "Only space, tab, CR and the line end are blanks: the byte is part of the word, which then matches nothing."
        "Replace it by a space."

    // Rules.
    NO_COLON Error "missing-colon"
        "The line has no colon and is skipped."
        "A rule is `daemons : clients`. What does not look like one is skipped with a warning in the log."
        "Write the colon, or make the line a comment."
    BRACKET Error "unbalanced-bracket"
        "A `[` or `]` has no partner."
        "Colons count only outside brackets, so every later colon of the field is hidden: the options become patterns, or the rule is skipped."
        "Write both brackets."
    BARE_V6 Error "unbracketed-ipv6"
        "An IPv6 address stands without brackets."
        "It is cut at its colons: what stands before the first is the client, the rest are options. Mostly the rule matches nothing; if it matches, the wrong options refuse the client: `*::1` refuses everybody."
        "Write the address in brackets: `[2001:db8::1]`, `[2001:db8::]/32`."
    NO_DAEMON Error "no-daemon"
        "The daemon list is empty."
        "The rule never matches."
        "Name the daemons, or `ALL`."
    NO_CLIENT Error "no-client"
        "The client list is empty."
        "The rule never matches."
        "Name the clients, or `ALL`."
    EXCEPT_FIRST Error "except-first"
        "A list starts with EXCEPT, or has nothing between two of them."
        "EXCEPT takes away from what stands before it; from nothing, nothing remains: the list never matches."
        "Write `ALL EXCEPT …`."
    EXCEPT_LAST Warning "except-last"
        "A list ends in EXCEPT."
        "Nothing is taken away: the word is as if it were not there."
        "Name the exceptions, or remove the word."
    EXCEPT_TWICE Note "except-twice"
        "A list has more than one EXCEPT."
        "`a EXCEPT b EXCEPT c` is: a, but not those of b that are not c."
        "Nothing, if that is what you mean."
    UNREACHABLE Warning "unreachable-rule"
        "The rule can never decide: earlier rules match every request that it matches."
        "The first rule that matches decides, hosts.allow before hosts.deny."
        "Move the rule up, or remove it."
    REDUNDANT Note "redundant-rule"
        "The rule repeats what earlier rules of the table say."
        "The first rule that matches decides; this one would decide the same."
        "Remove it."
    OPEN Note "nobody-refused"
        "hosts.allow has rules, and no rule of either table refuses anybody."
        "Whom neither table names is granted, so the rules of hosts.allow decide nothing."
        "Write `ALL: ALL` into hosts.deny, if only those named may come."

    // Words of lists.
    NEGATION Error "no-such-negation"
        "A `!` before a pattern does not negate it."
        "It is a plain character, and no address or name has it: the pattern never matches."
        "Write `… EXCEPT` before the pattern."
    ODD_CHARACTER Error "odd-character"
        "A word holds a character that no address, host name or daemon has."
        "The lists know blanks and commas only; `;`, quotes and parentheses are plain characters, so the word never matches."
        "Remove it, or write a blank in its place."
    ODD_WORD Warning "nearly-a-wildcard"
        "A word in capitals is nearly one of the language."
        "The words are ALL, LOCAL, KNOWN, UNKNOWN, PARANOID and EXCEPT. Everything else is a name."
        "Correct the word."
    FAIL Error "fail-is-gone"
        "FAIL is no word of the language any more."
        "It is read as a name and matches nothing."
        "Write EXCEPT, or the option `deny`."
    STARS Warning "double-star"
        "Two stars stand together."
        "The first must match at least one character: `d**` does not match `d`."
        "Write one `*`."

    // Daemons.
    DAEMON_PATH Error "daemon-path"
        "A daemon is named by its path."
        "It is compared with the process name, which has no path: it never matches."
        "Write the last part of the path."
    DAEMON_WORD Warning "daemon-wildcard"
        "A wildcard for clients stands in the daemon list."
        "There LOCAL and PARANOID are plain names, UNKNOWN is a daemon of that name, and KNOWN matches every daemon."
        "Name the daemon, or write ALL."
    DAEMON_GROUP Error "daemon-netgroup"
        "A daemon starts with `@`."
        "Netgroups hold hosts. In the daemon list the word is a plain name and never matches."
        "Name the daemon; a server's address goes behind it: `daemon@host`."
    DAEMON_PORT Note "port-pattern"
        "A daemon is a number: the rule is for the local port, not for a name."
        "Debian's libwrap reads it so; others take it as a name. Programs that do not tell the library their socket never match it."
        "Nothing, if the port is meant."
    ODD_PORT Warning "odd-port"
        "A number in the daemon list is not written as a port."
        "It is read in decimal whatever it starts with, and wraps at 32 bits: `022` is port 22 and 4294967318 too; 65536, `0x16`, `-22` and `22-80` are names."
        "Write the port as a plain number from 1 to 65535."
    DAEMON_ADDRESS Error "daemon-is-address"
        "An address stands in the daemon list."
        "Daemons stand before the colon, clients behind it. The word is compared with the daemon's name, and never matches."
        "Write `daemon: address`."
    NO_HOST Error "empty-host"
        "Nothing stands behind an `@`."
        "An empty pattern never matches."
        "Name the host, or remove the `@`."

    // Addresses.
    ALL_ONES Error "mask-never-matches"
        "A mask of 255.255.255.255 never matches."
        "It is the number that stands for “no address” inside the original."
        "Write the address alone."
    HOST_BITS Error "host-bits"
        "The network has bits behind its mask, and never matches."
        "The client's address is masked and then compared with the network as it is written."
        "Write the network's first address."
    ODD_MASK Warning "odd-mask"
        "The mask is no prefix: it has holes."
        "It is legal and matches scattered addresses."
        "Write the length of the network."
    PREFIX_NEVER Error "prefix-never-matches"
        "The length of the network is not from 1 to 32 (0 to 128 for IPv6), and never matches."
        "Only these lengths are known; `/0` matches nothing for IPv4."
        "Write a length in the range. For every IPv4 address: `0.0.0.0/0.0.0.0`."
    PREFIX_ODD Warning "odd-prefix"
        "The length of the network is read only as far as it is a number."
        "`/08`, `/+8`, `/8x`, `/8.0` and `/8/24` are all `/8`."
        "Write the number alone."
    PREFIX_ALL Error "prefix-matches-all"
        "The length of an IPv6 network is no number and is read as 0: it matches every IPv6 address."
        "What is not a number counts as 0, and `/0` is legal for IPv6."
        "Write the length, from 0 to 128."
    BAD_NET Error "bad-network"
        "What stands before or behind the `/` is no address."
        "A word with a `/` is a network: four numbers, and a mask or a length. Otherwise it never matches; short forms such as `10/8` do not exist."
        "Write `10.0.0.0/8` or `10.0.0.0/255.0.0.0`."
    OCTAL_NET Warning "octal-network"
        "A number of a network starts with 0 and is read as octal or hexadecimal."
        "Networks are read by inet_addr(3): `010.0.0.0/8` is 8.0.0.0/8."
        "Write plain decimal numbers."
    SPELLING Error "address-spelling"
        "An address is not written as the system writes it, and never matches."
        "Addresses are compared as text: `10.0.0.01` is not `10.0.0.1`."
        "Write four decimal numbers from 0 to 255 without leading zeros."
    SHORT Error "short-address"
        "An address has fewer than four numbers and no dot at its end, and never matches."
        "There are no short forms: it is compared as text with whole addresses."
        "For the network write a dot behind it: `10.1.`."
    BAD_ADDRESS Error "bad-address"
        "A word of digits and dots is no address, and never matches."
        "Such a word is compared as text with addresses, never with names."
        "Correct it."
    RANGE Error "address-range"
        "There are no ranges of addresses."
        "The word is compared as a whole, and never matches."
        "Write networks, or one pattern for each address."
    WHOLE_PREFIX Error "dot-behind-address"
        "A dot stands behind a whole address, which then never matches."
        "A pattern that ends in a dot matches addresses that go on behind it."
        "Remove the dot."
    NUMERIC_SUFFIX Warning "numeric-suffix"
        "A pattern that starts with a dot matches addresses too, by their end."
        "`.1` matches every address whose last number is 1, in whatever network."
        "Write the network or the addresses."
    NAME_DOT Warning "dot-behind-name"
        "A name ends in a dot."
        "A pattern that ends in a dot matches names that go on behind it: `www.` matches www.example.org, and `host.example.org.` nothing."
        "Remove the dot."
    V4_BRACKETS Error "bracketed-ipv4"
        "An IPv4 address stands in brackets, and never matches."
        "Brackets are for IPv6."
        "Remove the brackets."
    BAD_V6 Error "bad-ipv6"
        "What stands in the brackets is no IPv6 address, and never matches."
        "It is parsed as an address, without wildcards or names."
        "Correct the address; for a network write its length: `[2001:db8::]/32`."
    MAPPED Error "mapped-ipv6"
        "An IPv4 address stands in its IPv6 form, and never matches a client that came over IPv4."
        "Such clients count as IPv4: their prefix `::ffff:` is taken away before the rules are looked at."
        "Write the IPv4 address or network."
    SCOPE Warning "ipv6-scope"
        "An IPv6 address has a scope."
        "The scope is not compared; if this machine has no such interface, the pattern never matches."
        "Remove the scope."

    // Names and what must be asked for.
    BY_NAME Note "refused-by-name"
        "Clients are refused by their name."
        "Whoever owns an address decides on its name, and when the name service does not answer, nobody has a name: such a rule then lets its clients through."
        "Refuse addresses, or refuse all and allow by name."
    GLOB_NAME Warning "numeric-pattern-for-names"
        "Clients are granted by a pattern of numbers with `*` or `?`, which is tried on their names too."
        "Whoever owns an address can call it `10.0.0.1.example.org`, which `10.0.0.*` matches."
        "Write the network, which only addresses match."
    NAME_WORD Note "name-wildcard"
        "The word depends on the name service."
        "KNOWN and LOCAL match nobody when names cannot be looked up; UNKNOWN and PARANOID then match honest clients."
        "Nothing, if you accept that."
    NETGROUP Note "netgroup"
        "The word names a netgroup of hosts, and no group of users."
        "The client's name is looked up and searched in the netgroup; without a netgroup database nobody matches."
        "Nothing, if a netgroup is meant."
    NO_NETGROUP Error "empty-netgroup"
        "An `@` stands alone."
        "A netgroup without a name has no members: the pattern never matches."
        "Name the netgroup."
    IDENT Note "client-user"
        "The rule asks the client's host for the user's name."
        "It waits up to 10 seconds for an ident server, and whoever runs that host answers what he likes."
        "Match the host alone, unless its keeper is trusted."

    USER_WORD Warning "user-is-text"
        "A word for hosts stands before the `@`, in the place of a user."
        "Users are compared as text: LOCAL, PARANOID, `/file` and `@group` mean nothing special there."
        "Name the user, or write ALL, KNOWN or UNKNOWN."

    // Files of hosts.
    LIST_MISSING Warning "list-missing"
        "The file of hosts does not exist or is a directory, and nothing matches it."
        "A missing list is silently empty."
        "Create the file, or correct the path."
    LIST_UNREADABLE Error "list-unreadable"
        "The file of hosts cannot be read, and nothing matches it."
        "A list that cannot be opened is empty, with a warning in the log."
        "Correct its permissions."
    LIST_NESTED Error "list-nested"
        "Files of hosts include one another too deeply, in a circle, or are too large."
        "The original crashes on it; here the table is in error, and hosts.deny refuses everybody."
        "Remove one of the inclusions."
    LIST_COMMENT Warning "list-comment"
        "A file of hosts has no comments."
        "The words behind the `#` are patterns like all others."
        "Remove the comment."
    LIST_WORD Error "list-word"
        "A file of hosts holds hosts only, parted by blanks."
        "Commas, colons, EXCEPT and user@host are plain characters there, and such a word never matches what it looks like."
        "Write one host pattern a line."
    LIST_V6 Warning "list-ipv6-text"
        "An IPv6 address without brackets is compared as text in a file of hosts."
        "It matches only if it is written exactly as the system writes it."
        "Write it in brackets."

    // Options.
    OPTION_WORD Warning "option-among-clients"
        "A word of the options stands at the end of the clients."
        "Without a colon before it, it is the name of a client, and the table decides."
        "Write the colon: `… : allow`."
    TRAILING_COLON Error "trailing-colon"
        "A colon stands at the end of the rule, which then refuses everybody it matches."
        "Behind the colon an option is expected, and a missing one is an error."
        "Remove the colon."
    NO_OPTION Error "empty-option"
        "Nothing stands between two colons, so the rule refuses everybody it matches."
        "An empty option is an error."
        "Remove one of the colons."
    UNKNOWN_OPTION Error "unknown-option"
        "There is no such option, so the rule refuses everybody it matches."
        "An error in the options of a rule refuses the client, in hosts.allow too."
        "Correct the word, or remove the option."
    COMMAND Error "command-without-option"
        "A shell command stands where an option is expected, so the rule refuses everybody it matches."
        "Without options the third field was a command. With them it needs the option `spawn`."
        "Write `spawn` before the command."
    COLON Error "colon-in-value"
        "A colon in the value of an option ends the option; what follows is no option, so the rule refuses everybody it matches."
        "Options are parted by colons, inside quotes and brackets too."
        "Write `\\:` for the colon."
    NEEDS_VALUE Error "missing-value"
        "The option needs a value and has none, so the rule refuses everybody it matches."
        "An error in the options of a rule refuses the client."
        "Write the value behind the option."
    NO_VALUE Error "needless-value"
        "The option takes no value, so the rule refuses everybody it matches."
        "An error in the options of a rule refuses the client."
        "Remove the value. Options are parted by colons."
    BAD_VALUE Error "bad-value"
        "The value of the option cannot be used, so the rule refuses everybody it matches."
        "An error in the options of a rule refuses the client."
        "The message names what was expected."
    NOT_LAST Error "not-last"
        "An option stands behind one that must be the last, so the rule refuses everybody it matches."
        "`allow`, `deny` and `twist` end the rule."
        "Move it to the end of the rule."
    MOOT Warning "command-decides-nothing"
        "`allow` or `deny` behind `aclexec` decides, whatever the command says."
        "Options act in their order, and a verdict overrides the command's."
        "Remove the verdict, or the command."
    ACLEXEC Note "aclexec-in-deny"
        "In hosts.deny the client is refused when the command of `aclexec` succeeds."
        "A command that fails takes the match back."
        "Nothing, if that is what you mean."
    WAITS Note "command-is-waited-for"
        "The client waits until the command of `spawn` ends."
        "The process waits for the shell before it goes on."
        "End the command with `&`."
    PERCENT Warning "unknown-percent"
        "A letter behind `%` stands for nothing and is left out."
        "The letters are a A c d h H n N p r R s u, and `%%`."
        "Correct the letter, or write `%%` for the sign."

    // The report itself.
    MORE Note "more-findings"
        "There is more to say than is shown."
        "At most 1000 findings are told of one table."
        "Correct the first ones."
}

/// Every kind of finding, by subject.
#[must_use]
pub fn codes() -> &'static [&'static Code] {
    ALL
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_unique_and_plain() {
        let mut seen = std::collections::HashSet::new();
        for code in ALL {
            assert!(seen.insert(code.word), "{} twice", code.word);
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            assert!(code.word.bytes().all(plain), "{}", code.word);
            for text in [code.meaning, code.why, code.remedy] {
                assert!(text.ends_with('.') && text.is_char_boundary(1), "{}: {text}", code.word);
            }
        }
    }
}
