//! The program inside the namespaces; see `portreeve_compliance::probe`.
fn main() -> std::process::ExitCode {
    portreeve_compliance::probe::main()
}
