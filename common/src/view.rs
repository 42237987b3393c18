//! What the master shows: rows and counts, as they travel to clients.

use crate::{
    id::{ClientId, ProgramId, SlaveId},
    outcome::Outcome,
    program::{ResourceLimits, State},
    session::Role,
    units::{ByteSize, Duration, Timestamp},
};
use serde::{Deserialize, Serialize};

/// What a program used. Zero where it never ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// From start to end.
    pub wall: Duration,
    /// Processor time, user and system, of the whole tree as far as it is known.
    pub cpu: Duration,
    /// The most resident memory at once.
    pub memory_peak: ByteSize,
}

/// How far a running program says it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// 0 to 100.
    pub percent: f32,
    /// What it is doing; may be empty.
    pub text: String,
}

/// One row of the history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProgramView {
    /// The program.
    pub id: ProgramId,
    /// Its place in the order of acknowledgement; grows, never reused. Pages are cut by it.
    pub sequence: u64,
    /// What people call it.
    pub name: String,
    /// The language of a source file.
    pub language: Option<String>,
    /// Where it is in its life.
    pub state: State,
    /// How it ended; present exactly when the state is final.
    pub outcome: Option<Outcome>,
    /// The slave that runs or ran it.
    pub slave_id: Option<SlaveId>,
    /// That slave's name.
    pub slave_name: Option<String>,
    /// The connection that submitted it.
    pub client: ClientId,
    /// The user who submitted it.
    pub user: String,
    /// The current or last attempt; 0 before the first.
    pub attempt: u32,
    /// 0 to 100.
    pub priority: u8,
    /// Its number among copies, from 0.
    pub index: u32,
    /// How many copies were submitted together.
    pub copies: u32,
    /// What it says of its progress.
    pub progress: Option<Progress>,
    /// When the submit was committed.
    pub submitted_at: Timestamp,
    /// When the current or last attempt started.
    pub started_at: Option<Timestamp>,
    /// When it reached its final state.
    pub ended_at: Option<Timestamp>,
    /// What it used, once it ended.
    pub usage: Option<Usage>,
    /// Bytes of standard output stored so far.
    pub output_bytes: u64,
    /// Bytes of standard error stored so far.
    pub error_bytes: u64,
    /// Bytes of compiler output stored.
    pub compile_bytes: u64,
    /// Whether the output limit cut the output.
    pub output_truncated: bool,
    /// The last line of output, shortened; for a waiting program why it waits.
    pub last_line: String,
    /// Since when the connection to its slave is lost: whether it still runs is not known. None unless it is
    /// shown as running.
    pub unknown_since: Option<Timestamp>,
    /// Bytes of collected files stored.
    pub files_bytes: u64,
    /// Whether it takes input while it runs.
    pub live: bool,
}

/// A language that one slave can run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LanguageOffer {
    /// The language's name.
    pub name: String,
    /// What the version probe printed, shortened to its number.
    pub version: String,
    /// File extensions without the dot.
    pub extensions: Vec<String>,
}

/// Whether a slave is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SlaveState {
    /// Connected and taking programs.
    Connected,
    /// The connection is lost; its programs may still run.
    Unreachable,
    /// Connected, finishing what it has, taking nothing new.
    Draining,
}

impl SlaveState {
    /// The word in JSON and in the window.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Unreachable => "unreachable",
            Self::Draining => "draining",
        }
    }
}

/// How far a slave shuts its programs in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum IsolationLevel {
    /// Limits and the end of the whole tree; the system's files and processes are seen.
    #[default]
    Plain,
    /// Namespaces of an ordinary user.
    UserNamespaces,
    /// Namespaces of an ordinary user, and control groups that were given to it.
    Delegated,
    /// Namespaces, control groups and a user of its own for each program at once.
    Root,
}

impl IsolationLevel {
    /// The word in JSON, on the command line and in the window.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::UserNamespaces => "user-namespaces",
            Self::Delegated => "delegated",
            Self::Root => "root",
        }
    }
}

/// One thing that a slave puts between a program and the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guard {
    /// Its word, such as `own-user`, `seccomp`, `memory-limit`.
    pub name: String,
    /// Whether it is in force.
    pub on: bool,
    /// How, or why not.
    pub detail: String,
}

