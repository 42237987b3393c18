//! A master, slaves and users of one test: real programs in a temporary folder, on a port of their
//! own, ended with the test.

use crate::{
    binaries,
    cli::{Cli, Finished, finish},
    wait::wait_until,
};
use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

/// The password of every user of a test.
pub const PASSWORD: &str = "a long test password";

/// Everything that one test needs.
pub struct Cluster {
    folder: tempfile::TempDir,
    /// The master, while it runs.
    pub master: Option<Master>,
    /// The slaves, in the order of their start.
    pub slaves: Vec<Slave>,
    address: String,
    config: Option<PathBuf>,
}

/// A running program with the lines that it printed so far.
pub struct Process {
    child: Child,
    stdout: Arc<Mutex<Vec<String>>>,
    log: PathBuf,
}

/// A running master.
pub type Master = Process;
/// A running slave.
pub type Slave = Process;

impl Process {
    /// Starts `command`; its standard error goes to `log`.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(command: &mut Command, log: PathBuf) -> Self {
        let errors = fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors).spawn().unwrap();
        let stdout = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&stdout);
        let reader = BufReader::new(child.stdout.take().unwrap());
        std::thread::Builder::new()
            .name("stdout".into())
            .spawn(move || {
                for line in reader.lines().map_while(Result::ok) {
                    lines.lock().unwrap().push(line);
                }
            })
            .unwrap();
        Self { child, stdout, log }
    }

    /// Waits for a line on standard output that begins with `start` and gives the rest of it.
    ///
    /// # Panics
    /// When the program ends first; shows its log.
    #[track_caller]
    pub fn line(&mut self, start: &str) -> String {
        let what = format!("a line `{start}…` is printed (log: {})", self.log.display());
        wait_until(&what, || {
            let found = self.stdout.lock().unwrap().iter().find_map(|line| line.strip_prefix(start).map(str::to_owned));
            if found.is_none()
                && let Some(status) = self.child.try_wait().unwrap()
            {
                panic!("ended with {status} before `{start}`:\n{}", self.log());
            }
            found
        })
    }

    /// How often a line that begins with `start` was printed.
    #[must_use]
    pub fn count_lines(&self, start: &str) -> usize {
        self.stdout.lock().unwrap().iter().filter(|line| line.starts_with(start)).count()
    }

    /// What it wrote to standard error.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its process ID.
    #[must_use]
    pub fn id(&self) -> nix::unistd::Pid {
        nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(self.id(), signal).unwrap();
    }

    /// `kill -9`, and waits for its end.
    ///
    /// # Panics
    /// When it cannot be waited for.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop and gives its exit code.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub fn stop(&mut self) -> Option<i32> {
        self.signal(nix::sys::signal::Signal::SIGTERM);
        wait_until("a program that was asked to stop ends", || self.child.try_wait().unwrap()).code()
    }

    /// Whether it still runs.
    ///
    /// # Panics
    /// When its state cannot be read.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Politely first, so that programs and control groups are cleaned up.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _gone = nix::sys::signal::kill(self.id(), nix::sys::signal::Signal::SIGTERM);
            for _ in 0..500 {
                if !matches!(self.child.try_wait(), Ok(None)) {
                    return;
                }
                std::thread::park_timeout(std::time::Duration::from_millis(10));
            }
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

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
        let folder = tempfile::Builder::new().prefix("ruche-test-").tempdir().unwrap();
        let config_path = (!config.is_empty()).then(|| folder.path().join("master.toml"));
        if let Some(path) = &config_path {
            fs::write(path, config).unwrap();
        }
        let mut cluster =
            Self { folder, master: None, slaves: Vec::new(), address: "127.0.0.1:0".into(), config: config_path };
        cluster.start_master();
        cluster.user("admin", "admin");
        cluster
    }

    /// The temporary folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The master's data folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.path().join("master")
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
        let mut command = Command::new(binaries::path("ruche-master"));
        command.arg("serve").arg("--data").arg(self.data()).args(["--listen", &self.address]);
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        let mut master = Process::start(&mut command, self.path().join("master.log"));
        self.address = master.line("listening on ");
        self.master = Some(master);
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
        let mut command = Command::new(binaries::path("ruche-master"));
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
        Cli::new(self.path().join("config").join(name))
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
        self.administer(&["join-string"], "").expect(0).out().trim().to_owned()
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
        let data = self.path().join(name);
        // The lock, if the first slave has to learn the languages, is held until it has.
        let learning = bring_languages(&data);
        let mut command = self.slave_command(name, &["--slots", &slots.to_string(), "--join", &self.join_string()]);
        let mut slave = Process::start(&mut command, self.path().join(format!("{name}.log")));
        slave.line("connected to ");
        keep_languages(&data);
        drop(learning);
        self.slaves.push(slave);
        self.slaves.len() - 1
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
    fs::copy(from, &beside).and_then(|_| fs::rename(&beside, to)).unwrap();
}

impl Default for Cluster {
    fn default() -> Self {
        Self::new()
    }
}
