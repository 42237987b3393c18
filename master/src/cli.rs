//! The command line of `ruche-master`.
#![expect(clippy::print_stderr, reason = "this module is what people read in a terminal")]

use crate::{
    admin::{AdminAnswer, AdminRequest, ask, check_name},
    config::Config,
    secrets,
    server::Server,
    signals::Signals,
};
use clap::{CommandFactory, Parser, Subcommand};
use common::{
    Duration, ErrorCode, Timestamp, UserError,
    limits::{JOIN_LIFE_MAX, JOIN_USES_MAX, PASSWORD_BYTES_MAX},
    session::Role,
};
use std::{
    io::{BufRead, Read, Write},
    path::{Path, PathBuf},
};
use transport::{CaPin, JoinString};

/// Threads that serve connections and decide, at most.
const WORKERS_MAX: usize = 4;

const EXAMPLES: &str = "Examples:
  ruche-master serve --data /var/lib/ruche-master --listen 0.0.0.0:7420
  echo 'correct horse' | ruche-master user add ann --role operator --password-stdin --data DIR
  ruche-master join-string --data DIR --host master.example.org:7420
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
        #[arg(long, value_name = "TIME", default_value = "1h")]
        ttl: Duration,
        /// How many slaves may use it
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(JOIN_USES_MAX)))]
        uses: u32,
        /// Where slaves reach the master [default: where it listens]
        #[arg(long, value_name = "HOST:PORT")]
        host: Option<String>,
    },
    /// Prints the pin of this master's CA, for clients to compare
    Pin {
        #[command(flatten)]
        data: Data,
    },
    /// Tests the database
    Check {
        #[command(flatten)]
        data: Data,
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
        Command::User(user) => execute_user(user),
        Command::JoinString { data, role: _, ttl, uses, host } => join_string(&data.path, ttl, uses, host),
        Command::Pin { data } => match ask(&data.path, AdminRequest::Pin)? {
            AdminAnswer::Pin(pin) => print(&pin),
            other @ (AdminAnswer::Done
            | AdminAnswer::Invited { .. }
            | AdminAnswer::Users(_)
            | AdminAnswer::Checked(_)) => Err(unexpected(&other)),
        },
        Command::Check { data } => match ask(&data.path, AdminRequest::Check)? {
            AdminAnswer::Checked(problems) if problems.is_empty() => print("the database is sound"),
            AdminAnswer::Checked(problems) => {
                let sentence = format!("the database is damaged: {}", problems.join("; "));
                Err(UserError::new(ErrorCode::StorageFailed, sentence).with_hint("restore the last backup"))
            }
            other @ (AdminAnswer::Done | AdminAnswer::Invited { .. } | AdminAnswer::Users(_) | AdminAnswer::Pin(_)) => {
                Err(unexpected(&other))
            }
        },
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

/// The master's own work is short: the store, the outputs and passwords have threads of their own. Workers
/// beyond that only wake each other up, which costs more than what they share.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let workers = std::thread::available_parallelism().map_or(1, |cpus| (cpus.get() / 2).clamp(1, WORKERS_MAX));
    let mut builder = if workers == 1 {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    builder.worker_threads(workers).enable_all().build()
}

fn serve(config: Config, until_stdin_closes: bool) -> Result<(), UserError> {
    let runtime = runtime().map_err(|error| UserError::new(ErrorCode::Internal, format!("no runtime: {error}")))?;
    let result = runtime.block_on(async {
        let signals = Signals::listen()?;
        let server = Server::start(config).await?;
        print(&format!("listening on {}", server.address()))?;
        let signals = tokio::spawn(signals.serve(server.handle(), until_stdin_closes));
        let result = server.wait().await;
        signals.abort();
        result
    });
    // A thread that reads standard input cannot be interrupted.
    runtime.shutdown_background();
    result
}

fn read_password() -> Result<String, UserError> {
    let mut line = Vec::new();
    let limit = PASSWORD_BYTES_MAX as u64 + 2;
    let read = std::io::stdin().lock().take(limit).read_until(b'\n', &mut line);
    read.map_err(|error| UserError::new(ErrorCode::FileUnreadable, format!("standard input cannot be read: {error}")))?;
    while line.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        line.pop();
    }
    let password = String::from_utf8(line)
        .map_err(|_| UserError::new(ErrorCode::PasswordWeak, "the password is not text").with_hint("use UTF-8"))?;
    secrets::check_password(&password)?;
    Ok(password)
}

