//! One master with a slave for each level, for all tests that run at the same time.

use nix::unistd::Pid;
use serde_json::Value;
use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, Weak},
};
use tests::{
    Cli, Cluster, Finished, binaries,
    cluster::{SlaveStart, Surroundings},
    process::{Relative, descendants},
    wait_until,
};

/// Nobody that this machine knows: an ordinary user.
pub(crate) const STRANGER: u32 = 65_533;

/// How far a slave shuts its programs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// A slave that runs as root.
    Root,
    /// One that runs as an ordinary user.
    User,
    /// One that runs as an ordinary user where there are no namespaces.
    Fallback,
    /// One that runs as root and was told to leave programs the machine's files, processes and network.
    Plain,
}

/// What [`Level::Fallback`] does without: every guard that needs a namespace.
const NAMESPACES: &str = r#"["process-namespace", "private-files", "private-messages", "private-names"]"#;

impl Level {
    pub(crate) const ALL: [Self; 4] = [Self::Root, Self::User, Self::Fallback, Self::Plain];

    /// The name of its slave.
    pub(crate) const fn slave(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::User => "user",
            Self::Fallback => "fallback",
            Self::Plain => "plain",
        }
    }
}

/// A master and its slaves.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    levels: Vec<Level>,
}

static SHARED: Mutex<Weak<World>> = Mutex::new(Weak::new());

impl World {
    /// That of the tests which run now; a new one when none does.
    pub(crate) fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let world = Arc::new(Self::new());
            *shared = Arc::downgrade(&world);
            world
        })
    }

    fn new() -> Self {
        let mut cluster = cluster();
        let mut levels = Vec::new();
        if nix::unistd::geteuid().is_root() {
            for level in Level::ALL {
                cluster.slave_started(start(&cluster, level, 4));
                levels.push(level);
            }
        } else {
            crate::not_exercised("a slave that runs as root, with a user of its own for each slot: this is not root");
            cluster.slave("user", 4);
            levels.push(Level::User);
        }
        Self { cluster, levels }
    }

    /// The levels that this machine can show.
    pub(crate) fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// Whether a level is shown; says so when it is not.
    pub(crate) fn has(&self, level: Level) -> bool {
        let has = self.levels.contains(&level);
        if !has {
            crate::not_exercised(&format!("the level `{}`", level.slave()));
        }
        has
    }

    pub(crate) fn admin(&self) -> Cli {
        self.cluster.admin()
    }

    /// One line of `ruche slaves --json`.
    pub(crate) fn slave(&self, level: Level) -> Value {
        slave_named(&self.cluster, level.slave())
    }

    /// Whether a guard of a level is in force.
    pub(crate) fn guard(&self, level: Level, name: &str) -> bool {
        guard(&self.slave(level), name)
    }

    /// The agent of a slave.
    pub(crate) fn agent(&self, level: Level) -> Pid {
        let place = self.levels.iter().position(|other| *other == level).unwrap();
        // `setpriv` executes the slave in its own place.
        self.cluster.slaves[place].id()
    }

    /// The data folder of a slave.
    pub(crate) fn data(&self, level: Level) -> PathBuf {
        self.cluster.path().join(level.slave())
    }

    /// Runs a source file with arguments on the slave of a level.
    pub(crate) fn run(&self, level: Level, source: Source, options: &[&str], arguments: &[&str]) -> Finished {
        let mut words = vec!["run", "--slave", level.slave()];
        words.extend(options);
        let file = source.file(&self.cluster);
        words.push(&file);
        words.extend(arguments);
        self.admin().run(words)
    }

    /// The same with a shell command.
    pub(crate) fn shell(&self, level: Level, options: &[&str], command: &str) -> Finished {
        let mut words = vec!["run", "--slave", level.slave()];
        words.extend(options);
        words.extend(["--", "sh", "-c", command]);
        self.admin().run(words)
    }

    /// Submits a source file and gives its ID.
    pub(crate) fn submit(&self, level: Level, source: Source, options: &[&str], arguments: &[&str]) -> String {
        let mut words = vec!["--slave", level.slave()];
        words.extend(options);
        let file = source.file(&self.cluster);
        words.push(&file);
        words.extend(arguments);
        self.admin().submit(words)
    }

    /// The same with a shell command.
    pub(crate) fn submit_shell(&self, level: Level, options: &[&str], command: &str) -> String {
        let mut words = vec!["--slave", level.slave()];
        words.extend(options);
        words.extend(["--", "sh", "-c", command]);
        self.admin().submit(words)
    }

    /// Runs a source to its end and gives how it ended, as in `ruche show --json`.
    pub(crate) fn end_of(&self, id: &str) -> Value {
        self.admin().run(["wait", id]).expect(0);
        self.admin().show(id)
    }

    pub(crate) fn output(&self, id: &str) -> String {
        self.admin().run(["output", id]).expect(0).out()
    }

    /// Waits until a program has printed a line that begins so; gives the rest of it.
    pub(crate) fn printed(&self, id: &str, start: &str) -> String {
        wait_until(&format!("{id} prints `{start}`"), || {
            let found = self.output(id).lines().find_map(|line| line.strip_prefix(start).map(str::to_owned));
            let shown = self.admin().show(id);
            assert!(found.is_some() || shown["ended_at"].is_null(), "ended before `{start}`: {shown}");
            found
        })
    }

    /// Programs still work on this slave: nothing that came before has harmed it.
    #[track_caller]
    pub(crate) fn works(&self, level: Level) {
        assert_eq!(self.shell(level, &[], "echo works >file && cat file").expect(0).out(), "works\n");
    }
}

