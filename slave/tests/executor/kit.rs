//! An executor over a temporary data folder, and programs for it.

use common::{
    id::{AttemptKey, ProgramId},
    language::{self, Language},
    message::{Assignment, Stream},
    outcome::Outcome,
    program::{ProgramSpec, ResourceLimits, Work},
    units::Timestamp,
};
use launcher::{Launcher, cgroup::Base};
use slave::{
    executor::{AttemptEnd, Executor, ExecutorEvent, Outputs, Setup, Stop, WorkRoot},
    languages::Offered,
};
use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

static NEXT: AtomicU32 = AtomicU32::new(1);

pub(crate) struct Kit {
    pub(crate) executor: Option<Executor>,
    pub(crate) data: PathBuf,
    _folder: Option<tempfile::TempDir>,
    /// What happened and was not looked at.
    events: VecDeque<ExecutorEvent>,
    pub(crate) work: PathBuf,
    groups: Base,
}

/// Who keeps the memory and process limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeping {
    Groups,
    Watching,
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub(crate) fn now() -> Timestamp {
    Timestamp(SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_micros() as u64))
}

/// A number that no other test of this machine uses at the same time.
pub(crate) fn unique() -> u32 {
    std::process::id() % 30_000 * 64 + NEXT.fetch_add(1, Ordering::Relaxed)
}

fn own_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
    folder
}

impl Kit {
    pub(crate) fn new() -> Self {
        Self::keeping(Keeping::Groups)
    }

    pub(crate) fn keeping(keeping: Keeping) -> Self {
        let folder = own_folder();
        let data = folder.path().to_owned();
        Self::with(&data, keeping, Some(folder), ResourceLimits::MOST)
    }

    /// Over a data folder of the test's own.
    pub(crate) fn in_folder(data: &Path) -> Self {
        std::fs::create_dir_all(data).unwrap();
        Self::with(data, Keeping::Groups, None, ResourceLimits::MOST)
    }

    /// Of a slave with this ceiling.
    pub(crate) fn under(ceiling: ResourceLimits) -> Self {
        let folder = own_folder();
        let data = folder.path().to_owned();
        Self::with(&data, Keeping::Groups, Some(folder), ceiling)
    }

    fn with(data: &Path, keeping: Keeping, folder: Option<tempfile::TempDir>, ceiling: ResourceLimits) -> Self {
        let unique = unique();
        let name = format!("test-{unique}");
        let groups = match keeping {
            Keeping::Groups => Base::prepare(&format!("ruche-{name}")),
            Keeping::Watching => Base::none("a test asked for watching"),
        };
        let user_base = is_root().then(|| 100_000 + unique * 16);
        let work = WorkRoot::prepare(data, user_base, &name).unwrap();
        let work_path = work.path().to_owned();
        let launcher = Launcher::start_program(Path::new(env!("CARGO_BIN_EXE_ruche-slave"))).unwrap();
        let setup = Setup {
            program_path: ["/usr/local/bin", "/usr/bin", "/bin"].map(PathBuf::from).to_vec(),
            ceiling,
            work,
            groups: groups.clone(),
            guards: Default::default(),
            outputs: Outputs::new(data).unwrap(),
        };
        let mut executor = Executor::new(launcher, setup, Vec::new(), None).unwrap();
        executor.set_languages(language::built_in().iter().filter_map(offered));
        Self {
            executor: Some(executor),
            data: data.to_owned(),
            _folder: folder,
            events: VecDeque::new(),
            work: work_path,
            groups,
        }
    }

    pub(crate) fn memory_by_group(&self) -> bool {
        self.groups.memory_version().is_some()
    }

    pub(crate) fn executor(&mut self) -> &mut Executor {
        self.executor.as_mut().unwrap()
    }

    pub(crate) fn start(&mut self, spec: ProgramSpec) -> AttemptKey {
        let key = AttemptKey { program: ProgramId(uuid::Uuid::now_v7()), attempt: 1 };
        self.executor().start(Assignment { key, spec: Arc::new(spec), index: 0, fence: 1 }, now());
        key
    }

