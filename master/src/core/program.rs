//! A program that has not ended, and the view of it.

use common::{
    AttemptKey, ClientId, Duration, Outcome, ProgramId, ProgramSpec, SlaveId, Timestamp,
    escape::RawText,
    limits::OUTPUT_CHUNK_BYTES_MAX,
    message::{Finished, Report, Request, Stream, Tail},
    program::State,
    units::BootTime,
    view::{ProgramView, Progress},
};
use std::sync::Arc;

/// A submitted body; copies share it.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) spec: Arc<ProgramSpec>,
    pub(super) key: u64,
    pub(super) hash: [u8; 32],
    /// About how much memory it takes.
    pub(super) bytes: usize,
}

/// Bytes that a body takes in memory, roughly.
pub(crate) fn weight(spec: &ProgramSpec) -> usize {
    let work = match &spec.work {
        common::Work::Source { text, .. } => text.0.len(),
        common::Work::Command { command } => command.0.len(),
    };
    let arguments: usize = spec.arguments.iter().map(|argument| argument.0.len() + 24).sum();
    let environment: usize = spec.environment.iter().map(|(name, value)| name.0.len() + value.0.len() + 48).sum();
    512 + work + spec.stdin.as_ref().map_or(0, |stdin| stdin.0.len()) + arguments + environment
}

/// Bytes that a request takes in memory until it is handled, and what follows from it until it is committed.
pub(crate) fn request_bytes(request: &Request) -> usize {
    match request {
        Request::Submit { ids, spec, .. } => weight(spec) + 256 * ids.len(),
        Request::SubmitCopies { spec, .. } => weight(spec) + 256,
        Request::SubmitEntries { spec, entries, .. } => {
            weight(spec) + entries.iter().map(|entry| 320 + entry.0.len()).sum::<usize>()
        }
        Request::Cancel { ids } | Request::Wait { ids } => 128 * ids.len(),
        Request::List(query) => query.search.len(),
        Request::SetMaxProcesses { slave, .. } => slave.as_ref().map_or(0, String::len),
        Request::SetAside { slave, reason } => slave.len() + reason.len(),
        Request::TakeBack { slave } => slave.len(),
        Request::Suspend { ids } | Request::Resume { ids } => 128 * ids.len(),
        Request::Input { bytes, .. } | Request::PutInput { bytes, .. } => bytes.len(),
        Request::InputsHeld { digests } => 64 * digests.len(),
        Request::ReadOutput { bytes_max, .. } => (*bytes_max as usize).min(OUTPUT_CHUNK_BYTES_MAX),
        Request::Show { .. }
        | Request::Spec { .. }
        | Request::Why { .. }
        | Request::Slaves
        | Request::Clients
        | Request::Summary
        | Request::SetPolicy(_)
        | Request::Watch { .. }
        | Request::Logout
        | Request::Events { .. }
        | Request::SetWallTime { .. }
        | Request::Resize { .. }
        | Request::Signal { .. }
        | Request::Again { .. } => 0,
    }
}

/// The same of a slave's report.
pub(crate) fn report_bytes(report: &Report) -> usize {
    match report {
        Report::Register(told) => 32 * (told.waiting.len() + told.running.len() + told.finished.len()),
        Report::Started(started) => 64 * started.len(),
        Report::Finished(finished) => finished.iter().map(finished_bytes).sum(),
        Report::Withdrawn(keys) => 64 * keys.len(),
        Report::Progress { progress, .. } => progress.text.len(),
        Report::Suspended(keys) | Report::Resumed(keys) => 64 * keys.len(),
        Report::Refused { detail, .. } => detail.len(),
        Report::InputTaken { .. } | Report::Fetch { .. } | Report::Draining => 0,
    }
}

fn finished_bytes(finished: &Finished) -> usize {
    512 + finished.last_line.len() + finished.tails.iter().map(|tail| tail.bytes.len()).sum::<usize>()
}

/// What programs that were submitted together have in common; they share it.
#[derive(Debug)]
pub(super) struct Lot {
    pub(super) body: Arc<Body>,
    pub(super) user: Arc<str>,
    pub(super) client: ClientId,
    /// How many they are in all; 0 when that was not known.
    pub(super) copies: u32,
}

/// A program that waits or runs. Small, as millions may wait: what few have is in a box.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) id: ProgramId,
    pub(super) lot: Arc<Lot>,
    pub(super) submitted_at: Timestamp,
    pub(super) index: u32,
    /// The current or last attempt; 0 before the first.
    pub(super) attempt: u32,
    rare: Option<Box<Rare>>,
    pub(super) state: ProgramState,
}

