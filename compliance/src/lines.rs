//! Log lines: the stamp is checked against xinetd's format and removed, numbers of processes and durations are replaced,
//! so that the rest can be compared byte by byte.

/// `YY/M/D@HH:MM:SS`, month and day not padded. Gives what follows it.
fn after_stamp(line: &str) -> Option<&str> {
    let (date, rest) = line.split_once('@')?;
    let parts: Vec<&str> = date.split('/').collect();
    let [year, month, day] = parts.as_slice() else { return None };
    let unpadded = |text: &str| {
        (1..=2).contains(&text.len()) && !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit())
    };
    let two = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
    if !two(year) || !unpadded(month) || !unpadded(day) {
        return None;
    }
    let time = rest.get(..8)?;
    let clock: Vec<&str> = time.split(':').collect();
    if clock.len() != 3 || !clock.iter().all(|part| two(part)) {
        return None;
    }
    rest.get(8..)
}

/// A line of a service log FILE: `STAMP: TEXT`. A line of another shape comes back marked, and so fails a comparison.
pub fn service_line(line: &str) -> String {
    match after_stamp(line).and_then(|rest| rest.strip_prefix(": ")) {
        Some(text) => without_numbers(text),
        None => format!("(not a service log line) {line}"),
    }
}

/// A line of `-filelog`: `STAMP program[pid]: LEVEL: TEXT`; gives `LEVEL: TEXT`.
pub fn daemon_line(line: &str) -> String {
    match split_daemon_line(line) {
        Some((_, _, text)) => without_numbers(text),
        None => format!("(not a daemon log line) {line}"),
    }
}

/// Program name, process number and `LEVEL: TEXT` of a line of `-filelog`.
pub fn split_daemon_line(line: &str) -> Option<(&str, u32, &str)> {
    let rest = after_stamp(line)?.strip_prefix(' ')?;
    let (program, rest) = rest.split_once('[')?;
    let (pid, text) = rest.split_once("]: ")?;
    Some((program, pid.parse().ok()?, text))
}

/// `pid=7` becomes `pid=N` (`pid=0` stays: it says that there was no process); durations and the process numbers in
/// xinetd's messages likewise.
pub fn without_numbers(text: &str) -> String {
    let mut out = text.to_owned();
    for (before, keep_zero) in
        [("pid=", true), ("duration=", false), ("CRITICAL: ", false), ("child process ", false)]
    {
        out = replace_number(&out, before, keep_zero);
    }
    if let Some(at) = out.find("Sending signal ") {
        let (head, tail) = out.split_at(at);
        out = head.to_owned() + &replace_number(tail, " server ", false);
    }
    out
}

fn replace_number(text: &str, before: &str, keep_zero: bool) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(before) {
        let (head, tail) = rest.split_at(at + before.len());
        out.push_str(head);
        let digits = tail.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = tail.split_at(digits);
        out.push_str(if digits == 0 || keep_zero && number == "0" { number } else { "N" });
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_xinetds_stamp_is_accepted() {
        let table = [
            ("26/11/22@16:06:15: START: a pid=12 from=127.0.0.1", "START: a pid=N from=127.0.0.1"),
            (
                "26/1/2@06:06:15: EXIT: a status=0 pid=0 duration=12(sec)",
                "EXIT: a status=0 pid=0 duration=N(sec)",
            ),
            ("26/01/2@06:06:15: X", "(not a service log line) 26/01/2@06:06:15: X"),
            ("2026/1/2@06:06:15: X", "(not a service log line) 2026/1/2@06:06:15: X"),
            ("26/1/2@6:06:15: X", "(not a service log line) 26/1/2@6:06:15: X"),
            ("X", "(not a service log line) X"),
        ];
        for (line, expected) in table {
            assert_eq!(service_line(line), expected);
        }
    }

    #[test]
    fn a_daemon_line_loses_stamp_program_and_numbers() {
        let table = [
            ("26/11/22@16:06:15 xinetd[10]: NOTICE: Started working: 2 x", "NOTICE: Started working: 2 x"),
            ("26/11/22@16:06:15 xinetd[10]: CRITICAL: 680 {f} x", "CRITICAL: N {f} x"),
            (
                "26/11/22@16:06:15 xinetd[10]: WARNING: Sending signal 9 to s1 server 77",
                "WARNING: Sending signal 9 to s1 server N",
            ),
        ];
        for (line, expected) in table {
            assert_eq!(daemon_line(line), expected);
        }
    }
}
