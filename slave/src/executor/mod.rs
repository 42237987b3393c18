//! Runs attempts in slots: keepers start the programs, this reads their pipes and turns what happens into
//! events. One thread, one epoll descriptor for everything; no task and no thread for a pipe.

mod adopt;
mod adopt_quick;
mod attempt;
mod cleaner;
mod collect;
mod control;
mod files;
mod folder;
mod hearing;
mod inputs;
mod live;
mod outcome;
mod outputs;
mod progress;
mod quick;
mod quick_end;
mod reading;
mod removal;
mod steps;
mod sys;
mod workers;

pub use control::Control;
pub use folder::WorkRoot;
pub use outcome::Stop;
pub use outputs::{Kept, Outputs, Sealed, SealedStream};

use crate::languages::Offered;
use attempt::{Attempt, Context};
use cleaner::Cleaner;
use common::{
    id::AttemptKey,
    message::{Assignment, Stream},
    outcome::Outcome,
    program::ResourceLimits,
    units::{BootTime, Timestamp},
    view::{Progress, Usage},
};
use folder::SlotFolder;
use launcher::{
    FoundKeeper, Launcher, Socket,
    cgroup::Base,
    protocol::{Guards, KeeperConfig},
};
use rustix::{
    event::epoll::{self, CreateFlags, Event, EventData, EventFlags},
    fd::{AsFd, OwnedFd},
};
use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

/// Entry for the fuzz targets.
pub(crate) fn fuzz_progress(bytes: &[u8]) -> Option<(f32, String)> {
    progress::parse(bytes).map(|progress| (progress.percent, progress.text))
}

/// Entry for the fuzz targets.
pub(crate) fn fuzz_kept(bytes: &[u8]) {
    drop(common::frame::decode_record::<steps::Tag>(bytes));
    drop(common::frame::decode_record::<Stop>(bytes));
    if let Ok(sealed) = common::frame::decode_record::<Sealed>(bytes) {
        let _places: [(u64, u64); Stream::COUNT] = sealed.places();
    }
}

/// Events of the kernel that one turn looks at.
const KERNEL_EVENTS_PER_TURN: usize = 256;
/// A program's pipes are watched only from then on: most short ones end sooner, and what they wrote is read
/// at their end in one go. A pipe holds 64 KiB meanwhile.
const WATCH_PIPES_AFTER: Duration = Duration::from_millis(2);
/// How long a program that is far ahead of the master waits to be read again: it goes on at 50 MiB/s at least, and as
/// fast as the master stores at most.
const READ_AGAIN_AFTER: Duration = Duration::from_millis(5);
/// How often a program's progress file is read.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

/// What the executor works with.
#[derive(Debug)]
pub struct Setup {
    /// Where commands are looked for, and PATH of programs.
    pub program_path: Vec<PathBuf>,
    /// The most of each limit that a step is given.
    pub ceiling: ResourceLimits,
    /// Where working folders are.
    pub work: WorkRoot,
    /// Control groups.
    pub groups: Base,
    /// What stands between programs and the machine; the folder of each slot is put in.
    pub guards: Guards,
    /// What programs write.
    pub outputs: Outputs,
}

/// What happened to an attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum ExecutorEvent {
    /// It wrote.
    Output {
        /// The attempt.
        key: AttemptKey,
        /// Where.
        stream: Stream,
        /// Place after the last byte.
        end: u64,
    },
    /// It says how far it is.
    Progress {
        /// The attempt.
        key: AttemptKey,
        /// What it says.
        progress: Progress,
    },
    /// It stands still, or goes on.
    Suspended {
        /// The attempt.
        key: AttemptKey,
        /// Whether it stands still.
        suspended: bool,
    },
    /// It was given live input.
    InputTaken {
        /// The attempt.
        key: AttemptKey,
        /// Every byte before this one; `u64::MAX` when the input has ended for it.
        offset: u64,
    },
    /// It was handed over, and runs on for longer than others.
    Started {
        /// The attempt.
        key: AttemptKey,
        /// When it was started.
        at: Timestamp,
    },
    /// These were handed over and have not started; they are forgotten here.
    NotStarted(Vec<Assignment>),
    /// It ended; all that it started is gone and all that it wrote is in the outputs.
    Ended(Box<AttemptEnd>),
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptEnd {
    /// The attempt.
    pub key: AttemptKey,
    /// How.
    pub outcome: Outcome,
    /// When it was started; none when nothing of it could be.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Timestamp,
    /// What it used.
    pub usage: Usage,
    /// Whether the output limit cut the output.
    pub output_truncated: bool,
    /// The last line of output, shortened.
    pub last_line: String,
}

