//! One trial: a process builds guards as a keeper does, and starts a program behind them.

use crate::{
    best_effort,
    isolation::{
        Given, Isolation,
        namespaces::{self, Forked},
        network::Machine,
    },
    protocol::{Guards, ProgramUser, StartStep, Step, StepLimits, Strings},
    spawn::{FirstVictim, Starter, StepDescriptors},
};
use common::{limits, units::Duration};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask},
        wait::{WaitStatus, waitpid},
    },
    unistd::{ForkResult, fork, mkdtemp},
};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, PipeReader, PipeWriter, Read, Write},
    os::{fd::AsFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
};

/// Longer than anything healthy takes; then once more, as a machine that is busy lacks no guard.
const ANSWER_MILLIS_MAX: [u16; 2] = [10_000, 50_000];
/// A user that owns nothing.
const NOBODY: ProgramUser = ProgramUser { uid: 65_534, gid: 65_534 };
/// A program that does nothing. A machine without it is no reason to do without guards.
const PROGRAMS: [&str; 2] = ["/bin/true", "/usr/bin/true"];

/// How guards are tried.
#[derive(Clone, Debug)]
pub(super) struct Trial {
    pub(super) own_user: bool,
    /// A control group to be made for it, for a program that asks for the network.
    pub(super) group: Option<PathBuf>,
}

impl Trial {
    /// Why these guards cannot be had.
    pub(super) fn run(&self, guards: &Guards) -> Result<(), String> {
        let told = |error: io::Error| error.to_string();
        let folder = Folder::new().map_err(told)?;
        let guards = Guards { work: folder.0.clone(), ..guards.clone() };
        if let Some(group) = &self.group {
            fs::create_dir(group).map_err(|error| format!("{}: {error}", group.display()))?;
        }
        let result = self.in_time(&guards);
        if let Some(group) = &self.group {
            best_effort(fs::remove_dir(group));
        }
        result
    }

    fn in_time(&self, guards: &Guards) -> Result<(), String> {
        for millis in ANSWER_MILLIS_MAX {
            if let Some(result) = self.in_process(guards, millis) {
                return result;
            }
        }
        let seconds = ANSWER_MILLIS_MAX.iter().max().map_or(0, |millis| millis / 1_000);
        Err(format!("not known: trying it took more than {seconds} seconds, twice; the machine is too busy, or hangs"))
    }

    /// None when there is no answer in time.
    fn in_process(&self, guards: &Guards, millis: u16) -> Option<Result<(), String>> {
        let opened = match Opened::new(guards, self.group.as_deref()) {
            Ok(opened) => opened,
            Err(error) => return Some(Err(error.to_string())),
        };
        match self.ask_process(guards, opened, millis) {
            Ok(text) if text == "ok" => Some(Ok(())),
            Ok(text) if text.is_empty() => Some(Err("the trial ended without an answer".to_owned())),
            Ok(reason) => Some(Err(reason)),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => None,
            Err(error) => Some(Err(error.to_string())),
        }
    }

    fn ask_process(&self, guards: &Guards, opened: Opened, millis: u16) -> io::Result<String> {
        let (mut answer, end) = io::pipe()?;
        // SAFETY: the child only goes on to fork again and to end; the library's fork keeps its memory usable.
        match unsafe { fork() }? {
            ForkResult::Child => {
                drop(answer);
                self.answer(guards, &opened, end)
            }
            ForkResult::Parent { child } => {
                drop(end);
                let text = read_answer(&mut answer, millis);
                if text.is_err() {
                    best_effort(kill(child, Signal::SIGKILL));
                }
                best_effort(waitpid(child, None));
                text
            }
        }
    }

