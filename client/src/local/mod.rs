//! A master and a slave on this computer, as child processes that end with this one.
//!
//! The children stop when their standard input closes, which the system does even when this process is
//! killed. Everything here waits; a window calls it from a thread of its own.

mod child;

use crate::{
    connection::{Credentials, Target},
    context::user_folder,
};
use child::{Daemon, run_to_end};
use common::{ErrorCode, UserError, message::command::Secret};
use std::{
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::Duration,
};
use transport::SlaveIdentity;

/// Time for the master to make its keys and listen.
const MASTER_START: Duration = Duration::from_secs(30);
/// Time for the slave to try every language of this machine, compilers included, and to connect.
const SLAVE_START: Duration = Duration::from_secs(120);
/// Time for one administration command.
const COMMAND_TIME: Duration = Duration::from_secs(30);
/// Time for a child to stop by itself before it is killed.
const STOP_TIME: Duration = Duration::from_secs(10);
/// How long a join string is good: the slave uses it at once, after it has tried the languages.
const JOIN_TTL: &str = "5m";
/// Bytes of a log file from which a new one is begun.
const LOG_BYTES_MAX: u64 = 4 << 20;
/// Where the master listened the last time.
const ADDRESS_FILE: &str = "address";

/// What to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The folder of the pair's state and logs.
    pub folder: PathBuf,
    /// The slave's slots; none lets it choose.
    pub slots: Option<u32>,
}

/// A running pair. Dropping it stops both and waits for them, at most about 20 seconds.
#[derive(Debug)]
pub struct Local {
    target: Target,
    user: String,
    password: Secret,
    folder: PathBuf,
    // In the order in which they stop: the slave says goodbye to a master that is still there.
    slave: Daemon,
    master: Daemon,
}

/// The folder for the state of a pair: `$RUCHE_DATA_DIR`, else `$XDG_DATA_HOME/ruche`, else
/// `~/.local/share/ruche`.
///
/// # Errors
/// `E-CONFIG-INVALID` when none of these variables is set.
pub fn data_folder() -> Result<PathBuf, UserError> {
    user_folder("RUCHE_DATA_DIR", "XDG_DATA_HOME", ".local/share")
}

/// The program `name` beside the running one, else in the PATH.
///
/// # Errors
/// `E-FILE-UNREADABLE`, saying where it was looked for.
pub fn find_program(name: &str) -> Result<PathBuf, UserError> {
    let beside = std::env::current_exe().ok().and_then(|path| path.parent().map(Path::to_owned));
    // Tests run from a folder below the one where the programs are built.
    let above = beside.as_deref().filter(|folder| folder.ends_with("deps")).and_then(Path::parent).map(Path::to_owned);
    let in_path = std::env::var_os("PATH").unwrap_or_default();
    let folders = beside.iter().cloned().chain(above).chain(std::env::split_paths(&in_path));
    let found = folders.map(|folder| folder.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| {
        let place = beside.map_or_else(|| "this program".to_owned(), |folder| folder.display().to_string());
        UserError::new(ErrorCode::FileUnreadable, format!("`{name}` is neither in {place} nor in the PATH"))
            .with_hint(format!("build it with `cargo build -p {}`, or install it", name.trim_start_matches("ruche-")))
    })
}

impl Local {
    /// Starts a master and a slave on this computer and makes a user who may do everything. `progress` is
    /// told what is being done, a sentence at a time.
    ///
    /// # Errors
    /// `E-DATA-LOCKED` when another pair runs on this folder; otherwise what failed, with the last lines
    /// that the failing program wrote.
    pub fn start(options: &Options, mut progress: impl FnMut(&str)) -> Result<Self, UserError> {
        let master_program = find_program("ruche-master")?;
        let slave_program = find_program("ruche-slave")?;
        let folder = &options.folder;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| unusable(folder, "cannot be made", &error))?;
        let master_data = folder.join("master");

        progress("Starting the master…");
        let (master, address) = start_master(&master_program, &master_data, folder)?;
        progress("Making a user…");
        let administration = Administration { program: &master_program, data: &master_data };
        let (user, password) = administration.user()?;
        let pin = administration.output(&["pin"])?;
        let pin = pin.parse().map_err(|error| {
            UserError::new(ErrorCode::Internal, format!("`ruche-master pin` printed no pin: {error}"))
        })?;
        progress("Trying the languages of this machine…");
        let target = Target { address, pin };
        let data = folder.join("slave");
        // None is made for a slave that knows its master: it would lie about unused until it runs out.
        let join = if needs_to_join(&data, &target) {
            Some(administration.output(&[
                "join-string",
                "--host",
                &target.address,
                "--ttl",
                JOIN_TTL,
                "--uses",
                "1",
            ])?)
        } else {
            None
        };
        let slave = start_slave(&slave_program, options, data, join.as_deref())?;
        progress("Ready.");
        Ok(Self { target, user, password, folder: folder.clone(), slave, master })
    }

    /// Where the master listens, and its pin.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The user that was made.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// What logs in.
    #[must_use]
    pub fn credentials(&self) -> Credentials {
        Credentials::Password { user: self.user.clone(), password: self.password.clone() }
    }

    /// Where the state and the logs are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What is wrong, once one of the two has ended by itself.
    pub fn trouble(&mut self) -> Option<UserError> {
        self.master.ended().or_else(|| self.slave.ended())
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.slave.stop(STOP_TIME);
        self.master.stop(STOP_TIME);
    }
}

