//! The opponent: the same program started by `posix_spawn` of this machine, its output captured, and nothing else.
//!
//! Each of its workers is a small process with one thread: two threads of one process get in each other's way in the
//! kernel (measured here: a fiftieth fewer programs a second where a program takes long, a quarter fewer where it takes
//! next to nothing), and a large process that started programs would be another measurement. One process with as many
//! threads is measured beside it, because that is how such a limit is usually measured. Between rounds a worker waits
//! in a read and costs nothing.

use nix::{
    fcntl::OFlag,
    spawn::{PosixSpawnAttr, PosixSpawnFileActions, posix_spawn},
    sys::wait::{WaitStatus, waitpid},
    unistd::{pipe2, read},
};
use std::{
    ffi::CString,
    io::{Read as _, Write as _},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// The first word of a worker's command line.
pub const WORKER: &str = "local-worker";

/// A process that starts one program again and again, one at a time in each of its threads.
pub struct Worker {
    process: Child,
    orders: Option<ChildStdin>,
    times: ChildStdout,
}

impl Worker {
    /// Waits for orders to start `program` with these words and, beside this process's own, these variables.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(program: &Path, words: &[&str], environment: &[(&str, &Path)]) -> Self {
        Self::with_threads(1, program, words, environment)
    }

    fn with_threads(threads: usize, program: &Path, words: &[&str], environment: &[(&str, &Path)]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(WORKER).arg(threads.to_string()).arg(program).args(words).envs(environment.iter().copied());
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (orders, times) = (process.stdin.take(), process.stdout.take().unwrap());
        Self { process, orders, times }
    }

    fn order(&mut self, count: usize) {
        let count = u32::try_from(count).unwrap();
        self.orders.as_mut().unwrap().write_all(&count.to_le_bytes()).unwrap();
    }

    fn answer(&mut self, count: usize) -> Vec<Duration> {
        let mut bytes = vec![0; count * 8];
        self.times.read_exact(&mut bytes).unwrap();
        let nanos = bytes.as_chunks().0.iter().map(|chunk| u64::from_le_bytes(*chunk));
        nanos.map(Duration::from_nanos).collect()
    }

    /// Programs a second in all of its threads, of which each starts `count`, one after the other.
    fn rate_of_threads(&mut self, threads: usize, count: usize) -> f64 {
        self.order(count);
        let times = self.answer(threads * count);
        times.chunks(count).map(|times| super::rate(count, times.iter().sum())).sum()
    }

    /// How long each of so many takes, one after the other.
    ///
    /// # Panics
    /// When one fails.
    pub fn run(&mut self, count: usize) -> Vec<Duration> {
        self.order(count);
        self.answer(count)
    }

    /// How long one takes, in milliseconds.
    ///
    /// # Panics
    /// When it fails.
    pub fn run_one_ms(&mut self) -> f64 {
        self.run(1)[0].as_secs_f64() * 1e3
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.orders.take());
        drop(self.process.wait());
    }
}

/// One process with as many threads as the slave has slots.
pub struct Threads(Worker);

impl Threads {
    /// As many as the slave has slots.
    #[must_use]
    pub fn start(program: &Path) -> Self {
        Self(Worker::with_threads(super::SLOTS, program, &[], &[]))
    }

    /// Programs a second.
    ///
    /// # Panics
    /// When a program fails.
    pub fn rate(&mut self, programs: usize) -> f64 {
        self.0.rate_of_threads(super::SLOTS, programs / super::SLOTS)
    }
}

/// Workers that start the same program side by side.
pub struct Pool(Vec<Worker>);

impl Pool {
    /// As many as the slave has slots.
    #[must_use]
    pub fn start(program: &Path) -> Self {
        Self((0..super::SLOTS).map(|_| Worker::start(program, &[], &[])).collect())
    }

    /// Programs a second: the sum of what each worker reached, so that one that is done first does not make the
    /// opponent look slow.
    ///
    /// # Panics
    /// When a program fails.
    pub fn rate(&mut self, programs: usize) -> f64 {
        let each = programs / self.0.len();
        self.0.iter_mut().for_each(|worker| worker.order(each));
        self.0.iter_mut().map(|worker| super::rate(each, worker.answer(each).iter().sum())).sum()
    }
}

/// What a worker does until its orders end.
///
/// # Panics
/// When a program cannot be started or fails.
pub fn work(words: &[String]) {
    let (threads, words) = words.split_first().unwrap();
    let threads: usize = threads.parse().unwrap();
    let words: Vec<CString> = words.iter().map(|word| CString::new(word.as_bytes()).unwrap()).collect();
    let environment: Vec<CString> = std::env::vars_os()
        .map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).unwrap())
        .collect();
    let (mut orders, mut times) = (std::io::stdin().lock(), std::io::stdout().lock());
    let mut count = [0; 4];
    while orders.read_exact(&mut count).is_ok() {
        let count = u32::from_le_bytes(count);
        let some = || {
            let mut answer = Vec::with_capacity(count as usize * 8);
            for _ in 0..count {
                let begun = Instant::now();
                run_once(&words, &environment);
                let nanos = u64::try_from(begun.elapsed().as_nanos()).unwrap();
                answer.extend(nanos.to_le_bytes());
            }
            answer
        };
        let answers: Vec<Vec<u8>> = if threads == 1 {
            vec![some()]
        } else {
            thread::scope(|scope| {
                let threads: Vec<_> = (0..threads).map(|_| scope.spawn(some)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            })
        };
        for answer in answers {
            times.write_all(&answer).unwrap();
        }
        times.flush().unwrap();
    }
}

/// As few system calls as it can be done with: two pipes, one `posix_spawn`, reads until both ends, one wait.
fn run_once(words: &[CString], environment: &[CString]) {
    let (stdout, stdout_of_program) = pipe2(OFlag::O_CLOEXEC).unwrap();
    let (stderr, stderr_of_program) = pipe2(OFlag::O_CLOEXEC).unwrap();
    let mut actions = PosixSpawnFileActions::init().unwrap();
    actions.add_dup2(stdout_of_program.as_raw_fd(), 1).unwrap();
    actions.add_dup2(stderr_of_program.as_raw_fd(), 2).unwrap();
    let program = posix_spawn(words[0].as_c_str(), &actions, &PosixSpawnAttr::init().unwrap(), words, environment);
    let program = program.unwrap();
    drop((stdout_of_program, stderr_of_program));
    // The second fills no pipe: what is measured here writes little.
    to_the_end(&stdout);
    to_the_end(&stderr);
    let status = waitpid(program, None).unwrap();
    assert!(matches!(status, WaitStatus::Exited(_, 0)), "{words:?}: {status:?}");
}

fn to_the_end(pipe: &OwnedFd) {
    let mut buffer = [0; 4_096];
    while read(pipe, &mut buffer).unwrap() > 0 {}
}
