//! One attempt from its working folder to its outcome.

use super::{
    AttemptEnd, ExecutorEvent,
    cleaner::Cleaner,
    control::Unsent,
    files::Busy,
    folder::{SlotFolder, WorkFolder, holds_file_of_size, own},
    live::{Ends, Live},
    outcome::{self, Stop},
    outputs::Outputs,
    progress,
    steps::{Phase, Steps, Tag, command_step, compile_limits, step},
};
use crate::languages::Offered;
use common::{
    id::AttemptKey,
    limits,
    message::{Assignment, Stream},
    outcome::Outcome,
    program::ResourceLimits,
    units::{BootTime, Timestamp},
    view::{Progress, Usage},
};
use launcher::{
    Socket,
    protocol::{Cause, FromKeeper, StartStep, Step, ToKeeper},
};
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{MemfdFlags, Mode, OFlags},
    pipe::PipeFlags,
};
use std::{io, path::PathBuf, sync::Arc};

/// What all attempts of an executor share.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) epoll: Arc<OwnedFd>,
    pub(super) outputs: Outputs,
    /// Until when programs may be started.
    pub(super) lease_until: Option<BootTime>,
    /// The lease that an agent before this one had.
    pub(super) lease_left: Option<BootTime>,
    pub(super) program_path: Vec<PathBuf>,
    /// The same as programs have it in their environment.
    pub(super) path: Vec<u8>,
    /// What no step exceeds.
    pub(super) ceiling: ResourceLimits,
    pub(super) cleaner: Cleaner,
    pub(super) workers: super::workers::Workers,
    /// Input files whose content on this slave's disk is another.
    pub(super) damaged: Vec<common::id::Digest>,
    pub(super) buffer: Vec<u8>,
    pub(super) events: Vec<ExecutorEvent>,
}

impl Context {
    /// Ends an attempt that never started.
    pub(super) fn refuse(&mut self, key: AttemptKey, outcome: Outcome, now: Timestamp) {
        let last_line = outcome::last_line(&outcome, b"", b"");
        self.events.push(ExecutorEvent::Ended(Box::new(AttemptEnd {
            key,
            outcome,
            started_at: None,
            ended_at: now,
            usage: Usage::default(),
            output_truncated: false,
            last_line,
        })));
    }
}

/// Whether an attempt has another step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    GoesOn,
    Ended,
}

#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) assignment: Assignment,
    steps: Steps,
    pub(super) phase: Phase,
    pub(super) step: Step,
    pub(super) folder: WorkFolder,
    /// Its keeper began it by itself, under this number.
    pub(super) number: Option<u64>,
    /// Standard output and error; the compile step has one pipe for both.
    pub(super) pipes: [Option<OwnedFd>; 2],
    started_at: Timestamp,
    usage: Usage,
    /// Bytes of standard output and error that were kept.
    pub(super) kept: u64,
    pub(super) truncated: bool,
    /// What the compile step printed, until it is known whether it is worth keeping.
    pub(super) compile_text: Vec<u8>,
    pub(super) stop: Option<Stop>,
    /// What its keeper had no room for, for this step.
    pub(super) unsent: Unsent,
    /// It shall stand still.
    pub(super) suspend: bool,
    /// It does, as its keeper says.
    pub(super) suspended: bool,
    /// Its input, where that comes while it runs.
    pub(super) live: Option<Live>,
    progress: Option<Progress>,
    /// Its place, whose files its output goes to.
    pub(super) slot: u32,
    /// What is done with its files beside the loop.
    pub(super) busy: Option<Busy>,
    /// The executor's epoll descriptor has its pipes.
    pub(super) watched: bool,
    /// An agent before this one began it.
    adopted: bool,
    /// An agent before this one began the compile step, and what it printed is gone: it is done again.
    compile_again: bool,
}

/// What an agent before this one left of an attempt.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) phase: Phase,
    pub(super) folder: WorkFolder,
    /// Reading ends; with live input then its vault.
    pub(super) descriptors: Vec<OwnedFd>,
    pub(super) stop: Option<Stop>,
    /// What the steps before this one used.
    pub(super) usage: Usage,
    /// It stands still.
    pub(super) suspended: bool,
}