/// The place of one program at a time.
#[derive(Debug)]
struct Slot {
    number: u32,
    folder: SlotFolder,
    keeper: Keeper,
    attempt: Option<Attempt>,
    /// What its keeper starts by itself.
    quick: quick::Quick,
    /// It is among those that something is sent to.
    to_send: bool,
    /// When the pipes begin to be watched; none when they are.
    watch_at: Option<Instant>,
    /// What an agent before this one left here and nobody has taken over yet.
    left: Option<adopt::Waiting>,
    left_quick: Option<adopt_quick::QuickLeft>,
    /// Its keeper ends something that nobody wants.
    ending: bool,
    /// Its keeper was made with other guards than are wanted now: what runs there goes on, and nothing new starts.
    outdated: bool,
}

impl Slot {
    /// Nothing runs here, and nothing waits to.
    fn is_idle(&self) -> bool {
        let taken = self.left.is_none() && self.left_quick.is_none();
        taken && self.attempt.is_none() && !self.ending && self.quick.is_empty() && self.quick.ending.is_none()
    }

    fn new(number: u32, folder: SlotFolder) -> Self {
        Self {
            number,
            folder,
            keeper: Keeper::None,
            attempt: None,
            quick: quick::Quick::default(),
            to_send: false,
            watch_at: None,
            left: None,
            left_quick: None,
            ending: false,
            outdated: false,
        }
    }
}

#[derive(Debug)]
enum Keeper {
    None,
    Present(Socket),
    /// It died; the launcher is ending what it left.
    Gone,
}

/// Runs attempts.
pub struct Executor {
    launcher: Launcher,
    epoll: Arc<OwnedFd>,
    slots: Vec<Slot>,
    by_key: BTreeMap<AttemptKey, usize>,
    context: Context,
    work: WorkRoot,
    groups: Base,
    guards: Guards,
    languages: BTreeMap<String, Offered>,
    kernel_events: Vec<Event>,
    progress_at: Option<Instant>,
    /// When keepers that did not read are told again.
    tell_again_at: Option<Instant>,
    /// Slots with steps that their keepers were not sent, and when that is tried again.
    to_send: Vec<usize>,
    send_at: Option<Instant>,
    /// Slots with ends that are not known to be kept.
    heard: Vec<usize>,
    idle: bool,
}

const LAUNCHER_TOKEN: u64 = u64::MAX;
const WORKERS_TOKEN: u64 = u64::MAX - 1;

/// What a descriptor of a slot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Keeper,
    Output,
    Error,
    /// What its live input is written to.
    Input,
}

impl Source {
    const fn token(self, slot: usize) -> u64 {
        (slot as u64) << 2 | self as u64
    }
}

impl Executor {
    /// An executor that starts keepers through `launcher` as it needs them, beside those that an agent before this
    /// one left: what they hold waits for [`Executor::adopt`], and goes on to its next step until `lease_until` at
    /// the latest, as long as there is no other lease.
    ///
    /// # Errors
    /// When the system has no descriptors or threads left.
    pub fn new(
        launcher: Launcher,
        setup: Setup,
        keepers: Vec<FoundKeeper>,
        lease_until: Option<BootTime>,
    ) -> io::Result<Self> {
        let epoll = Arc::new(epoll::create(CreateFlags::CLOEXEC)?);
        epoll::add(&epoll, launcher.descriptor()?, EventData::new_u64(LAUNCHER_TOKEN), EventFlags::IN)?;
        let workers = workers::Workers::new()?;
        epoll::add(&epoll, workers.descriptor(), EventData::new_u64(WORKERS_TOKEN), EventFlags::IN)?;
        let context = Context {
            epoll: epoll.clone(),
            outputs: setup.outputs,
            lease_until: None,
            lease_left: lease_until,
            path: steps::path(&setup.program_path),
            program_path: setup.program_path,
            ceiling: setup.ceiling,
            cleaner: Cleaner::start(setup.work.trash()?)?,
            workers,
            damaged: Vec::new(),
            buffer: vec![0; 64 << 10],
            events: Vec::new(),
        };
        let mut executor = Self {
            launcher,
            epoll,
            slots: Vec::new(),
            by_key: BTreeMap::new(),
            context,
            work: setup.work,
            groups: setup.groups,
            guards: setup.guards,
            languages: BTreeMap::new(),
            kernel_events: Vec::with_capacity(KERNEL_EVENTS_PER_TURN),
            progress_at: None,
            tell_again_at: None,
            to_send: Vec::new(),
            send_at: None,
            heard: Vec::new(),
            idle: true,
        };
        executor.take_keepers(keepers)?;
        Ok(executor)
    }

    /// Programs may run until then: the launcher ends them by itself, even when this process is stopped or gone.
    pub fn set_lease(&mut self, until: BootTime) {
        self.context.lease_until = Some(until);
        if let Err(error) = self.launcher.set_lease(until) {
            // The next turn meets the launcher's end.
            tracing::error!(%error, "the launcher cannot be told the lease");
        }
    }