/// What most programs do not have.
#[derive(Debug, Default)]
pub(super) struct Rare {
    /// Who wants it stopped.
    pub(super) cancel_by: Option<Arc<str>>,
    /// Attempts that ended with the loss of their slave.
    pub(super) crashes: u32,
    /// How long it may run, where people changed it.
    pub(super) wall_time: Option<Duration>,
    /// It shall stand still while it runs.
    pub(super) suspend: bool,
    /// What stands in the place of its arguments that its body leaves open.
    pub(super) entry: Option<Arc<RawText>>,
}

impl Rare {
    /// Whether a program with this has nothing that is rare.
    pub(super) const fn is_empty(&self) -> bool {
        let Self { cancel_by, crashes, wall_time, suspend, entry } = self;
        cancel_by.is_none() && *crashes == 0 && wall_time.is_none() && !*suspend && entry.is_none()
    }
}

/// How a program is told from others with the same ID: by its body, and by its entry if it has one.
pub(crate) fn identity(body: &[u8; 32], entry: Option<&RawText>) -> [u8; 32] {
    match entry {
        Some(entry) => *blake3::keyed_hash(body, &entry.0).as_bytes(),
        None => *body,
    }
}

/// Where a program is in its life. An ended one is in the store alone.
#[derive(Debug)]
pub(super) enum ProgramState {
    /// In the scheduler's queue.
    Waiting,
    /// Sent to a slave, not started as far as is known.
    Sent {
        /// The slave.
        slave: SlaveId,
    },
    /// Running on a slave, as far as is known.
    Running(Box<Run>),
}

/// An attempt that runs.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) slave: SlaveId,
    pub(super) started_at: Timestamp,
    /// Bytes of each stream that are synced.
    pub(super) stored: [u64; Stream::COUNT],
    /// Bytes of each stream that are synced or on their way to the disk.
    pub(super) received: [u64; Stream::COUNT],
    /// Streams of which nothing more is kept: more came than the limit allows, or a part is missing.
    pub(super) cut: [bool; Stream::COUNT],
    pub(super) progress: Option<Progress>,
    /// Its result, while output that came before it is not stored yet.
    pub(super) finished: Option<Box<Finished>>,
    /// Until when that output is waited for, and how much was stored when the wait began.
    pub(super) parked: Option<(BootTime, u64)>,
    /// It stands still, as its slave says.
    pub(super) suspended: bool,
}

impl Run {
    /// An attempt that runs since then; of its output this much is stored.
    pub(super) const fn new(slave: SlaveId, started_at: Timestamp, stored: [u64; Stream::COUNT]) -> Self {
        Self {
            slave,
            started_at,
            stored,
            received: stored,
            cut: [false; Stream::COUNT],
            progress: None,
            finished: None,
            parked: None,
            suspended: false,
        }
    }

    /// The connection is lost: what was on its way comes again, and the result with it.
    pub(super) fn cut_off(&mut self) {
        self.received = self.stored;
        self.finished = None;
        self.parked = None;
    }

    /// Whether all output that came before a result is stored, as far as it is kept.
    pub(super) fn has_all_before(&self, finished: &Finished) -> bool {
        (0..Stream::COUNT).all(|stream| {
            let wanted = if self.cut[stream] { self.received[stream] } else { finished.tails[stream].offset };
            self.stored[stream] >= wanted
        })
    }

    /// The result as it is kept: a stream that was cut ends where it was cut.
    pub(super) fn trim(&self, finished: &mut Finished) {
        for (stream, tail) in finished.tails.iter_mut().enumerate() {
            let stored = self.stored[stream];
            let end = tail.offset.saturating_add(tail.bytes.len() as u64);
            // What is stored is never given up, whatever the slave has forgotten.
            if (self.cut[stream] && tail.offset > stored) || end < stored {
                *tail = Tail { offset: self.stored[stream], bytes: Vec::new() };
                finished.output_truncated = true;
            }
        }
    }
}

impl Program {
    /// One that waits and was never tried.
    pub(super) const fn new(id: ProgramId, lot: Arc<Lot>, index: u32, submitted_at: Timestamp) -> Self {
        Self { id, lot, submitted_at, index, attempt: 0, rare: None, state: ProgramState::Waiting }
    }

    /// What few programs have, to be changed.
    pub(super) fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Who wants it stopped.
    pub(super) fn cancel_by(&self) -> Option<&Arc<str>> {
        self.rare.as_ref()?.cancel_by.as_ref()
    }

    /// Attempts that ended with the loss of their slave.
    pub(super) fn crashes(&self) -> u32 {
        self.rare.as_ref().map_or(0, |rare| rare.crashes)
    }

