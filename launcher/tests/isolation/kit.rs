//! A launcher with one keeper, and scripts that run in it.

use common::units::{ByteSize, Duration};
use launcher::{
    Launcher, Socket, Wait,
    protocol::{
        Ended, FromKeeper, Guards, KeeperConfig, Namespaces, NotStarted, ProgramUser, SlotGroups, Status, Step,
        StepLimits, Strings, ToKeeper,
    },
};
use std::{
    fs::{self, File},
    io::Read,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{PermissionsExt, chown},
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};
use tempfile::TempDir;

static NEXT: AtomicU32 = AtomicU32::new(0);

pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Users that nobody has: a range for each test process.
fn next_user() -> u32 {
    400_000_000 + std::process::id() % 100_000 * 100 + NEXT.fetch_add(1, Ordering::Relaxed)
}

/// One keeper and its slot's folder.
pub(crate) struct Slot {
    pub(crate) launcher: Launcher,
    keeper: Socket,
    pub(crate) problem: String,
    pub(crate) data: TempDir,
    pub(crate) config: KeeperConfig,
    made: u32,
}

/// What a script printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) output: String,
    pub(crate) errors: String,
    pub(crate) ended: Ended,
}

/// The guards of the level that this user can have.
pub(crate) fn strongest() -> Guards {
    Guards {
        namespaces: if is_root() { Namespaces::Own } else { Namespaces::OfUser },
        landlock: true,
        seccomp: true,
        system: system(),
        ..Guards::default()
    }
}

/// Without namespaces.
pub(crate) fn without_namespaces() -> Guards {
    Guards { namespaces: Namespaces::None, sockets_refused: true, ..strongest() }
}

fn system() -> Vec<PathBuf> {
    ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc"].map(PathBuf::from).into_iter().filter(|p| p.exists()).collect()
}

impl Slot {
    pub(crate) fn new(guards: Guards) -> Self {
        Self::in_folder(tempfile::tempdir_in("/var/tmp").unwrap(), guards)
    }

    pub(crate) fn in_folder(data: TempDir, guards: Guards) -> Self {
        Self::with(data, guards, SlotGroups::NONE)
    }

    /// Programs have the keeper's own user.
    pub(crate) fn of_keepers_user(guards: Guards) -> Self {
        Self::start(tempfile::tempdir_in("/var/tmp").unwrap(), guards, SlotGroups::NONE, None)
    }

    pub(crate) fn with(data: TempDir, guards: Guards, groups: SlotGroups) -> Self {
        let user = is_root().then(next_user).map(|id| ProgramUser { uid: id, gid: id });
        Self::start(data, guards, groups, user)
    }

