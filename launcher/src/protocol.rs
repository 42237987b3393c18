//! What agent, launcher and keepers say to each other. All three are one release, so this format is free
//! to change; it is bincode all the same, because the codec is there.

mod quick;

pub use quick::{HeldEnd, Order, Queue, QuickEnd, QuickResult, QuickRunning, QuickState, QuickStep};

use common::units::{ByteSize, Duration, Timestamp};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, path::PathBuf};

/// Changes with every change of these messages: an agent takes over a launcher only when both speak the same. The
/// first two of [`ToLauncher`] and the first of [`FromLauncher`] stay what they are for ever.
pub const PROTOCOL: u32 = 4;

/// Steps that a keeper holds which have not started; one that comes on top is given back at once.
pub const QUEUE_MAX: usize = 64;
/// A step of a queue that runs longer is handed over to the agent while it runs.
pub const QUICK: Duration = Duration::from_millis(2);
/// What an end holds of each of standard output and error; a pipe of Linux holds as much unless it was made larger.
pub const QUICK_OUTPUT_MAX: usize = 64 << 10;

/// Agent to launcher.
#[expect(clippy::large_enum_variant, reason = "few are made, one after another")]
#[derive(Debug, Serialize, Deserialize)]
pub enum ToLauncher {
    /// An agent that follows another: answered by [`FromLauncher::Keeper`] for each keeper, then by
    /// [`FromLauncher::Adopted`].
    Adopt {
        /// What it speaks.
        protocol: u32,
    },
    /// End everything now.
    Stop,
    /// Outlive the agent: the listening socket that the next one will call comes along, and a descriptor to hold for
    /// it, or none.
    Listen {
        /// What the next agent is told.
        keep: Vec<u8>,
    },
    /// Fork a keeper; its end of a socket pair comes along, and the agent's own end for the next agent.
    NewKeeper(KeeperConfig),
    /// Programs may run until then, whatever becomes of the agent.
    Lease {
        /// Microseconds on the clock that does not stop while the machine sleeps.
        until: u64,
    },
}

/// Launcher to agent.
#[expect(clippy::large_enum_variant, reason = "few are made, one after another")]
#[derive(Debug, Serialize, Deserialize)]
pub enum FromLauncher {
    /// It speaks something else than the agent that wants to take over.
    OtherProtocol {
        /// What it speaks.
        protocol: u32,
    },
    /// A keeper that an earlier agent started; its socket comes along.
    Keeper(KeeperConfig),
    /// These were all; the held descriptor comes along, when there is one.
    Adopted {
        /// As the earlier agent gave it.
        keep: Vec<u8>,
        /// Until when programs may run, in microseconds of boot time: 0 when that is over, none when no agent has told
        /// it.
        lease_until: Option<u64>,
    },
    /// This keeper is gone and so is all that it started; the slot may have a new one.
    KeeperEnded {
        /// Its slot.
        slot: u32,
        /// Why, for people.
        reason: String,
    },
}

/// Who programs run as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramUser {
    /// User.
    pub uid: u32,
    /// The one group.
    pub gid: u32,
}

/// What a keeper needs to know about its slot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeeperConfig {
    /// The slot, from 0.
    pub slot: u32,
    /// Who its programs run as; none is the slave's own user.
    pub user: Option<ProgramUser>,
    /// The control groups of the slot.
    pub groups: SlotGroups,
    /// What stands between its programs and the machine.
    pub guards: Guards,
}

/// Which namespaces a keeper and its programs live in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Namespaces {
    /// The machine's own.
    #[default]
    None,
    /// Their own, made by a launcher that runs as root.
    Own,
    /// Their own, in a user namespace that any user may make.
    OfUser,
}

/// What stands between the programs of a slot and the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guards {
    /// Namespaces of processes, mounts, network, names and messages.
    pub namespaces: Namespaces,
    /// Files only below `system` and the slot's folder, by Landlock.
    pub landlock: bool,
    /// Calls that no program needs are refused.
    pub seccomp: bool,
    /// Without a network of their own, programs get no sockets that reach one; by the filter of calls.
    pub sockets_refused: bool,
    /// Folders that programs may read and execute; nothing else of the machine is seen.
    pub system: Vec<PathBuf>,
    /// Folders that programs may write as well: the slave's configuration names them.
    pub writable: Vec<PathBuf>,
    /// The folder that holds the slot's working folders: the one place where programs may write, beside a private
    /// `/tmp`. Seen under the same path.
    pub work: PathBuf,
    /// Whether programs that ask for it may use the network, and what they may not reach there.
    pub network: Option<NetworkGuard>,
}

/// What a program with network may never reach: these, loopback and link-local addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkGuard {
    /// Ports, on any address: the master's.
    pub ports: Vec<u16>,
}

/// Which interface the control groups speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupVersion {
    /// One hierarchy for each controller; the keeper lives in the slot's groups.
    V1,
    /// One hierarchy; the program's group is beside the keeper.
    V2,
}

