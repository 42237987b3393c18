//! The thin loop around the core: receives, calls `handle`, performs. One thread for everything.

mod certificate;
mod link;
mod outgoing;
mod perform;
mod restore;
mod run;

pub use run::{Restored, Run, Wake};

use crate::{
    audit::Audit,
    core::{Core, Event},
    data_folder::UserRange,
    executor::{Executor, ExecutorEvent},
    files::{Files, Told},
    journal::{Journal, SyncFailure},
    setup::Ready,
};
use certificate::Renewal;
use common::{
    UserError,
    id::Digest,
    message::{Message, Registration},
    view::{Ceiling, Isolation},
};
use std::{
    future::Future,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::Duration,
};
use tokio::sync::mpsc;
use transport::{Backoff, Connection, SlaveIdentity, clock};

/// Above this much waiting to be written, no more output is put into the connection.
const BULK_QUEUED_BYTES_MAX: usize = 4 << 20;
// A connection with more waiting is cut, and would be cut again at each return.
const _: () = assert!(
    BULK_QUEUED_BYTES_MAX as u64 + crate::core::BULK_AT_ONCE_BYTES <= common::limits::OUTBOUND_BYTES_MAX as u64 / 2
);
/// Turns of the executor before the connection has its turn again, so that a program that writes without
/// pause keeps nobody from hearing of this slave.
const TURNS_AT_ONCE_MAX: usize = 16;

/// What the world outside asks of the slave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Stop in order; the second time at once.
    Stop,
    /// Execute this program, with the same arguments, in place of this process; programs that run go on.
    Replace(PathBuf),
}

/// Says what people and scripts wait for.
pub trait Announce {
    /// A session began.
    fn connected(&mut self, line: &str);
}

type Connecting = Pin<Box<dyn Future<Output = Result<Connection, UserError>> + Send>>;

/// Where the slave stands with its master.
enum Link {
    /// Nobody to talk to until then.
    Resting(tokio::time::Instant),
    Connecting(Connecting),
    Connected(Box<Connection>),
}

/// The running slave; `R` runs its programs.
pub struct Slave<A, R = Executor> {
    core: Core,
    executor: R,
    /// Held so that no other slave takes the users of our programs.
    _users: Option<UserRange>,
    identity: Arc<SlaveIdentity>,
    renewal: Renewal,
    journal: Option<Journal>,
    /// What was refused to the master.
    audit: Option<Audit>,
    /// Input files; without it all are taken for here.
    files: Option<Files>,
    /// On this connection it was said that pieces of files come that nobody asked for.
    unasked_told: bool,
    /// Input files that were looked for without there being any.
    pretended: Vec<Digest>,
    /// Why nothing new is taken, as it was told to the core.
    trouble: Option<String>,
    template: Registration,
    announce: A,
    link: Link,
    /// Ends that are told with others.
    outgoing: outgoing::Outgoing,
    backoff: Backoff,
    told: Option<String>,
    /// The session is registered and was announced.
    announced: bool,
    asked_to_stop: u32,
    leaving: bool,
    /// What takes the place of this process.
    replacement: Option<PathBuf>,
}

/// What woke the loop.
enum Woken {
    Executor,
    Message(Result<Message, transport::ReceiveError>),
    Connection(Result<Connection, UserError>),
    Rested,
    Deadline,
    Asked(Ask),
    Unsynced(SyncFailure),
    File(Told),
}

impl<A: Announce> Slave<A> {
    /// A slave that has an identity and can run programs.
    #[must_use]
    pub fn new(core: Core, ready: Ready, identity: SlaveIdentity, slots: u32, announce: A) -> Self {
        let template = Registration {
            languages: ready.languages.iter().filter_map(crate::languages::Found::offer).collect(),
            isolation: ready.isolation.clone(),
            ceiling: ready.policy.ceiling,
            ..registration(slots)
        };
        // Programs of one user may leave something for each other: it is looked after each.
        let core = core.handing_over(if ready.users.is_some() { usize::MAX } else { 1 });
        Self { _users: ready.users, ..Self::over(core, ready.executor, template, identity, announce) }
    }
}

/// What a slave without languages tells of itself.
#[must_use]
pub fn registration(slots: u32) -> Registration {
    Registration {
        instance: instance(),
        epoch: 0,
        slots,
        languages: Vec::new(),
        isolation: Isolation::default(),
        machine: machine(),
        release: env!("CARGO_PKG_VERSION").to_owned(),
        waiting: Vec::new(),
        running: Vec::new(),
        finished: Vec::new(),
        suspended: Vec::new(),
        ceiling: Ceiling::default(),
    }
}

