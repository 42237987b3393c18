//! One attempt from its working folder to its outcome.

use super::{
    AttemptEnd, ExecutorEvent,
    cleaner::Cleaner,
    folder::{SlotFolder, WorkFolder, holds_file_of_size},
    outcome::{self, Stop},
    outputs::Outputs,
    progress,
    steps::{Phase, Steps, step},
};
use crate::languages::Offered;
use common::{
    id::AttemptKey,
    limits,
    message::{Assignment, Stream},
    outcome::Outcome,
    units::Timestamp,
    view::{Progress, Usage},
};
use launcher::{
    Socket,
    protocol::{FromKeeper, Step, ToKeeper},
};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{MemfdFlags, Mode, OFlags},
    pipe::PipeFlags,
};
use std::{io, path::PathBuf};

/// Reads of one pipe in one turn, so that no program takes the others' share.
const READS_PER_TURN: usize = 4;

/// What all attempts of an executor share.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) outputs: Outputs,
    pub(super) program_path: Vec<PathBuf>,
    pub(super) cleaner: Cleaner,
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
    assignment: Assignment,
    steps: Steps,
    phase: Phase,
    step: Step,
    folder: WorkFolder,
    /// Standard output and error; the compile step has one pipe for both.
    pipes: [Option<OwnedFd>; 2],
    started_at: Timestamp,
    usage: Usage,
    /// Bytes of standard output and error that were kept.
    kept: u64,
    truncated: bool,
    /// What the compile step printed, until it is known whether it is worth keeping.
    compile_text: Vec<u8>,
    stop: Option<Stop>,
    progress: Option<Progress>,
}

impl Attempt {
    /// Makes the working folder and orders the first step.
    pub(super) fn start(
        assignment: Assignment,
        language: Option<&Offered>,
        slot: &mut SlotFolder,
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
        let folder = slot.make().map_err(failed)?;
        let phase = if steps.compile.is_some() { Phase::Compile } else { Phase::Run };
        let command = steps.compile.as_ref().unwrap_or(&steps.run);
        let step = step(command, phase, &assignment, &steps, &folder, &context.program_path);
        let mut attempt = Self {
            assignment,
            steps,
            phase,
            step,
            folder,
            pipes: [None, None],
            started_at: now,
            usage: Usage::default(),
            kept: 0,
            truncated: false,
            compile_text: Vec::new(),
            stop: None,
            progress: None,
        };
        match attempt.begin(keeper) {
            Ok(()) => Ok(attempt),
            Err(error) => {
                attempt.clean_up(slot, context);
                Err(failed(error))
            }
        }
    }

    fn begin(&mut self, keeper: &Socket) -> io::Result<()> {
        if let Some(source) = &self.steps.source {
            self.folder.write(&source.name, &source.text.0)?;
        }
        self.order(keeper)
    }

    /// Makes the pipes and tells the keeper to start the step.
    fn order(&mut self, keeper: &Socket) -> io::Result<()> {
        let (output, output_end) = pipe()?;
        let second = match self.phase {
            Phase::Compile => None,
            Phase::Run => Some(pipe()?),
        };
        let error_end = second.as_ref().map_or(&output_end, |(_, end)| end);
        let input = match &self.assignment.spec.stdin {
            Some(stdin) if self.step.stdin => Some(input_file(&stdin.0)?),
            _ => None,
        };
        let mut descriptors = vec![self.folder.fd.as_fd(), output_end.as_fd(), error_end.as_fd()];
        descriptors.extend(input.as_ref().map(AsFd::as_fd));
        // The step is kept to explain a failure. It may be large, so it moves there and back.
        let empty = empty_step(&self.step);
        let order = ToKeeper::Run(Box::new(std::mem::replace(&mut self.step, empty)));
        let sent = keeper.send(&order, &descriptors);
        if let ToKeeper::Run(step) = order {
            self.step = *step;
        }
        sent?;
        self.pipes = [Some(output), second.map(|(error, _)| error)];
        Ok(())
    }

    pub(super) const fn key(&self) -> AttemptKey {
        self.assignment.key
    }