/// The folders of a slot's control groups. None where a controller cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotGroups {
    /// Which interface.
    pub version: GroupVersion,
    /// The group that limits memory.
    pub memory: Option<PathBuf>,
    /// The group that limits processes.
    pub processes: Option<PathBuf>,
    /// The group that counts processor time.
    pub cpu: Option<PathBuf>,
    /// The group of the unified hierarchy that tells a program's processes from all others, where it is mounted: a
    /// program is born in it, and is frozen and killed by it. With version 2 the group that limits as well.
    pub identity: Option<PathBuf>,
    /// The group of version 1 that makes a program stand still, where the unified hierarchy cannot.
    pub freezer: Option<PathBuf>,
}

impl SlotGroups {
    /// No control groups: limits are kept by watching.
    pub const NONE: Self =
        Self { version: GroupVersion::V1, memory: None, processes: None, cpu: None, identity: None, freezer: None };

    /// Each folder once.
    #[must_use]
    pub fn folders(&self) -> BTreeSet<PathBuf> {
        [&self.memory, &self.processes, &self.cpu, &self.identity, &self.freezer]
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }
}

/// Strings for execve, each ended by a NUL, in one block.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strings(#[serde(with = "serde_bytes")] pub(crate) Vec<u8>);

impl Strings {
    /// Appends one. What follows a NUL byte in it is lost; a submit with one is refused long before.
    pub fn push(&mut self, text: &[u8]) {
        self.extend(text);
        self.0.push(0);
    }

    /// Appends `name=value`.
    pub fn push_variable(&mut self, name: &[u8], value: &[u8]) {
        self.extend(name);
        self.0.push(b'=');
        self.push(value);
    }

    /// Up to a NUL byte, in one piece: a byte at a time was much of what a short program cost its agent.
    fn extend(&mut self, text: &[u8]) {
        self.0.extend_from_slice(text.split(|byte| *byte == 0).next().unwrap_or_default());
    }

    /// Room for this many bytes.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// Each string, without its NUL.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split_inclusive(|byte| *byte == 0).map(|text| text.strip_suffix(&[0]).unwrap_or(text))
    }

    /// Bytes that the strings take, NULs included.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.0.len()
    }
}

impl<T: AsRef<[u8]>> FromIterator<T> for Strings {
    fn from_iter<I: IntoIterator<Item = T>>(texts: I) -> Self {
        let mut strings = Self::default();
        for text in texts {
            strings.push(text.as_ref());
        }
        strings
    }
}

/// The bounds of one step. The output limit is the agent's, which reads the pipes.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct StepLimits {
    /// Time since the start.
    pub wall_time: Duration,
    /// Processor time of the tree.
    pub cpu_time: Option<Duration>,
    /// Resident memory of the tree.
    pub memory: ByteSize,
    /// Processes and threads of the tree at once.
    pub processes: u32,
    /// Size of any one file.
    pub file_size: ByteSize,
    /// The working folder and the private `/tmp` with all that is in them.
    pub disk: ByteSize,
    /// Open files of one process.
    pub open_files: u32,
}

/// One program to start. Descriptors come along: working folder, standard output, standard error,
/// standard input when `stdin` says so, and the reading ends of the pipes, which the keeper holds for an agent that
/// may follow this one.
#[derive(Debug, Serialize, Deserialize)]
pub struct Step {
    /// What the agent knows it by; told again by [`FromKeeper::State`].
    #[serde(with = "serde_bytes")]
    pub tag: Vec<u8>,
    /// It must not be started later than this, in microseconds on the same clock.
    pub lease_until: Option<u64>,
    /// Paths to try in this order, as execvp does.
    pub candidates: Strings,
    /// Arguments, the program's name first.
    pub arguments: Strings,
    /// The whole environment.
    pub environment: Strings,
    /// Its bounds.
    pub limits: StepLimits,
    /// Whether standard input comes along; else it is empty.
    pub stdin: bool,
    /// Standard input is a terminal, which shall control the program's session.
    pub terminal: bool,
    /// It asks for the network.
    pub network: bool,
}

/// Agent to keeper.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToKeeper {
    /// Start this. Only after the last one ended; all ends of a queue are kept by then.
    Run(Box<Step>),
    /// SIGTERM to the program's process group now, the whole tree's end after `grace`.
    Cancel {
        /// Time between the two.
        grace: Duration,
        /// Why, as the agent wants to know it again.
        note: Vec<u8>,
    },
    /// The whole tree's end now.
    Kill {
        /// Why, as the agent wants to know it again.
        note: Vec<u8>,
    },
    /// Say what is the matter: for an agent that follows another. Answered by [`FromKeeper::State`].
    Tell {
        /// Told again by the answer: the answer to an agent before this one may still be on its way.
        number: u64,
    },
    /// The whole tree stands still, and its wall time does not run. Answered by [`FromKeeper::Suspended`].
    Suspend,
    /// It goes on. Answered by [`FromKeeper::Suspended`].
    Resume,
    /// From now on it may run for so long in all.
    SetWallTime(Duration),
    /// This signal to the program's process group.
    Signal(i32),
    /// End, as no program runs: a keeper with other guards takes its place.
    End,
    /// Start these one after another, behind those that are queued already and without being asked again. Never while
    /// a step that [`ToKeeper::Run`] began has not ended.
    Queue(Queue),
    /// Does this to the step with this number and to no other; nothing when it has ended.
    Quick {
        /// Which.
        number: u64,
        /// What.
        order: Order,
    },
    /// Give back what has not started: answered by [`FromKeeper::Returned`], which may be empty.
    Return,
}

