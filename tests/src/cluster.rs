//! A master, slaves and users of one test: real programs in a temporary folder, on a port of their
//! own, ended with the test.

pub use crate::process::Process;
use crate::{
    binaries,
    cli::{Cli, Finished, finish},
};
use std::{
    ffi::OsString,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

/// The password of every user of a test.
pub const PASSWORD: &str = "a long test password";

/// The name of the folder in which programs leave their traces.
const OUTSIDE: &str = "outside";

/// Everything that one test needs.
pub struct Cluster {
    /// The master, while it runs.
    pub master: Option<Master>,
    /// The slaves, in the order of their start.
    pub slaves: Vec<Slave>,
    address: String,
    config: Option<PathBuf>,
    /// How each slave was started, to start it again.
    starts: Vec<SlaveStart>,
    surroundings: Surroundings,
    data: PathBuf,
    /// The last one: removed when nothing runs in it any more.
    folder: tempfile::TempDir,
}

/// Where a test's programs run, when not simply on this machine.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Words before the master's own command line, such as `nsenter --net=…`.
    pub master: Vec<String>,
    /// Variables added to the master's environment.
    pub master_environment: Vec<(String, OsString)>,
    /// Where the master listens; a free port of this machine when empty.
    pub listen: String,
    /// Where slaves are told to find it; where it listens when empty.
    pub host: String,
    /// Words before the command lines of users.
    pub clients: Vec<String>,
    /// The network of clients, as a file of /proc; that of the test when none.
    pub clients_network: Option<PathBuf>,
}

/// How a slave is started, where it is not simply by its name.
#[derive(Clone, Debug, Default)]
pub struct SlaveStart {
    /// Its name.
    pub name: String,
    /// Programs that it runs at once.
    pub slots: u32,
    /// Words before its command line, such as `setpriv --reuid …`.
    pub before: Vec<String>,
    /// Words after it, such as `--isolation plain`.
    pub options: Vec<String>,
    /// The program, where it is not that of the workspace.
    pub program: Option<PathBuf>,
}

/// A command line with words before it.
#[must_use]
pub fn through(before: &[String], program: &Path) -> Command {
    match before.split_first() {
        None => Command::new(program),
        Some((first, rest)) => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
    }
}

/// A running master.
pub type Master = Process;
/// A running slave.
pub type Slave = Process;

impl Cluster {
    /// A master, no slaves, and an administrator `admin` who is logged in.
    #[must_use]
    pub fn new() -> Self {
        Self::with_config("")
    }

    /// The same with a configuration file of the master.
    ///
    /// # Panics
    /// When the master does not start.
    #[must_use]
    pub fn with_config(config: &str) -> Self {
        Self::within(config, Surroundings::default())
    }

    /// The same in surroundings of its own.
    ///
    /// # Panics
    /// When the master does not start.
    #[must_use]
    pub fn within(config: &str, surroundings: Surroundings) -> Self {
        let folder = tempfile::Builder::new().prefix("ruche-test-").tempdir().unwrap();
        Self::inside(folder, config, surroundings)
    }

    /// The same in a folder that the test has prepared.
    ///
    /// # Panics
    /// When the master does not start.
    #[must_use]
    pub fn inside(folder: tempfile::TempDir, config: &str, surroundings: Surroundings) -> Self {
        // Programs run as other users, and must get to the one folder that is theirs.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
        make_outside(&folder.path().join(OUTSIDE));
        let config_path = (!config.is_empty()).then(|| folder.path().join("master.toml"));
        if let Some(path) = &config_path {
            fs::write(path, config).unwrap();
        }
        let address = if surroundings.listen.is_empty() { "127.0.0.1:0".into() } else { surroundings.listen.clone() };
        let mut cluster = Self {
            master: None,
            slaves: Vec::new(),
            address,
            config: config_path,
            starts: Vec::new(),
            surroundings,
            data: folder.path().join("master"),
            folder,
        };
        cluster.start_master();
        cluster.user("admin", "admin");
        cluster
    }