/// What a keeper began by itself and what is known of it.
#[derive(Debug)]
pub(super) struct Outliving {
    pub(super) number: u64,
    pub(super) slot: u32,
    pub(super) folder: WorkFolder,
    /// Reading ends.
    pub(super) pipes: Vec<OwnedFd>,
    pub(super) started: Timestamp,
    pub(super) stop: Option<Stop>,
    /// It shall stand still.
    pub(super) suspend: bool,
}

impl Attempt {
    /// Makes the working folder and orders the first step.
    pub(super) fn start(
        assignment: Assignment,
        language: Option<&Offered>,
        (index, number, slot): (usize, u32, &mut SlotFolder),
        keeper: &Socket,
        context: &mut Context,
        now: Timestamp,
    ) -> Result<Self, Outcome> {
        // The master has done this; the slave does not rely on it.
        if let Err(error) = assignment.spec.validate() {
            return Err(Outcome::NotSupported { detail: format!("This slave refuses it: {}.", error.sentence) });
        }
        let Some(steps) = Steps::plan(&assignment, language) else {
            let name = assignment.spec.language().unwrap_or_default();
            return Err(Outcome::NotSupported { detail: format!("This slave does not offer `{name}`.") });
        };
        let failed = |error: io::Error| Outcome::Lost { detail: format!("The slave could not prepare it: {error}.") };
        context.outputs.begin(number).map_err(failed)?;
        let live = assignment.spec.live.map(Live::new).transpose().map_err(failed)?;
        let folder = slot.make().map_err(failed)?;
        let phase = if steps.compile.is_some() { Phase::Compile } else { Phase::Run };
        let command = steps.compile.as_ref().unwrap_or(&steps.run);
        let step = step(command, phase, &assignment, &steps, &folder, &context.program_path, &context.ceiling);
        let mut attempt = Self { live, ..Self::new(assignment, steps, (phase, step), folder, number, now) };
        let begun = match attempt.place_inputs(context) {
            Ok(false) => attempt.begin(keeper, index, context),
            waits => waits.map(drop),
        };
        match begun {
            Ok(()) => Ok(attempt),
            Err(error) => {
                attempt.clean_up(slot, context);
                Err(failed(error))
            }
        }
    }

    /// Takes over what an agent before this one began. None when it is to be compiled and its language is not offered
    /// any more.
    pub(super) fn adopt(
        assignment: Assignment,
        language: Option<&Offered>,
        slot: u32,
        left: Left,
        context: &mut Context,
        started_at: Timestamp,
    ) -> io::Result<Option<Self>> {
        let Left { phase, folder, mut descriptors, stop, usage, suspended } = left;
        let steps = match Steps::plan(&assignment, language) {
            Some(steps) => steps,
            // What runs needs its language no more.
            None if phase == Phase::Run => Steps::unknown(),
            None => return Ok(None),
        };
        let key = assignment.key;
        context.outputs.adopt(key, slot)?;
        let kept = context.outputs.end(key, Stream::Stdout) + context.outputs.end(key, Stream::Stderr);
        let command = if phase == Phase::Compile { steps.compile.as_ref() } else { None }.unwrap_or(&steps.run);
        let step = step(command, phase, &assignment, &steps, &folder, &context.program_path, &context.ceiling);
        let live = match assignment.spec.live {
            Some(live) if phase == Phase::Run && descriptors.len() > 1 => {
                descriptors.pop().map(|vault| Live::adopt(live, vault)).transpose()?
            }
            // Nothing of it was given to a program yet.
            live => live.map(Live::new).transpose()?,
        };
        let mut pipes = descriptors.into_iter();
        Ok(Some(Self {
            pipes: [pipes.next(), pipes.next()],
            usage,
            kept,
            truncated: stop == Some(Stop::Output),
            stop,
            suspend: suspended,
            suspended,
            live,
            adopted: true,
            compile_again: phase == Phase::Compile,
            ..Self::new(assignment, steps, (phase, step), folder, slot, started_at)
        }))
    }

    /// One that a keeper began by itself and that runs on. With it, why its output cannot be kept.
    pub(super) fn outliving(
        assignment: Assignment,
        outliving: Outliving,
        context: &mut Context,
    ) -> (Self, Option<io::Error>) {
        let Outliving { number, slot, folder, pipes, started, stop, suspend } = outliving;
        let problem = context.outputs.begin(slot).err();
        let steps = Steps::plan(&assignment, None).unwrap_or_else(Steps::unknown);
        let step = command_step(&assignment, &folder, &context.path, &context.program_path);
        let mut pipes = pipes.into_iter();
        let attempt = Self {
            pipes: [pipes.next(), pipes.next()],
            stop,
            suspend,
            number: Some(number),
            ..Self::new(assignment, steps, (Phase::Run, step), folder, slot, started)
        };
        (attempt, problem)
    }

