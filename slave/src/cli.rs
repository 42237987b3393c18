//! The command line.

use crate::{
    audit::{self, Audit},
    config::{Config, IsolationWish, Overrides},
    core::Core,
    data_folder::DataFolder,
    doctor,
    event_loop::{Announce, Ask, Slave},
    files::Files,
    journal::{self, Journal},
    languages::Found,
    session, setup,
};
use clap::{Args, CommandFactory, Parser, Subcommand};
use common::{
    ErrorCode, UserError,
    escape::{Lines, visible},
};
use std::{
    io::{IsTerminal, Read, Write},
    os::unix::{ffi::OsStrExt, process::CommandExt},
    path::PathBuf,
    process::ExitCode,
};
use tokio::sync::mpsc;

const EXAMPLES: &str = "\
Examples:
  ruche-slave run --data /var/lib/ruche-slave --join ruche-join:…   enrol and serve
  ruche-slave run --data /var/lib/ruche-slave --slots 4             serve with the identity that is there
  ruche-slave languages                                             what this machine can run
  ruche-slave doctor                                                how far it can shut programs in";

/// Runs programs for a master and reports how they ended.
#[derive(Debug, Parser)]
#[command(name = "ruche-slave", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Connects to the master, for ever, and runs what it is given.
    ///
    /// With --join it enrols first when there is no identity in the data folder yet. SIGTERM or SIGINT stops
    /// it in order: nothing new is started and running programs get a grace period; a second signal stops it
    /// at once. SIGHUP starts the program anew in its place, for an upgrade: what runs goes on.
    Run(Run),
    /// Lists what this machine can run, with versions, and why not the rest.
    Languages(Languages),
    /// Says what this machine can put between programs and itself, why not the rest, and what to do.
    ///
    /// Programs and languages are not run. The exit code is 1 when a guard is missing that `require` in the
    /// configuration names; such a slave does not start.
    Doctor(Doctor),
    /// Prints the completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Prints the manual page.
    #[command(hide = true)]
    Man,
}

#[derive(Debug, Args)]
struct Run {
    /// The data folder: identity, working folders, results that are not acknowledged yet.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Enrols with this join string of `ruche-master join-string`.
    #[arg(long, value_name = "STRING", env = "RUCHE_JOIN", hide_env_values = true)]
    join: Option<String>,
    /// The name to enrol with; the host's name unless given.
    #[arg(long)]
    name: Option<String>,
    /// Programs that it offers to run at once; one for each processor unless given.
    #[arg(long, value_name = "N")]
    slots: Option<u32>,
    /// How far programs are shut in: `strongest`, as far as this machine allows, or `plain`, with limits and the
    /// end of whole trees but without namespaces.
    #[arg(long, value_name = "strongest|plain")]
    isolation: Option<IsolationWish>,
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Stops when standard input ends.
    #[arg(long, hide = true)]
    until_stdin_closes: bool,
}

#[derive(Debug, Args)]
struct Languages {
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Doctor {
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    /// As `run` would with it.
    #[arg(long, value_name = "strongest|plain")]
    isolation: Option<IsolationWish>,
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// The whole command line, for manual pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs what the command line says.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| mistaken(&error));
    let result = match cli.command {
        Task::Run(options) => run(options),
        Task::Languages(options) => languages(&options),
        Task::Doctor(options) => examine(&options),
        Task::Completions { shell } => {
            clap_complete::generate(shell, &mut command(), "ruche-slave", &mut std::io::stdout());
            Ok(())
        }
        Task::Man => clap_mangen::Man::new(command()).render(&mut std::io::stdout()).map_err(output_failed),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "the one place that tells errors to people")]
            {
                eprintln!("{}", visible(error.to_string().as_bytes(), Lines::Keep));
            }
            ExitCode::FAILURE
        }
    }
}

/// Tells a mistake in the arguments, with control characters in them shown instead of obeyed.
#[expect(clippy::print_stderr, reason = "it tells a mistake to people")]
fn mistaken(error: &clap::Error) -> ! {
    let shown = std::env::args_os().map(|argument| visible(argument.as_bytes(), Lines::Escape));
    match Cli::try_parse_from(shown) {
        Err(quoted) => quoted.exit(),
        // The mistake was in those characters.
        Ok(_) => eprint!("{}", visible(error.render().to_string().as_bytes(), Lines::Keep)),
    }
    std::process::exit(error.exit_code());
}

fn start_log(default: &str) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("RUCHE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
}

/// As many descriptors as this process may have: programs, their output and their files take some each.
fn raise_descriptors() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(soft, hard)| if soft < hard { setrlimit(Resource::RLIMIT_NOFILE, hard, hard) } else { Ok(()) });
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of descriptors stays as it is");
    }
}