    /// How long it may run, where people changed it.
    pub(super) fn wall_time(&self) -> Option<Duration> {
        self.rare.as_ref()?.wall_time
    }

    /// It shall stand still while it runs.
    pub(super) fn suspend(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.suspend)
    }

    /// What stands in the place of its arguments that its body leaves open.
    pub(super) fn entry(&self) -> Option<&Arc<RawText>> {
        self.rare.as_ref()?.entry.as_ref()
    }

    /// How it is told from others with the same ID.
    pub(super) fn identity(&self) -> [u8; 32] {
        identity(&self.lot.body.hash, self.entry().map(|entry| &**entry))
    }

    /// Bytes that it has for itself, beside its body.
    pub(super) fn own_bytes(&self) -> usize {
        self.entry().map_or(0, |entry| entry.0.len())
    }

    pub(super) const fn key(&self) -> AttemptKey {
        AttemptKey { program: self.id, attempt: self.attempt }
    }

    pub(super) const fn shown_state(&self) -> State {
        match &self.state {
            ProgramState::Waiting | ProgramState::Sent { .. } => State::Waiting,
            ProgramState::Running(run) if run.suspended => State::Suspended,
            ProgramState::Running(_) => State::Running,
        }
    }

    /// The body that was submitted, with what people changed since: all that decides where it may run.
    pub(super) fn template(&self) -> Arc<ProgramSpec> {
        let Some(wall_time) = self.wall_time() else { return self.lot.body.spec.clone() };
        let mut spec = (*self.lot.body.spec).clone();
        spec.limits.wall_time = wall_time;
        Arc::new(spec)
    }

    /// What it is run as: the template with its entry.
    pub(super) fn spec(&self) -> Arc<ProgramSpec> {
        match self.entry() {
            Some(entry) => Arc::new(self.template().with_entry(entry)),
            None => self.template(),
        }
    }

    /// The slave that holds the current attempt.
    pub(super) const fn slave(&self) -> Option<SlaveId> {
        match &self.state {
            ProgramState::Waiting => None,
            ProgramState::Sent { slave } => Some(*slave),
            ProgramState::Running(run) => Some(run.slave),
        }
    }

    pub(super) fn started_at(&self) -> Option<Timestamp> {
        match &self.state {
            ProgramState::Waiting | ProgramState::Sent { .. } => None,
            ProgramState::Running(run) => Some(run.started_at),
        }
    }

    /// Whether an attempt that ended like this is followed by another.
    pub(super) fn may_try_again(&self, outcome: &Outcome) -> bool {
        let worth_it = match outcome {
            Outcome::Exited { code } => *code != 0,
            Outcome::Signalled { .. } | Outcome::Limit { .. } | Outcome::Lost { .. } => true,
            Outcome::CompileError { .. }
            | Outcome::NotSupported { .. }
            | Outcome::NotFound { .. }
            | Outcome::Cancelled { .. } => false,
        };
        worth_it && self.cancel_by().is_none() && self.attempt <= self.lot.body.spec.retry
    }

    /// The row that people see.
    ///
    /// `unknown_since` is since when nothing is known of its slave.
    pub(super) fn view(
        &self,
        sequence: u64,
        slave_name: Option<&str>,
        unknown_since: Option<Timestamp>,
    ) -> ProgramView {
        let spec = &self.lot.body.spec;
        let run = match &self.state {
            ProgramState::Running(run) => Some(run),
            ProgramState::Waiting | ProgramState::Sent { .. } => None,
        };
        let [output_bytes, error_bytes, compile_bytes, files_bytes] = run.map_or([0; Stream::COUNT], |run| run.stored);
        ProgramView {
            id: self.id,
            sequence,
            name: spec.name.clone(),
            language: spec.language().map(str::to_owned),
            state: self.shown_state(),
            outcome: None,
            slave_id: run.map(|run| run.slave),
            slave_name: run.and(slave_name).map(str::to_owned),
            client: self.lot.client,
            user: self.lot.user.to_string(),
            attempt: self.attempt,
            priority: spec.priority,
            index: self.index,
            copies: self.lot.copies,
            progress: run.and_then(|run| run.progress.clone()),
            submitted_at: self.submitted_at,
            started_at: self.started_at(),
            ended_at: None,
            usage: None,
            output_bytes,
            error_bytes,
            compile_bytes,
            output_truncated: false,
            last_line: String::new(),
            unknown_since: run.and(unknown_since),
            files_bytes,
            live: spec.live.is_some(),
        }
    }
}