impl<A: Announce, R: Run> Slave<A, R> {
    /// A slave whose programs `executor` runs and which tells `template` of itself.
    #[must_use]
    pub fn over(core: Core, executor: R, template: Registration, identity: SlaveIdentity, announce: A) -> Self {
        Self {
            core,
            executor,
            _users: None,
            identity: Arc::new(identity),
            renewal: Renewal::default(),
            journal: None,
            audit: None,
            files: None,
            unasked_told: false,
            pretended: Vec::new(),
            trouble: None,
            template,
            announce,
            link: Link::Resting(tokio::time::Instant::now()),
            outgoing: outgoing::Outgoing::default(),
            backoff: Backoff::new(),
            told: None,
            announced: false,
            asked_to_stop: 0,
            leaving: false,
            replacement: None,
        }
    }

    /// Fetches input files of programs.
    #[must_use]
    pub fn fetching(mut self, files: Files) -> Self {
        self.files = Some(files);
        self
    }

    /// Keeps what it refuses to its master.
    #[must_use]
    pub fn auditing(mut self, audit: Audit) -> Self {
        self.audit = Some(audit);
        self
    }

    /// Renews the certificate of its identity and saves it in this folder.
    #[must_use]
    pub fn renewing_in(mut self, data: PathBuf) -> Self {
        self.renewal = Renewal::in_folder(data);
        self
    }

    /// Serves until it is asked to stop.
    ///
    /// # Errors
    /// When programs can no longer be run, or the master refuses this slave for good.
    pub async fn run(mut self, mut asks: mpsc::Receiver<Ask>) -> Result<(), UserError> {
        let result = self.serve(&mut asks).await;
        if result.is_ok()
            && let Some(program) = self.replacement.take()
        {
            return Err(self.replace(&program).await);
        }
        let left = self.leave().await.map_err(internal);
        // What ended the service says more than what then could not be tidied up.
        result.and(left)
    }

    async fn serve(&mut self, asks: &mut mpsc::Receiver<Ask>) -> Result<(), UserError> {
        let mut wake = self.executor.wake().map_err(internal)?;
        let mut more = false;
        while !self.leaving {
            let woken = {
                let deadline = self.deadline();
                let link = Self::link_event(&mut self.link);
                let unsynced = sync_failure(&mut self.journal);
                let file = file_told(&mut self.files);
                tokio::select! {
                    ask = asks.recv() => ask.map_or(Woken::Deadline, Woken::Asked),
                    ready = wake.ready() => {
                        ready.map_err(internal)?;
                        Woken::Executor
                    }
                    woken = link => woken,
                    failure = unsynced => Woken::Unsynced(failure),
                    told = file => Woken::File(told),
                    // Everything else, the connection's own tasks too, comes first once.
                    () = tokio::task::yield_now(), if more => Woken::Executor,
                    () = sleep_until(deadline) => Woken::Deadline,
                }
            };
            let looks = more || matches!(woken, Woken::Executor | Woken::Deadline);
            match woken {
                Woken::Executor => {}
                Woken::Message(result) => self.message(result)?,
                Woken::Connection(result) => self.connection(result)?,
                Woken::Rested => self.dial(),
                Woken::Deadline => self.handle([Event::Tick]),
                Woken::Asked(Ask::Stop) => self.asked_to_stop(),
                Woken::Asked(Ask::Replace(program)) => self.asked_to_be_replaced(program),
                Woken::Unsynced(failure) => self.sync_failed(&failure),
                Woken::File(Told { digest, result }) => self.handle([Event::InputHeld { digest, result }]),
            }
            self.tend_journal();
            self.look_at_certificate();
            // What was ordered ends at once when it cannot be started; else only a wake brings something new.
            if looks || !self.executor.is_idle() {
                more = self.turn_executor().map_err(internal)?;
            }
        }
        Ok(())
    }

    async fn link_event(link: &mut Link) -> Woken {
        match link {
            Link::Resting(until) => {
                tokio::time::sleep_until(*until).await;
                Woken::Rested
            }
            Link::Connecting(connecting) => Woken::Connection(connecting.await),
            Link::Connected(connection) => Woken::Message(connection.receiver.next().await),
        }
    }

    fn deadline(&self) -> Option<std::time::Instant> {
        let core =
            self.core.next_deadline().map(|(at, _)| std::time::Instant::now() + at.since(clock::boot_now()).to_std());
        let journal = self.journal.as_ref().and_then(Journal::next_deadline);
        let renewal = self.renewal.next_deadline().filter(|_| self.announced);
        [core, journal, renewal, self.outgoing.deadline(), self.executor.next_deadline()].into_iter().flatten().min()
    }