/// Starts the master where it listened the last time, because the slave knows that address; elsewhere when
/// something else listens there now.
fn start_master(program: &Path, data: &Path, folder: &Path) -> Result<(Daemon, String), UserError> {
    let start = |listen: &str| -> Result<_, UserError> {
        let arguments = ["serve".into(), "--data".into(), data.into(), "--listen".into(), listen.into()];
        let mut daemon = Daemon::start("the master", program, &arguments, None, &folder.join("master.log"))?;
        let line = daemon.wait_for_line("listening on ", MASTER_START)?;
        Ok((daemon, line))
    };
    let remembered = fs::read_to_string(folder.join(ADDRESS_FILE)).unwrap_or_default();
    let started = match remembered.trim().parse::<std::net::SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => match start(&address.to_string()) {
            Err(error) if error.is(ErrorCode::AddressInUse) => start("127.0.0.1:0"),
            other => other,
        },
        Ok(_) | Err(_) => start("127.0.0.1:0"),
    };
    let (daemon, address) = started.map_err(|error| locked(error, folder))?;
    fs::write(folder.join(ADDRESS_FILE), format!("{address}\n"))
        .map_err(|error| unusable(folder, "cannot be written", &error))?;
    Ok((daemon, address))
}

/// Whether the slave of this folder has to be told how to reach this master.
fn needs_to_join(data: &Path, target: &Target) -> bool {
    match SlaveIdentity::load(data) {
        Ok(Some(identity)) => identity.address() != target.address || identity.pin() != target.pin,
        Ok(None) => true,
        // The slave explains what is wrong with its own files.
        Err(_) => false,
    }
}

fn start_slave(program: &Path, options: &Options, data: PathBuf, join: Option<&str>) -> Result<Daemon, UserError> {
    let mut arguments = vec!["run".into(), "--data".into(), data.into_os_string()];
    if let Some(slots) = options.slots {
        arguments.extend(["--slots".into(), slots.to_string().into()]);
    }
    let mut slave = Daemon::start(
        "the slave",
        program,
        &arguments,
        join.map(|join| ("RUCHE_JOIN", join)),
        &options.folder.join("slave.log"),
    )?;
    slave.wait_for_line("connected to ", SLAVE_START).map_err(|error| locked(error, &options.folder))?;
    Ok(slave)
}

/// The administration commands of a running master.
struct Administration<'a> {
    program: &'a Path,
    data: &'a Path,
}

impl Administration<'_> {
    /// Makes the user, or gives the one of an earlier start another password.
    fn user(&self) -> Result<(String, Secret), UserError> {
        let name = std::env::var("USER").ok().filter(|name| is_plain_name(name)).unwrap_or_else(|| "local".to_owned());
        let password = random_password()?;
        match self.run(&["user", "add", &name, "--role", "admin", "--password-stdin"], &password.0) {
            Err(error) if error.is(ErrorCode::UserExists) => {
                self.run(&["user", "passwd", &name, "--password-stdin"], &password.0)?;
            }
            result => drop(result?),
        }
        Ok((name, password))
    }

    fn output(&self, arguments: &[&str]) -> Result<String, UserError> {
        self.run(arguments, "")
    }

    fn run(&self, arguments: &[&str], input: &str) -> Result<String, UserError> {
        let mut all: Vec<std::ffi::OsString> = arguments.iter().map(Into::into).collect();
        all.extend(["--data".into(), self.data.into()]);
        let what = format!("`ruche-master {}`", arguments[0]);
        run_to_end(&what, self.program, &all, input, COMMAND_TIME)
    }
}

fn is_plain_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 32
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c))
}

fn random_password() -> Result<Secret, UserError> {
    use base64::Engine;
    let mut bytes = [0_u8; 24];
    getrandom::fill(&mut bytes)
        .map_err(|error| UserError::new(ErrorCode::Internal, format!("the system gives no random bytes: {error}")))?;
    Ok(Secret(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)))
}

fn locked(error: UserError, folder: &Path) -> UserError {
    if !error.is(ErrorCode::DataLocked) {
        return error;
    }
    UserError::new(
        ErrorCode::DataLocked,
        format!("Ruche already runs on this computer with the folder {}", folder.display()),
    )
    .with_hint("use the window that is open, close it first, or set RUCHE_DATA_DIR to another folder")
}

fn unusable(folder: &Path, what: &str, error: &std::io::Error) -> UserError {
    UserError::new(ErrorCode::DataUnusable, format!("the folder {} {what}: {error}", folder.display()))
        .with_hint("set RUCHE_DATA_DIR to a folder that you may write")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e10_each_start_has_its_own_password() {
        let (one, other) = (random_password().unwrap(), random_password().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.0.len(), 32);
    }

    #[test]
    fn e10_a_join_string_is_made_only_for_a_slave_that_does_not_know_its_master() {
        let folder = tempfile::tempdir().unwrap();
        let authority = transport::Authority::load_or_create(&folder.path().join("master")).unwrap();
        let target = Target { address: "127.0.0.1:7420".into(), pin: authority.pin() };
        let data = folder.path().join("slave");
        fs::create_dir(&data).unwrap();
        assert!(needs_to_join(&data, &target), "it has no identity");
        let key = transport::EnrolmentKey::generate().unwrap();
        let id = common::SlaveId(uuid::Uuid::from_u128(1));
        let chain = authority.issue_slave(&key.request_der(), id, common::Duration::from_secs(3_600)).unwrap();
        let identity = key.complete(id, "here".into(), chain, target.address.clone(), target.pin).unwrap();
        identity.save(&data).unwrap();
        assert!(!needs_to_join(&data, &target), "it knows this master");
        assert!(needs_to_join(&data, &Target { address: "127.0.0.1:7421".into(), ..target }), "the master has moved");
    }

    #[test]
    fn e9_a_missing_program_says_where_it_was_looked_for() {
        let error = find_program("ruche-nothing").unwrap_err();
        assert!(error.sentence.contains("ruche-nothing") && error.sentence.contains("PATH"), "{error}");
    }
}