    pub(super) fn pipes(&self) -> impl Iterator<Item = Option<BorrowedFd<'_>>> {
        self.pipes.iter().map(|pipe| pipe.as_ref().map(AsFd::as_fd))
    }

    /// The first reason to stop counts.
    pub(super) fn stop(&mut self, stop: Stop, keeper: &Socket) {
        let order = match &stop {
            Stop::Cancelled { .. } => ToKeeper::Cancel { grace: limits::CANCEL_GRACE },
            Stop::Discarded | Stop::LeaseEnded | Stop::SlaveStops | Stop::Failed(_) | Stop::Output => ToKeeper::Kill,
        };
        let again_harder = matches!(self.stop, Some(Stop::Cancelled { .. })) && !matches!(stop, Stop::Cancelled { .. });
        if self.stop.is_some() && !again_harder {
            return;
        }
        self.stop.get_or_insert(stop);
        if let Err(error) = keeper.send(&order, &[]) {
            // A keeper that is gone has ended its program, or the launcher does.
            tracing::debug!(%error, "a keeper cannot be told to stop its program");
        }
    }

    /// Reads what is in a pipe now, up to this turn's share.
    pub(super) fn read_pipe(&mut self, index: usize, keeper: &Socket, context: &mut Context) {
        for _ in 0..READS_PER_TURN {
            if self.read_once(index, Some(keeper), context) < context.buffer.len() {
                return;
            }
        }
    }

    /// One read; 0 when there is nothing now or never again.
    fn read_once(&mut self, index: usize, keeper: Option<&Socket>, context: &mut Context) -> usize {
        let Some(pipe) = &self.pipes[index] else { return 0 };
        match rustix::io::read(pipe, context.buffer.as_mut_slice()) {
            Ok(0) => {
                self.pipes[index] = None;
                0
            }
            Ok(count) => {
                if let Err(error) = self.keep(index, count, keeper, context) {
                    let reason = format!("The slave could not keep its output: {error}.");
                    match keeper {
                        Some(keeper) => self.stop(Stop::Failed(reason), keeper),
                        None => self.stop = Some(Stop::Failed(reason)),
                    }
                }
                count
            }
            Err(rustix::io::Errno::INTR) => self.read_once(index, keeper, context),
            Err(_) => 0,
        }
    }

    fn keep(&mut self, index: usize, count: usize, keeper: Option<&Socket>, context: &mut Context) -> io::Result<()> {
        if self.phase == Phase::Compile {
            let room = limits::COMPILE_OUTPUT_BYTES_MAX - self.compile_text.len();
            self.compile_text.extend_from_slice(&context.buffer[..count.min(room)]);
            return Ok(());
        }
        let limit = self.assignment.spec.limits.output.0;
        let room = usize::try_from(limit.saturating_sub(self.kept)).unwrap_or(usize::MAX);
        let taken = count.min(room);
        if taken > 0 {
            let stream = [Stream::Stdout, Stream::Stderr][index];
            let end = context.outputs.append(self.key(), stream, &context.buffer[..taken])?;
            self.kept += taken as u64;
            context.events.push(ExecutorEvent::Output { key: self.key(), stream, end });
        }
        if taken < count && !self.truncated {
            self.truncated = true;
            match keeper {
                Some(keeper) => self.stop(Stop::Output, keeper),
                None => drop(self.stop.get_or_insert(Stop::Output)),
            }
        }
        Ok(())
    }

    /// Everything that was written before the tree's end is in the pipes by now.
    fn drain(&mut self, context: &mut Context) {
        for index in 0..self.pipes.len() {
            // Nobody writes any more, so less than was asked for is the rest.
            while self.read_once(index, None, context) == context.buffer.len() {}
            self.pipes[index] = None;
        }
    }

    /// The keeper says how the step ended: goes on with the next one or tells the outcome.
    pub(super) fn step_ended(
        &mut self,
        message: FromKeeper,
        keeper: &Socket,
        context: &mut Context,
        now: Timestamp,
    ) -> Turn {
        self.drain(context);
        let outcome = match message {
            FromKeeper::Ready { .. } => return Turn::GoesOn,
            FromKeeper::NotStarted(failure) => {
                let outcome = outcome::of_not_started(&failure, &self.step, &context.program_path);
                self.finish(outcome, context, now);
                return Turn::Ended;
            }
            FromKeeper::Ended(ended) => {
                tracing::debug!(attempt = %self.key(), end = outcome::describe(&ended), "a step ended");
                self.usage = outcome::add_usage(self.usage, &ended);
                let limits = self.assignment.spec.limits;
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
            None => match self.begin_run(keeper, context) {
                Ok(()) => return Turn::GoesOn,
                Err(error) => Outcome::Lost { detail: format!("The slave could not start the run: {error}.") },
            },
        };
        self.finish(outcome, context, now);
        Turn::Ended
    }

    fn begin_run(&mut self, keeper: &Socket, context: &Context) -> io::Result<()> {
        self.phase = Phase::Run;
        let path = &context.program_path;
        self.step = step(&self.steps.run, Phase::Run, &self.assignment, &self.steps, &self.folder, path);
        self.order(keeper)
    }

    fn keep_compile_text(&mut self, failed: bool, context: &mut Context) {
        let text = std::mem::take(&mut self.compile_text);
        if text.is_empty() || !(failed || self.steps.keeps_compile_output()) {
            return;
        }
        match context.outputs.append(self.key(), Stream::Compile, &text) {
            Ok(end) => {
                context.events.push(ExecutorEvent::Output { key: self.key(), stream: Stream::Compile, end });
            }
            Err(error) => tracing::error!(attempt = %self.key(), %error, "the compiler's output cannot be kept"),
        }
    }

    /// The keeper died, and by now the launcher has ended everything that it left.
    pub(super) fn keeper_lost(&mut self, reason: &str, context: &mut Context, now: Timestamp) {
        self.drain(context);
        let outcome = match &self.stop {
            Some(Stop::Cancelled { by }) => Outcome::Cancelled { by: by.clone() },
            _ => Outcome::Lost { detail: format!("The process that watches over it failed ({reason}); it was ended.") },
        };
        self.finish(outcome, context, now);
    }

    fn finish(&mut self, outcome: Outcome, context: &mut Context, now: Timestamp) {
        let key = self.key();
        let output = context.outputs.tail(key, Stream::Stdout);
        let error = context.outputs.tail(key, Stream::Stderr);
        let last_line = outcome::last_line(&outcome, output, error);
        context.outputs.close(key);
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

    /// Gives the working folder back; what is not removed at once is removed in the background.
    pub(super) fn clean_up(self, slot: &mut SlotFolder, context: &Context) {
        if let Some(source) = &self.steps.source {
            self.folder.remove_file(&source.name);
        }
        if let Some(program) = &self.steps.program {
            self.folder.remove_file(program);
        }
        if let Some(remover) = slot.take_back(self.folder) {
            context.cleaner.remove(remover);
        }
        for stray in slot.strays() {
            context.cleaner.remove(stray);
        }
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
        candidates: Default::default(),
        arguments: Default::default(),
        environment: Default::default(),
        limits: like.limits,
        stdin: like.stdin,
    }
}
