//! Compiles `shim.c`, the part of the library that Rust cannot write, and puts it into the archive. Calls the C compiler
//! that rustc links with; `CC` and `AR` choose others.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    for name in ["CC", "AR"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    println!("cargo::rerun-if-changed=shim.c");
    let Some(out) = std::env::var_os("OUT_DIR").map(PathBuf::from) else {
        println!("cargo::error=OUT_DIR is not set: this runs under cargo");
        return ExitCode::FAILURE;
    };
    let object = out.join("shim.o");
    let archive = out.join("libshim.a");
    let made = run("CC", "cc", |cc| {
        // PIC with default visibility: the data must be reached through the GOT, since programs hold copies of it.
        cc.args(["-std=c11", "-O2", "-g0", "-fPIC", "-fstack-protector-strong", "-Wall", "-Wextra"]);
        cc.args(["-c", "shim.c", "-o"]).arg(&object)
    }) && remove(&archive)
        && run("AR", "ar", |ar| ar.arg("crs").arg(&archive).arg(&object));
    if !made {
        return ExitCode::FAILURE;
    }
    println!("cargo::rustc-link-search=native={}", out.display());
    println!("cargo::rustc-link-lib=static=shim");
    ExitCode::SUCCESS
}

/// An old archive would keep old members.
fn remove(path: &Path) -> bool {
    !path.exists() || std::fs::remove_file(path).is_ok()
}

fn run(variable: &str, usual: &str, arguments: impl FnOnce(&mut Command) -> &mut Command) -> bool {
    let program = std::env::var_os(variable).unwrap_or_else(|| usual.into());
    let mut command = Command::new(&program);
    match arguments(&mut command).status() {
        Ok(status) if status.success() => true,
        Ok(status) => {
            println!("cargo::error={command:?}: {status}");
            false
        }
        Err(error) => {
            println!(
                "cargo::error={}: {error}; install gcc and libc6-dev, or set {variable}",
                program.display()
            );
            false
        }
    }
}
