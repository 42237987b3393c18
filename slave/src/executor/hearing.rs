//! What keepers and their launcher tell.

use super::{Executor, Keeper, WATCH_PIPES_AFTER, attempt::Turn};
use common::units::Timestamp;
use launcher::{
    Wait,
    protocol::{FromKeeper, FromLauncher},
};
use rustix::fd::OwnedFd;
use std::{io, time::Instant};

impl Executor {
    pub(super) fn hear_keeper(&mut self, index: usize, now: &impl Fn() -> Timestamp) -> io::Result<()> {
        // One message; the kernel tells of another.
        let Some(slot) = self.slots.get_mut(index) else { return Ok(()) };
        let Keeper::Present(socket) = &mut slot.keeper else { return Ok(()) };
        match socket.receive::<FromKeeper>(Wait::No) {
            Ok(None) => {}
            Ok(Some(received)) => self.handle_keeper(index, received.message, received.descriptors, now())?,
            // Closing the socket takes it out of the epoll set.
            Err(_) => slot.keeper = Keeper::Gone,
        }
        Ok(())
    }

    pub(super) fn handle_keeper(
        &mut self,
        index: usize,
        message: FromKeeper,
        descriptors: Vec<OwnedFd>,
        now: Timestamp,
    ) -> io::Result<()> {
        let slot = &mut self.slots[index];
        if let FromKeeper::Ready { problem } = &message {
            if !problem.is_empty() {
                tracing::warn!(slot = slot.number, %problem, "a control group cannot be used; its limit is kept by watching");
            }
            return Ok(());
        }
        if matches!(message, FromKeeper::State { .. }) {
            return Ok(());
        }
        if let Some(left) = &mut slot.left_quick {
            left.hear(message, descriptors);
            return Ok(());
        }
        let Some(message) = self.hear_of_given(index, message, descriptors, now)? else { return Ok(()) };
        let slot = &mut self.slots[index];
        if let FromKeeper::Suspended(suspended) = message {
            match (&mut slot.left, &mut slot.attempt) {
                (Some(left), _) => left.suspended = suspended,
                (None, Some(attempt)) => attempt.is_suspended(suspended, &mut self.context),
                (None, None) => {}
            }
            return Ok(());
        }
        if let Some(left) = &mut slot.left {
            left.ended(message);
            return Ok(());
        }
        if std::mem::take(&mut slot.ending) {
            slot.give_up_folder(true, &self.context);
        }
        let (Some(mut attempt), Keeper::Present(keeper)) = (slot.attempt.take(), &slot.keeper) else { return Ok(()) };
        match attempt.step_ended(message, keeper, index, &mut self.context, now) {
            Turn::GoesOn => {
                slot.attempt = Some(attempt);
                slot.watch_at = Some(Instant::now() + WATCH_PIPES_AFTER);
                Ok(())
            }
            Turn::Ended => {
                slot.watch_at = None;
                self.by_key.remove(&attempt.key());
                attempt.clean_up(&mut slot.folder, &self.context);
                Ok(())
            }
        }
    }

    pub(super) fn hear_launcher(&mut self, now: &impl Fn() -> Timestamp) -> io::Result<()> {
        while let Some(message) = self.launcher.receive(Wait::No)? {
            let FromLauncher::KeeperEnded { slot, reason } = message else { continue };
            let number = slot;
            let index = slot as usize;
            let Some(slot) = self.slots.get_mut(index) else { continue };
            if std::mem::take(&mut slot.outdated) {
                tracing::info!(slot = number, "a keeper with other guards than now has ended");
            } else {
                tracing::error!(slot = number, %reason, "a keeper ended unexpectedly");
            }
            slot.keeper = Keeper::None;
            slot.watch_at = None;
            slot.ending = false;
            slot.left = None;
            slot.left_quick = None;
            self.keeper_of_given_lost(index, &reason, now());
            let slot = &mut self.slots[index];
            // One that has ended already loses nothing.
            if let Some(mut attempt) = slot.attempt.take_if(|attempt| !attempt.is_collecting()) {
                self.by_key.remove(&attempt.key());
                attempt.keeper_lost(&reason, &mut self.context, now());
                attempt.clean_up(&mut slot.folder, &self.context);
            }
        }
        Ok(())
    }
}