    /// The languages that source files may be in, from now on.
    pub fn set_languages(&mut self, languages: impl IntoIterator<Item = Offered>) {
        self.languages = languages.into_iter().map(|offered| (offered.language.name.to_lowercase(), offered)).collect();
    }

    /// What programs wrote.
    pub const fn outputs(&mut self) -> &mut Outputs {
        &mut self.context.outputs
    }

    /// What programs wrote, to look at.
    #[must_use]
    pub const fn kept(&self) -> &Outputs {
        &self.context.outputs
    }

    /// Attempts that run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.by_key.len()
    }

    /// Readable when [`Executor::turn`] has something to do.
    ///
    /// # Errors
    /// When the system has no descriptors left.
    pub fn descriptor(&self) -> io::Result<tokio::io::unix::AsyncFd<impl std::os::fd::AsRawFd + use<>>> {
        sys::watch(self.epoll.try_clone()?)
    }

    /// Whether the last turn found nothing to do, and nothing has happened since then.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.idle && self.context.events.is_empty()
    }

    /// When [`Executor::turn`] must be called even if nothing is readable.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let watch = self.slots.iter().filter_map(|slot| slot.watch_at);
        watch.chain(self.progress_at).chain(self.tell_again_at).chain(self.send_at).min()
    }

    /// Starts an attempt in a free slot. What cannot be started ends at once, with an event that says why.
    pub fn start(&mut self, assignment: Assignment, now: Timestamp) {
        let index = match self.free_slot() {
            Ok(index) => index,
            Err(error) => {
                let detail = format!("The slave could not make a place for it: {error}.");
                return self.context.refuse(assignment.key, Outcome::Lost { detail }, now);
            }
        };
        let language = assignment.spec.language().and_then(|name| self.languages.get(&name.to_lowercase()));
        let slot = &mut self.slots[index];
        let key = assignment.key;
        // Programs of a slot have the same user: this one could leave something in the folder of the next quick one.
        slot.give_up_folder(true, &self.context);
        let Keeper::Present(keeper) = &slot.keeper else { return };
        let place = (index, slot.number, &mut slot.folder);
        match Attempt::start(assignment, language, place, keeper, &mut self.context, now) {
            Ok(attempt) => {
                let started = Instant::now();
                slot.attempt = Some(attempt);
                slot.watch_at = Some(started + WATCH_PIPES_AFTER);
                self.by_key.insert(key, index);
                self.progress_at.get_or_insert(started + PROGRESS_INTERVAL);
            }
            Err(outcome) => self.context.refuse(key, outcome, now),
        }
    }

    /// Stops an attempt; it ends with an event. A cancelled one gets time to end by itself.
    pub fn stop(&mut self, key: AttemptKey, stop: Stop) {
        let Some(index) = self.by_key.get(&key).copied() else { return };
        if !self.stop_given(index, key, &stop) {
            let slot = &mut self.slots[index];
            if let (Some(attempt), Keeper::Present(keeper)) = (&mut slot.attempt, &slot.keeper) {
                attempt.stop(stop, keeper);
            }
        }
        self.tell_again();
    }

    /// Waits at most `timeout` for something to happen, and handles it.
    ///
    /// # Errors
    /// When the launcher is gone: nothing can be run any more.
    pub fn turn(&mut self, timeout: Duration, now: impl Fn() -> Timestamp) -> io::Result<Vec<ExecutorEvent>> {
        self.idle = false;
        if !self.context.events.is_empty() {
            return Ok(std::mem::take(&mut self.context.events));
        }
        let until_deadline = self.next_deadline().map(|at| at.saturating_duration_since(Instant::now()));
        let limit = until_deadline.map_or(timeout, |until| until.min(timeout)).try_into().map_err(io::Error::other)?;
        self.kernel_events.clear();
        let wait = epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.kernel_events), Some(&limit));
        match wait {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        self.idle = self.kernel_events.is_empty();
        let ready: Vec<u64> = self.kernel_events.iter().map(|event| event.data.u64()).collect();
        // Pipes before keepers: a pipe that is read here need not be drained at the end.
        for token in ready.iter().copied().filter(|token| !matches!(*token, LAUNCHER_TOKEN | WORKERS_TOKEN)) {
            let index = usize::try_from(token >> 2).unwrap_or(usize::MAX);
            match token & 3 {
                0 => self.hear_keeper(index, &now)?,
                1 => self.read_pipe(index, Source::Output),
                2 => self.read_pipe(index, Source::Error),
                _ => self.write_input(index),
            }
        }
        if ready.contains(&WORKERS_TOKEN) {
            self.hear_workers(&now);
        }
        if ready.contains(&LAUNCHER_TOKEN) {
            self.hear_launcher(&now)?;
        }
        self.watch_due_pipes();
        self.tell_again();
        if self.send_at.is_some_and(|at| Instant::now() >= at) {
            self.send_steps();
        }
        self.read_progress();
        Ok(std::mem::take(&mut self.context.events))
    }

    fn free_slot(&mut self) -> io::Result<usize> {
        self.retire_outdated();
        let free = |slot: &Slot| slot.is_idle() && !matches!(slot.keeper, Keeper::Gone);
        let index = match self.slots.iter().position(free) {
            Some(index) => index,
            None => {
                let number = u32::try_from(self.slots.len()).map_err(io::Error::other)?;
                let folder = self.work.slot(number, None)?;
                self.slots.push(Slot::new(number, folder));
                self.slots.len() - 1
            }
        };
        if matches!(self.slots[index].keeper, Keeper::None) {
            let slot = self.slots[index].number;
            let guards = self.guards_of(slot);
            let config = KeeperConfig { slot, user: self.work.user(slot), groups: self.groups.slot(slot), guards };
            let socket = self.launcher.keeper(config)?;
            let data = EventData::new_u64(Source::Keeper.token(index));
            epoll::add(&self.epoll, socket.as_fd(), data, EventFlags::IN)?;
            self.slots[index].keeper = Keeper::Present(socket);
        }
        Ok(index)
    }

    fn watch_due_pipes(&mut self) {
        let now = Instant::now();
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            if slot.watch_at.take_if(|at| now >= *at).is_none() {
                continue;
            }
            let Some(key) = slot.attempt.as_ref().map(Attempt::key) else { continue };
            if let Err(error) = self.watch_pipes(index) {
                self.stop(key, Stop::Failed(format!("The slave could not read its output: {error}.")));
            }
        }
    }

    fn watch_pipes(&mut self, index: usize) -> io::Result<()> {
        let Some(attempt) = &mut self.slots[index].attempt else { return Ok(()) };
        attempt.watch(|pipe| [Source::Output, Source::Error][pipe].token(index), &self.context)
    }

    fn read_pipe(&mut self, index: usize, source: Source) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        if let (Some(attempt), Keeper::Present(keeper)) = (&mut slot.attempt, &slot.keeper) {
            attempt.read_pipe(usize::from(source == Source::Error), keeper, &mut self.context);
            let (key, now, outputs) = (attempt.key(), Instant::now(), &self.context.outputs);
            if [Stream::Stdout, Stream::Stderr].iter().any(|stream| outputs.is_far_ahead(key, *stream, now)) {
                attempt.look_away(&self.context);
                slot.watch_at = Some(now + READ_AGAIN_AFTER);
            }
        }
    }

    /// The master has stored everything before `offset` of a stream.
    pub fn forget_before(&mut self, key: AttemptKey, stream: Stream, offset: u64) {
        let (outputs, now) = (&mut self.context.outputs, Instant::now());
        let waited = outputs.is_far_ahead(key, stream, now);
        outputs.forget_before(key, stream, offset);
        if waited
            && !outputs.is_far_ahead(key, stream, now)
            && let Some(at) = self.by_key.get(&key).and_then(|index| self.slots[*index].watch_at.as_mut())
        {
            *at = now;
        }
    }

    fn write_input(&mut self, index: usize) {
        if let Some(attempt) = self.slots.get_mut(index).and_then(|slot| slot.attempt.as_mut()) {
            attempt.pump(index, &mut self.context);
        }
    }

    fn read_progress(&mut self) {
        let now = Instant::now();
        if self.progress_at.is_none_or(|at| now < at) {
            return;
        }
        let any = self.slots.iter().any(|slot| slot.attempt.is_some());
        self.progress_at = any.then_some(now + PROGRESS_INTERVAL);
        for attempt in self.slots.iter_mut().filter_map(|slot| slot.attempt.as_mut()) {
            attempt.read_progress(&mut self.context);
        }
    }

    /// Leaves all that runs to the next agent.
    pub fn leave(self) {
        self.launcher.leave();
    }

    /// Ends all programs and keepers, and removes the control groups.
    ///
    /// # Errors
    /// When the launcher cannot be waited for.
    pub fn shut_down(mut self) -> io::Result<()> {
        for slot in &mut self.slots {
            slot.keeper = Keeper::None;
        }
        let stopped = self.launcher.stop();
        for slot in &mut self.slots {
            if let Some(attempt) = slot.attempt.take() {
                attempt.clean_up(&mut slot.folder, &self.context);
            }
            slot.folder.remove_spare();
        }
        self.groups.remove();
        self.context.outputs.remove_spool();
        // After the background has removed what it was given.
        drop(self.context);
        self.work.remove();
        stopped
    }
}
