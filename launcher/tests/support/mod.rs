//! A launcher without a slave, with a keeper that runs programs.
#![allow(dead_code, reason = "each test target uses a part of it")]
#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panic and names the one case that it expects"
)]

use common::units::{ByteSize, Duration};
use launcher::{
    Launcher, Socket, Wait,
    cgroup::Base,
    protocol::{Ended, FromKeeper, Guards, KeeperConfig, NotStarted, ProgramUser, Step, StepLimits, Strings, ToKeeper},
};
use std::{
    fs::File,
    io::{PipeReader, Read},
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Instant,
};

static NEXT: AtomicU32 = AtomicU32::new(1);

/// A number that no other test of this machine uses at the same time.
pub(crate) fn unique() -> u32 {
    std::process::id() % 30_000 * 64 + NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A slot with its keeper.
pub(crate) struct Slot {
    pub(crate) keeper: Socket,
    pub(crate) folder: tempfile::TempDir,
    /// What keeps its limits.
    pub(crate) groups: Base,
    launcher: Option<Launcher>,
    user: Option<ProgramUser>,
}

/// A program that was ordered.
pub(crate) struct Program {
    pub(crate) output: PipeReader,
}

impl Slot {
    /// With the groups of this machine.
    pub(crate) fn new() -> Self {
        Self::with(|base| base, Guards::default())
    }

    pub(crate) fn with(change: impl FnOnce(Base) -> Base, mut guards: Guards) -> Self {
        let unique = unique();
        let groups = change(Base::prepare(&format!("ruche-launcher-test-{unique}")));
        let root = nix::unistd::geteuid().is_root();
        let user = root.then(|| ProgramUser { uid: 200_000 + unique, gid: 200_000 + unique });
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
        guards.work = folder.path().to_owned();
        let launcher = Launcher::start_program(Path::new(env!("CARGO_BIN_EXE_launcher-for-tests"))).unwrap();
        let config = KeeperConfig { slot: 0, user, groups: groups.slot(0), guards };
        let mut keeper = launcher.keeper(config).unwrap();
        match keeper.receive::<FromKeeper>(Wait::Yes).unwrap().unwrap().message {
            FromKeeper::Ready { problem } if problem.is_empty() => {}
            other => panic!("the keeper is not ready: {other:?}"),
        }
        Self { keeper, folder, groups, launcher: Some(launcher), user }
    }

    /// A program for tests, where the programs of the slot may execute it.
    pub(crate) fn tool(&self) -> String {
        let path = self.folder.path().join("tool");
        // By another process: a child forked by a test beside this one while the file is open would make it busy.
        let copied = std::process::Command::new("cp").arg(env!("CARGO_BIN_EXE_launcher-for-tests")).arg(&path).status();
        assert!(copied.unwrap().success());
        path.to_str().unwrap().to_owned()
    }

    /// Starts a shell script in a folder of its own.
    pub(crate) fn start(&self, script: &str, limits: StepLimits) -> Program {
        self.start_command(&["/bin/sh", "-c", script], limits)
    }

    pub(crate) fn start_command(&self, words: &[&str], limits: StepLimits) -> Program {
        let (_, folder) = self.work_folder();
        let (output, end) = std::io::pipe().unwrap();
        let descriptors: [BorrowedFd<'_>; 3] = [folder.as_fd(), end.as_fd(), end.as_fd()];
        self.keeper.send(&ToKeeper::Run(Box::new(step_of(words, limits))), &descriptors).unwrap();
        Program { output }
    }

    /// A new working folder.
    pub(crate) fn work_folder(&self) -> (PathBuf, File) {
        let path = self.folder.path().join(format!("work-{}", unique()));
        std::fs::create_dir(&path).unwrap();
        if let Some(user) = self.user {
            std::os::unix::fs::chown(&path, Some(user.uid), Some(user.gid)).unwrap();
        }
        let folder = File::open(&path).unwrap();
        (path, folder)
    }

    /// The launcher's only child.
    pub(crate) fn keeper_process(&self) -> i32 {
        let launcher = self.launcher.as_ref().unwrap().process_id().unwrap().cast_signed();
        launcher::tree::children(launcher)[0]
    }

    pub(crate) fn kill_keeper(&self) {
        let keeper = nix::unistd::Pid::from_raw(self.keeper_process());
        nix::sys::signal::kill(keeper, nix::sys::signal::Signal::SIGKILL).unwrap();
    }

    pub(crate) fn tell(&self, message: &ToKeeper) {
        self.keeper.send(message, &[]).unwrap();
    }

    pub(crate) fn hear(&mut self) -> FromKeeper {
        self.keeper.receive(Wait::Yes).unwrap().unwrap().message
    }

    #[track_caller]
    pub(crate) fn end(&mut self) -> Ended {
        match self.hear() {
            FromKeeper::Ended(ended) => ended,
            other => panic!("expected the end, found {other:?}"),
        }
    }

    pub(crate) fn not_started(&mut self) -> NotStarted {
        match self.hear() {
            FromKeeper::NotStarted(failure) => failure,
            other => panic!("expected a failure, found {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn run(&mut self, script: &str, limits: StepLimits) -> (Ended, String) {
        let mut program = self.start(script, limits);
        let text = program.rest();
        (self.end(), text)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        drop(self.launcher.take());
        self.groups.remove();
    }
}

impl Program {
    /// Reads until the program has written this.
    #[track_caller]
    pub(crate) fn until(&mut self, text: &str) {
        let mut read = Vec::new();
        let mut byte = [0];
        while !String::from_utf8_lossy(&read).ends_with(text) {
            assert_eq!(self.output.read(&mut byte).unwrap(), 1, "it ended after {:?}", String::from_utf8_lossy(&read));
            read.extend(byte);
        }
    }

    /// All that is left, until nobody can write any more.
    pub(crate) fn rest(&mut self) -> String {
        let mut text = Vec::new();
        self.output.read_to_end(&mut text).unwrap();
        String::from_utf8_lossy(&text).into_owned()
    }
}

pub(crate) fn step_of(words: &[&str], limits: StepLimits) -> Step {
    Step {
        tag: Vec::new(),
        lease_until: None,
        candidates: [words[0].as_bytes()].into_iter().collect::<Strings>(),
        arguments: words.iter().map(|word| word.as_bytes()).collect(),
        environment: [b"PATH=/usr/bin:/bin".as_slice()].into_iter().collect(),
        limits,
        stdin: false,
        terminal: false,
        network: false,
    }
}

/// Wide bounds, of which a test makes one narrow.
pub(crate) fn limits() -> StepLimits {
    StepLimits {
        wall_time: Duration::from_secs(60),
        cpu_time: None,
        memory: ByteSize(256 << 20),
        processes: 64,
        file_size: ByteSize(1 << 30),
        disk: ByteSize(1 << 30),
        open_files: 256,
    }
}

/// Waits until `done` says so.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + std::time::Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// Whether any process of this machine has `marker` among its arguments.
pub(crate) fn is_running(marker: &str) -> bool {
    let Ok(entries) = std::fs::read_dir("/proc") else { return false };
    entries.flatten().any(|entry| {
        std::fs::read(entry.path().join("cmdline"))
            .is_ok_and(|bytes| bytes.split(|byte| *byte == 0).any(|argument| argument == marker.as_bytes()))
    })
}

/// An argument that no other run of these tests uses, and a number of seconds that never pass.
pub(crate) fn marker() -> String {
    format!("9{:06}{:03}", std::process::id() % 1_000_000, NEXT.fetch_add(1, Ordering::Relaxed) % 1_000)
}
