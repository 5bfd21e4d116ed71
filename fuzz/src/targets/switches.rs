//! Any bytes as a configuration of xinetd and as an inetd.conf, in which each entry is switched off and on: that entry alone is then on the
//! other side, all others are there as before, nothing is lost but at most the line that says so, and it can be switched back.

use portreeve_conf::switch::{NameList, Switch, of_inetd, of_xinetd};

/// One input.
pub fn run(input: &[u8]) {
    let xinetd = |bytes: &[u8]| {
        let switches = of_xinetd("f", bytes);
        (switches.entries, switches.lists)
    };
    each(input, &xinetd, &one_line);
    each(input, &|bytes| (of_inetd("f", bytes), Vec::new()), &but_marks);
}

type Read<'a> = &'a dyn Fn(&[u8]) -> (Vec<Switch>, Vec<NameList>);

/// What has changed stands in one line.
fn one_line(before: &[u8], after: &[u8]) {
    let same = before.iter().zip(after).take_while(|(a, b)| a == b).count();
    let ends = before[same..].iter().rev().zip(after[same..].iter().rev());
    let gone = &before[same..before.len() - ends.take_while(|(a, b)| a == b).count()];
    assert!(!gone.contains(&b'\n'), "{:?}", gone.escape_ascii().to_string());
}

/// But for the marks before its lines a file is what it was.
fn but_marks(before: &[u8], after: &[u8]) {
    let plain = |bytes: &[u8]| {
        let lines = bytes.split_inclusive(|&byte| byte == b'\n');
        let mark = |line: &[u8]| {
            [&b"#<off># "[..], b"#<off>#"].iter().find(|m| line.starts_with(m)).map_or(0, |m| m.len())
        };
        lines.map(|line| line[mark(line)..].to_vec()).collect::<Vec<_>>().concat()
    };
    // A mark that is none of ours may stand before one that is.
    let (before, after) = (plain(before), plain(after));
    assert!(before == after || plain(&before) == plain(&after));
}

fn each(bytes: &[u8], read: Read<'_>, kept: &dyn Fn(&[u8], &[u8])) {
    let (entries, lists) = read(bytes);
    for (at, entry) in entries.iter().enumerate() {
        let Some(other) = entry.switched(bytes) else {
            assert!(entry.by_hand(), "{entry:?}");
            continue;
        };
        assert!(!entry.by_hand());
        let (after, lists_after) = read(&other);
        let sides = |all: &[Switch]| {
            all.iter().map(|one| (one.name.clone(), one.ids.clone(), one.off)).collect::<Vec<_>>()
        };
        let mut wanted = sides(&entries);
        wanted[at].2 = !entry.off;
        assert_eq!(sides(&after), wanted, "{:?}", other.escape_ascii().to_string());
        let ids = |all: &[NameList]| all.iter().map(|list| list.ids.clone()).collect::<Vec<_>>();
        assert_eq!(ids(&lists_after), ids(&lists));
        kept(bytes, &other);
        let back = after[at].switched(&other).map(|back| read(&back).0);
        assert_eq!(back.as_deref().map(sides), Some(sides(&entries)));
    }
}