/// What a slave never exceeds, whatever a program or the master asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ceiling {
    /// The most of each limit; a CPU time of none is bounded by the wall time alone.
    pub limits: ResourceLimits,
    /// Whether programs that ask for it get the network.
    pub network: bool,
}

impl Default for Ceiling {
    /// All that Ruche itself allows, and no network.
    fn default() -> Self {
        Self { limits: ResourceLimits::MOST, network: false }
    }
}

/// What a slave can enforce and how, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Isolation {
    /// How far it shuts programs in.
    pub level: IsolationLevel,
    /// Each guard, in force or not.
    pub guards: Vec<Guard>,
    /// One line, such as `own user, memory by cgroup v1`.
    pub summary: String,
    /// Whether memory is limited by the kernel (a cgroup) rather than by watching.
    pub memory_by_cgroup: bool,
    /// Whether programs run as another user than the slave.
    pub own_user: bool,
}

/// One row of the list of slaves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SlaveView {
    /// The slave.
    pub id: SlaveId,
    /// Its name.
    pub name: String,
    /// Where it connects from.
    pub address: String,
    /// Whether it is there.
    pub state: SlaveState,
    /// Since when it is in this state.
    pub since: Timestamp,
    /// When it connected the last time.
    pub connected_since: Timestamp,
    /// Programs that run there.
    pub running: u32,
    /// Programs sent ahead that wait there for a slot.
    pub ahead: u32,
    /// Programs that may run there at once, as the master set it.
    pub slots: u32,
    /// What it can run.
    pub languages: Vec<LanguageOffer>,
    /// What it can enforce.
    pub isolation: Isolation,
    /// Operating system and processor count, for people.
    pub machine: String,
    /// Its release.
    pub release: String,
    /// Why it is given nothing new, when somebody or the master itself set it aside.
    pub aside: Option<String>,
    /// What it never exceeds.
    pub ceiling: Ceiling,
}

/// Which program a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ClientKind {
    /// The desktop window.
    Gui,
    /// The command line.
    Cli,
}

impl ClientKind {
    /// The word in JSON and in the window.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Gui => "gui",
            Self::Cli => "cli",
        }
    }
}

/// One row of the list of clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientView {
    /// The connection.
    pub id: ClientId,
    /// Who logged in.
    pub user: String,
    /// What that user may do.
    pub role: Role,
    /// Where it connects from.
    pub address: String,
    /// Window or command line.
    pub kind: ClientKind,
    /// When it logged in.
    pub connected_since: Timestamp,
    /// Its own programs that run now.
    pub running: u32,
    /// Its own programs that wait now.
    pub waiting: u32,
}

/// How waiting programs are ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Policy {
    /// In the order of acknowledgement.
    #[default]
    Fifo,
    /// Slices of this length in turn.
    RoundRobin {
        /// The slice.
        quantum: Duration,
    },
    /// Highest priority first.
    Priority,
}

impl Policy {
    /// The word on the command line and in the window.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Fifo => "fifo",
            Self::RoundRobin { .. } => "round-robin",
            Self::Priority => "priority",
        }
    }
}

/// The counts of the bottom bar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Programs in the history, all states.
    pub programs: u64,
    /// Waiting now.
    pub waiting: u64,
    /// Running now.
    pub running: u64,
    /// Ended with exit code 0, ever.
    pub done: u64,
    /// Failed, ever.
    pub failed: u64,
    /// Failed since midnight UTC or the start of the master, whichever is later.
    pub failed_today: u64,
    /// Cancelled, ever.
    pub cancelled: u64,
    /// Lost, ever.
    pub lost: u64,
    /// Slots of all connected slaves.
    pub slots: u32,
    /// Connected slaves.
    pub slaves: u32,
    /// Connected clients.
    pub clients: u32,
    /// The policy in force.
    pub policy: Policy,
}

/// Why one slave does not run a waiting program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlaveReason {
    /// The slave's name.
    pub slave: String,
    /// Whether it could run the program when a slot is free.
    pub able: bool,
    /// The reason, with values.
    pub reason: String,
}

/// Why a program waits, or how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// One sentence.
    pub sentence: String,
    /// Programs that come before it; absent once it runs or ended.
    pub ahead: Option<u64>,
    /// Slave by slave, for a waiting program.
    pub slaves: Vec<SlaveReason>,
}