    /// Handles what happens until `done` says so.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, mut done: impl FnMut(&mut Executor, &ExecutorEvent) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut seen = Vec::new();
        while Instant::now() < deadline {
            if self.events.is_empty() {
                let events = self.executor().turn(Duration::from_millis(50), now).unwrap();
                self.events.extend(events);
            }
            while let Some(event) = self.events.pop_front() {
                seen.push(event.clone());
                if done(self.executor.as_mut().unwrap(), &event) {
                    return;
                }
            }
        }
        seen.truncate(20);
        panic!("{what} did not happen, but {seen:?}");
    }

    #[track_caller]
    pub(crate) fn end_of(&mut self, key: AttemptKey) -> AttemptEnd {
        let mut found = None;
        self.until("the end", |_, event| match event {
            ExecutorEvent::Ended(end) if end.key == key => {
                found = Some((**end).clone());
                true
            }
            _ => false,
        });
        found.unwrap()
    }

    #[track_caller]
    pub(crate) fn run(&mut self, spec: ProgramSpec) -> Ran {
        let key = self.start(spec);
        let end = self.end_of(key);
        let outputs = self.executor().outputs();
        let read = |stream| outputs.read(key, stream, 0, usize::MAX).unwrap();
        Ran { output: read(Stream::Stdout), error: read(Stream::Stderr), compile: read(Stream::Compile), end }
    }

    pub(crate) fn stop(&mut self, key: AttemptKey, stop: Stop) {
        self.executor().stop(key, stop);
    }
}

impl Drop for Kit {
    fn drop(&mut self) {
        if let Some(executor) = self.executor.take() {
            executor.shut_down().unwrap();
        }
        drop(std::fs::remove_dir_all(&self.work));
    }
}

/// How a program ended and what it wrote.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) end: AttemptEnd,
    pub(crate) output: Vec<u8>,
    pub(crate) error: Vec<u8>,
    pub(crate) compile: Vec<u8>,
}

impl Ran {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).into_owned()
    }

    #[track_caller]
    pub(crate) fn assert_exit(&self, code: i32) {
        assert_eq!(self.end.outcome, Outcome::Exited { code }, "{self:?}");
    }

    #[track_caller]
    pub(crate) fn assert_limit(&self, limit: common::Limit) -> String {
        match &self.end.outcome {
            Outcome::Limit { limit: found, detail } if *found == limit => detail.clone(),
            other => panic!("expected the limit {limit}, found {other:?} in {self:?}"),
        }
    }
}

pub(crate) fn offered(language: &Language) -> Option<Offered> {
    let tool = language.find.iter().map(|name| Path::new("/usr/bin").join(name)).find(|path| path.exists())?;
    Some(Offered { language: language.clone(), tool, version: String::new() })
}

pub(crate) fn command(command: &str, arguments: &[&str]) -> ProgramSpec {
    let mut spec = ProgramSpec::new(command, Work::Command { command: command.into() });
    spec.arguments = arguments.iter().map(|argument| (*argument).into()).collect();
    spec
}

pub(crate) fn shell(script: &str) -> ProgramSpec {
    command("sh", &["-c", script])
}

pub(crate) fn source(language: &str, file_name: &str, text: &str) -> ProgramSpec {
    let work = Work::Source { language: language.into(), file_name: file_name.into(), text: text.as_bytes().into() };
    ProgramSpec::new(file_name, work)
}

/// Whether any process of this machine has `marker` among its arguments.
pub(crate) fn is_running(marker: &str) -> bool {
    let Ok(entries) = std::fs::read_dir("/proc") else { return false };
    entries.flatten().filter(|entry| entry.file_name() != *std::process::id().to_string()).any(|entry| {
        std::fs::read(entry.path().join("cmdline"))
            .is_ok_and(|bytes| bytes.split(|byte| *byte == 0).any(|argument| argument == marker.as_bytes()))
    })
}

/// Waits until `marker` runs.
#[track_caller]
pub(crate) fn wait_until_running(marker: &str) {
    wait_until(&format!("the start of {marker}"), || is_running(marker));
}

/// Waits until `done` says so.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// An argument that no other run of these tests uses; digits stay a number.
pub(crate) fn marker(text: &str) -> String {
    format!("{text}{:07}", std::process::id())
}