    /// The temporary folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The one folder besides their own that the programs of this cluster's slaves may read, execute and write.
    #[must_use]
    pub fn outside(&self) -> PathBuf {
        self.path().join(OUTSIDE)
    }

    /// The master's data folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.data.clone()
    }

    /// From now on the master works on another folder, such as a restored one.
    pub fn set_data(&mut self, data: PathBuf) {
        self.data = data;
    }

    /// Where the master listens.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Starts the master, at the port that it had before if it had one.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_master(&mut self) {
        let mut master = Process::start(&mut self.master_command(), self.path().join("master.log"));
        self.address = master.line("listening on ");
        self.master = Some(master);
    }

    /// The command that starts the master.
    #[must_use]
    pub fn master_command(&self) -> Command {
        let mut command = through(&self.surroundings.master, &binaries::path("ruche-master"));
        command.arg("serve").arg("--data").arg(self.data()).args(["--listen", &self.address]);
        command.envs(self.surroundings.master_environment.iter().map(|(name, value)| (name, value)));
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        command
    }

    /// The network that clients are in, if they have one of their own.
    #[must_use]
    pub fn clients_network(&self) -> Option<&Path> {
        self.surroundings.clients_network.as_deref()
    }

    /// Where the programs run.
    pub const fn surroundings(&mut self) -> &mut Surroundings {
        &mut self.surroundings
    }

    /// `kill -9` of the master.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill_master(&mut self) {
        self.master.take().unwrap().kill();
    }

    /// Runs `ruche-master ARGS… --data DIR` with `input`.
    #[must_use]
    pub fn administer(&self, args: &[&str], input: &str) -> Finished {
        let mut command = through(&self.surroundings.master, &binaries::path("ruche-master"));
        command.args(args).arg("--data").arg(self.data());
        finish(&mut command, input.as_bytes())
    }

    /// Adds a user and logs in.
    ///
    /// # Panics
    /// When either is refused.
    pub fn user(&self, name: &str, role: &str) -> Cli {
        let password = format!("{PASSWORD}\n");
        self.administer(&["user", "add", name, "--role", role, "--password-stdin"], &password).expect(0);
        self.log_in(name)
    }

    /// Logs a user in again.
    ///
    /// # Panics
    /// When it is refused.
    #[must_use]
    pub fn log_in(&self, name: &str) -> Cli {
        let password = format!("{PASSWORD}\n");
        let cli = self.cli(name);
        let pin = self.pin();
        cli.run_with_input(
            ["login", &self.address, "--user", name, "--password-stdin", "--pin", &pin],
            password.as_bytes(),
        )
        .expect(0);
        cli
    }

    /// The command line of a user who is logged in already.
    #[must_use]
    pub fn cli(&self, name: &str) -> Cli {
        Cli::new(self.path().join("config").join(name)).through(self.surroundings.clients.clone())
    }

    /// The administrator's command line.
    #[must_use]
    pub fn admin(&self) -> Cli {
        self.cli("admin")
    }

    /// The pin of the master's CA.
    #[must_use]
    pub fn pin(&self) -> String {
        self.administer(&["pin"], "").expect(0).out().trim().to_owned()
    }

    /// A fresh join string.
    #[must_use]
    pub fn join_string(&self) -> String {
        let host = if self.surroundings.host.is_empty() { &self.address } else { &self.surroundings.host };
        self.administer(&["join-string", "--host", host], "").expect(0).out().trim().to_owned()
    }

    /// The command that starts a slave of this name with more `options`.
    #[must_use]
    pub fn slave_command(&self, name: &str, options: &[&str]) -> Command {
        let mut command = Command::new(binaries::path("ruche-slave"));
        command.arg("run").arg("--data").arg(self.path().join(name)).args(["--name", name]).args(options);
        command
    }

    /// Enrols and starts a slave with so many slots; gives its place in `slaves`.
    ///
    /// # Panics
    /// When it does not connect.
    pub fn slave(&mut self, name: &str, slots: u32) -> usize {
        self.slave_within(name, slots, &[])
    }

    /// The same with words before its command line.
    ///
    /// # Panics
    /// When it does not connect.
    pub fn slave_within(&mut self, name: &str, slots: u32, before: &[String]) -> usize {
        self.slave_started(SlaveStart { name: name.into(), slots, before: before.to_vec(), ..SlaveStart::default() })
    }

    /// The same, started as told.
    ///
    /// # Panics
    /// When it does not connect.
    pub fn slave_started(&mut self, start: SlaveStart) -> usize {
        let data = self.path().join(&start.name);
        // The lock, if the first slave has to learn the languages, is held until it has.
        let learning = bring_languages(&data);
        let mut command = self.start_command(&start);
        command.args(["--join", &self.join_string()]);
        let mut slave = Process::start(&mut command, self.path().join(format!("{}.log", start.name)));
        slave.line("connected to ");
        keep_languages(&data);
        drop(learning);
        self.slaves.push(slave);
        self.starts.push(start);
        self.slaves.len() - 1
    }

    fn start_command(&self, start: &SlaveStart) -> Command {
        let program = start.program.clone().unwrap_or_else(|| binaries::path("ruche-slave"));
        let mut command = through(&start.before, &program);
        command.arg("run").arg("--data").arg(self.path().join(&start.name)).args(["--name", &start.name]);
        command.args(["--slots", &start.slots.to_string()]).args(&start.options);
        if !start.options.iter().any(|option| option == "--config") {
            command.arg("--config").arg(self.slave_config(&start.name, ""));
        }
        command
    }

    /// Writes a slave's configuration with these lines, beside what the slaves of every test need; gives its path.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn slave_config(&self, name: &str, lines: &str) -> String {
        let outside = self.outside();
        self.file(&format!("{name}.toml"), format!("writable = [{:?}]\n{lines}", outside.to_str().unwrap()))
    }

    /// Starts a slave again that has ended, over what it left in its folder. Does not wait until it is connected.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn restart_slave(&mut self, place: usize) {
        let mut command = self.start_command(&self.starts[place]);
        self.slaves[place].start_again(&mut command);
    }

    /// Writes a file into the temporary folder and gives its path.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