    /// In a process of one thread: another one is made in the namespaces, and it tells.
    fn answer(&self, guards: &Guards, opened: &Opened, mut end: PipeWriter) -> ! {
        let machine = guards.network.as_ref().map(|_| Machine::of_this_process());
        // SAFETY: this process has one thread.
        match unsafe { namespaces::fork(guards.namespaces) } {
            Ok(Forked::Child(entered)) => {
                best_effort(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL));
                let told = self.start_one(guards, opened, Given { entered, machine });
                best_effort(end.write_all(told.err().unwrap_or_else(|| "ok".to_owned()).as_bytes()));
            }
            Ok(Forked::Parent(child)) => best_effort(waitpid(child, None)),
            Err(error) => {
                best_effort(end.write_all(format!("a process in namespaces of its own: {error}").as_bytes()));
            }
        }
        // SAFETY: ends the process; nothing of the caller's may run in it.
        unsafe { libc::_exit(0) }
    }

    /// Does what a keeper does.
    fn start_one(&self, guards: &Guards, opened: &Opened, given: Given) -> Result<(), String> {
        best_effort(sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None));
        let isolation = Isolation::build(guards, given);
        let problem = isolation.problem();
        if !problem.is_empty() {
            return Err(problem);
        }
        let user = self.own_user.then_some(NOBODY);
        let mut starter = Starter::new(user, isolation, FirstVictim::NONE, false);
        let descriptors = StepDescriptors {
            folder: opened.folder.as_fd(),
            token: None,
            input: Some(opened.null.as_fd()),
            outputs: [opened.null.as_fd(); 2],
            groups: &[],
            identity: opened.group.as_ref().map(AsFd::as_fd),
        };
        match starter.start(&step(self.group.is_some()), descriptors) {
            Ok(program) => match waitpid(nix::unistd::Pid::from_raw(program), None) {
                Ok(WaitStatus::Exited(_, 0)) => Ok(()),
                Ok(status) => Err(format!("a program behind it ended otherwise than it should: {status:?}")),
                Err(error) => Err(error.to_string()),
            },
            Err(failure) if failure.step == StartStep::Execute && failure.errno == libc::ENOENT => Ok(()),
            Err(failure) => Err(format!("{:?}: {}", failure.step, io::Error::from_raw_os_error(failure.errno))),
        }
    }
}

/// What a keeper gets from outside, opened outside as well: a folder that was opened in mounts which were left
/// since has lost the part of its name that leads to its own mount.
struct Opened {
    folder: File,
    null: File,
    group: Option<File>,
}

impl Opened {
    fn new(guards: &Guards, group: Option<&Path>) -> io::Result<Self> {
        Ok(Self {
            folder: File::open(&guards.work)?,
            null: OpenOptions::new().read(true).write(true).open("/dev/null")?,
            group: group.map(File::open).transpose()?,
        })
    }
}

fn step(network: bool) -> Step {
    Step {
        tag: Vec::new(),
        lease_until: None,
        candidates: PROGRAMS.into_iter().collect(),
        arguments: ["true"].into_iter().collect(),
        environment: Strings::default(),
        limits: StepLimits {
            wall_time: Duration::from_secs(10),
            cpu_time: None,
            memory: limits::MEMORY_DEFAULT,
            processes: limits::PROCESSES_DEFAULT,
            file_size: limits::FILE_SIZE_DEFAULT,
            disk: limits::DISK_DEFAULT,
            open_files: limits::OPEN_FILES_DEFAULT,
        },
        stdin: false,
        terminal: false,
        network,
    }
}

fn read_answer(answer: &mut PipeReader, millis: u16) -> io::Result<String> {
    let mut ready = [PollFd::new(answer.as_fd(), PollFlags::POLLIN)];
    while let Err(error) = poll(&mut ready, PollTimeout::from(millis)) {
        if error != nix::errno::Errno::EINTR {
            return Err(error.into());
        }
    }
    if ready[0].any() != Some(true) {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "the trial does not come to an end"));
    }
    let mut text = String::new();
    answer.read_to_string(&mut text)?;
    Ok(text)
}

/// A folder to work in, for as long as the trial takes.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        let mut failure = io::Error::from(io::ErrorKind::NotFound);
        for parent in ["/var/tmp", "/tmp"] {
            // By a name that nobody can take before us, or a guard would seem to be missing.
            match mkdtemp(format!("{parent}/ruche-trial-XXXXXX").as_str()) {
                Ok(path) => {
                    let folder = Self(path);
                    fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o711))?;
                    return Ok(folder);
                }
                Err(error) => failure = error.into(),
            }
        }
        Err(failure)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        best_effort(fs::remove_dir(&self.0));
    }
}