fn run(options: Run) -> Result<(), UserError> {
    start_log("info");
    // Where programs have the slave's own user, they must not look into this process or change it through /proc.
    let behaviour = rustix::process::DumpableBehavior::NotDumpable;
    if let Err(error) = rustix::process::set_dumpable_behavior(behaviour) {
        tracing::warn!(%error, "processes of the same user can look into this one");
    }
    let overrides = Overrides { slots: options.slots, name: options.name, isolation: options.isolation };
    let config = Config::load(options.config.as_deref(), overrides)?;
    let data = DataFolder::open(&options.data)?;
    let address = master_address(&data, options.join.as_deref())?;
    let mut audit = open_audit(&data)?;
    // Before there is any thread: the launcher is started here.
    let ready = setup::prepare(&config, &data, port_of(&address)).inspect_err(|error| {
        if error.is(ErrorCode::IsolationMissing) {
            audit.note(transport::clock::now(), audit::Kind::NotStarted, &address, None, &error.sentence);
        }
    })?;
    // After the launcher is there: programs keep the limit that this process was started with.
    raise_descriptors();
    if !ready.weaker.is_empty() {
        let text = format!("runs at the level {} without {}", ready.isolation.level.word(), ready.weaker.join(", "));
        audit.note(transport::clock::now(), audit::Kind::Weaker, &address, None, &text);
    }
    let offered = ready.languages.iter().filter(|found| found.result.is_ok()).count();
    tracing::info!(languages = offered, isolation = %ready.isolation.summary, slots = config.slots, "ready");
    let internal = |error: std::io::Error| UserError::new(ErrorCode::Internal, format!("the slave failed: {error}"));
    let (journal, found) = open_journal(&data)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(internal)?;
    let result = runtime.block_on(async {
        let asks = listen_to_signals(options.until_stdin_closes).map_err(internal)?;
        let identity = session::identity(data.path(), options.join.as_deref(), &config.name).await?;
        let files = Files::start(data.path(), config.cache_max).map_err(internal)?;
        let core = Core::new(config.slots, config.slots_max, config.grace).within(ready.policy);
        let slave = Slave::new(core, ready, identity, config.slots, Announcer);
        let slave =
            slave.remembering(journal, found).renewing_in(data.path().to_owned()).auditing(audit).fetching(files);
        let result = slave.run(asks).await;
        match (result, &options.join) {
            (Err(error), Some(join)) if error.is(ErrorCode::IdentityRefused) => {
                Err(join_again(&data, join, &config.name, error).await)
            }
            (result, _) => result,
        }
    });
    runtime.shutdown_background();
    result
}

/// Where the master is: as the join string says, else as the identity does. One of them must be there.
fn master_address(data: &DataFolder, join: Option<&str>) -> Result<String, UserError> {
    let identity = transport::SlaveIdentity::load(data.path())?;
    match (join, identity) {
        (Some(join), _) => Ok(join.parse::<transport::JoinString>()?.address),
        (None, Some(identity)) => Ok(identity.address().to_owned()),
        (None, None) => {
            let sentence = format!("there is no identity in {}", data.path().display());
            Err(UserError::new(ErrorCode::IdentityMissing, sentence))
        }
    }
}

fn port_of(address: &str) -> Option<u16> {
    address.rsplit_once(':')?.1.parse().ok()
}

fn open_audit(data: &DataFolder) -> Result<Audit, UserError> {
    Audit::open(data.path()).map_err(|error| {
        let path = data.path().join(audit::FILE);
        let sentence = format!("the audit log {} cannot be used: {error}", path.display());
        UserError::new(ErrorCode::DataUnusable, sentence)
    })
}

fn open_journal(data: &DataFolder) -> Result<(Journal, journal::Found), UserError> {
    let path = data.path().join("journal");
    journal::boot_id().and_then(|boot| Journal::open(&path, &boot)).map_err(|error| {
        let sentence = format!("the journal {} cannot be used: {error}", path.display());
        UserError::new(ErrorCode::DataUnusable, sentence)
            .with_hint("without it, move it away: results that it holds are then not told")
    })
}

/// Says to the next start that this one has enrolled anew: a second time would help no more.
const ENROLLED_ANEW: &str = "RUCHE_ENROLLED_ANEW";

/// The master accepts the identity no more, and there is a join string: with the identity that it gives, the slave
/// starts again in place of this process. Returns the error when that is no way out.
async fn join_again(data: &DataFolder, join: &str, name: &str, refused: UserError) -> UserError {
    if std::env::var_os(ENROLLED_ANEW).is_some() {
        return refused;
    }
    let anew = async {
        let join = join.parse::<transport::JoinString>()?;
        match transport::SlaveIdentity::load(data.path())? {
            Some(old) if old.pin() == join.pin => session::enrol_anew(data.path(), &old, join, name).await,
            _ => Err(refused.clone()),
        }
    };
    match anew.await {
        Ok(identity) => {
            tracing::info!(slave = %identity.id, "enrolled anew; starting again");
            let program = std::env::current_exe().unwrap_or_else(|_| "ruche-slave".into());
            let mut command = std::process::Command::new(program);
            let error = command.args(std::env::args_os().skip(1)).env(ENROLLED_ANEW, "1").exec();
            UserError::new(ErrorCode::Internal, format!("enrolled anew; start the slave again: {error}"))
        }
        Err(error) => {
            tracing::warn!(code = %error.code, "the join string does not help: {}", error.sentence);
            refused
        }
    }
}

