//! The command line: the same requests as the window makes, from a terminal and for scripts.

mod arguments;
mod commands;
mod failure;
mod follow;
#[doc(hidden)]
pub mod fuzzing;
mod interrupts;
mod json;
mod log;
mod output;
mod reading;
mod session;
mod sink;
mod table;
mod terminal;
mod typing;
mod values;

use arguments::{Cli, Command};
use clap::{CommandFactory, Parser};
use common::escape::{Lines, visible};
use failure::{Failure, report, say};
use std::{ffi::OsString, os::unix::ffi::OsStrExt, process::ExitCode};

/// The whole command line, for manual pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    let mut command = Cli::command();
    // With the options of every command, which are otherwise built for the one that is used.
    command.build();
    command
}

/// Does what `arguments` say; the first is the program's own name.
#[must_use]
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    log::start();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(usage(&error, &arguments)),
    };
    let runs = matches!(cli.command, Command::Run(_));
    let code = match commands::perform(cli.command, &arguments) {
        Ok(code) => code,
        Err(Failure::Error(error)) => {
            report(&error);
            if runs { failure::of_run(&error) } else { failure::FAILED }
        }
        Err(Failure::OutputClosed) => failure::OUTPUT_CLOSED,
        Err(Failure::Exit(code)) => code,
    };
    ExitCode::from(code)
}

/// Shows a mistake in the arguments, or the help that was asked for. `run` exits with 125, so that a mistake
/// is never taken for the program's own end.
fn usage(error: &clap::Error, arguments: &[OsString]) -> u8 {
    // Nobody reads it any more when it cannot be written.
    match quoted(arguments) {
        Some(error) => drop(error.print()),
        None => say(&visible(error.render().to_string().as_bytes(), Lines::Keep)),
    }
    let asked_for_help = !error.use_stderr();
    let run = arguments.get(1).is_some_and(|word| word == "run");
    match (asked_for_help, run) {
        (true, _) => 0,
        (false, true) => failure::RUN_FAILED,
        (false, false) => failure::USAGE,
    }
}

/// The mistake in the same arguments with control characters shown instead of obeyed: what was typed may come from a
/// script that took it from anywhere, and is quoted. None when the mistake was in those characters.
fn quoted(arguments: &[OsString]) -> Option<clap::Error> {
    Cli::try_parse_from(arguments.iter().map(|argument| visible(argument.as_bytes(), Lines::Escape))).err()
}
