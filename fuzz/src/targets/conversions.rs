//! Any bytes as a configuration of xinetd and as an inetd.conf: each is written in the other languages, what is written is text
//! that reads again, and no service appears from nowhere.

use super::units::plain;
use crate::{MAIN, Machine, Units};
use portreeve_conf::convert::{Sheet, from_inetd, from_xinetd, to_inetd, to_xinetd};
use portreeve_conf::systemd::{from_systemd, to_systemd};
use std::path::Path;

/// One input.
pub fn run(input: &[u8]) {
    let host = Machine::new(input);
    if let Ok(sheet) = from_xinetd(&host, Path::new(MAIN)) {
        written(&host, &sheet);
    }
    let sheet = from_inetd("inetd.conf", input, "/usr/sbin");
    assert!(plain(&to_xinetd(&sheet)));
    written(&host, &sheet);
}

fn written(host: &Machine<'_>, sheet: &Sheet) {
    let on = |sheet: &Sheet| sheet.stanzas().filter(|stanza| !stanza.off).count();
    let (lines, _) = to_inetd(sheet, false);
    assert!(plain(&lines), "{lines:?}");
    let again = from_inetd("again", lines.as_bytes(), "/usr/sbin");
    assert!(on(&again) <= on(sheet), "{lines}");
    let (files, _) = to_systemd(sheet, host);
    for file in &files {
        assert!(plain(&file.text) && !file.name.contains('/'), "{file:?}");
    }
    let again = Units::of(files.into_iter().map(|file| (file.name, file.text)).collect());
    let Ok(again) = from_systemd(&again, &["/u".into()]) else { panic!("the directory is there") };
    assert!(again.notes.iter().all(|note| !note.lost), "{:?}", again.notes);
    assert!(on(&again) <= on(sheet));
}