    fn start(data: TempDir, guards: Guards, groups: SlotGroups, user: Option<ProgramUser>) -> Self {
        let open = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o711)).unwrap();
        let work = data.path().join("work");
        let slot = work.join("slot-0");
        fs::create_dir_all(&slot).unwrap();
        for path in [data.path(), &work, &slot] {
            open(path);
        }
        fs::write(data.path().join("key"), "the slave's key").unwrap();
        let guards = Guards { work: slot, ..guards };
        let config = KeeperConfig { slot: 0, user, groups, guards };
        let launcher = Launcher::start_program(Path::new(env!("CARGO_BIN_EXE_launcher-for-tests"))).unwrap();
        let mut keeper = launcher.keeper(config.clone()).unwrap();
        let problem = match keeper.receive::<FromKeeper>(Wait::Yes).unwrap().unwrap().message {
            FromKeeper::Ready { problem } => problem,
            other => panic!("{other:?}"),
        };
        Self { launcher, keeper, problem, data, config, made: 0 }
    }

    /// A working folder of the program's user.
    pub(crate) fn folder(&mut self) -> PathBuf {
        self.made += 1;
        let path = self.config.guards.work.join(format!("run-{}", self.made));
        fs::create_dir(&path).unwrap();
        if let Some(user) = self.config.user {
            chown(&path, Some(user.uid), Some(user.gid)).unwrap();
        }
        path
    }

    /// Starts a program, whose output is returned with what it wrote first.
    pub(crate) fn begin(&mut self, script: &str) -> (std::io::PipeReader, String) {
        self.begin_step(step(&["/bin/sh", "-c", script]))
    }

    pub(crate) fn begin_step(&mut self, step: Step) -> (std::io::PipeReader, String) {
        let folder = File::open(self.folder()).unwrap();
        let (mut output, end) = std::io::pipe().unwrap();
        let order = ToKeeper::Run(Box::new(step));
        self.keeper.send(&order, &[folder.as_fd(), end.as_fd(), end.as_fd()]).unwrap();
        drop(end);
        let mut text = String::new();
        let mut byte = [0];
        while output.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
            text.push(char::from(byte[0]));
        }
        (output, text)
    }

    /// How many processes a program sees, itself included.
    pub(crate) fn processes_seen(&mut self) -> String {
        self.python("import os; print(len([name for name in os.listdir('/proc') if name.isdigit()]))").succeeded()
    }

    pub(crate) fn keeper_process(&self) -> i32 {
        let launcher = self.launcher.process_id().unwrap().cast_signed();
        launcher::tree::children(launcher)[0]
    }

    pub(crate) fn shell(&mut self, script: &str) -> Told {
        self.run(&["/bin/sh", "-c", script])
    }

    pub(crate) fn python_with_network(&mut self, script: &str) -> Told {
        let step = Step { network: true, ..step(&["/usr/bin/python3", "-c", script]) };
        self.try_run(&step).unwrap()
    }

    pub(crate) fn python(&mut self, script: &str) -> Told {
        self.run(&["/usr/bin/python3", "-c", script])
    }

    pub(crate) fn run(&mut self, arguments: &[&str]) -> Told {
        self.try_run(&step(arguments)).unwrap()
    }

    /// Runs a step in a new working folder, to its end.
    pub(crate) fn try_run(&mut self, step: &Step) -> Result<Told, NotStarted> {
        let folder = self.folder();
        self.try_run_in(step, &File::open(folder).unwrap().into())
    }

    pub(crate) fn try_run_in(&mut self, step: &Step, folder: &OwnedFd) -> Result<Told, NotStarted> {
        self.try_run_on(step, folder, None)
    }

    /// With a terminal for input and output.
    pub(crate) fn try_run_with_terminal(
        &mut self,
        step: &Step,
        folder: &OwnedFd,
        terminal: &OwnedFd,
    ) -> Result<Told, NotStarted> {
        self.try_run_on(step, folder, Some(terminal))
    }

    fn try_run_on(&mut self, step: &Step, folder: &OwnedFd, terminal: Option<&OwnedFd>) -> Result<Told, NotStarted> {
        let (mut output, output_end) = std::io::pipe().unwrap();
        let (mut errors, errors_end) = std::io::pipe().unwrap();
        let message = ToKeeper::Run(Box::new(copy(step)));
        let out = terminal.map_or(output_end.as_fd(), AsFd::as_fd);
        let mut descriptors = vec![folder.as_fd(), out, errors_end.as_fd()];
        descriptors.extend(terminal.map(AsFd::as_fd));
        self.keeper.send(&message, &descriptors).unwrap();
        drop((output_end, errors_end));
        let reader = std::thread::Builder::new().name("errors".to_owned()).spawn(move || read(&mut errors)).unwrap();
        let output = read(&mut output);
        let errors = reader.join().unwrap();
        match self.keeper.receive::<FromKeeper>(Wait::Yes).unwrap().unwrap().message {
            FromKeeper::Ended(ended) => Ok(Told { output, errors, ended }),
            FromKeeper::NotStarted(reason) => Err(reason),
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn read(from: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Told {
    #[track_caller]
    pub(crate) fn succeeded(self) -> String {
        assert_eq!(self.ended.status, Status::Exited(0), "{self:?}");
        self.output
    }
}

pub(crate) fn step(arguments: &[&str]) -> Step {
    let mut environment = Strings::default();
    environment.push_variable(b"PATH", b"/usr/bin:/bin");
    Step {
        tag: Vec::new(),
        lease_until: None,
        candidates: [arguments[0]].into_iter().collect(),
        arguments: arguments.iter().collect(),
        environment,
        limits: StepLimits {
            wall_time: Duration::from_secs(60),
            cpu_time: None,
            memory: ByteSize(1 << 30),
            processes: 256,
            file_size: ByteSize(1 << 30),
            disk: ByteSize(64 << 20),
            open_files: 256,
        },
        stdin: false,
        terminal: false,
        network: false,
    }
}

fn copy(step: &Step) -> Step {
    Step {
        tag: step.tag.clone(),
        candidates: step.candidates.clone(),
        arguments: step.arguments.clone(),
        environment: step.environment.clone(),
        ..*step
    }
}
