//! From AIDE and Tripwire: their rules as ours, and a database of AIDE's as the first baseline.

#![allow(clippy::unwrap_used)] // the helpers of tests may, too

mod integrity_home;

use integrity_home::{CHECK, Home};
use std::fs;
use std::os::unix::fs::MetadataExt;

#[test]
fn what_is_not_carried_over_is_named_with_its_place() {
    let home = Home::new("import");
    let tree = home.path("tree").canonicalize().unwrap();
    let tree = tree.display();
    fs::write(
        home.path("aide.conf"),
        format!("R1 = p+u+g+s+a+sha512\n{tree} R1\n!{tree}/b\n!{tree}/.*[0-9]\n"),
    )
    .unwrap();
    let (code, said, complaint) = home.run("import aide.conf");
    assert_eq!(code, 1);
    let places: Vec<&str> = complaint.lines().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(places, ["aide.conf:1", "aide.conf:4"], "{complaint}");
    fs::write(home.path("rules"), said).unwrap();
    home.fine("key key --public key.pub --no-passphrase");
    home.fine("init --key key --store store --rules rules");
    fs::write(home.path("tree/b"), "other").unwrap();
    home.fine(CHECK);
    fs::write(home.path("tree/a"), "other").unwrap();
    assert_eq!(home.run(CHECK).0, 1);

    fs::write(home.path("twpol.txt"), format!("T = {tree};\n$(T) -> $(ReadOnly) ;\n!$(T)/b ;\n")).unwrap();
    let said = home.fine("import twpol.txt");
    assert!(said.contains(&format!("\"{tree}/b\" = \"off\"")), "{said}");
    fs::write(home.path("empty"), "database_in=file:/x\n").unwrap();
    let (code, _, complaint) = home.run("import empty");
    assert!(code == 2 && complaint.contains("nothing in it could be carried over"), "{complaint}");
}

/// RFC 4648, with its padding.
fn base64(text: &str) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let chunk = |chunk: &[u8]| {
        let word =
            (0..3).fold(0_usize, |word, at| word << 8 | usize::from(chunk.get(at).copied().unwrap_or(0)));
        let letter =
            |at: usize| if at <= chunk.len() { char::from(LETTERS[word >> (18 - 6 * at) & 63]) } else { '=' };
        (0..4).map(letter).collect::<String>()
    };
    text.as_bytes().chunks(3).map(chunk).collect()
}

#[test]
fn a_database_of_aide_is_a_first_baseline() {
    let home = Home::new("database");
    // Of `a`; of `b` the database has no digest that we compute.
    let digests = ["ypeBEsobvcr6wjGzmiPcTaeG7/gUfE5yuYB3ha/uSLs=", "0"];
    let mut text = "@@begin_db\n@@db_spec name perm uid gid size mtime attr sha256\n".to_owned();
    let common = 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 8 | 1_u64 << 30 | 1 << 35;
    for (name, digest) in [("", "0"), ("/a", digests[0]), ("/b", digests[1])] {
        let path = home.path("tree").canonicalize().unwrap().display().to_string() + name;
        let seen = fs::metadata(&path).unwrap();
        let (time, size) = (base64(&seen.mtime().to_string()), seen.size());
        text.push_str(&format!(
            "{path} {:o} {} {} {size} {time} {common} {digest}\n",
            seen.mode(),
            seen.uid(),
            seen.gid()
        ));
    }
    text.push_str("@@end_db\n");
    fs::write(home.path("aide.db"), &text).unwrap();
    home.fine("key key --public key.pub --no-passphrase");
    let said = home.fine("init --key key --store store --from-aide aide.db");
    assert!(said.starts_with("1 files have no sha256 in the database"), "{said}");
    assert!(said.contains("baseline 1: 3 paths"), "{said}");
    home.fine(CHECK);
    let before = fs::metadata(home.path("tree/a")).unwrap().modified().unwrap();
    for name in ["tree/a", "tree/b"] {
        fs::write(home.path(name), "x").unwrap();
        fs::File::options().write(true).open(home.path(name)).unwrap().set_modified(before).unwrap();
    }
    fs::write(home.path("tree/new"), "").unwrap();
    let (code, said, _) = home.run(CHECK);
    assert!(
        code == 1
            && said.contains("/tree/a: digest ca978112ca1bbdca -> ")
            && said.contains("/tree/new: file"),
        "{said}"
    );
    assert!(!said.contains("/tree/b: digest"), "what AIDE did not record is not compared: {said}");
    home.fine("accept --key key --store store --all");
    fs::write(home.path("tree/b"), "y").unwrap();
    let (code, said, _) = home.run(CHECK);
    assert!(code == 1 && said.contains("/tree/b: mtime "), "{said}");
    fs::write(home.path("cut"), text.replace("@@end_db", "")).unwrap();
    let (code, _, complaint) = home.run("init --key key --store other --from-aide cut");
    assert!(code == 2 && complaint.contains("cut: it is cut off"), "{complaint}");
}
