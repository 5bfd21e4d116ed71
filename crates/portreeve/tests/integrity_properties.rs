//! Each property of a path that a baseline records, changed alone: the check tells that one and no other.

#![allow(clippy::unwrap_used)] // the helpers of tests may, too

#[path = "../../../compliance/src/skip.rs"]
#[allow(dead_code, unreachable_pub, reason = "the test uses a part of it")]
mod skip;

mod integrity_home;

use integrity_home::{CHECK, Home};
use rustix::fs::{CWD, FileType, XattrFlags, makedev, mknodat};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

/// user::rw-, user:1:r--, group::r--, mask::r--, other::r-- as the kernel has it: the mode stays 0644.
const ACL: [u8; 44] = [
    2, 0, 0, 0, //
    1, 0, 6, 0, 255, 255, 255, 255, //
    2, 0, 4, 0, 1, 0, 0, 0, //
    4, 0, 4, 0, 255, 255, 255, 255, //
    16, 0, 4, 0, 255, 255, 255, 255, //
    32, 0, 4, 0, 255, 255, 255, 255,
];

/// cap_net_raw+ep, revision 2.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// What a check tells: by name, the properties.
fn told(home: &Home, line: &str) -> BTreeMap<String, Vec<String>> {
    let (code, said, complaint) = home.run(&format!("{line} --json"));
    let said: serde_json::Value =
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}{complaint}"));
    assert!(code < 2, "{said}{complaint}");
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let changes = said["unexplained"].as_array().unwrap().iter().map(|change| {
        let properties = change["properties"].as_array().map_or(&[][..], Vec::as_slice);
        let name = text(&change["path"]).rsplit('/').next().unwrap().to_owned();
        (name, properties.iter().map(|one| text(&one["property"])).collect())
    });
    changes.collect()
}

fn set(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::setxattr(path, name, value, XattrFlags::empty()).unwrap();
}

/// As an intruder does: the time is set back.
fn keeping_time(path: &Path, change: impl FnOnce()) {
    let before = fs::metadata(path).unwrap().modified().unwrap();
    change();
    File::options().write(true).open(path).unwrap().set_modified(before).unwrap();
}

#[test]
fn each_property_is_told_alone() {
    if !rustix::process::geteuid().is_root() {
        return skip::skip(skip::Reason::NoRoot);
    }
    if !skip::has_programs(&["chattr"]) {
        return;
    }
    let home = Home::new("properties");
    let at = |name: &str| home.path("tree").join(name);
    let files = [
        "mode",
        "user",
        "group",
        "size",
        "mtime",
        "digest",
        "links",
        "acl",
        "capabilities",
        "attributes",
        "flags",
        "label",
        "inode",
        "type",
    ];
    for name in files {
        fs::write(at(name), "content").unwrap();
        fs::set_permissions(at(name), fs::Permissions::from_mode(0o644)).unwrap();
    }
    symlink("here", at("target")).unwrap();
    let device =
        |number| mknodat(CWD, at("device"), FileType::CharacterDevice, 0o600.into(), number).unwrap();
    device(makedev(1, 3));
    home.fine("key key --public key.pub --no-passphrase");
    home.fine("init --key key --store store tree");
    let tree = fs::canonicalize(home.path("tree")).unwrap();
    fs::write(home.path("rules"), format!("[paths]\n\"{}\" = \"+ci\"\n", tree.display())).unwrap();
    home.fine("init --key key --store kernels --rules rules");
    home.fine(CHECK);

    fs::set_permissions(at("mode"), fs::Permissions::from_mode(0o4755)).unwrap();
    chown(at("user"), Some(1), None).unwrap();
    chown(at("group"), None, Some(1)).unwrap();
    // A size alone is no change that can be made: the content goes with it.
    keeping_time(&at("size"), || fs::write(at("size"), "contents").unwrap());
    let long_ago = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    File::options().write(true).open(at("mtime")).unwrap().set_modified(long_ago).unwrap();
    keeping_time(&at("digest"), || fs::write(at("digest"), "CONTENT").unwrap());
    fs::hard_link(at("links"), home.path("second-name")).unwrap();
    set(&at("acl"), "system.posix_acl_access", &ACL);
    set(&at("capabilities"), "security.capability", &CAPABILITY);
    set(&at("attributes"), "user.note", b"x");
    let changed = Command::new("chattr").arg("+d").arg(at("flags")).status().unwrap();
    assert!(changed.success());
    // Where SELinux runs it takes none that its policy does not have.
    let labels = !Path::new("/sys/fs/selinux/enforce").exists();
    if labels {
        set(&at("label"), "security.selinux", b"system_u:object_r:evil_t:s0\0");
    }
    // The same again under another number, with the same times.
    let copied = Command::new("cp").arg("-p").args([at("inode"), home.path("copy")]).status().unwrap();
    assert!(copied.success());
    fs::rename(home.path("copy"), at("inode")).unwrap();
    fs::remove_file(at("type")).unwrap();
    fs::create_dir(at("type")).unwrap();
    fs::remove_file(at("target")).unwrap();
    symlink("elsewhere", at("target")).unwrap();
    fs::remove_file(at("device")).unwrap();
    device(makedev(1, 1));

    let mut wanted: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let single = [
        "mode",
        "user",
        "group",
        "mtime",
        "digest",
        "links",
        "acl",
        "capabilities",
        "attributes",
        "flags",
        "device",
    ];
    for name in single.iter().chain(labels.then_some(&"label")) {
        wanted.insert((*name).to_owned(), vec![(*name).to_owned()]);
    }
    wanted.insert("size".to_owned(), vec!["size".to_owned(), "digest".to_owned()]);
    let mut found = told(&home, CHECK);
    let of_links = found.remove("target").unwrap();
    assert!(
        of_links.contains(&"target".to_owned()) && !of_links.contains(&"type".to_owned()),
        "{of_links:?}"
    );
    assert_eq!(found.remove("type").unwrap().first().map(String::as_str), Some("type"));
    // mknod sets the time, too.
    found.get_mut("device").unwrap().retain(|property| property != "mtime");
    assert_eq!(found, wanted);
    // A quick look reads what the kernel's own time tells: the same.
    let mut quick = told(&home, &format!("{CHECK} --quick --sample 0"));
    quick.retain(|name, _| wanted.contains_key(name));
    quick.get_mut("device").unwrap().retain(|property| property != "mtime");
    assert_eq!(quick, wanted);
    // Inode and ctime count where they are asked for.
    let kernels = told(&home, "check --store kernels --public key.pub");
    assert_eq!(kernels["inode"], ["ctime", "inode"]);
    assert_eq!(kernels["mtime"], ["ctime"]);
}