    fn new(
        assignment: Assignment,
        steps: Steps,
        (phase, step): (Phase, Step),
        folder: WorkFolder,
        slot: u32,
        started_at: Timestamp,
    ) -> Self {
        Self {
            assignment,
            steps,
            phase,
            step,
            folder,
            number: None,
            pipes: [None, None],
            started_at,
            usage: Usage::default(),
            kept: 0,
            truncated: false,
            compile_text: Vec::new(),
            stop: None,
            unsent: Unsent::default(),
            suspend: false,
            suspended: false,
            live: None,
            progress: None,
            slot,
            busy: None,
            watched: false,
            adopted: false,
            compile_again: false,
        }
    }

    pub(super) fn begin(&mut self, keeper: &Socket, index: usize, context: &mut Context) -> io::Result<()> {
        if let Some(source) = &self.steps.source {
            self.folder.write(&source.name, &source.text.0)?;
        }
        self.order(keeper, index, context)
    }

    /// Makes the pipes and tells the keeper to start the step.
    fn order(&mut self, keeper: &Socket, index: usize, context: &mut Context) -> io::Result<()> {
        self.step.lease_until = self.lease(context).map(|until| until.0);
        let folder = self.folder.name().to_owned();
        let tag = Tag { key: self.key(), at: self.started_at, phase: self.phase, folder, usage: self.usage };
        self.step.tag = common::frame::encode_record(&tag);
        self.watched = false;
        self.unsent.clear();
        let streams = self.streams()?;
        let Streams { input, output_end, error_end, pipes: [output, error], vault } = &streams;
        let mut descriptors = vec![self.folder.fd.as_fd(), output_end.as_fd()];
        descriptors.push(error_end.as_ref().unwrap_or(output_end).as_fd());
        descriptors.extend(input.as_ref().map(AsFd::as_fd));
        // For an agent that follows this one.
        descriptors.extend(output.iter().chain(error).chain(vault).map(AsFd::as_fd));
        // The step is kept to explain a failure. It may be large, so it moves there and back.
        let empty = empty_step(&self.step);
        let order = ToKeeper::Run(Box::new(std::mem::replace(&mut self.step, empty)));
        let sent = keeper.send(&order, &descriptors);
        if let ToKeeper::Run(step) = order {
            self.step = *step;
        }
        sent?;
        self.pipes = streams.pipes;
        if self.suspend {
            // It was said while there was nothing that could stand still.
            self.tell(keeper, ToKeeper::Suspend);
        }
        if self.phase == Phase::Run && self.live.is_some() {
            self.pump(index, context);
        }
        Ok(())
    }

    /// The descriptors of the next step.
    fn streams(&mut self) -> io::Result<Streams> {
        if self.phase == Phase::Compile {
            let (output, output_end) = pipe()?;
            return Ok(Streams { input: None, output_end, error_end: None, pipes: [Some(output), None], vault: None });
        }
        let (input, vault) = match (&mut self.live, &self.assignment.spec.stdin) {
            (Some(live), _) => match live.open(&self.folder)? {
                Ends { input, vault, screen: Some(screen) } => {
                    let (output_end, vault) = (input.try_clone()?, Some(vault));
                    let pipes = [Some(screen), None];
                    return Ok(Streams { input: Some(input), output_end, error_end: None, pipes, vault });
                }
                Ends { input, vault, screen: None } => (Some(input), Some(vault)),
            },
            (None, Some(stdin)) if self.step.stdin => (Some(input_file(&stdin.0)?), None),
            (None, Some(_) | None) => (None, None),
        };
        let (output, output_end) = pipe()?;
        let (error, error_end) = pipe()?;
        // So that it may open them again by their names in /dev.
        for end in [&output_end, &error_end].into_iter().chain(&input) {
            own(end.as_fd(), self.folder.user())?;
        }
        Ok(Streams { input, output_end, error_end: Some(error_end), pipes: [Some(output), Some(error)], vault })
    }

    pub(super) const fn key(&self) -> AttemptKey {
        self.assignment.key
    }