fn execute_user(user: UserCommand) -> Result<(), UserError> {
    match user {
        UserCommand::Add { name, role, password: _, data } => {
            check_name("user", &name)?;
            let hash = secrets::hash_password(&read_password()?)?;
            let request = AdminRequest::UserAdd { name: name.clone(), role: role.word().to_owned(), hash };
            ask(&data.path, request)?;
            print(&format!("added {name} as {role}"))
        }
        UserCommand::List { data, json } => match ask(&data.path, AdminRequest::UserList)? {
            AdminAnswer::Users(users) if json => {
                let users: Vec<_> = users
                    .iter()
                    .map(|user| serde_json::json!({"name": user.name, "role": user.role, "added_at": rfc3339(user.added_at)}))
                    .collect();
                print(&serde_json::Value::from(users).to_string())
            }
            AdminAnswer::Users(users) => {
                let widest = users.iter().map(|user| user.name.len()).max().unwrap_or(0);
                users.iter().try_for_each(|user| print(&format!("{:widest$}  {}", user.name, user.role)))
            }
            other @ (AdminAnswer::Done
            | AdminAnswer::Invited { .. }
            | AdminAnswer::Pin(_)
            | AdminAnswer::Checked(_)) => Err(unexpected(&other)),
        },
        UserCommand::Passwd { name, password: _, data } => {
            let hash = secrets::hash_password(&read_password()?)?;
            ask(&data.path, AdminRequest::UserPasswd { name: name.clone(), hash })?;
            print(&format!("changed the password of {name}; the user's logins have ended"))
        }
        UserCommand::Remove { name, data } => {
            ask(&data.path, AdminRequest::UserRemove { name: name.clone() })?;
            print(&format!("removed {name}; the user's logins have ended"))
        }
    }
}

fn rfc3339(micros: u64) -> String {
    jiff::Timestamp::from_microsecond(i64::try_from(micros).unwrap_or(i64::MAX))
        .map_or_else(|_| String::new(), |at| at.to_string())
}

fn join_string(data: &Path, ttl: Duration, uses: u32, host: Option<String>) -> Result<(), UserError> {
    if ttl > JOIN_LIFE_MAX || ttl == Duration::default() {
        let sentence = format!("a life of {ttl} is outside 1 s to {JOIN_LIFE_MAX}");
        return Err(UserError::new(ErrorCode::RequestInvalid, sentence));
    }
    let secret = secrets::token()?;
    let expires = Timestamp(transport::clock::now().0.saturating_add(ttl.0));
    let request = AdminRequest::Invite { hash: secrets::token_hash(&secret), expires, uses };
    let AdminAnswer::Invited { address, pin } = ask(data, request)? else {
        return Err(UserError::new(ErrorCode::ProtocolMismatch, "the running master gave another answer"));
    };
    let address = host.unwrap_or_else(|| reachable(&address));
    let pin: CaPin = pin.parse().map_err(|error| {
        UserError::new(ErrorCode::ProtocolMismatch, format!("the master's pin cannot be read: {error}"))
    })?;
    print(&JoinString { address, pin, secret }.to_string())
}

/// An address that others can use: one that means "everywhere" is replaced by this host's name.
fn reachable(address: &str) -> String {
    let port = address.strip_prefix("0.0.0.0:").or_else(|| address.strip_prefix("[::]:"));
    let Some(port) = port else { return address.to_owned() };
    let host =
        nix::unistd::gethostname().map_or_else(|_| "localhost".to_owned(), |name| name.to_string_lossy().into_owned());
    let chosen = format!("{host}:{port}");
    eprintln!("note: the master listens on every address; slaves are told {chosen} (change it with --host)");
    chosen
}
