//! Whose a file is by a real database of rpm: a package that is built and entered here, in a database of its own.

use portreeve_audit::packages::{Owner, Owners};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

#[path = "../../../compliance/src/skip.rs"]
#[allow(dead_code, unreachable_pub)]
mod skip;

#[test]
fn the_package_of_a_file_is_rpms_word() {
    if !skip::has_programs(&["rpm", "rpmbuild"]) {
        return;
    }
    let room = std::env::temp_dir().join(format!("portreeve-rpm-{}", std::process::id()));
    let (tree, db) = (room.join("tree"), room.join("db"));
    std::fs::create_dir_all(&tree).expect("a folder");
    std::fs::create_dir_all(&db).expect("a folder");
    let file = |name: &str| tree.join(name).to_str().expect("UTF-8").to_owned();
    let spec = format!(
        "Name: marketd\nVersion: 1\nRelease: 1\nSummary: a test\nLicense: none\nBuildArch: noarch\nAutoReqProv: no\n%description\na test\n\
         %install\nmkdir -p %{{buildroot}}{0}\necho x > %{{buildroot}}{0}/marketd\necho x > %{{buildroot}}{0}/removed\n%files\n{0}/marketd\n{0}/removed\n",
        tree.display()
    );
    std::fs::write(room.join("marketd.spec"), spec).expect("written");
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).env("HOME", &room).output().expect("runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{program} {arguments:?}: {said}");
    };
    let top = format!("_topdir {}", room.join("build").display());
    run(
        "rpmbuild",
        &["-bb", "--quiet", "--define", &top, room.join("marketd.spec").to_str().expect("UTF-8")],
    );
    let package = room.join("build/RPMS/noarch/marketd-1-1.noarch.rpm");
    let place = db.to_str().expect("UTF-8");
    run("rpm", &["--dbpath", place, "--initdb"]);
    let entered = ["--dbpath", place, "--nodeps", "--justdb", "-i", package.to_str().expect("UTF-8")];
    run("rpm", &entered);
    for name in ["marketd", "nobodys"] {
        std::fs::write(file(name), "x").expect("written");
    }
    let paths: BTreeSet<String> = ["marketd", "nobodys", "removed"].map(file).into();
    let owners = Owners::of(Path::new("/nonexistent"), Some(&db), &paths);
    assert_eq!(owners.missing(), None);
    assert_eq!(owners.owner(&file("marketd")), Owner::Package("marketd".to_owned()));
    assert_eq!(owners.owner(&file("nobodys")), Owner::Nobody);
    // rpm asks the file itself: of one that has gone it tells nothing, or its package.
    assert_ne!(owners.owner(&file("removed")), Owner::Nobody);
    std::fs::remove_dir_all(&room).expect("removed");
}
