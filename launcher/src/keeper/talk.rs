//! What a keeper and the agent say to each other.

use super::{run::Runner, signals, state::Run};
use crate::{
    protocol::{FromKeeper, KeeperState, Order, QuickState, ToKeeper},
    socket::{Received, Wait},
};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, ppoll},
};
use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// What the agent had no room for. It may be stopped, and its program must be watched all the same.
#[derive(Default)]
pub(super) struct Outbox(VecDeque<(FromKeeper, Vec<OwnedFd>)>);

impl Outbox {
    /// What the socket is waited for.
    pub(super) fn events(&self) -> PollFlags {
        if self.0.is_empty() { PollFlags::POLLIN } else { PollFlags::POLLIN | PollFlags::POLLOUT }
    }
}

impl Runner<'_> {
    /// The agent's next message. Interrupted only by the launcher's end.
    pub(super) fn receive(&mut self, wait: Wait) -> io::Result<Option<Received<ToKeeper>>> {
        if wait == Wait::Yes {
            let mut ready = [
                PollFd::new(self.socket.as_fd(), self.outbox.events()),
                PollFd::new(self.launcher.as_fd(), PollFlags::POLLIN),
            ];
            match ppoll(&mut ready, None, Some(self.mask)) {
                Ok(_) if ready[1].any() == Some(true) => signals::note_launcher_gone(),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if signals::is_launcher_gone() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.send_waiting()?;
        self.socket.receive(Wait::No)
    }

    pub(super) fn send(&mut self, message: FromKeeper) -> io::Result<()> {
        self.send_with(message, &[])
    }

    /// In order, and without waiting for an agent that does not listen.
    fn send_with(&mut self, message: FromKeeper, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        if self.outbox.0.is_empty() && self.socket.try_send(&message, descriptors)? {
            return Ok(());
        }
        let descriptors = descriptors.iter().map(BorrowedFd::try_clone_to_owned).collect::<io::Result<_>>()?;
        self.outbox.0.push_back((message, descriptors));
        Ok(())
    }

    fn send_waiting(&mut self) -> io::Result<()> {
        while let Some((message, descriptors)) = self.outbox.0.front() {
            let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
            if !self.socket.try_send(message, &descriptors)? {
                return Ok(());
            }
            self.outbox.0.pop_front();
        }
        Ok(())
    }

    /// Reports an end, and keeps the report for whoever asks later.
    pub(super) fn report(&mut self, report: FromKeeper) -> io::Result<()> {
        if let Some(last) = &mut self.last {
            last.report = Some(report.clone());
        }
        self.send(report)
    }

    /// Tells the ends of a queue that were not told yet.
    pub(super) fn tell_ends(&mut self) -> io::Result<()> {
        match self.queue.tell() {
            ends if ends.is_empty() => Ok(()),
            ends => self.send(FromKeeper::Ends(ends)),
        }
    }

    /// These will not start.
    fn tell_returned(&mut self, numbers: Vec<u64>) -> io::Result<()> {
        self.tell_ends()?;
        self.send(FromKeeper::Returned(numbers))
    }

    /// What runs has outlived its time, and the agent is to know it.
    pub(super) fn outlive(&mut self, run: &mut Run) -> io::Result<()> {
        let Some(returned) = self.hand_over(run)? else { return Ok(()) };
        self.tell_ends()?;
        let Some((number, started)) = self.queue.running.as_ref().map(|running| (running.number, running.started))
        else {
            return Ok(());
        };
        let pipes = self.queue.pipes().map(|pipes| pipes.map(|pipe| pipe.try_clone_to_owned()));
        let pipes = pipes.into_iter().flatten().collect::<io::Result<Vec<_>>>()?;
        let pipes: Vec<_> = pipes.iter().map(AsFd::as_fd).collect();
        self.send_with(FromKeeper::Outlives { number, started, returned }, &pipes)
    }

    /// What an agent is told when it asks what is the matter; what it was told before is said again by this.
    fn tell(&mut self, number: u64, run: Option<&mut Run>) -> io::Result<()> {
        if let Some(run) = run {
            // Without a word of its own.
            self.hand_over(run)?;
        }
        self.outbox.0.clear();
        let (state, descriptors): (_, Vec<BorrowedFd<'_>>) = match &self.last {
            Some(last) => {
                let (tag, note) = (last.tag.clone(), last.note.clone());
                let state = match &last.report {
                    None => KeeperState::Running { tag, note, suspended: last.suspended },
                    Some(report) => KeeperState::Ended { tag, note, report: Box::new(report.clone()) },
                };
                (state, std::iter::once(last.folder.as_fd()).chain(last.pipes.iter().map(AsFd::as_fd)).collect())
            }
            None if self.queue.is_used() => {
                let (state, descriptors): (QuickState, _) = self.queue.state();
                (KeeperState::Quick(state), descriptors)
            }
            None => (KeeperState::Idle, Vec::new()),
        };
        let message = FromKeeper::State { number, state };
        if !self.socket.try_send(&message, &descriptors)? {
            let descriptors = descriptors.iter().map(BorrowedFd::try_clone_to_owned).collect::<io::Result<_>>()?;
            self.outbox.0.push_back((message, descriptors));
        }
        Ok(())
    }

    /// Tells the one that may follow the agent whether the program stands still.
    pub(super) fn set_suspended(&mut self, suspended: bool) {
        if let Some(running) = &mut self.queue.running {
            running.suspended = suspended;
        } else if let Some(last) = &mut self.last {
            last.suspended = suspended;
        }
    }

    /// The first reason counts.
    fn note(&mut self, note: Vec<u8>) {
        let kept = match (&mut self.queue.running, &mut self.last) {
            (Some(running), _) => &mut running.note,
            (None, Some(last)) => &mut last.note,
            (None, None) => return,
        };
        if kept.is_empty() {
            *kept = note;
        }
    }

    /// Does what the agent says, while this program runs or none does. Not [`ToKeeper::Run`] and [`ToKeeper::End`],
    /// which it never sends while one runs.
    pub(super) fn hear(
        &mut self,
        message: ToKeeper,
        descriptors: Vec<OwnedFd>,
        run: Option<&mut Run>,
    ) -> io::Result<()> {
        let order = match message {
            ToKeeper::Run(_) | ToKeeper::End => return Ok(()),
            ToKeeper::Tell { number } => return self.tell(number, run),
            ToKeeper::Queue(queue) => {
                let closed = run.is_some_and(|run| run.quick.is_none());
                let returned = self.take_queue(queue, descriptors, closed)?;
                return if returned.is_empty() { Ok(()) } else { self.tell_returned(returned) };
            }
            ToKeeper::Return => {
                let returned = self.queue.give_back();
                return self.tell_returned(returned);
            }
            ToKeeper::Quick { number, order } => return self.hear_order(number, order, run),
            ToKeeper::Cancel { grace, note } => Order::Cancel { grace, note },
            ToKeeper::Kill { note } => Order::Kill { note },
            ToKeeper::Suspend => Order::Suspend,
            ToKeeper::Resume => Order::Resume,
            ToKeeper::SetWallTime(limit) => Order::SetWallTime(limit),
            ToKeeper::Signal(signal) => Order::Signal(signal),
        };
        let answered = matches!(order, Order::Suspend | Order::Resume);
        let run = run.filter(|run| run.quick.is_none());
        // For a program that ended while the message was on its way there is nothing to do.
        let is_still = run.is_some_and(|run| self.obey(run, order));
        if answered { self.send(FromKeeper::Suspended(is_still)) } else { Ok(()) }
    }

    fn hear_order(&mut self, number: u64, order: Order, run: Option<&mut Run>) -> io::Result<()> {
        let answered = matches!(order, Order::Suspend | Order::Resume);
        let run = run.filter(|run| run.quick.as_ref().is_some_and(|quick| quick.number == number));
        let is_still = match run {
            Some(run) => self.obey(run, order),
            None => self.queue.order(number, order).unwrap_or(false),
        };
        if self.queue.is_telling_due() {
            self.tell_ends()?;
        }
        if answered { self.send(FromKeeper::QuickSuspended { number, suspended: is_still }) } else { Ok(()) }
    }

    /// Whether it stands still then.
    fn obey(&mut self, run: &mut Run, order: Order) -> bool {
        match order {
            Order::Cancel { grace, note } => {
                self.note(note);
                // What stands still could not end by itself.
                self.resume(run);
                run.cancel(grace);
            }
            Order::Kill { note } => {
                self.note(note);
                run.end(crate::protocol::Cause::Ordered);
            }
            Order::Suspend => self.suspend(run),
            Order::Resume => self.resume(run),
            Order::SetWallTime(limit) => run.set_wall_limit(limit.to_std()),
            Order::Signal(signal) => run.signal(signal),
        }
        run.is_still()
    }
}
