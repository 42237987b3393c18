//! What a slave is to its launcher: the program that becomes one. Only the launcher's own tests use it.

fn main() -> std::process::ExitCode {
    launcher::serve()
}