/// What a keeper holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeeperState {
    /// It has not run anything yet.
    Idle,
    /// It runs this; working folder and reading ends come along.
    Running {
        /// The step's tag.
        tag: Vec<u8>,
        /// Why it is being ended; empty when it is not.
        note: Vec<u8>,
        /// It stands still.
        suspended: bool,
    },
    /// The last one ended like this; working folder and reading ends come along.
    Ended {
        /// The step's tag.
        tag: Vec<u8>,
        /// Why it was ended; empty when it was not.
        note: Vec<u8>,
        /// What the agent was told, or would have been.
        report: Box<FromKeeper>,
    },
    /// The last that it was given were steps of a queue.
    Quick(QuickState),
}

/// Keeper to agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromKeeper {
    /// It can start programs.
    Ready {
        /// Why a control group that was asked for is not used; empty when all is well.
        problem: String,
    },
    /// The program and everything that it started are gone.
    Ended(Ended),
    /// The program could not be started.
    NotStarted(NotStarted),
    /// Answer to [`ToKeeper::Tell`].
    State {
        /// That of the question.
        number: u64,
        /// What it holds.
        state: KeeperState,
    },
    /// Whether the program stands still now.
    Suspended(bool),
    /// Ends of steps of a queue, in the order of their numbers but for those that were dropped. Several in one message
    /// while more is queued: an end then waits about 1 ms, and no longer than another quick program takes.
    Ends(Vec<QuickEnd>),
    /// This step of a queue has run for [`QUICK`], or has written more than an end can hold: from now on it is like
    /// any other. The reading ends of its standard output and error come along; the keeper holds them as well, for an
    /// agent that may follow this one. Its end comes by [`FromKeeper::Ends`] and holds no output.
    Outlives {
        /// Which.
        number: u64,
        /// When it was started.
        started: Timestamp,
        /// What was queued behind it, in order: given back, not started.
        returned: Vec<u64>,
    },
    /// These steps of a queue have not started and will not, in order. Answer to [`ToKeeper::Return`]; also for steps
    /// that came too soon behind one that outlived.
    Returned(Vec<u64>),
    /// Whether this step of a queue stands still now.
    QuickSuspended {
        /// Which.
        number: u64,
        /// It does.
        suspended: bool,
    },
}

/// What was being done when a start failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StartStep {
    /// The lease had ended.
    Lease,
    /// Making the process.
    Clone,
    /// A process group of its own, or with a terminal a session.
    ProcessGroup,
    /// Entering the control group.
    Group,
    /// Resource limits.
    Limits,
    /// Standard input, output and error.
    Descriptors,
    /// Entering the working folder.
    Folder,
    /// Becoming the program's user.
    User,
    /// Giving up new privileges.
    Privileges,
    /// The network that it asked for.
    Network,
    /// A private `/tmp` and private messages between processes.
    Private,
    /// Files of the machine out of reach.
    Landlock,
    /// Calls that no program needs.
    Seccomp,
    /// Executing it.
    Execute,
}

/// Why a program could not be started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotStarted {
    /// What was being done.
    pub step: StartStep,
    /// The error number of the call that failed.
    pub errno: i32,
    /// Which of the candidates it was.
    pub candidate: usize,
}

/// How the main process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// With this code.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
}

/// Why the keeper ended a program, or a limit that the kernel enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// It ran longer than its wall time.
    WallTime,
    /// Its tree used this much processor time.
    CpuTime(Duration),
    /// Its tree used this much memory.
    Memory(ByteSize),
    /// Its tree had this many processes, or asked for one more.
    Processes(u32),
    /// It wrote a file up to the limit.
    FileSize,
    /// Its working folder and its `/tmp` had this size.
    Disk(ByteSize),
    /// The file system that it writes to is nearly full, and it took a good part of it.
    NoSpace {
        /// What it took.
        used: ByteSize,
        /// What is left for all.
        left: ByteSize,
    },
    /// One of its processes had this many files open.
    OpenFiles(u32),
    /// The agent said so.
    Ordered,
    /// The slave was cut off from its master for too long.
    LeaseEnded,
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The main process's end.
    pub status: Status,
    /// Why, where it was not its own doing.
    pub cause: Option<Cause>,
    /// From the start to the end of the main process.
    pub wall: Duration,
    /// Processor time of the whole tree.
    pub cpu: Duration,
    /// The most memory of the tree at once.
    pub memory_peak: ByteSize,
    /// Processes that outlived the main one and were killed.
    pub left_over: u32,
}
