//! The question and the answer of the identification protocol (RFC 1413), byte for byte as TCP Wrappers accepts it
//! (reference A11). Pure: whoever has the socket, a waiting process or a resolver, asks here what to send and what came.

use crate::field::Field;

/// The port of the identification service.
pub const PORT: u16 = 113;
/// The longest line that counts, its newline included.
pub const LONGEST: usize = 511;
/// The longest user name that is read before it is cut to an attribute's length.
const LONGEST_NAME: usize = 255;

/// A question: whose is the connection between these two ports?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// The port at the host that is asked.
    pub theirs: u16,
    /// Our port.
    pub ours: u16,
}

/// What the bytes received so far are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Not a whole line yet: read on. The end of the stream makes it an answer of nothing.
    Incomplete,
    /// The user.
    User(Field),
    /// An error, an answer to another question, or no answer at all: the user is `unknown`.
    Unknown,
}

impl Question {
    /// What is sent.
    #[must_use]
    pub fn line(self) -> String {
        format!("{},{}\r\n", self.theirs, self.ours)
    }

    /// What `received`, all bytes since the connection was made, says. Nothing beyond [`LONGEST`] bytes is looked at.
    #[must_use]
    pub fn reply(self, received: &[u8]) -> Reply {
        let received = received.get(..LONGEST).unwrap_or(received);
        let line = match received.iter().position(|byte| *byte == b'\n') {
            Some(end) => received.get(..=end).unwrap_or(received),
            None if received.len() < LONGEST => return Reply::Incomplete,
            // As much as the original reads at once; it does not notice that the line goes on.
            None => received,
        };
        self.user(line).map_or(Reply::Unknown, |name| Reply::User(Field::new(name)))
    }

    fn user(self, line: &[u8]) -> Option<&[u8]> {
        // The original reads the line as a C string.
        let line = line.split(|byte| *byte == 0).next().unwrap_or_default();
        let (theirs, rest) = number(line)?;
        let (ours, rest) = number(blanks(rest).strip_prefix(b",")?)?;
        let rest = blanks(rest).strip_prefix(b":")?;
        let rest = blanks(rest).strip_prefix(b"USERID")?;
        let rest = blanks(rest).strip_prefix(b":")?;
        let system = rest.iter().position(|byte| *byte == b':').filter(|length| *length > 0)?;
        let rest = blanks(rest.get(system..)?.strip_prefix(b":")?);
        let length = rest.iter().position(|byte| is_blank(*byte)).unwrap_or(rest.len()).min(LONGEST_NAME);
        let name = rest.get(..length).filter(|name| !name.is_empty())?;
        (theirs == u32::from(self.theirs) && ours == u32::from(self.ours)).then_some(name)
    }
}

/// isspace of the C locale.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn blanks(text: &[u8]) -> &[u8] {
    let length = text.iter().position(|byte| !is_blank(*byte)).unwrap_or(text.len());
    text.get(length..).unwrap_or_default()
}

