//! The command line of `ruche-master`.
#![expect(clippy::print_stderr, reason = "this module is what people read in a terminal")]

mod data;
mod people;

use crate::{
    admin::{AdminAnswer, AdminRequest, ask},
    between::Between,
    config::Config,
    server::Server,
    signals::Signals,
};
use clap::{CommandFactory, Parser, Subcommand};
use common::{Duration, ErrorCode, UserError, limits::JOIN_USES_MAX, session::Role};
use std::{io::Write, path::PathBuf};

/// Threads that serve connections and decide, at most.
const WORKERS_MAX: usize = 4;

const EXAMPLES: &str = "Examples:
  ruche-master serve --data /var/lib/ruche-master --listen 0.0.0.0:7420
  echo 'correct horse' | ruche-master user add ann --role operator --password-stdin --data DIR
  ruche-master join-string --data DIR --host master.example.org:7420
  ruche-master revoke slave lab-3 --data DIR
  ruche-master backup --data DIR --to ruche.backup
  ruche-master restore --data NEWDIR --from ruche.backup
  ruche-master check --data DIR";

/// Accepts clients and slaves, spreads programs over the slaves and keeps the history.
#[derive(Debug, Parser)]
#[command(name = "ruche-master", version, about, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves until it is told to stop
    #[command(after_help = "Signals: SIGTERM and SIGINT stop gracefully, a second one at once; SIGHUP reads the \
                            configuration again; SIGUSR1 writes the state to the log.")]
    Serve {
        #[command(flatten)]
        data: Data,
        /// HOST:PORT to listen at; port 0 picks one [default: 127.0.0.1:7420]
        #[arg(long, value_name = "HOST:PORT")]
        listen: Option<String>,
        /// Configuration file
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Stop when standard input reaches its end
        #[arg(long, hide = true)]
        until_stdin_closes: bool,
    },
    /// People who may log in
    #[command(subcommand)]
    User(UserCommand),
    /// Prints one line for a slave to enrol with
    JoinString {
        #[command(flatten)]
        data: Data,
        /// What the string lets its user become
        #[arg(long, value_parser = ["slave"], default_value = "slave")]
        role: String,
        /// How long it is good
        #[arg(long, value_name = "TIME", default_value = "1h", value_parser = people::join_life)]
        ttl: Duration,
        /// How many slaves may use it
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(JOIN_USES_MAX)))]
        uses: u32,
        /// Where slaves reach the master [default: where it listens]
        #[arg(long, value_name = "HOST:PORT", value_parser = people::join_host)]
        host: Option<String>,
    },
    /// Prints the pin of this master's CA, for clients to compare
    Pin {
        #[command(flatten)]
        data: Data,
    },
    /// Lets a slave or a user in no more; live connections end at once
    #[command(
        subcommand,
        after_help = "What a revoked slave runs is treated as that of a slave that is away: lost, or tried again where \
                      that was asked for, when its lease is over. A revoked user is let in again with \
                      `ruche-master user passwd`."
    )]
    Revoke(RevokeCommand),
    /// Copies database, outputs and certificate authority into one file
    #[command(
        after_help = "A running master goes on meanwhile; what was acknowledged before the backup began is in it. \
                            The file holds the authority's key and everything that was submitted: keep it as secret as \
                            the data folder."
    )]
    Backup {
        #[command(flatten)]
        data: Data,
        /// The new file
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
        /// Replace the file when it is there
        #[arg(long)]
        force: bool,
    },
    /// Makes a new data folder from a backup
    #[command(
        after_help = "Programs that had not ended in the backup may have run since. They are lost, or tried again \
                            where that was asked for, and slaves drop what they hold of the old history. With \
                            --keep-queue they go on: only right when the old master did not run after the backup was \
                            made. People log in again, and join strings are made anew."
    )]
    Restore {
        /// The new data folder, empty or missing
        #[arg(long = "data", value_name = "NEWDIR")]
        data: PathBuf,
        /// The backup
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
        /// Go on with what waits and runs: the old master did not run after the backup was made
        #[arg(long)]
        keep_queue: bool,
    },
    /// Tests database, outputs and audit
    Check {
        #[command(flatten)]
        data: Data,
    },
    /// Shows who did or was denied what, oldest first
    Audit {
        #[command(flatten)]
        data: Data,
        /// Only say whether an entry was changed or removed
        #[arg(long)]
        verify: bool,
        /// As JSON
        #[arg(long, conflicts_with = "verify")]
        json: bool,
    },
    /// Prints a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Prints the manual page
    #[command(hide = true)]
    Man,
}

#[derive(Debug, clap::Args)]
struct Data {
    /// The master's data folder
    #[arg(long = "data", value_name = "DIR", env = "RUCHE_MASTER_DATA")]
    path: PathBuf,
}

