//! An agent in a process of its own, so that a test can kill it, stop it and start the next one: this test binary
//! again, which plays the agent when it is told to.
//!
//! What a real agent writes into its journal stands in folders here: `journal/started` holds what was ordered to
//! start, `journal/ended` how each program ended, with its output; both are named after the program.
#![expect(clippy::print_stdout, reason = "the player tells the test what it does")]

mod queue;

use crate::kit::{self, is_root, now, offered};
use common::{
    Timestamp,
    frame::{decode_record, encode_record},
    id::{AttemptKey, ProgramId},
    language,
    message::{Assignment, Stream},
    program::ProgramSpec,
    units::{BootTime, Duration as Span},
};
use launcher::{Launcher, cgroup::Base};
use slave::executor::{Control, Executor, ExecutorEvent, Outputs, Setup, Stop, WorkRoot};
use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, TryRecvError, sync_channel},
    },
    time::Duration,
};

/// The data folder; only the player has this variable.
const DATA: &str = "RUCHE_TEST_AGENT";
/// The number that its users and groups follow from.
const NUMBER: &str = "RUCHE_TEST_NUMBER";
/// Set for an agent that dies of the first end: when it hears of it, or when its output is sealed, before anything is
/// written down.
const DIES: &str = "RUCHE_TEST_DIES";
/// For what takes milliseconds when all is well.
const PATIENCE: Duration = Duration::from_secs(60);

/// A place for agents, one after another.
pub(crate) struct House {
    folder: tempfile::TempDir,
    number: u32,
}

/// A running agent.
pub(crate) struct Agent {
    process: Child,
    orders: ChildStdin,
    lines: Receiver<String>,
}

/// When an agent dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dies {
    Hearing,
    Sealed,
}

/// How a program ended, as the agent's journal has it.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) outcome: String,
    pub(crate) truncated: bool,
    pub(crate) output: Vec<u8>,
    pub(crate) error: Vec<u8>,
    pub(crate) compile: Vec<u8>,
}

impl House {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let open = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(folder.path(), open(0o711)).unwrap();
        for name in ["journal", "journal/waiting", "journal/started", "journal/ended"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        // What programs and the test tell each other.
        fs::create_dir(folder.path().join("open")).unwrap();
        fs::set_permissions(folder.path().join("open"), open(0o777)).unwrap();
        Self { folder, number: kit::unique() }
    }

    pub(crate) fn data(&self) -> &Path {
        self.folder.path()
    }

    /// A path that programs may write to.
    pub(crate) fn open(&self, name: &str) -> PathBuf {
        self.data().join("open").join(name)
    }

    /// One that has taken over what there is.
    pub(crate) fn agent(&self) -> Agent {
        let agent = self.start_unready();
        agent.wait_for("ready");
        agent
    }

    /// One that is still to say what it takes over.
    pub(crate) fn start_unready(&self) -> Agent {
        self.start(None)
    }

    /// One that dies of the first end that it meets.
    pub(crate) fn agent_that_dies(&self, dies: Dies) -> Agent {
        self.start(Some(dies))
    }