/// What `%u` of scanf(3) takes: blanks, a sign, digits; the value is that of strtoul, cut to 32 bits.
fn number(text: &[u8]) -> Option<(u32, &[u8])> {
    let text = blanks(text);
    let (negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    let length = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at_checked(length).filter(|(digits, _)| !digits.is_empty())?;
    let mut value: Option<u64> = Some(0);
    for digit in digits {
        let digit = u64::from(digit.saturating_sub(b'0'));
        value = value.and_then(|v| v.checked_mul(10)).and_then(|v| v.checked_add(digit));
    }
    // Beyond 64 bits strtoul answers the largest number, whatever the sign.
    let value = match value {
        Some(value) if negative => value.wrapping_neg(),
        Some(value) => value,
        None => u64::MAX,
    };
    Some(((value & u64::from(u32::MAX)) as u32, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: Question = Question { theirs: 6193, ours: 23 };

    fn user(line: &[u8]) -> Option<String> {
        match ASKED.reply(line) {
            Reply::User(name) => Some(String::from_utf8_lossy(name.as_bytes()).into_owned()),
            _ => None,
        }
    }

    #[test]
    fn questions_name_their_port_first() {
        assert_eq!(ASKED.line(), "6193,23\r\n");
    }

    #[test]
    fn answers() {
        for (line, wanted) in [
            (&b"6193, 23 : USERID : UNIX :joe\r\n"[..], Some("joe")),
            (b"6193,23:USERID:UNIX:joe\n", Some("joe")),
            (b"  6193\t,\x0b23 :\x0cUSERID : UNIX : \t joe blow\r\n", Some("joe")),
            (b"+6193 , 0023 : USERID : OTHER,x y : a:b\r\n", Some("a:b")),
            (b"6193, 23 : USERID : UNIX :joe\rx\r\n", Some("joe")),
            (b"4294973489,23:USERID:UNIX:joe\n", Some("joe")),
            (b"-4294961103,23:USERID:UNIX:joe\n", Some("joe")),
            (b"6193,23:USERID: :joe\n", Some("joe")),
            (b"6193,23:USERID:UNIX:joe\nrest", Some("joe")),
            (b"6193,23:USERID:UNIX:jo\0e\n", Some("jo")),
            (b"6193,23:USERID::joe\n", None),
            (b"6193,23:USERID:UNIX:\r\n", None),
            (b"6193,23:USERID:UNIX\r\n", None),
            (b"6193,23:userid:UNIX:joe\n", None),
            (b"23,6193:USERID:UNIX:joe\n", None),
            (b"6193,23:ERROR:HIDDEN-USER\r\n", None),
            (b"6193 23:USERID:UNIX:joe\n", None),
            (b"99999999999999999999999,23:USERID:UNIX:joe\n", None),
            (b"\n", None),
            (b"\0\n", None),
        ] {
            assert_eq!(user(line).as_deref(), wanted, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn an_answer_is_a_line() {
        let line = b"6193,23:USERID:UNIX:joe\n";
        for end in 0..line.len() {
            assert_eq!(ASKED.reply(&line[..end]), Reply::Incomplete);
        }
        let mut long = b"6193,23:USERID:UNIX:".to_vec();
        long.resize(LONGEST - 1, b'x');
        assert_eq!(ASKED.reply(&long), Reply::Incomplete);
        long.push(b'x');
        assert_eq!(user(&long).map(|name| name.len()), Some(Field::MAX));
        let mut late = vec![b' '; LONGEST];
        late.extend_from_slice(line);
        assert_eq!(ASKED.reply(&late), Reply::Unknown);
    }

    mod properties {
        use super::super::*;
        use proptest::collection::vec;
        use proptest::prelude::*;

        /// Bytes that look like an answer often enough to get past its first fields.
        fn received() -> impl Strategy<Value = Vec<u8>> {
            let word = prop_oneof![
                Just(b"6193".to_vec()),
                Just(b"23".to_vec()),
                Just(b",".to_vec()),
                Just(b":".to_vec()),
                Just(b" ".to_vec()),
                Just(b"USERID".to_vec()),
                Just(b"UNIX".to_vec()),
                Just(b"joe".to_vec()),
                Just(b"\r\n".to_vec()),
                vec(any::<u8>(), 0..5),
                vec(any::<u8>(), 500..520),
            ];
            vec(word, 0..24).prop_map(|words| words.concat())
        }

        proptest! {
            #[test]
            fn what_was_decided_stays_decided(bytes in received(), more in vec(any::<u8>(), 0..600)) {
                let asked = Question { theirs: 6193, ours: 23 };
                let reply = asked.reply(&bytes);
                if reply == Reply::Incomplete {
                    prop_assert!(bytes.len() < LONGEST && !bytes.contains(&b'\n'));
                } else {
                    prop_assert_eq!(asked.reply(&[&bytes[..], &more].concat()), reply);
                }
            }

            #[test]
            fn a_user_is_a_word_and_only_of_these_ports(bytes in received(), other in 1_u16..) {
                let asked = Question { theirs: 6193, ours: 23 };
                if let Reply::User(name) = asked.reply(&bytes) {
                    prop_assert!(!name.is_empty());
                    prop_assert!(!name.as_bytes().iter().any(|byte| is_blank(*byte) || *byte == 0));
                    if other != 6193 {
                        let reply = Question { theirs: other, ours: 23 }.reply(&bytes);
                        prop_assert_eq!(reply, Reply::Unknown);
                    }
                }
            }

            #[test]
            fn proper_answers_are_understood(
                theirs: u16,
                ours: u16,
                blanks in vec("[ \t]{0,3}", 6),
                system in "[A-Za-z, -]{1,20}",
                name in "[!-~]{1,127}",
            ) {
                let [a, b, c, d, e, f] = <[String; 6]>::try_from(blanks).unwrap_or_default();
                let line = format!("{a}{theirs}{b},{c}{ours}{d}:{e}USERID{f}:{system}:{a}{name}\r\n");
                let asked = Question { theirs, ours };
                prop_assert_eq!(asked.reply(line.as_bytes()), Reply::User(Field::new(name.as_bytes())));
            }
        }
    }
}
