//! Reads what the steps of an attempt write: the program's output into the outputs, the compiler's text into memory.

use super::{
    ExecutorEvent,
    attempt::{Attempt, Context},
    outcome::Stop,
    steps::{Phase, compile_limits},
};
use common::message::Stream;
use launcher::Socket;
use rustix::{
    event::epoll::{self, EventData, EventFlags},
    fd::{AsFd, OwnedFd},
};
use std::io;

/// Reads of one pipe in one turn, so that no program takes the others' share.
const READS_PER_TURN: usize = 4;

impl Attempt {
    /// Reads what is in a pipe now, up to this turn's share.
    pub(super) fn read_pipe(&mut self, index: usize, keeper: &Socket, context: &mut Context) {
        for _ in 0..READS_PER_TURN {
            if !self.read_once(index, Some(keeper), context) {
                return;
            }
        }
    }

    /// One read. False when there is nothing now or never again.
    fn read_once(&mut self, index: usize, keeper: Option<&Socket>, context: &mut Context) -> bool {
        let limit = self.assignment.spec.limits.output.0;
        let room = usize::try_from(limit.saturating_sub(self.kept)).unwrap_or(usize::MAX);
        let result = match &self.pipes[index] {
            None => return false,
            Some(screen) if self.step.terminal => self.read_screen(screen, room, context),
            Some(pipe) if self.phase == Phase::Run && room > 0 => {
                let stream = [Stream::Stdout, Stream::Stderr][index];
                context.outputs.take(self.key(), stream, self.slot, pipe.as_fd(), room)
            }
            // For the compiler's text, and for what is too much.
            Some(pipe) => {
                rustix::io::read(pipe, context.buffer.as_mut_slice()).map(|count| (count, 0)).map_err(io::Error::from)
            }
        };
        match result {
            Ok((0, _)) => {
                self.close(index, context);
                false
            }
            Ok((count, end)) => {
                self.note(index, count, (room > 0).then_some(end), keeper, context);
                true
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) => {
                // What is in the pipe stays there: it is not output any more.
                self.close(index, context);
                self.truncated = true;
                let stop = Stop::Failed(format!("The slave could not keep its output: {error}."));
                self.stop_with(stop, keeper);
                false
            }
        }
    }

    /// Reads what a program wrote to its terminal. The kernel does not move that into a file by itself.
    fn read_screen(&self, screen: &OwnedFd, room: usize, context: &mut Context) -> io::Result<(usize, u64)> {
        let most = if room == 0 { context.buffer.len() } else { room.min(context.buffer.len()) };
        let count = match rustix::io::read(screen, &mut context.buffer[..most]) {
            // The program and all that it started have left their terminal.
            Err(rustix::io::Errno::IO) => 0,
            result => result?,
        };
        if count == 0 || room == 0 {
            return Ok((count, 0));
        }
        let end = context.outputs.append(self.key(), Stream::Stdout, self.slot, &context.buffer[..count])?;
        Ok((count, end))
    }

    /// Takes note of what was read; `end` is the stream's new end where the bytes were kept.
    fn note(&mut self, index: usize, count: usize, end: Option<u64>, keeper: Option<&Socket>, context: &mut Context) {
        if self.phase == Phase::Compile {
            let most = usize::try_from(compile_limits(&context.ceiling).output.0).unwrap_or(usize::MAX);
            let room = most.saturating_sub(self.compile_text.len());
            self.compile_text.extend_from_slice(&context.buffer[..count.min(room)]);
        } else if let Some(end) = end {
            self.kept += count as u64;
            let stream = [Stream::Stdout, Stream::Stderr][index];
            context.events.push(ExecutorEvent::Output { key: self.key(), stream, end });
        } else if !self.truncated {
            self.truncated = true;
            self.stop_with(Stop::Output, keeper);
        }
    }

    /// Closes a pipe. The keeper holds it open, so it must be taken out of what is watched by hand.
    fn close(&mut self, index: usize, context: &Context) {
        if let Some(pipe) = self.pipes[index].take()
            && self.watched
            && let Err(error) = epoll::delete(&context.epoll, &pipe)
        {
            tracing::debug!(%error, "a pipe was not watched");
        }
    }

    /// The pipes are watched from now on, until they are closed.
    pub(super) fn watch(&mut self, token: impl Fn(usize) -> u64, context: &Context) -> io::Result<()> {
        self.watched = true;
        for (index, pipe) in self.pipes.iter().enumerate() {
            if let Some(pipe) = pipe {
                epoll::add(&context.epoll, pipe, EventData::new_u64(token(index)), EventFlags::IN)?;
            }
        }
        Ok(())
    }

    /// The pipes are not watched any more, until [`Self::watch`].
    pub(super) fn look_away(&mut self, context: &Context) {
        if !std::mem::take(&mut self.watched) {
            return;
        }
        for pipe in self.pipes.iter().flatten() {
            if let Err(error) = epoll::delete(&context.epoll, pipe) {
                tracing::debug!(%error, "a pipe was not watched");
            }
        }
    }

    fn stop_with(&mut self, stop: Stop, keeper: Option<&Socket>) {
        match keeper {
            Some(keeper) => self.stop(stop, keeper),
            None => drop(self.stop.get_or_insert(stop)),
        }
    }

    /// Everything that was written before the tree's end is in the pipes by now.
    pub(super) fn drain(&mut self, context: &mut Context) {
        for index in 0..self.pipes.len() {
            // Nobody writes any more, so this comes to an end.
            while self.read_once(index, None, context) {}
            self.close(index, context);
        }
    }
}
