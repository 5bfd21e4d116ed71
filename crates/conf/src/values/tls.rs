//! Values of TLS: the files of certificates and keys, protocol names, and whether the target is spoken to by TLS.

use super::{Bad, Line, needs_a_value};
use crate::codes;
use crate::draft::Draft;
use crate::service::Set;

/// Most certificates of one service.
const MOST_CERTIFICATES: usize = 16;
/// Longest name of a protocol (RFC 7301).
const LONGEST_PROTOCOL: usize = 255;
/// Most protocols of one service.
const MOST_PROTOCOLS: usize = 16;

pub(super) fn files(line: &Line<'_>) -> Result<Option<Vec<Set<String>>>, Bad> {
    needs_a_value(line)?;
    if line.values.len() > MOST_CERTIFICATES {
        let message = format!("`{}` takes at most {MOST_CERTIFICATES} files", line.attribute.name);
        return Err(Bad::ours(message).word(MOST_CERTIFICATES));
    }
    (0..line.values.len()).map(|index| file(line, index)).collect::<Result<Vec<_>, _>>().map(Some)
}

pub(super) fn file(line: &Line<'_>, index: usize) -> Result<Set<String>, Bad> {
    let text = line.text(index);
    if !text.starts_with('/') {
        let message = format!("the path `{text}` does not start with `/`");
        return Err(Bad::ours(message).code(&codes::RELATIVE_PATH).word(index));
    }
    Ok(Set { value: text.to_owned(), place: line.values.get(index).map(|word| word.place.clone()) })
}

pub(super) fn alpn(draft: &mut Draft, line: &Line<'_>) -> Result<(), Bad> {
    needs_a_value(line)?;
    if let Some(index) = line.values.iter().position(|word| word.text.len() > LONGEST_PROTOCOL) {
        return Err(Bad::ours(format!("a protocol's name has at most {LONGEST_PROTOCOL} bytes")).word(index));
    }
    if line.values.len() > MOST_PROTOCOLS {
        return Err(Bad::ours(format!("at most {MOST_PROTOCOLS} protocols")).word(MOST_PROTOCOLS));
    }
    draft.tls.alpn = Some(line.values.iter().map(|word| word.text.to_string()).collect());
    Ok(())
}

pub(super) fn connect(draft: &mut Draft, line: &Line<'_>) -> Result<(), Bad> {
    line.word_index(0).ok_or_else(|| line.unknown_word(0, None))?;
    draft.tls.connect = true;
    Ok(())
}
