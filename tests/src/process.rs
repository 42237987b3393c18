//! A running program of a test: its lines, its log, signals, and an end that leaves nothing behind.

use crate::wait::wait_until;
use nix::{sys::signal::Signal, unistd::Pid};
use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

/// Lines of a log that are shown when a test fails.
const LOG_LINES: usize = 8;

/// A running program with the lines that it printed so far.
pub struct Process {
    child: Child,
    stdout: Arc<Mutex<Vec<String>>>,
    log: PathBuf,
    /// What it had started when it was killed: it may live on, and must not outlive the test.
    left: Vec<Relative>,
}

/// A process that was seen once; its start tells it from a later one with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relative {
    /// Its number.
    pub pid: Pid,
    started: u64,
}

impl Relative {
    /// The process that has this number now.
    #[must_use]
    pub fn of(pid: Pid) -> Option<Self> {
        parent_and_start(pid).map(|(_, started)| Self { pid, started })
    }

    /// Whether it is still there, and no zombie.
    #[must_use]
    pub fn lives(self) -> bool {
        parent_and_start(self.pid).is_some_and(|(_, started)| started == self.started)
    }

    /// Kills it, if it is still there.
    pub fn kill(self) {
        if self.lives() {
            let _gone = nix::sys::signal::kill(self.pid, Signal::SIGKILL);
        }
    }
}

/// Parent and start time of a living process. Source: proc(5), fields 3, 4 and 22 of `stat`.
fn parent_and_start(pid: Pid) -> Option<(Pid, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<_> = text[text.rfind(')')? + 2..].split(' ').collect();
    if matches!(fields[0], "Z" | "X") {
        return None;
    }
    Some((Pid::from_raw(fields[1].parse().ok()?), fields[19].parse().ok()?))
}

/// Every process that `root` or one of its descendants started, the nearest first.
#[must_use]
pub fn descendants(root: Pid) -> Vec<Relative> {
    let all: Vec<_> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid::from_raw))
        .filter_map(|pid| parent_and_start(pid).map(|(parent, started)| (parent, Relative { pid, started })))
        .collect();
    let (mut found, mut parents) = (Vec::new(), vec![root]);
    while let Some(next) = parents.pop() {
        for (_, relative) in all.iter().filter(|(parent, _)| *parent == next) {
            found.push(*relative);
            parents.push(relative.pid);
        }
    }
    found
}

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
        Self { child, stdout, log, left: Vec::new() }
    }

    /// Waits for a line on standard output that begins with `start` and gives the rest of it.
    ///
    /// # Panics
    /// When the program ends first; shows its log.
    #[track_caller]
    pub fn line(&mut self, start: &str) -> String {
        let what = format!("a line `{start}…` is printed (log: {})", self.log.display());
        wait_until(&what, || {
            let found = self.printed(start);
            if found.is_none()
                && let Some(status) = self.child.try_wait().unwrap()
            {
                panic!("ended with {status} before `{start}`:\n{}", self.log());
            }
            found
        })
    }

    /// The rest of a line that begins with `start`, if it was printed already.
    ///
    /// # Panics
    /// When the reader has.
    #[must_use]
    pub fn printed(&self, start: &str) -> Option<String> {
        self.stdout.lock().unwrap().iter().find_map(|line| line.strip_prefix(start).map(str::to_owned))
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
    pub fn id(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) {
        nix::sys::signal::kill(self.id(), signal).unwrap();
    }

    /// Everything that it has started and that lives now.
    #[must_use]
    pub fn descendants(&self) -> Vec<Relative> {
        descendants(self.id())
    }

    /// `kill -9` of this process alone, and waits for its end. What it had started is ended when this value is
    /// dropped, or by [`Process::start_again`]'s process in its time.
    ///
    /// # Panics
    /// When it cannot be waited for.
    pub fn kill(&mut self) {
        self.left.extend(self.descendants());
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts `command` in the place of this process, which has ended. What the earlier one left is the later
    /// one's to care for.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_again(&mut self, command: &mut Command) {
        let log = self.log.clone();
        let left = std::mem::take(&mut self.left);
        *self = Self::start(command, log);
        self.left = left;
    }

    /// Kills what earlier processes left behind, and waits until it is gone.
    pub fn end_left(&mut self) {
        let left = std::mem::take(&mut self.left);
        // The nearest first: whoever loses its parent ends what it runs, in order.
        for relative in &left {
            relative.kill();
            for _ in 0..100 {
                if left.iter().all(|other| !other.lives()) {
                    return;
                }
                std::thread::park_timeout(std::time::Duration::from_millis(10));
            }
        }
    }

    /// The exit status, once it has ended.
    ///
    /// # Panics
    /// When its state cannot be read.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Asks it to stop and gives its exit code.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub fn stop(&mut self) -> Option<i32> {
        self.signal(Signal::SIGTERM);
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

impl Process {
    /// The folder goes with the test: what the program said last is told with the failure.
    #[expect(clippy::print_stdout, reason = "shown beside the failure of the test")]
    fn tell_log(&self) {
        let log = self.log();
        let lines: Vec<_> = log.lines().rev().take(LOG_LINES).collect();
        println!("{} ends with:", self.log.display());
        lines.iter().rev().for_each(|line| println!("  {line}"));
    }

    /// Politely first, so that programs and control groups are cleaned up.
    fn end_politely(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            for signal in [Signal::SIGTERM, Signal::SIGCONT] {
                let _gone = nix::sys::signal::kill(self.id(), signal);
            }
            for _ in 0..500 {
                if !matches!(self.child.try_wait(), Ok(None)) {
                    return;
                }
                std::thread::park_timeout(std::time::Duration::from_millis(10));
            }
            self.left.extend(self.descendants());
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell_log();
        }
        self.end_politely();
        self.end_left();
    }
}