    fn start(&self, dies: Option<Dies>) -> Agent {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.data().join("log")).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "agent::plays_the_agent", "--nocapture", "--test-threads", "1"]);
        command.env(DATA, self.data()).env(NUMBER, self.number.to_string());
        if let Some(dies) = dies {
            command.env(DIES, format!("{dies:?}"));
        }
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::from(log)).spawn().unwrap();
        let orders = process.stdin.take().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = sync_channel(4_096);
        std::thread::Builder::new()
            .name("agent's words".to_owned())
            .spawn(move || {
                for line in output.lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            })
            .unwrap();
        Agent { process, orders, lines }
    }

    /// How this program ended; waits until an agent has written it down.
    #[track_caller]
    pub(crate) fn told(&self, name: &str) -> Told {
        let folder = self.data().join("journal/ended").join(name);
        kit::wait_until(&format!("the end of {name}"), || folder.is_dir());
        let read = |name: &str| fs::read(folder.join(name)).unwrap();
        Told {
            outcome: String::from_utf8(read("outcome")).unwrap(),
            truncated: read("truncated") == b"true",
            output: read("0"),
            error: read("1"),
            compile: read("2"),
        }
    }

    /// The launcher that agents of this house have; panics when there is none.
    #[track_caller]
    pub(crate) fn launcher(&self) -> i32 {
        fs::read_to_string(self.data().join("launcher")).unwrap().parse().unwrap()
    }

    /// Waits until the launcher has ended by itself, and looks for what it left.
    #[track_caller]
    pub(crate) fn assert_all_gone(&self) {
        let launcher = self.launcher();
        kit::wait_until("the end of the launcher", || is_gone(launcher));
        self.assert_nothing_left();
    }

    /// No process of a program's user, no control group, no file but what the journal holds.
    #[track_caller]
    pub(crate) fn assert_nothing_left(&self) {
        let files = |name: &str| fs::read_dir(self.data().join(name)).map_or(0, Iterator::count);
        assert_eq!(files("outbox"), 0, "files of results that were taken");
        if is_root() {
            let users = user_base(self.number)..user_base(self.number) + 16;
            kit::wait_until("the end of every process of the programs' users", || {
                users.clone().all(|user| launcher::tree::count_of_user(user) == 0)
            });
        }
        let name = group_name(self.number);
        let folders = ["memory", "pids", "cpuacct", "cpu,cpuacct", "unified", ""];
        for folder in folders.map(|folder| Path::new("/sys/fs/cgroup").join(folder).join(&name)) {
            assert!(!folder.exists(), "{} is left", folder.display());
        }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.data().join("log")).unwrap_or_default();
            println!("the agents said:\n{log}");
        }
        // A test that failed may leave a launcher, which is ours.
        if let Ok(text) = fs::read_to_string(self.data().join("launcher"))
            && let Ok(pid) = text.parse::<i32>()
            && !is_gone(pid)
            && fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "ruche-launcher")
        {
            launcher::tree::kill_tree_of(pid);
        }
    }
}

impl Agent {
    /// Waits for a line that begins with this and answers its rest.
    #[track_caller]
    pub(crate) fn wait_for(&self, what: &str) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    if let Some(rest) = line.strip_prefix(what) {
                        return rest.trim().to_owned();
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("the agent does not say `{what}`"),
                Err(RecvTimeoutError::Disconnected) => panic!("the agent ended before it said `{what}`"),
            }
        }
    }

    /// Waits for a line that begins with one of these and answers which.
    #[track_caller]
    pub(crate) fn wait_for_either<'a>(&self, one: &'a str, other: &'a str) -> &'a str {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).expect("the agent says something");
            if let Some(found) = [one, other].into_iter().find(|what| line.starts_with(what)) {
                return found;
            }
        }
    }

    fn order(&mut self, line: &str) {
        writeln!(self.orders, "{line}").unwrap();
        self.orders.flush().unwrap();
    }

    /// Starts a program; when this returns, the keeper has its order.
    #[track_caller]
    pub(crate) fn start(&mut self, house: &House, mut spec: ProgramSpec, name: &str) {
        spec.name = name.to_owned();
        let key = AttemptKey { program: ProgramId(uuid::Uuid::now_v7()), attempt: 1 };
        let assignment = Assignment { key, spec: Arc::new(spec), index: 0, fence: key.fence(1) };
        fs::write(house.data().join("order"), encode_record(&assignment)).unwrap();
        self.order("start");
        self.wait_for(&format!("started {name}"));
    }

    /// Has programs started one behind another in one slot, by its keeper.
    #[track_caller]
    pub(crate) fn queue(&mut self, house: &House, programs: impl IntoIterator<Item = (String, ProgramSpec)>) {
        for (name, mut spec) in programs {
            spec.name.clone_from(&name);
            let key = AttemptKey { program: ProgramId(uuid::Uuid::now_v7()), attempt: 1 };
            let assignment = Assignment { key, spec: Arc::new(spec), index: 0, fence: key.fence(1) };
            fs::write(house.data().join("order"), encode_record(&(assignment, now()))).unwrap();
            fs::rename(house.data().join("order"), house.data().join("journal/waiting").join(name)).unwrap();
        }
        self.order("queue");
        self.wait_for("queued");
    }

    /// What was handed over with this one and has not started comes back; when this returns, the keeper has its order.
    #[track_caller]
    pub(crate) fn take_back(&mut self, name: &str) {
        self.order(&format!("back {name}"));
        self.wait_for("asked back");
    }

    /// Programs may run for this long from now on.
    #[track_caller]
    pub(crate) fn lease(&mut self, length: Span) {
        self.order(&format!("lease {}", transport::clock::boot_now().plus(length).0));
        self.wait_for("leased");
    }

    /// Its files cannot grow beyond this from now on.
    #[track_caller]
    pub(crate) fn limit_files(&mut self, bytes: u64) {
        self.order(&format!("limit {bytes}"));
        self.wait_for("limited");
    }

    /// The program stands still, or goes on.
    #[track_caller]
    pub(crate) fn suspend(&mut self, name: &str, wanted: bool) {
        self.order(&format!("suspend {name} {wanted}"));
        self.wait_for(&format!("suspended {name} {wanted}"));
    }

    /// Gives a program input, and does not wait.
    pub(crate) fn input(&mut self, house: &House, name: &str, offset: usize, bytes: &[u8]) {
        let file = house.data().join(format!("input-{offset}"));
        fs::write(&file, bytes).unwrap();
        self.order(&format!("input {name} {offset} {}", file.display()));
    }

    /// Nothing follows these bytes of input.
    pub(crate) fn end_input(&mut self, name: &str, offset: usize) {
        self.order(&format!("end {name} {offset}"));
    }

    #[track_caller]
    pub(crate) fn cancel(&mut self, name: &str, by: &str) {
        self.order(&format!("cancel {name} {by}"));
        self.wait_for("cancelled");
    }

    /// kill -9.
    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Waits until it has died by itself.
    pub(crate) fn dies(mut self) {
        self.process.wait().unwrap();
    }

    /// Stops in order, with everything that it started.
    #[track_caller]
    pub(crate) fn stop(mut self) {
        self.order("stop");
        self.wait_for("stopped");
        assert!(self.process.wait().unwrap().success());
    }

    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.process.id().cast_signed()), signal).unwrap();
    }
}

