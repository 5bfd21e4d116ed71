//! Any bytes as a socket unit, its service and a drop-in: reading ends, a socket that is no service was told of, and what is
//! written of it is text that reads again.

use crate::Units;
use portreeve_conf::convert::{to_inetd, to_xinetd};
use portreeve_conf::parse_file;
use portreeve_conf::systemd::{from_systemd, to_systemd};

/// Whether a person may see it on a terminal.
pub(super) fn plain(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() && c != '\n' && c != '\t')
}

/// One input.
pub fn run(input: &[u8]) {
    let host = Units::new(input);
    let Ok(sheet) = from_systemd(&host, &["/u".into()]) else { panic!("the directory is there") };
    let masked = sheet.stanzas().next().is_none() && !sheet.notes.iter().any(|note| note.lost);
    let sections = to_xinetd(&sheet);
    assert!(!masked || sections.contains("is masked or empty"), "nothing was said");
    let (lines, _) = to_inetd(&sheet, true);
    assert!(plain(&sections) && plain(&lines), "{sections}{lines}");
    let (_, wrong) = parse_file("converted", sections.as_bytes());
    assert!(wrong.iter().all(|finding| finding.code == "not-utf8"), "{wrong:?}\n{sections}");
    let (files, _) = to_systemd(&sheet, &host);
    assert!(files.iter().all(|file| plain(&file.text) && !file.name.contains('/')));
    let again = Units::of(files.into_iter().map(|file| (file.name, file.text)).collect());
    let Ok(again) = from_systemd(&again, &["/u".into()]) else { panic!("the directory is there") };
    assert!(again.notes.iter().all(|note| !note.lost), "{:?}", again.notes);
}
