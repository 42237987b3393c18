//! The slave's binary. The same file is the launcher when it is started with the hidden subcommand.

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|argument| argument == launcher::SUBCOMMAND) {
        return launcher::serve();
    }
    slave::cli::main()
}
