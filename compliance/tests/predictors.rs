//! tcpdmatch and tcpdchk say what the originals say: over drawn cases, over real tables, and over the recorded answers.

use portreeve_compliance::side::workspace;
use portreeve_compliance::skip::{Reason, find_program, has_programs, skip};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Recorded answers that cannot be met, and why.
const NOT_OURS: &[&str] = &[
    // The replayer looks for the verdict in a line of its own; the banner of this case ends without a newline, so that the
    // original printing its diagnostics misses it too.
    "public-01458",
];

/// A directory with links of these names to our executable, removed at its end.
struct Links(PathBuf);

impl Links {
    fn new(name: &str) -> Self {
        let ours =
            std::env::var_os("PORTREEVE").map_or_else(|| workspace().join("dist/portreeve"), PathBuf::from);
        assert!(ours.exists(), "{} is there: scripts/build makes it", ours.display());
        let ours = std::fs::canonicalize(ours).expect("an absolute path");
        // Not below /run or /etc: the namespaces have their own.
        let directory =
            std::env::temp_dir().join(format!("portreeve-predictors-{}-{name}", std::process::id()));
        std::fs::create_dir(&directory).expect("a new directory");
        for tool in ["tcpdmatch", "tcpdchk"] {
            std::os::unix::fs::symlink(&ours, directory.join(tool)).expect("a link");
        }
        Self(directory)
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What lies beside this checkout.
fn shared(name: &str) -> Option<PathBuf> {
    let path = workspace().join("../shared").join(name);
    if path.is_dir() {
        return std::fs::canonicalize(path).ok();
    }
    skip(Reason::NoShared);
    None
}

/// Whether namespaces can be made; skips the test if not.
fn namespaces() -> bool {
    if !rustix::process::geteuid().is_root() {
        skip(Reason::NoRoot);
        return false;
    }
    let made = Command::new("unshare").args(["--mount", "--net", "true"]).output();
    let made = made.is_ok_and(|output| output.status.success());
    if !made {
        skip(Reason::NoNamespaces);
    }
    made
}

fn compare(links: &Links, arguments: &[(&str, &Path)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portreeve-differential-predictors"));
    command.arg("--ours").arg(&links.0);
    for (option, value) in arguments {
        command.arg(option).arg(value);
    }
    command.output().expect("the comparison runs")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The original printing its diagnostics, if it can be built here.
fn shim(links: &Links) -> Option<PathBuf> {
    let source = workspace().join("../shared/oracle/fortify_shim.c");
    let shim = links.0.join("shim.so");
    let compiler = find_program("cc").filter(|_| source.exists())?;
    let built = Command::new(compiler).args(["-shared", "-fPIC", "-O", "-o"]).arg(&shim).arg(source).status();
    built.is_ok_and(|status| status.success()).then_some(shim)
}

#[test]
fn drawn_cases() {
    drawn("plain", 500);
}

/// Tables that are odder than people write them.
#[test]
fn odd_cases() {
    drawn("odd", 400);
}

/// 2000 cases of a grammar, of which more than so many must have a matching rule.
fn drawn(grammar: &str, matching: u32) {
    if !namespaces() || !has_programs(&["tcpdmatch", "tcpdchk", "ip"]) {
        return;
    }
    let links = Links::new(grammar);
    let shim = shim(&links);
    let mut arguments = vec![("--cases", Path::new("2000")), ("--grammar", Path::new(grammar))];
    // Without it their diagnostics are lost, and ours are not compared.
    arguments.extend(shim.as_deref().map(|shim| ("--shim", shim)));
    let output = compare(&links, &arguments);
    let told = text(&output);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("2000 cases: "), "{told}");
    let count = |word: &str| -> u32 {
        let before = told.split(word).next().and_then(|before| before.trim_end().rsplit([' ', ',']).next());
        before.and_then(|number| number.parse().ok()).unwrap_or(0)
    };
    // Cases that only ever grant would compare nothing.
    assert!(
        count(" granted") > 200 && count(" denied") > 200 && count(" with a matching rule") > matching,
        "{told}"
    );
}

#[test]
fn real_tables() {
    let Some(corpus) = shared("corpus").filter(|_| namespaces() && has_programs(&["ip"])) else { return };
    let output = compare(&Links::new("corpus"), &[("--corpus", &corpus)]);
    let told = text(&output);
    assert!(output.status.success(), "{told}");
    let readings: u32 =
        told.split(" readings, ").next().and_then(|number| number.parse().ok()).unwrap_or_default();
    assert!(readings > 3000, "{told}");
}

#[test]
fn recorded_answers() {
    let Some(oracle) = shared("oracle").filter(|_| namespaces() && has_programs(&["python3"])) else {
        return;
    };
    let output = compare(&Links::new("recorded"), &[("--recorded", &oracle)]);
    let told = text(&output);
    let missed: BTreeSet<&str> =
        told.lines().filter_map(|line| line.strip_prefix("MISMATCH ")?.split(' ').next()).collect();
    assert_eq!(missed, NOT_OURS.iter().copied().collect(), "{told}");
    let sum = told.lines().find(|line| line.contains(" cases, ")).unwrap_or_default();
    assert!(sum.contains(&format!(" {} mismatches", NOT_OURS.len())), "{told}");
    let cases: u32 = sum.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or_default();
    assert!(cases > 3000, "{told}");
}
