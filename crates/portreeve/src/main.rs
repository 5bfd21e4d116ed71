//! The executable `portreeve`. Everything is in the library; nothing is decided here.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    portreeve::call::main()
}
