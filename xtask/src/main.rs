//! `cargo xtask`: the project's own commands.

#![expect(clippy::print_stderr, reason = "the one place where an error reaches the person")]

use clap::{Parser, Subcommand};
use std::process::ExitCode;
use xtask::{audit, bench, budget, check, errors, fuzz, guest, man, mutants, requirements, screenshots, soak, tidy};

/// The project's own commands. `make help` lists the ones of every day.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Everything that `make test` checks once the machine is set up, the fast steps first
    Check {
        /// Only format, tidy and lints
        #[arg(long)]
        quick: bool,
    },
    /// House rules that no other tool knows
    Tidy,
    /// Which requirements have a test, and which have none
    Requirements,
    /// Write docs/errors.md from the error catalogue
    Errors,
    /// Write packaging/man/*.1 from the binaries
    Man,
    /// Write docs/images/*.png with the real window on an invisible display
    Screenshots,
    /// Measure the figures that Ruche must reach beside their goals
    Bench {
        /// What `ruche-bench` takes, such as `--only single,idle` or `--quick`; with it no more than that is measured
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Count the instructions that a program costs master and slave, and hold them against the recorded budget
    Budget {
        /// Record what is counted now
        #[arg(long)]
        bless: bool,
    },
    /// The tests of faults with full counts, to find what fails seldom, and the mutation gate
    Soak {
        /// For how long
        #[arg(long, default_value_t = 30)]
        minutes: u64,
    },
    /// Search for bytes that break a decoder, with each target of fuzz/
    Fuzz {
        /// For how long in each
        #[arg(long, default_value_t = 1)]
        minutes: u64,
        /// Only these targets
        targets: Vec<String>,
    },
    /// The tests of limits in an emulated machine that has version 2 of control groups alone
    Guest {
        /// Only the tests whose names hold this
        only: Vec<String>,
    },
    /// Plant each bug of tests/mutations in a copy: the tests must find it
    Mutants {
        /// Only the patches whose names hold one of these
        only: Vec<String>,
    },
    /// Licences, banned crates and sources of all dependencies
    Audit,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Check { quick } => check::run(quick),
        Command::Tidy => tidy::run(),
        Command::Requirements => requirements::run(),
        Command::Errors => errors::run(),
        Command::Man => man::run(),
        Command::Screenshots => screenshots::run(),
        Command::Bench { words } => bench::run(&words),
        Command::Budget { bless } => budget::run(bless),
        Command::Soak { minutes } => soak::run(minutes),
        Command::Fuzz { minutes, targets } => fuzz::run(std::time::Duration::from_secs(minutes * 60), &targets),
        Command::Guest { only } => guest::run(&only).map(drop),
        Command::Mutants { only } => mutants::run(&only),
        Command::Audit => audit::run(),
    }
}
