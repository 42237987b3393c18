//! What people do to an attempt that runs, and what comes of it.

use super::{
    Executor, ExecutorEvent, Keeper, Source,
    attempt::{Attempt, Context},
    steps::Phase,
};
use common::{
    id::AttemptKey,
    program::{ProgramSignal, TerminalSize},
    units::Duration,
};
use launcher::{Socket, protocol::ToKeeper};
use std::sync::Arc;

/// What is done to an attempt that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// Let it stand still.
    Suspend,
    /// Let it go on.
    Resume,
    /// It may run for so long in all.
    SetWallTime(Duration),
    /// Send this signal to its process group.
    Signal(ProgramSignal),
    /// Live input.
    Input {
        /// Place of the first byte.
        offset: u64,
        /// The bytes.
        bytes: Vec<u8>,
        /// Nothing follows.
        end: bool,
    },
    /// Its terminal has another size.
    Resize(TerminalSize),
}

impl Executor {
    /// Does something to an attempt that runs; nothing to any other.
    pub fn control(&mut self, key: AttemptKey, control: Control) {
        let Some(index) = self.by_key.get(&key).copied() else { return };
        let slot = &mut self.slots[index];
        if let (Some(attempt), Keeper::Present(keeper)) = (&mut slot.attempt, &slot.keeper) {
            attempt.control(control, keeper, index, &mut self.context);
        }
    }

    /// Whether an attempt stands still.
    #[must_use]
    pub fn is_suspended(&self, key: AttemptKey) -> bool {
        self.attempt(key).is_some_and(|attempt| attempt.suspended)
    }

    /// How much live input an attempt has taken; none when it takes none.
    #[must_use]
    pub fn input_of(&self, key: AttemptKey) -> Option<u64> {
        self.attempt(key)?.live.as_ref().map(super::live::Live::offset)
    }

    fn attempt(&self, key: AttemptKey) -> Option<&Attempt> {
        self.by_key.get(&key).and_then(|index| self.slots[*index].attempt.as_ref())
    }
}

impl Attempt {
    fn control(&mut self, control: Control, keeper: &Socket, index: usize, context: &mut Context) {
        match control {
            // What is being ended is not held up.
            Control::Suspend if self.stop.is_some() => {}
            Control::Suspend => {
                self.suspend = true;
                tell(keeper, &ToKeeper::Suspend);
            }
            Control::Resume => {
                self.suspend = false;
                tell(keeper, &ToKeeper::Resume);
            }
            Control::SetWallTime(wall_time) => {
                Arc::make_mut(&mut self.assignment.spec).limits.wall_time = wall_time;
                // The compile step has a time of its own.
                if self.phase == Phase::Run {
                    self.step.limits.wall_time = wall_time;
                    tell(keeper, &ToKeeper::SetWallTime(wall_time));
                }
            }
            Control::Signal(signal) => tell(keeper, &ToKeeper::Signal(number(signal))),
            Control::Input { offset, bytes, end } => {
                let Some(live) = &mut self.live else { return };
                if let Err(error) = live.give(offset, &bytes, end) {
                    // Not taken: it is sent again when the connection is.
                    return tracing::error!(attempt = %self.key(), %error, "input cannot be kept");
                }
                self.pump(index, context);
            }
            Control::Resize(size) => {
                if let Some(live) = &mut self.live
                    && let Err(error) = live.resize(size)
                {
                    tracing::debug!(attempt = %self.key(), %error, "the terminal keeps its size");
                }
            }
        }
    }

    /// Gives the program what it takes of its live input, and tells how much that is.
    pub(super) fn pump(&mut self, index: usize, context: &mut Context) {
        let key = self.key();
        let Some(live) = &mut self.live else { return };
        let token = Source::Input.token(index);
        // Before its writing end may be closed.
        let result = live.watch(false, &context.epoll, token);
        let result = result.and_then(|()| live.pump()).and_then(|more| live.watch(more, &context.epoll, token));
        if let Err(error) = result {
            tracing::error!(attempt = %key, %error, "input cannot be given to the program");
        }
        context.events.push(ExecutorEvent::InputTaken { key, offset: live.offset() });
    }

    /// The keeper says whether the step stands still.
    pub(super) fn is_suspended(&mut self, suspended: bool, context: &mut Context) {
        if self.suspended != suspended {
            self.suspended = suspended;
            context.events.push(ExecutorEvent::Suspended { key: self.key(), suspended });
        }
    }
}

/// What a keeper is told to do with its program.
pub(super) fn tell(keeper: &Socket, order: &ToKeeper) {
    if let Err(error) = keeper.send(order, &[]) {
        // A keeper that is gone has ended its program, or the launcher does.
        tracing::debug!(%error, "a keeper cannot be told what to do with its program");
    }
}

const fn number(signal: ProgramSignal) -> i32 {
    match signal {
        ProgramSignal::Interrupt => libc::SIGINT,
        ProgramSignal::Quit => libc::SIGQUIT,
        ProgramSignal::HangUp => libc::SIGHUP,
        ProgramSignal::Terminate => libc::SIGTERM,
        ProgramSignal::User1 => libc::SIGUSR1,
        ProgramSignal::User2 => libc::SIGUSR2,
    }
}