    /// The first reason to stop counts.
    pub(super) fn stop(&mut self, stop: Stop, keeper: &Socket) {
        if self.stop_files(&stop) {
            return;
        }
        let note = common::frame::encode_record(&stop);
        let order = match &stop {
            Stop::Cancelled { .. } => ToKeeper::Cancel { grace: limits::CANCEL_GRACE, note },
            Stop::Discarded | Stop::LeaseEnded | Stop::SlaveStops | Stop::Failed(_) | Stop::Output => {
                ToKeeper::Kill { note }
            }
        };
        let again_harder = matches!(self.stop, Some(Stop::Cancelled { .. })) && !matches!(stop, Stop::Cancelled { .. });
        if self.stop.is_some() && !again_harder {
            return;
        }
        self.stop.get_or_insert(stop);
        self.tell(keeper, order);
    }

    /// The keeper says how the step ended: goes on with the next one or tells the outcome.
    pub(super) fn step_ended(
        &mut self,
        message: FromKeeper,
        keeper: &Socket,
        index: usize,
        context: &mut Context,
        now: Timestamp,
    ) -> Turn {
        if !matches!(message, FromKeeper::Ended(_) | FromKeeper::NotStarted(_)) {
            return Turn::GoesOn;
        }
        self.drain(context);
        if std::mem::take(&mut self.compile_again) && self.stop.is_none() && !is_end_of_lease(&message) {
            self.compile_text.clear();
            return match self.order(keeper, index, context) {
                Ok(()) => Turn::GoesOn,
                Err(error) => {
                    let detail = format!("The slave could not start the compile step: {error}.");
                    self.finish(Outcome::Lost { detail }, context, now);
                    Turn::Ended
                }
            };
        }
        let outcome = match message {
            FromKeeper::Ready { .. }
            | FromKeeper::State { .. }
            | FromKeeper::Suspended(_)
            | FromKeeper::Ends(_)
            | FromKeeper::Outlives { .. }
            | FromKeeper::Returned(_)
            | FromKeeper::QuickSuspended { .. } => return Turn::GoesOn,
            FromKeeper::NotStarted(failure) => {
                let outcome = outcome::of_not_started(&failure, &self.step, &context.program_path);
                self.finish(outcome, context, now);
                return Turn::Ended;
            }
            FromKeeper::Ended(ended) => {
                tracing::debug!(attempt = %self.key(), end = outcome::describe(&ended), "a step ended");
                self.usage = outcome::add_usage(self.usage, &ended);
                let limits = match self.phase {
                    Phase::Compile => compile_limits(&context.ceiling),
                    Phase::Run => self.assignment.spec.limits,
                };
                outcome::of_end(
                    &ended,
                    self.phase,
                    &limits,
                    self.stop.as_ref(),
                    || outcome::compiler_text(&self.compile_text, &self.steps, &self.folder.path),
                    || holds_file_of_size(&self.folder, limits.file_size.0),
                )
            }
        };
        if self.phase == Phase::Compile {
            self.keep_compile_text(outcome.is_some(), context);
        }
        let outcome = match outcome {
            Some(outcome) => outcome,
            None => match self.begin_run(keeper, index, context) {
                Ok(()) => return Turn::GoesOn,
                Err(error) => Outcome::Lost { detail: format!("The slave could not start the run: {error}.") },
            },
        };
        let Some(outcome) = self.collect(outcome, context) else { return Turn::GoesOn };
        self.finish(outcome, context, now);
        Turn::Ended
    }

    fn begin_run(&mut self, keeper: &Socket, index: usize, context: &mut Context) -> io::Result<()> {
        self.phase = Phase::Run;
        let (path, ceiling) = (&context.program_path, &context.ceiling);
        self.step = step(&self.steps.run, Phase::Run, &self.assignment, &self.steps, &self.folder, path, ceiling);
        self.order(keeper, index, context)
    }

    /// Until when its next step may run: an attempt that was taken over is bound by the lease of the agent before
    /// this one, until there is another.
    fn lease(&self, context: &Context) -> Option<BootTime> {
        context.lease_until.or(context.lease_left.filter(|_| self.adopted))
    }