#[derive(Debug, clap::Args)]
struct Password {
    /// Read the password from the first line of standard input
    #[arg(long, required = true)]
    password_stdin: bool,
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// Adds a user
    Add {
        /// The name
        name: String,
        /// viewer, submitter, operator or admin
        #[arg(long)]
        role: Role,
        #[command(flatten)]
        password: Password,
        #[command(flatten)]
        data: Data,
    },
    /// Lists the users
    List {
        #[command(flatten)]
        data: Data,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Sets a password; the user's logins end
    Passwd {
        /// The name
        name: String,
        #[command(flatten)]
        password: Password,
        #[command(flatten)]
        data: Data,
    },
    /// Removes a user; the user's logins end
    Remove {
        /// The name
        name: String,
        #[command(flatten)]
        data: Data,
    },
    /// Gives a user another role; the user's logins end
    Role {
        /// The name
        name: String,
        /// viewer, submitter, operator or admin
        #[arg(long)]
        role: Role,
        #[command(flatten)]
        data: Data,
    },
}

#[derive(Debug, Subcommand)]
enum RevokeCommand {
    /// A slave; its name is free for another
    Slave {
        /// The name
        name: String,
        #[command(flatten)]
        data: Data,
    },
    /// A user
    User {
        /// The name
        name: String,
        #[command(flatten)]
        data: Data,
    },
}

/// The command line, for manual pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Does what the command line says.
///
/// # Errors
/// What a person should read.
pub fn execute(cli: Cli) -> Result<(), UserError> {
    // Everything in the data folder is for its owner alone, also what a library makes there.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    match cli.command {
        Command::Serve { data, listen, config, until_stdin_closes } => {
            let mut config = match config {
                Some(file) => Config::read(data.path, &file)?,
                None => Config::new(data.path),
            };
            if let Some(listen) = listen {
                config.listen = listen;
            }
            serve(config, until_stdin_closes)
        }
        Command::User(user) => people::execute(user),
        Command::JoinString { data, role: _, ttl, uses, host } => people::join_string(&data.path, ttl, uses, host),
        Command::Pin { data } => {
            let answer = ask(&data.path, AdminRequest::Pin)?;
            let AdminAnswer::Pin(pin) = &answer else { return Err(unexpected(&answer)) };
            print(pin)
        }
        Command::Revoke(revoke) => people::revoke(revoke),
        Command::Backup { data, to, force } => data::backup(&data.path, &to, force),
        Command::Restore { data, from, keep_queue } => data::restore(&data, &from, keep_queue),
        Command::Check { data } => data::check(&data.path),
        Command::Audit { data, verify, json } => data::audit(&data.path, verify, json),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut command(), "ruche-master", &mut std::io::stdout());
            Ok(())
        }
        Command::Man => {
            clap_mangen::Man::new(command()).render(&mut std::io::stdout()).map_err(|error| output_failed(&error))
        }
    }
}

fn output_failed(error: &std::io::Error) -> UserError {
    UserError::new(ErrorCode::FileUnreadable, format!("standard output cannot be written: {error}"))
}

fn print(line: &str) -> Result<(), UserError> {
    let mut out = std::io::stdout();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|error| output_failed(&error))
}

fn unexpected(answer: &AdminAnswer) -> UserError {
    UserError::new(ErrorCode::ProtocolMismatch, format!("the running master gave another answer: {answer:?}"))
}

/// The master's own work is short: large commits, the outputs and passwords have threads of their own. Workers beyond
/// that only wake each other up, which costs more than what they share.
fn runtime() -> std::io::Result<(tokio::runtime::Runtime, Option<Between>)> {
    let workers = std::thread::available_parallelism().map_or(1, |cpus| (cpus.get() / 2).clamp(1, WORKERS_MAX));
    if workers == 1 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        return Ok((runtime, Some(Between::default())));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()?;
    Ok((runtime, None))
}

/// As many descriptors as this process may have: each connection takes one.
fn raise_descriptors() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(soft, hard)| if soft < hard { setrlimit(Resource::RLIMIT_NOFILE, hard, hard) } else { Ok(()) });
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of descriptors stays as it is");
    }
}

fn serve(config: Config, until_stdin_closes: bool) -> Result<(), UserError> {
    let no_runtime = |error| UserError::new(ErrorCode::Internal, format!("no runtime: {error}"));
    let (runtime, between) = runtime().map_err(no_runtime)?;
    raise_descriptors();
    let service = async {
        let signals = Signals::listen()?;
        let server = match &between {
            Some(between) => Server::start_between(config, between.clone()).await?,
            None => Server::start(config).await?,
        };
        print(&format!("listening on {}", server.address()))?;
        let signals = tokio::spawn(signals.serve(server.handle(), until_stdin_closes));
        let result = server.wait().await;
        signals.abort();
        result
    };
    let result = match &between {
        Some(between) => between.drive(&runtime, service),
        None => runtime.block_on(service),
    };
    // A thread that reads standard input cannot be interrupted.
    runtime.shutdown_background();
    result
}

fn rfc3339(at: common::Timestamp) -> String {
    jiff::Timestamp::from_microsecond(i64::try_from(at.0).unwrap_or(i64::MAX))
        .map_or_else(|_| String::new(), |at| at.to_string())
}