/// A source below `programs`.
#[derive(Clone, Copy)]
pub(crate) struct Source(pub(crate) &'static str, pub(crate) &'static str);

/// Embeds a source, so that the test needs no files beside itself.
macro_rules! source {
    ($name:literal) => {
        crate::world::Source($name, include_str!(concat!("programs/", $name)))
    };
}
pub(crate) use source;

impl Source {
    /// Writes it, once for each use: tests run side by side.
    pub(crate) fn file(self, cluster: &Cluster) -> String {
        let folder = cluster.path().join(uuid::Uuid::new_v4().to_string());
        fs::create_dir(&folder).unwrap();
        let path = folder.join(self.0);
        fs::write(&path, self.1).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

/// A master in a folder that slaves of other users can pass through.
pub(crate) fn cluster() -> Cluster {
    let folder = tempfile::Builder::new().prefix("ruche-test-").tempdir_in("/var/tmp").unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
    Cluster::inside(folder, "", Surroundings::default())
}

/// How the slave of a level is started.
pub(crate) fn start(cluster: &Cluster, level: Level, slots: u32) -> SlaveStart {
    let plain = SlaveStart { name: level.slave().into(), slots, ..SlaveStart::default() };
    match level {
        Level::Root => plain,
        Level::Plain => SlaveStart { options: vec!["--isolation".into(), "plain".into()], ..plain },
        Level::User => as_stranger(cluster, plain),
        Level::Fallback => {
            let config = cluster.slave_config(level.slave(), &format!("without = {NAMESPACES}\n"));
            as_stranger(cluster, SlaveStart { options: vec!["--config".into(), config], ..plain })
        }
    }
}

/// The same slave run by an ordinary user, in a data folder of his own.
pub(crate) fn as_stranger(cluster: &Cluster, start: SlaveStart) -> SlaveStart {
    let data = cluster.path().join(&start.name);
    fs::create_dir(&data).unwrap();
    chown(&data, Some(STRANGER), Some(STRANGER)).unwrap();
    // The workspace may be in a home folder that nobody else may enter.
    let program = cluster.path().join("ruche-slave");
    if !program.exists() {
        binaries::copy(&binaries::path("ruche-slave"), &program);
    }
    let id = STRANGER.to_string();
    let before = ["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"].map(str::to_owned).to_vec();
    SlaveStart { before, program: Some(program), ..start }
}

pub(crate) fn slave_named(cluster: &Cluster, name: &str) -> Value {
    cluster.admin().slaves().into_iter().find(|slave| slave["name"] == name).unwrap()
}

pub(crate) fn guard(slave: &Value, name: &str) -> bool {
    let guards = slave["isolation"]["guards"].as_array().unwrap_or_else(|| panic!("no guards are told: {slave}"));
    guards.iter().any(|guard| guard["name"] == name && guard["on"] == true)
}

/// Every process with this word among its arguments, as it is seen from outside.
pub(crate) fn processes_with(word: &str) -> Vec<Relative> {
    descendants(Pid::from_raw(1))
        .into_iter()
        .chain(descendants(Pid::from_raw(0)))
        .filter(|process| {
            let words = fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
            words.split(|byte| *byte == 0).any(|part| part == word.as_bytes())
        })
        .collect()
}

/// A folder that belongs to who runs the slave, and that nobody's program may read, change or remove.
pub(crate) struct Canary {
    folder: tempfile::TempDir,
    before: Vec<String>,
}

/// What is in [`Canary::secret`].
pub(crate) const SECRET: &str = "the secret of somebody else";

impl Canary {
    pub(crate) fn new(owner: Option<u32>) -> Self {
        let folder = tempfile::Builder::new().prefix("ruche-canary-").tempdir_in("/var/tmp").unwrap();
        for (name, mode) in [("secret", 0o600), ("open", 0o666)] {
            let path = folder.path().join(name);
            fs::write(&path, SECRET).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::create_dir(folder.path().join("inner")).unwrap();
        fs::write(folder.path().join("inner/file"), SECRET).unwrap();
        for path in ["", "secret", "open", "inner", "inner/file"] {
            chown(folder.path().join(path), owner, owner).unwrap();
        }
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let before = describe(folder.path());
        Self { folder, before }
    }

    pub(crate) fn of(level: Level) -> Self {
        Self::new(
            (matches!(level, Level::User | Level::Fallback) && nix::unistd::geteuid().is_root()).then_some(STRANGER),
        )
    }

    pub(crate) fn path(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }

    /// Nothing in it was written, removed, renamed, or given another owner or mode.
    #[track_caller]
    pub(crate) fn assert_untouched(&self) {
        assert_eq!(describe(self.folder.path()), self.before);
    }
}

/// Everything that a change would change, but not the times of reading.
fn describe(path: &Path) -> Vec<String> {
    let data = fs::symlink_metadata(path).unwrap();
    let owner = (data.mode(), data.uid(), data.gid(), data.nlink(), data.ino());
    let mut found = vec![format!("{} {owner:?} {}.{}", path.display(), data.ctime(), data.ctime_nsec())];
    if data.is_dir() {
        let mut entries: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        found.extend(entries.iter().flat_map(|entry| describe(entry)));
    } else {
        found.push(fs::read_to_string(path).unwrap());
    }
    found
}
