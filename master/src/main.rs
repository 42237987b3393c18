//! The master's program: parse, run, tell.
#![expect(clippy::print_stderr, reason = "a failed command says why")]

use clap::Parser;
use common::escape::{Lines, visible};
use std::{io::IsTerminal as _, os::unix::ffi::OsStrExt as _, process::ExitCode};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_env("RUCHE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
    match master::execute(master::Cli::try_parse().unwrap_or_else(|error| mistaken(&error))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", visible(error.to_string().as_bytes(), Lines::Keep));
            ExitCode::FAILURE
        }
    }
}

/// Tells a mistake in the arguments, with control characters in them shown instead of obeyed.
fn mistaken(error: &clap::Error) -> ! {
    let shown = std::env::args_os().map(|argument| visible(argument.as_bytes(), Lines::Escape));
    match master::Cli::try_parse_from(shown) {
        Err(quoted) => quoted.exit(),
        // The mistake was in those characters.
        Ok(_) => eprint!("{}", visible(error.render().to_string().as_bytes(), Lines::Keep)),
    }
    std::process::exit(error.exit_code());
}