/// Says on standard output what scripts wait for.
struct Announcer;

impl Announce for Announcer {
    fn connected(&mut self, line: &str) {
        let mut output = std::io::stdout();
        if let Err(error) = writeln!(output, "{line}").and_then(|()| output.flush()) {
            tracing::debug!(%error, "nobody reads standard output");
        }
        tracing::info!("{line}");
    }
}

fn listen_to_signals(until_stdin_closes: bool) -> std::io::Result<mpsc::Receiver<Ask>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (sender, receiver) = mpsc::channel(4);
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut stream = signal(kind)?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while stream.recv().await.is_some() {
                if sender.send(Ask::Stop).await.is_err() {
                    return;
                }
            }
        });
    }
    // The path of now: after an upgrade the new program stands there.
    let program = std::env::current_exe()?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let replace = sender.clone();
    tokio::spawn(async move {
        while hang_up.recv().await.is_some() {
            if replace.send(Ask::Replace(program.clone())).await.is_err() {
                return;
            }
        }
    });
    if until_stdin_closes {
        std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
            let mut buffer = [0; 1_024];
            while std::io::stdin().read(&mut buffer).is_ok_and(|count| count > 0) {}
            if sender.blocking_send(Ask::Stop).is_err() {
                tracing::debug!("the slave has stopped before its standard input ended");
            }
        })?;
    }
    Ok(receiver)
}

fn languages(options: &Languages) -> Result<(), UserError> {
    start_log("warn");
    let config = Config::load(options.config.as_deref(), Overrides::default())?;
    let folder = scratch_folder()?;
    let result = (|| {
        let data = DataFolder::open(&folder)?;
        let ready = setup::prepare(&config, &data, None)?;
        let shown = if options.json { as_json(&ready.languages) } else { as_table(&ready.languages) };
        ready.executor.shut_down().map_err(output_failed)?;
        std::io::stdout().write_all(shown.as_bytes()).map_err(output_failed)
    })();
    if let Err(error) = std::fs::remove_dir_all(&folder) {
        tracing::debug!(%error, "the scratch folder stays");
    }
    result
}

fn examine(options: &Doctor) -> Result<(), UserError> {
    start_log("warn");
    let overrides = Overrides { isolation: options.isolation, ..Overrides::default() };
    let config = Config::load(options.config.as_deref(), overrides)?;
    let found = doctor::examine(&config)?;
    let shown =
        if options.json { doctor::json(&config, &found).to_string() + "\n" } else { doctor::table(&config, &found) };
    std::io::stdout().write_all(shown.as_bytes()).map_err(output_failed)?;
    found.meets_what_is_required()
}

/// A folder for the probes that another user's programs can reach.
fn scratch_folder() -> Result<PathBuf, UserError> {
    use std::os::unix::fs::DirBuilderExt;
    let path = PathBuf::from(format!("/var/tmp/ruche-languages-{}", std::process::id()));
    std::fs::DirBuilder::new().mode(0o700).create(&path).map_err(|error| {
        UserError::new(ErrorCode::DataUnusable, format!("{} cannot be made: {error}", path.display()))
    })?;
    Ok(path)
}

fn as_table(found: &[Found]) -> String {
    let width = found.iter().map(|found| found.language.name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for Found { language, result } in found {
        let rest = match result {
            Ok((tool, version)) => format!("{version:<12} {}", tool.display()),
            Err(reason) => format!("{:<12} {reason}", "–"),
        };
        text.push_str(&format!("{:<width$}  {rest}\n", language.name));
    }
    text
}

fn as_json(found: &[Found]) -> String {
    let rows: Vec<_> = found
        .iter()
        .map(|Found { language, result }| {
            let (tool, version) = result.as_ref().map_or((None, None), |(tool, version)| (Some(tool), Some(version)));
            serde_json::json!({
                "name": language.name,
                "version": version,
                "tool": tool,
                "extensions": language.extensions,
                "available": result.is_ok(),
                "reason": result.as_ref().err(),
            })
        })
        .collect();
    serde_json::Value::from(rows).to_string() + "\n"
}

fn output_failed(error: std::io::Error) -> UserError {
    UserError::new(ErrorCode::Internal, format!("the answer cannot be written: {error}"))
}
