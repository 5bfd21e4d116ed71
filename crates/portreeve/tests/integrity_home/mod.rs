//! A directory with a small tree and the command line of `portreeve integrity` in it, for the tests of signed baselines.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub struct Home(pub PathBuf);

impl Home {
    pub fn new(name: &str) -> Self {
        let home = std::env::temp_dir().join(format!("portreeve-integrity-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&home);
        fs::create_dir_all(home.join("tree")).unwrap();
        fs::write(home.join("tree/a"), "a").unwrap();
        fs::write(home.join("tree/b"), "b").unwrap();
        Home(home)
    }

    pub fn run(&self, line: &str) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portreeve"));
        command.arg("integrity").args(line.split(' ')).current_dir(&self.0).env("NO_COLOR", "1");
        if line.starts_with("check") {
            command.args(["--waivers", "no-waivers", "--journal", "journal"]);
        }
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code().unwrap(), text(stdout), text(stderr))
    }

    pub fn fine(&self, line: &str) -> String {
        let (code, said, complaint) = self.run(line);
        assert_eq!((code, complaint.as_str()), (0, ""), "{line}: {said}");
        said
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub fn digest(said: &str) -> String {
    said.lines().find_map(|line| line.strip_prefix("digest ")).unwrap().to_owned()
}

pub fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

pub const CHECK: &str = "check --store store --public key.pub";
