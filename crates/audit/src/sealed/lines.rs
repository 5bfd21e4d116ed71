//! A baseline's file, line by line, each of bounded length. Says where it is wrong; decides nothing about what a line holds.

use super::chain::{Digest, Header};
use super::entry::{hex, unhex};
use super::hash::Hash;
use super::rules::Rules;
use super::text::{self, LONGEST};
use ring::digest::{Context, SHA256};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};

pub(super) const HEAD: &str = "portreeve-integrity 2";

/// Most bytes of what stands before the paths: rules with a path of 4096 bytes each.
const LONGEST_HEADER: usize = 16 << 20;

/// More than the two lines at the end are.
const TRAILER: u64 = 512;

/// Lines of bounded length, each part of the digest of all.
pub(super) struct Lines {
    reader: BufReader<File>,
    context: Context,
    line: Vec<u8>,
    /// Of the line that was read last.
    pub(super) number: u64,
    /// Bytes read.
    pub(super) at: u64,
}

impl Lines {
    /// From where the file stands; the line before has this number.
    pub(super) fn new(file: File, number: u64, at: u64) -> Self {
        let reader = BufReader::with_capacity(256 * 1024, file);
        Self { reader, context: Context::new(&SHA256), line: Vec::new(), number, at }
    }

    /// The next line, which does not count for the digest yet.
    pub(super) fn line(&mut self) -> Result<&str, String> {
        self.line.clear();
        self.number += 1;
        let most = LONGEST as u64;
        let read = self.reader.by_ref().take(most).read_until(b'\n', &mut self.line);
        self.at += read.map_err(|error| crate::bounded::words(&error))? as u64;
        let Some(line) = self.line.strip_suffix(b"\n") else {
            return Err(format!(
                "line {}: the baseline was cut off here, or the line is too long",
                self.number
            ));
        };
        std::str::from_utf8(line).map_err(|_| format!("line {}: it is no text", self.number))
    }

    /// The line that was read last counts.
    pub(super) fn count(&mut self) {
        self.context.update(&self.line);
    }

    /// Of all lines that count.
    pub(super) fn digest(&self) -> Digest {
        finished(self.context.clone())
    }

    fn counted(&mut self) -> Result<&str, String> {
        self.line()?;
        self.count();
        std::str::from_utf8(self.line.strip_suffix(b"\n").unwrap_or_default())
            .map_err(|_| "it is no text".to_owned())
    }
}

pub(super) fn finished(context: Context) -> Digest {
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

/// The lines of a header, the last of which is `paths`.
pub(super) fn header_lines(header: &Header) -> String {
    let mut text = format!(
        "{HEAD}\ncreated {}\nhost {}\nparent {}\nsigner {}\nsuccessor {}\nhash {}\n",
        header.created,
        text::escape(header.host.as_bytes()),
        header.parent.map_or("-".to_owned(), |digest| hex(&digest)),
        hex(&header.signer),
        header.successor.map_or("-".to_owned(), |key| hex(&key)),
        header.hash.word(),
    );
    for line in header.rules.lines() {
        text.push_str(&line);
        text.push('\n');
    }
    text.push_str("paths\n");
    text
}

/// Reads a header.
pub(super) fn header(lines: &mut Lines) -> Result<Header, String> {
    let mut field = |name: &str| {
        let line = lines.counted()?.to_owned();
        let value = line.strip_prefix(name).map(str::to_owned);
        value.ok_or_else(|| format!("line {}: `{}` was expected", lines.number, name.trim()))
    };
    if !field(HEAD)?.is_empty() {
        return Err("it is of another version of portreeve".to_owned());
    }
    let created = field("created ")?.parse().map_err(|_| "line 2: seconds since 1970 were expected")?;
    let host = text::unescape(&field("host ")?).ok_or("line 3: the host cannot be read")?;
    let optional = |value: String, what: &str| match value.as_str() {
        "-" => Ok(None),
        digits => unhex(digits).map(Some).ok_or_else(|| format!("{what} cannot be read")),
    };
    let parent = optional(field("parent ")?, "line 4: the digest")?;
    let signer = unhex(&field("signer ")?).ok_or("line 5: the key cannot be read")?;
    let successor = optional(field("successor ")?, "line 6: the key")?;
    let hash = Hash::of(&field("hash ")?).ok_or("line 7: the hash is unknown")?;
    let mut rules = Vec::new();
    loop {
        let line = lines.counted()?;
        if line == "paths" {
            break;
        }
        rules.push(line.to_owned());
        if lines.at > LONGEST_HEADER as u64 {
            return Err("there are too many rules".to_owned());
        }
    }
    let rules = Rules::from_lines(rules.iter().map(String::as_str)).ok_or("the rules cannot be read")?;
    Ok(Header {
        created,
        host: String::from_utf8_lossy(&host).into_owned(),
        parent,
        signer,
        successor,
        hash,
        rules,
    })
}

/// What stands after the paths.
#[derive(Clone, Debug)]
pub(super) struct Trailer {
    /// Paths.
    pub(super) entries: u64,
    /// Bytes of all files.
    pub(super) bytes: u64,
    /// Digest of the lines of the paths.
    pub(super) body: Digest,
    pub(super) signature: [u8; 64],
    /// Where it begins.
    pub(super) at: u64,
}

/// The line that ends the paths.
pub(super) fn end_line(entries: u64, bytes: u64, body: &Digest) -> String {
    format!("end {entries} {bytes} {}\n", hex(body))
}

/// Reads the two lines at the end, wherever the file stands.
pub(super) fn trailer(file: &mut File) -> Result<(Trailer, String), String> {
    let cut = || "the baseline was cut off: a signature was expected at its end".to_owned();
    let words = |error: std::io::Error| crate::bounded::words(&error);
    let length = file.seek(SeekFrom::End(0)).map_err(words)?;
    file.seek(SeekFrom::Start(length.saturating_sub(TRAILER))).map_err(words)?;
    let mut bytes = Vec::new();
    file.take(TRAILER).read_to_end(&mut bytes).map_err(words)?;
    let whole = bytes.strip_suffix(b"\n").ok_or_else(cut)?;
    let mut lines = whole.rsplitn(3, |byte| *byte == b'\n').map(std::str::from_utf8);
    let (Some(Ok(signature)), Some(Ok(end))) = (lines.next(), lines.next()) else { return Err(cut()) };
    let read = || {
        let words: Vec<&str> = end.split(' ').collect();
        let ["end", entries, bytes, body] = words[..] else { return None };
        Some(Trailer {
            entries: entries.parse().ok()?,
            bytes: bytes.parse().ok()?,
            body: unhex(body)?,
            signature: signature.strip_prefix("signature ").and_then(unhex)?,
            at: length.checked_sub((end.len() + signature.len() + 2) as u64)?,
        })
    };
    let trailer = read().ok_or_else(cut)?;
    // One way to write it: what was signed is what is there.
    if format!("{end}\n") != end_line(trailer.entries, trailer.bytes, &trailer.body) {
        return Err(cut());
    }
    Ok((trailer, format!("{end}\n")))
}