/// Whether a process is gone; one that nobody has waited for yet counts as gone.
pub(crate) fn is_gone(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_none_or(|rest| matches!(rest.trim_start().chars().next(), None | Some('Z' | 'X')))
}

fn user_base(number: u32) -> u32 {
    100_000 + number * 16
}

fn group_name(number: u32) -> String {
    format!("ruche-test-{number}")
}

/// Not a test: what `House::agent` starts. Without its variable it does nothing.
#[test]
fn plays_the_agent() {
    let Some(data) = std::env::var_os(DATA).map(PathBuf::from) else { return };
    let number = std::env::var(NUMBER).unwrap().parse().unwrap();
    // The harness has begun a line.
    println!();
    Player::new(data, number).play();
}

struct Player {
    executor: Executor,
    data: PathBuf,
    names: BTreeMap<AttemptKey, String>,
    /// To be handed over, in order.
    waiting: VecDeque<Assignment>,
    /// Handed over and not known to run.
    handed_over: VecDeque<AttemptKey>,
    /// One that was handed over runs on.
    runs_on: Option<AttemptKey>,
}

impl Player {
    fn new(data: PathBuf, number: u32) -> Self {
        let found = Launcher::find(&data).unwrap();
        let is_first = found.is_none();
        let (launcher, keepers, lease_until) = match found {
            Some((launcher, found)) => {
                assert_eq!(found.keep, b"kept");
                (launcher, found.keepers, found.lease_until)
            }
            None => {
                let launcher = Launcher::start_program(Path::new(env!("CARGO_BIN_EXE_ruche-slave"))).unwrap();
                launcher.outlive(&data, b"kept".to_vec(), None).unwrap();
                let pid = launcher.process_id().unwrap();
                fs::write(data.join("launcher"), pid.to_string()).unwrap();
                (launcher, Vec::new(), None)
            }
        };
        let groups =
            if keepers.is_empty() { Base::prepare(&group_name(number)) } else { Base::reuse(&group_name(number)) };
        let work = WorkRoot::prepare(&data, is_root().then(|| user_base(number)), &format!("test-{number}")).unwrap();
        if is_first {
            launcher::tree::kill_marked(&work.mark());
            work.users().into_iter().for_each(launcher::end_all_of);
        }
        let setup = Setup {
            program_path: ["/usr/local/bin", "/usr/bin", "/bin"].map(PathBuf::from).to_vec(),
            ceiling: common::ResourceLimits::MOST,
            work,
            groups,
            guards: Default::default(),
            outputs: Outputs::new(&data).unwrap(),
        };
        let mut executor = Executor::new(launcher, setup, keepers, lease_until).unwrap();
        executor.set_languages(language::built_in().iter().filter_map(offered));
        let (names, waiting, handed_over) = (BTreeMap::new(), VecDeque::new(), VecDeque::new());
        let mut player = Self { executor, data, names, waiting, handed_over, runs_on: None };
        player.adopt();
        player.look_at_waiting();
        player
    }