    fn keep_compile_text(&mut self, failed: bool, context: &mut Context) {
        let text = std::mem::take(&mut self.compile_text);
        if text.is_empty() || !(failed || self.steps.keeps_compile_output()) {
            return;
        }
        match context.outputs.append(self.key(), Stream::Compile, self.slot, &text) {
            Ok(end) => {
                context.events.push(ExecutorEvent::Output { key: self.key(), stream: Stream::Compile, end });
            }
            Err(error) => {
                self.truncated = true;
                tracing::error!(attempt = %self.key(), %error, "the compiler's output cannot be kept");
            }
        }
    }

    /// The keeper died, and by now the launcher has ended everything that it left.
    pub(super) fn keeper_lost(&mut self, reason: &str, context: &mut Context, now: Timestamp) {
        self.drain(context);
        let outcome = match &self.stop {
            Some(Stop::Cancelled { by }) => Outcome::Cancelled { by: by.clone() },
            _ => outcome::keeper_lost(reason),
        };
        self.finish(outcome, context, now);
    }

    pub(super) fn finish(&mut self, outcome: Outcome, context: &mut Context, now: Timestamp) {
        let key = self.key();
        if let Some(mut live) = self.live.take()
            && let Err(error) = live.watch(false, &context.epoll, 0)
        {
            tracing::debug!(%error, "an input was not watched");
        }
        let output = context.outputs.tail(key, Stream::Stdout);
        let error = context.outputs.tail(key, Stream::Stderr);
        let last_line = outcome::last_line(&outcome, &output, &error);
        context.events.push(ExecutorEvent::Ended(Box::new(AttemptEnd {
            key,
            outcome,
            started_at: Some(self.started_at),
            ended_at: now.max(self.started_at),
            usage: self.usage,
            output_truncated: self.truncated,
            last_line,
        })));
    }

    pub(super) fn read_progress(&mut self, context: &mut Context) {
        if self.phase != Phase::Run {
            return;
        }
        if let Some(read) = progress::read(&self.folder)
            && self.progress.as_ref() != Some(&read)
        {
            self.progress = Some(read.clone());
            context.events.push(ExecutorEvent::Progress { key: self.key(), progress: read });
        }
    }

    /// The working folder, which nobody has touched.
    pub(super) fn into_folder(self) -> WorkFolder {
        self.folder
    }

    /// Gives the working folder back; what is not removed at once is removed in the background.
    pub(super) fn clean_up(self, slot: &mut SlotFolder, context: &Context) {
        if let Some(source) = &self.steps.source {
            self.folder.remove_file(&source.name);
        }
        if let Some(program) = &self.steps.program {
            self.folder.remove_file(program);
        }
        slot.clean(self.folder, &context.cleaner);
    }
}

/// What a step is given, and what is read of it.
struct Streams {
    input: Option<OwnedFd>,
    output_end: OwnedFd,
    /// None when errors go where output goes.
    error_end: Option<OwnedFd>,
    pipes: [Option<OwnedFd>; 2],
    /// What the keeper holds of live input.
    vault: Option<OwnedFd>,
}

/// Whether a step ended, or did not begin, because the lease was over.
fn is_end_of_lease(message: &FromKeeper) -> bool {
    match message {
        FromKeeper::Ended(ended) => ended.cause == Some(Cause::LeaseEnded),
        FromKeeper::NotStarted(failure) => failure.step == StartStep::Lease,
        FromKeeper::Ready { .. }
        | FromKeeper::State { .. }
        | FromKeeper::Suspended(_)
        | FromKeeper::Ends(_)
        | FromKeeper::Outlives { .. }
        | FromKeeper::Returned(_)
        | FromKeeper::QuickSuspended { .. } => false,
    }
}

/// A pipe whose reading end never waits.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&read, true)?;
    Ok((read, write))
}

/// A file in memory that the program can only read.
fn input_file(bytes: &[u8]) -> io::Result<OwnedFd> {
    use std::os::fd::AsRawFd;
    let file = rustix::fs::memfd_create("stdin", MemfdFlags::CLOEXEC)?;
    let mut writer = std::fs::File::from(file);
    io::Write::write_all(&mut writer, bytes)?;
    let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

fn empty_step(like: &Step) -> Step {
    Step {
        tag: Vec::new(),
        lease_until: None,
        candidates: Default::default(),
        arguments: Default::default(),
        environment: Default::default(),
        limits: like.limits,
        stdin: like.stdin,
        terminal: like.terminal,
        network: like.network,
    }
}
