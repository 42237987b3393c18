//! The slave's binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|argument| argument == launcher::SUBCOMMAND) {
        return launcher::serve();
    }
    ExitCode::SUCCESS
}