    fn started(&self, name: &str) -> PathBuf {
        self.data.join("journal/started").join(name)
    }

    fn adopt(&mut self) {
        let mut started: Vec<(Assignment, Timestamp)> = Vec::new();
        for entry in fs::read_dir(self.data.join("journal/started")).unwrap().map(Result::unwrap) {
            // An agent before this one may have been killed when it had written the end and not forgotten the start.
            if self.data.join("journal/ended").join(entry.file_name()).exists() {
                fs::remove_file(entry.path()).unwrap();
                continue;
            }
            started.push(decode_record(&fs::read(entry.path()).unwrap()).unwrap());
        }
        for (assignment, _) in &started {
            self.names.insert(assignment.key, assignment.spec.name.clone());
        }
        let mut unknown: BTreeMap<AttemptKey, Assignment> =
            started.iter().map(|(assignment, _)| (assignment.key, assignment.clone())).collect();
        for key in self.executor.adopt(started, now) {
            unknown.remove(&key);
            let ends = Stream::ALL.map(|stream| self.executor.outputs().end(key, stream).to_string());
            println!("adopted {} {}", self.names[&key], ends.join(" "));
            if self.executor.is_handed_over(key) {
                self.handed_over.push_back(key);
            }
            if let Some(offset) = self.executor.input_of(key) {
                println!("input {} {offset} {}", self.names[&key], self.executor.is_suspended(key));
            }
        }
        // The agent before this one was killed between writing them down and sending them off: each runs once.
        let queued = unknown.into_values().filter(|assignment| assignment.spec.name.starts_with("q"));
        self.not_started(queued.collect());
        println!("ready");
    }

    fn play(mut self) {
        let (sender, orders) = sync_channel(16);
        std::thread::Builder::new()
            .name("orders".to_owned())
            .spawn(move || {
                for line in std::io::stdin().lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            })
            .unwrap();
        loop {
            match orders.try_recv() {
                Ok(order) if order == "stop" => break,
                Ok(order) => self.obey(&order),
                Err(TryRecvError::Empty) => {}
                // The test is over, one way or another.
                Err(TryRecvError::Disconnected) => break,
            }
            let events = self.executor.turn(Duration::from_millis(5), now).unwrap();
            for event in events {
                match event {
                    ExecutorEvent::Output { key, stream, end } => {
                        println!("output {} {} {end}", self.names[&key], stream as u32);
                    }
                    ExecutorEvent::Progress { .. } => {}
                    ExecutorEvent::Suspended { key, suspended } => {
                        println!("suspended {} {suspended}", self.names[&key]);
                    }
                    ExecutorEvent::InputTaken { key, offset } => println!("taken {} {offset}", self.names[&key]),
                    ExecutorEvent::Started { key, .. } => {
                        println!("runs {}", self.names[&key]);
                        self.handed_over.retain(|other| *other != key);
                        self.runs_on = Some(key);
                    }
                    ExecutorEvent::NotStarted(back) => self.not_started(back),
                    ExecutorEvent::Ended(end) => {
                        self.ended(&end);
                        self.handed_over.retain(|key| *key != end.key);
                        self.runs_on.take_if(|key| *key == end.key);
                    }
                }
            }
            self.executor.all_is_kept();
            self.hand_over();
        }
        self.executor.shut_down().unwrap();
        println!("stopped");
    }