fn make_outside(path: &Path) {
    fs::create_dir(path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o711)).unwrap();
}

/// What the first slave of a test run learned about this machine's languages serves the others:
/// trying fourteen compilers and interpreters takes seconds, and most tests are not about that.
///
/// Gives a lock when nobody has learned them yet: whoever holds it learns, all others wait for it.
fn bring_languages(data: &Path) -> Option<fs::File> {
    let shared = binaries::path("test-languages.json");
    let lock = if shared.exists() {
        None
    } else {
        let lock = fs::File::create(shared.with_extension("lock")).unwrap();
        lock.lock().unwrap();
        Some(lock)
    };
    if !shared.exists() {
        return lock;
    }
    copy_whole(&shared, &data.join("languages.json"));
    None
}

/// Keeps what this slave knows for the next ones; it differs when the machine has changed since.
fn keep_languages(data: &Path) {
    let (own, shared) = (data.join("languages.json"), binaries::path("test-languages.json"));
    if own.exists() && fs::read(&own).unwrap() != fs::read(&shared).unwrap_or_default() {
        copy_whole(&own, &shared);
    }
}

/// Tests run side by side: the file appears whole or not at all.
fn copy_whole(from: &Path, to: &Path) {
    let mut folder = fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(folder.recursive(true), 0o700).create(to.parent().unwrap()).unwrap();
    let beside = to.with_extension(format!("{}.new", uuid::Uuid::new_v4()));
    crate::binaries::copy(from, &beside);
    fs::rename(&beside, to).unwrap();
}

impl Default for Cluster {
    fn default() -> Self {
        Self::new()
    }
}
