//! The binary `ruche`.

use std::process::ExitCode;

fn main() -> ExitCode {
    client_cli::main(std::env::args_os().collect())
}
