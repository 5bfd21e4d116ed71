//! The privileged executable: three lines over `portreeve-daemon`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    portreeve_daemon::main(std::env::args_os())
}
