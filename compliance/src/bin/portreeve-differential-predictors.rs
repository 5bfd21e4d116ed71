//! Compares tcpdmatch and tcpdchk with the original's over drawn cases; see `portreeve_compliance::predictors`.
fn main() -> std::process::ExitCode {
    portreeve_compliance::predictors::command::main()
}
