//! `ruche-gui`: the desktop window.

use clap::Parser as _;
use std::process::ExitCode;

#[expect(clippy::print_stderr, reason = "this is the program's own output")]
fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("RUCHE_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn")),
        )
        .with_writer(std::io::stderr)
        .init();
    match client_gui::run(&client_gui::Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ruche-gui: {error:#}");
            ExitCode::FAILURE
        }
    }
}
