//! What the built-ins say: the time as text and as a number, and the characters of chargen.

use portreeve_sys::clock::Civil;

/// Characters of a chargen line (RFC 864).
const LINE: usize = 72;
/// The printable characters without the blank. xinetd leaves out `~` (reference xinetd §9.1); nobody relies on that.
const SYMBOLS: usize = 94;
/// Bytes after which the pattern begins anew: each line starts one character further.
pub(super) const PERIOD: usize = SYMBOLS * (LINE + 2);
/// One line with its end.
pub(super) const LINE_BYTES: usize = LINE + 2;

/// The pattern, repeated to a size that is worth a system call. From any place below [`PERIOD`] at least `PERIOD` bytes
/// follow.
pub(super) fn chargen_block() -> Box<[u8]> {
    let mut block = Vec::with_capacity(PERIOD * 9);
    for line in 0..SYMBOLS * 9 {
        block.extend((b'!'..=b'~').cycle().skip(line % SYMBOLS).take(LINE));
        block.extend_from_slice(b"\r\n");
    }
    block.into_boxed_slice()
}

/// `22 NOV 2026 16:16:12 UTC` and a line end, as xinetd writes it.
pub(super) fn daytime(now: &Civil) -> String {
    const MONTHS: [&str; 12] =
        ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
    let month = MONTHS.get(usize::from(now.month.saturating_sub(1))).copied().unwrap_or("???");
    format!(
        "{:02} {month} {} {:02}:{:02}:{:02} {}\r\n",
        now.day,
        now.year,
        now.hour,
        now.minute,
        now.second,
        now.zone()
    )
}

/// What a tarpit says: lines without end that are no protocol's. In front of its version a server of SSH may say such lines.
pub(super) fn drop_at(place: u64) -> u8 {
    const LINE: &[u8; 32] = b"x9f2c4e1a7b35d80e6c2f4a19d3b75\r\n";
    LINE.get((place % 32) as usize).copied().unwrap_or(b'x')
}

/// Seconds since 1900, most significant byte first. It wraps in 2036, as RFC 868 does.
pub(super) fn time(unix_seconds: i64) -> [u8; 4] {
    const FROM_1900_TO_1970: i64 = 2_208_988_800;
    let [.., a, b, c, d] = unix_seconds.wrapping_add(FROM_1900_TO_1970).to_be_bytes();
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chargen_rotates_through_all_symbols() {
        let block = chargen_block();
        assert_eq!(block.len() % PERIOD, 0);
        let text = std::str::from_utf8(&block).unwrap();
        let lines: Vec<&str> = text.split_terminator("\r\n").collect();
        assert!(lines.iter().all(|line| line.len() == LINE));
        assert!(lines[0].starts_with("!\"#$%&'()*+,-./0123456789:;<=>?@ABC"));
        assert!(lines[1].starts_with('"'));
        assert!(lines[SYMBOLS - 1].starts_with("~!"));
        assert_eq!(lines[SYMBOLS], lines[0]);
    }

    #[test]
    fn time_counts_from_1900_and_wraps() {
        assert_eq!(time(0), 2_208_988_800u32.to_be_bytes());
        assert_eq!(time(2_085_978_495), [255; 4]);
        assert_eq!(time(2_085_978_496), [0; 4]);
        let _ = (time(i64::MAX), time(i64::MIN));
    }

    #[test]
    fn daytime_is_xinetds_line() {
        let civil = portreeve_sys::clock::local(1_795_363_872);
        let text = daytime(&civil);
        let words: Vec<&str> = text.trim_end().split(' ').collect();
        assert_eq!(words.len(), 5, "{text}");
        assert_eq!((words[1], words[2], words[4]), ("NOV", "2026", civil.zone()));
        assert!(text.ends_with("\r\n") && words[0].len() == 2 && words[3].len() == 8);
    }
}
