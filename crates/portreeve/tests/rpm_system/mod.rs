//! A root with an rpm database, into which real packages are built and installed: for the tests of rpm. Nothing outside of a folder of the test
//! is written; what is mounted is mounted in a namespace of its own.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

use super::{executable, skip};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A root with two packages' files, a shell, and what they are linked to.
pub struct System {
    pub room: PathBuf,
    root: PathBuf,
}

impl Drop for System {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.room);
    }
}

/// What the programs of this machine are linked to, and rpm's own files: seen in the root, and read only.
fn shared() -> Vec<PathBuf> {
    let libraries = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    ["/usr/lib/rpm", &libraries, "/dev"].into_iter().map(PathBuf::from).filter(|path| path.is_dir()).collect()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl System {
    /// With a database of rpm. None where this machine lacks something.
    pub fn new(name: &str, programs: &[&'static str]) -> Option<System> {
        if !skip::has_programs(&["rpm", "rpmbuild"]) {
            return None;
        }
        let system = System::bare(&format!("rpm-{name}"), programs)?;
        fs::create_dir_all(system.path("/var/lib/rpm")).expect("a directory");
        system.copy(&skip::find_program("rpm").expect("rpm"), "usr/bin/rpm");
        system.fine("rpm", &["--dbpath", "/var/lib/rpm", "--root", system.root(), "--initdb"]);
        Some(system)
    }

    /// Without any package. None where this machine lacks something.
    pub fn bare(name: &str, programs: &[&'static str]) -> Option<System> {
        if !rustix::process::geteuid().is_root() {
            skip::skip(skip::Reason::NoRoot);
            return None;
        }
        if !skip::has_programs(&["unshare", "mount", "chroot", "setcap"]) || !skip::has_programs(programs) {
            return None;
        }
        if !Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|status| status.success()) {
            skip::skip(skip::Reason::NoNamespaces);
            return None;
        }
        let room = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("portreeve-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&room);
        let root = room.join("root");
        for directory in ["usr/bin", "usr/sbin", "usr/lib", "usr/lib64/security", "etc", "tmp", "proc", "dev"]
        {
            fs::create_dir_all(root.join(directory)).expect("a directory");
        }
        for link in ["bin", "sbin", "lib", "lib64"] {
            symlink(format!("usr/{link}"), root.join(link)).expect("a link");
        }
        for path in shared() {
            fs::create_dir_all(root.join(path.strip_prefix("/").expect("absolute"))).expect("a directory");
        }
        let system = System { room, root };
        let loader = fs::read_dir("/lib64").expect("/lib64").flatten().map(|entry| entry.path());
        for file in loader.filter(|path| path.to_string_lossy().contains("/ld-linux")) {
            system.copy(&file, &format!("usr/lib64/{}", file.file_name().expect("a name").to_string_lossy()));
        }
        for program in ["sh", "cat", "touch"] {
            system.copy(&skip::find_program(program).expect(program), &format!("usr/bin/{program}"));
        }
        Some(system)
    }

    pub fn copy(&self, from: &Path, to: &str) {
        executable::copy(from, self.root.join(to));
    }

    pub fn root(&self) -> &str {
        self.root.to_str().expect("UTF-8")
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Runs a program in a mount namespace where what the root needs of this machine is in it.
    pub fn mounted(&self, program: &str, arguments: &[&str]) -> Output {
        let mut script = String::from("set -e\n");
        for path in shared() {
            let there = self.root.join(path.strip_prefix("/").expect("absolute"));
            let (here, there) = (path.display(), there.display());
            script
                .push_str(&format!("mount --bind '{here}' '{there}'\nmount -o remount,bind,ro '{there}'\n"));
        }
        script.push_str(&format!("mount -t proc proc '{}'\nexec \"$@\"\n", self.root.join("proc").display()));
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", &script, "sh", program]).args(arguments);
        // Where the tests find our own program is no word for a hook in the root.
        command.env_remove("PORTREEVE");
        command.env("HOME", &self.room).env("LC_ALL", "C").env("NO_COLOR", "1").output().expect("runs")
    }

    pub fn fine(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.mounted(program, arguments);
        let said = text(&output.stdout);
        assert!(output.status.success(), "{program} {arguments:?}: {said}{}", text(&output.stderr));
        said
    }

    /// Our program as the system's own.
    pub fn ours(&self, line: &str) -> (i32, String) {
        let words: Vec<&str> =
            [self.root(), "/usr/bin/portreeve", "integrity"].into_iter().chain(line.split(' ')).collect();
        let output = self.mounted("chroot", &words);
        let said = text(&output.stdout) + &text(&output.stderr);
        (output.status.code().unwrap_or(-1), said)
    }

    /// Builds packages of a version and gives their files.
    pub fn build(&self, spec: &str, version: u32) -> Vec<String> {
        let top = self.room.join(format!("build{version}-{}", spec.len()));
        fs::create_dir_all(&top).expect("a directory");
        let file = top.join("packages.spec");
        fs::write(&file, spec.replace("@VERSION@", &version.to_string())).expect("written");
        let define = format!("_topdir {}", top.display());
        let built = Command::new("rpmbuild")
            .args(["-bb", "--quiet", "--define", &define, "--define", "_build_id_links none"])
            .arg(&file)
            .env("HOME", &self.room)
            .output()
            .expect("rpmbuild runs");
        assert!(built.status.success(), "{}", text(&built.stderr));
        let folders = fs::read_dir(top.join("RPMS")).expect("packages").flatten();
        let files = folders.flat_map(|folder| fs::read_dir(folder.path()).expect("packages").flatten());
        files.map(|file| file.path().display().to_string()).collect()
    }

    pub fn install(&self, packages: &[String]) {
        let mut words = vec!["--dbpath", "/var/lib/rpm", "--root", self.root(), "-U", "--nodeps"];
        words.extend(packages.iter().map(String::as_str));
        self.fine("rpm", &words);
    }
}

/// Two packages with what a package may have: configuration, a ghost, a set-uid program, capabilities, links.
pub const MARKET: &str = "\
Name: market
Version: @VERSION@
Release: 1
Summary: a test
License: none
BuildArch: noarch
AutoReqProv: no
%description
a test
%package -n stall
Summary: a test
%description -n stall
a test
%install
mkdir -p %{buildroot}/usr/bin %{buildroot}/usr/lib64/security %{buildroot}/etc
for name in ls cp du find; do echo \"$name of version @VERSION@\" > %{buildroot}/usr/bin/$name; done
for name in stall stall-tail stall-ping; do echo \"$name of version @VERSION@\" > %{buildroot}/usr/bin/$name; done
echo 'a module of version @VERSION@' > %{buildroot}/usr/lib64/security/pam_market.so
echo 'size = @VERSION@' > %{buildroot}/etc/market.conf
echo 'colour = @VERSION@' > %{buildroot}/etc/stall.conf
echo 'su @VERSION@' > %{buildroot}/usr/bin/market-su
echo 'ping @VERSION@' > %{buildroot}/usr/bin/market-ping
ln -s ls-@VERSION@ %{buildroot}/usr/bin/market-link
%files
%attr(0755,root,root) /usr/bin/ls
%attr(0755,root,root) /usr/bin/cp
%attr(0755,root,root) /usr/bin/du
%attr(0755,root,root) /usr/bin/find
%attr(4755,root,root) /usr/bin/market-su
%attr(0755,root,root) %caps(cap_net_raw=ep) /usr/bin/market-ping
/usr/bin/market-link
/usr/lib64/security/pam_market.so
%config(noreplace) /etc/market.conf
%ghost /etc/market.state
%verify(not md5 size mtime) /etc/stall.conf
%files -n stall
%attr(0755,root,root) /usr/bin/stall
%attr(0755,root,root) /usr/bin/stall-tail
%attr(0755,root,root) /usr/bin/stall-ping
";
