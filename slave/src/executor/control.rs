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
use launcher::{
    Socket,
    protocol::{Order, ToKeeper},
};
use std::{sync::Arc, time::Instant};

/// When a keeper that did not read is told again.
const TELL_AGAIN_AFTER: std::time::Duration = std::time::Duration::from_millis(50);

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
        match (slot.attempt.as_mut().filter(|attempt| attempt.key() == key), &slot.keeper) {
            (Some(attempt), Keeper::Present(keeper)) => attempt.control(control, keeper, index, &mut self.context),
            (Some(_), Keeper::None | Keeper::Gone) => {}
            (None, _) => self.control_given(index, key, &control),
        }
        self.tell_again();
    }

    /// Tells keepers what they had no room for.
    pub(super) fn tell_again(&mut self) {
        let mut left = false;
        for slot in &mut self.slots {
            let Keeper::Present(keeper) = &slot.keeper else { continue };
            let attempt = slot.attempt.as_mut().map(|attempt| &mut attempt.unsent);
            for unsent in attempt.into_iter().chain([&mut slot.quick.unsent]) {
                unsent.tell_again(keeper);
                left |= !unsent.0.is_empty();
            }
        }
        self.tell_again_at = left.then(|| Instant::now() + TELL_AGAIN_AFTER);
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
        let index = self.by_key.get(&key)?;
        self.slots[*index].attempt.as_ref().filter(|attempt| attempt.key() == key)
    }
}

impl Attempt {
    fn control(&mut self, control: Control, keeper: &Socket, index: usize, context: &mut Context) {
        match control {
            // What is being ended is not held up.
            Control::Suspend if self.stop.is_some() => {}
            Control::Suspend => {
                self.suspend = true;
                self.tell(keeper, ToKeeper::Suspend);
            }
            Control::Resume => {
                self.suspend = false;
                self.tell(keeper, ToKeeper::Resume);
            }
            Control::SetWallTime(wall_time) => {
                Arc::make_mut(&mut self.assignment.spec).limits.wall_time = wall_time;
                // The compile step has a time of its own.
                if self.phase == Phase::Run {
                    self.step.limits.wall_time = wall_time;
                    self.tell(keeper, ToKeeper::SetWallTime(wall_time));
                }
            }
            Control::Signal(signal) => self.tell(keeper, ToKeeper::Signal(number(signal))),
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

    pub(super) fn tell(&mut self, keeper: &Socket, order: ToKeeper) {
        let order = match (self.number, order) {
            (Some(number), ToKeeper::Cancel { grace, note }) => quick(number, Order::Cancel { grace, note }),
            (Some(number), ToKeeper::Kill { note }) => quick(number, Order::Kill { note }),
            (Some(number), ToKeeper::Suspend) => quick(number, Order::Suspend),
            (Some(number), ToKeeper::Resume) => quick(number, Order::Resume),
            (Some(number), ToKeeper::SetWallTime(wall_time)) => quick(number, Order::SetWallTime(wall_time)),
            (Some(number), ToKeeper::Signal(signal)) => quick(number, Order::Signal(signal)),
            (_, order) => order,
        };
        self.unsent.tell(keeper, order);
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

/// What a keeper is told to do with its program. One that does not read holds up nobody: it is told later, and only
/// what counts by then.
#[derive(Debug, Default)]
pub(super) struct Unsent(Vec<ToKeeper>);

impl Unsent {
    pub(super) fn tell(&mut self, keeper: &Socket, order: ToKeeper) {
        self.0.retain(|earlier| !replaces(&order, earlier));
        self.0.push(order);
        self.tell_again(keeper);
    }

    fn tell_again(&mut self, keeper: &Socket) {
        while let Some(order) = self.0.first() {
            match keeper.try_send(order, &[]) {
                // A signal is for now; and there may be any number of them.
                Ok(false) => {
                    return self.0.retain(|order| {
                        !matches!(order, ToKeeper::Signal(_) | ToKeeper::Quick { order: Order::Signal(_), .. })
                    });
                }
                Ok(true) => {}
                // A keeper that is gone has ended its program, or the launcher does.
                Err(error) => tracing::debug!(%error, "a keeper cannot be told what to do with its program"),
            }
            self.0.remove(0);
        }
    }

    /// For the next step.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Whether an order makes an earlier one that was not heard yet pointless.
const fn replaces(order: &ToKeeper, earlier: &ToKeeper) -> bool {
    use ToKeeper::{Cancel, Kill, Quick, Resume, SetWallTime, Suspend};
    match (order, earlier) {
        (Quick { number, order }, Quick { number: other, order: earlier }) if *number == *other => matches!(
            (order, earlier),
            (Order::Suspend | Order::Resume, Order::Suspend | Order::Resume)
                | (Order::SetWallTime(_), Order::SetWallTime(_))
                | (Order::Kill { .. }, Order::Kill { .. } | Order::Cancel { .. })
                | (Order::Cancel { .. }, Order::Cancel { .. })
        ),
        _ => matches!(
            (order, earlier),
            (Suspend | Resume, Suspend | Resume)
                | (SetWallTime(_), SetWallTime(_))
                | (Kill { .. }, Kill { .. } | Cancel { .. })
                | (Cancel { .. }, Cancel { .. })
        ),
    }
}

const fn quick(number: u64, order: Order) -> ToKeeper {
    ToKeeper::Quick { number, order }
}

pub(super) const fn number(signal: ProgramSignal) -> i32 {
    match signal {
        ProgramSignal::Interrupt => libc::SIGINT,
        ProgramSignal::Quit => libc::SIGQUIT,
        ProgramSignal::HangUp => libc::SIGHUP,
        ProgramSignal::Terminate => libc::SIGTERM,
        ProgramSignal::User1 => libc::SIGUSR1,
        ProgramSignal::User2 => libc::SIGUSR2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use launcher::Wait;

    #[test]
    fn f8_what_counts_is_told_to_a_keeper_that_did_not_read() {
        let (keeper, mut other) = Socket::pair().unwrap();
        // There is an end to what lies in its queue, and nobody waits for it.
        let mut queued = 0;
        while keeper.try_send(&ToKeeper::Signal(libc::SIGUSR1), &[]).unwrap() {
            queued += 1;
        }
        let mut unsent = Unsent::default();
        for order in [
            ToKeeper::Suspend,
            ToKeeper::Signal(libc::SIGINT),
            ToKeeper::Cancel { grace: Duration(1), note: Vec::new() },
            ToKeeper::Resume,
            ToKeeper::Kill { note: Vec::new() },
        ] {
            unsent.tell(&keeper, order);
        }
        for _ in 0..queued {
            other.receive::<ToKeeper>(Wait::No).unwrap().unwrap();
        }
        unsent.tell_again(&keeper);
        let mut heard = || other.receive::<ToKeeper>(Wait::No).unwrap().map(|received| received.message);
        assert!(matches!(heard(), Some(ToKeeper::Resume)));
        assert!(matches!(heard(), Some(ToKeeper::Kill { .. })));
        assert!(heard().is_none() && unsent.0.is_empty());
    }
}