    /// Handles what the executor has, up to a share; true when there may be more.
    fn turn_executor(&mut self) -> std::io::Result<bool> {
        for _ in 0..TURNS_AT_ONCE_MAX {
            let turn = self.executor.turn()?;
            if turn.is_empty() && self.executor.is_idle() {
                return Ok(false);
            }
            let event = |event| match event {
                ExecutorEvent::Output { key, stream, end } => Event::Output { key, stream, end },
                ExecutorEvent::Progress { key, progress } => Event::Progress { key, progress },
                ExecutorEvent::Suspended { key, suspended } => Event::Suspended { key, suspended },
                ExecutorEvent::InputTaken { key, offset } => Event::InputTaken { key, offset },
                ExecutorEvent::Started { key, at } => Event::Started { key, at },
                ExecutorEvent::NotStarted(assignments) => Event::NotStarted(assignments),
                ExecutorEvent::Ended(end) => Event::Ended(end),
            };
            let events: Vec<Event> = turn.into_iter().map(event).collect();
            self.keep_ends(&events);
            // What could not be kept is where the next attempt would write: none may start before the core knows.
            let unfit = self.changed_fitness();
            self.handle(unfit.into_iter().chain(events));
            self.look_at_damaged_inputs();
        }
        Ok(true)
    }

    fn tend_journal(&mut self) {
        let Some(journal) = &mut self.journal else { return };
        if let Some(due) = journal.next_deadline() {
            let now = std::time::Instant::now();
            if now >= due {
                journal.tick(now);
            }
        }
        if let Some(event) = self.changed_fitness() {
            self.handle([event]);
        }
    }

    fn sync_failed(&mut self, failure: &SyncFailure) {
        if let Some(journal) = &mut self.journal {
            journal.sync_failed(failure);
        }
    }

    fn asked_to_stop(&mut self) {
        self.asked_to_stop += 1;
        if self.asked_to_stop > 1 {
            tracing::info!("stopping at once");
            self.leaving = true;
            return;
        }
        let (_, running, unacknowledged) = self.core.counts();
        tracing::info!(running, unacknowledged, "stopping: programs may end first");
        self.handle([Event::Stop]);
    }

    fn asked_to_be_replaced(&mut self, program: PathBuf) {
        if let Err(error) = std::fs::metadata(&program) {
            tracing::error!(program = %program.display(), %error, "there is nothing to go on with; this agent stays");
            return;
        }
        tracing::info!(program = %program.display(), "making room for another start; programs run on");
        self.replacement = Some(program);
        self.leaving = true;
    }

    /// Executes `program` in place of this process. The launcher takes it for the end of this agent and hands
    /// everything to the next one. Returns only when that failed.
    async fn replace(mut self, program: &Path) -> UserError {
        self.close_connection().await;
        if let Some(journal) = self.journal.take() {
            journal.close();
        }
        let error = std::process::Command::new(program).args(std::env::args_os().skip(1)).exec();
        // What runs is the next agent's, whoever starts it.
        self.executor.leave();
        internal(error)
    }

    async fn close_connection(&mut self) {
        if let Link::Connected(connection) = &mut self.link {
            connection.sender.close();
            if tokio::time::timeout(Duration::from_secs(3), connection.sender.closed()).await.is_err() {
                tracing::debug!("the connection did not close in time");
            }
        }
    }

    /// Closes the connection in order and ends everything that still runs.
    async fn leave(mut self) -> std::io::Result<()> {
        self.close_connection().await;
        let (_, running, results) = self.core.counts();
        if running + results > 0 && self.journal.is_some() {
            tracing::info!(running, results, "what was not delivered is told at the next start");
        }
        let stopped = self.executor.shut_down();
        if let Some(journal) = self.journal.take() {
            journal.close();
        }
        stopped
    }
}

fn internal(error: std::io::Error) -> UserError {
    UserError::new(common::ErrorCode::Internal, format!("programs cannot be run any more: {error}"))
}

async fn file_told(files: &mut Option<Files>) -> Told {
    match files {
        Some(files) => files.next().await,
        None => std::future::pending().await,
    }
}

async fn sync_failure(journal: &mut Option<Journal>) -> SyncFailure {
    match journal {
        Some(journal) => journal.failure().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(deadline: Option<std::time::Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// A number that another start of the agent does not have.
fn instance() -> u64 {
    let bytes = uuid::Uuid::new_v4().into_bytes();
    bytes.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Operating system and processors, for people.
fn machine() -> String {
    let name = rustix::system::uname();
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!("{} {}, {cpus} CPUs", name.sysname().to_string_lossy(), name.release().to_string_lossy())
}