    fn obey(&mut self, order: &str) {
        let words: Vec<&str> = order.split(' ').collect();
        match words.as_slice() {
            ["start"] => {
                let assignment: Assignment = decode_record(&fs::read(self.data.join("order")).unwrap()).unwrap();
                let name = assignment.spec.name.clone();
                self.names.insert(assignment.key, name.clone());
                let at = now();
                fs::write(self.started(&name), encode_record(&(assignment.clone(), at))).unwrap();
                self.executor.start(assignment, at);
                println!("started {name}");
            }
            ["queue"] => {
                self.look_at_waiting();
                println!("queued");
            }
            ["back", name] => {
                self.executor.take_back(self.key_of(name));
                println!("asked back");
            }
            ["lease", until] => {
                self.executor.set_lease(BootTime(until.parse().unwrap()));
                println!("leased");
            }
            ["limit", bytes] => {
                use nix::sys::{
                    resource::{Resource, setrlimit},
                    signal::{SigSet, Signal},
                };
                let mut signal = SigSet::empty();
                signal.add(Signal::SIGXFSZ);
                // Then the call fails, as on a disk that is full.
                signal.thread_block().unwrap();
                setrlimit(Resource::RLIMIT_FSIZE, bytes.parse().unwrap(), nix::libc::RLIM_INFINITY).unwrap();
                println!("limited");
            }
            ["cancel", name, by] => {
                let key = self.names.iter().find(|(_, known)| known.as_str() == *name).map(|(key, _)| *key);
                self.executor.stop(key.unwrap(), Stop::Cancelled { by: (*by).to_owned() });
                println!("cancelled");
            }
            ["suspend", name, wanted] => {
                let control = if *wanted == "true" { Control::Suspend } else { Control::Resume };
                self.executor.control(self.key_of(name), control);
            }
            ["input", name, offset, file] => {
                let (offset, bytes) = (offset.parse().unwrap(), fs::read(file).unwrap());
                self.executor.control(self.key_of(name), Control::Input { offset, bytes, end: false });
            }
            ["end", name, offset] => {
                let control = Control::Input { offset: offset.parse().unwrap(), bytes: Vec::new(), end: true };
                self.executor.control(self.key_of(name), control);
            }
            _ => panic!("{order} is not an order"),
        }
    }

    fn key_of(&self, name: &str) -> AttemptKey {
        self.names.iter().find(|(_, known)| known.as_str() == name).map(|(key, _)| *key).unwrap()
    }

    /// Writes an end down as a journal would: what stands there is whole, and then the start is forgotten.
    fn ended(&mut self, end: &slave::executor::AttemptEnd) {
        let dies = |when| {
            if std::env::var(DIES).is_ok_and(|text| text == format!("{when:?}")) {
                nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).unwrap();
            }
        };
        dies(Dies::Hearing);
        let name = self.names[&end.key].clone();
        let outputs = self.executor.outputs();
        let (sealed, files) = outputs.seal(end.key).unwrap();
        dies(Dies::Sealed);
        for file in files {
            file.sync_all().unwrap();
        }
        let draft = self.data.join("journal").join(format!("draft-{name}"));
        // An agent before this one may have been killed over it.
        if draft.exists() {
            fs::remove_dir_all(&draft).unwrap();
        }
        fs::create_dir(&draft).unwrap();
        fs::write(draft.join("outcome"), format!("{:?}", end.outcome)).unwrap();
        fs::write(draft.join("truncated"), end.output_truncated.to_string()).unwrap();
        for (stream, sealed) in Stream::ALL.into_iter().zip(&sealed.streams) {
            let bytes = outputs.read(end.key, stream, 0, usize::MAX).unwrap();
            assert_eq!((sealed.begin, sealed.end), (0, bytes.len() as u64));
            fs::write(draft.join((stream as u32).to_string()), bytes).unwrap();
        }
        outputs.remove(end.key);
        fs::rename(draft, self.data.join("journal/ended").join(&name)).unwrap();
        fs::remove_file(self.started(&name)).unwrap();
        println!("ended {name}");
    }
}
