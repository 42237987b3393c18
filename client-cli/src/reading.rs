//! One stream of a program, read in order: what is there already is asked for ahead, so that it comes without pauses.

use client::{
    connection::{Pending, Requests},
    reply,
};
use common::{
    ProgramId, UserError,
    limits::OUTPUT_CHUNK_BYTES_MAX,
    message::{Reply, Request, Stream},
};
use std::collections::VecDeque;

/// Questions on their way, each for one piece: together they are more than what goes to the master and back in one
/// round trip, and all that is held of a stream whose reader is slow.
const AHEAD_MAX: usize = 16;

/// A stream that is read to its end.
pub(crate) struct Reading {
    id: ProgramId,
    stream: Stream,
    /// Whether to wait for more while the program runs.
    follow: bool,
    offset: u64,
    end: bool,
    /// Questions on their way, oldest first, each for the piece behind that of the one before it.
    asked: VecDeque<Pending>,
    /// How many there may be: one while the output is waited for, more while there is plenty of it.
    ahead: usize,
}

/// The request for the next piece of a stream.
pub(crate) fn read_request(id: ProgramId, stream: Stream, offset: u64, follow: bool) -> Request {
    let bytes_max = u32::try_from(OUTPUT_CHUNK_BYTES_MAX).unwrap_or(u32::MAX);
    Request::ReadOutput { id, stream, offset, bytes_max, follow }
}

impl Reading {
    pub(crate) const fn new(id: ProgramId, stream: Stream, follow: bool) -> Self {
        Self { id, stream, follow, offset: 0, end: false, asked: VecDeque::new(), ahead: 1 }
    }

    /// One of which nothing is wanted.
    pub(crate) fn nothing(id: ProgramId, stream: Stream) -> Self {
        Self { end: true, ..Self::new(id, stream, false) }
    }

    /// Whether everything was read, or everything that there is now.
    pub(crate) const fn ended(&self) -> bool {
        self.end
    }

    /// Asks for the next pieces, as far as it makes sense now. Only the oldest question waits for what is not there
    /// yet: the others are answered at once, whatever there is.
    pub(crate) fn ask(&mut self, requests: &Requests) {
        while !self.end && self.asked.len() < self.ahead {
            let offset = self.offset + (self.asked.len() * OUTPUT_CHUNK_BYTES_MAX) as u64;
            let waits = self.follow && self.asked.is_empty() && self.ahead == 1;
            self.asked.push_back(requests.request(read_request(self.id, self.stream, offset, waits)));
        }
    }

    /// The oldest answer; never without a question. May be dropped while it waits.
    pub(crate) async fn answer(&mut self) -> Result<Reply, UserError> {
        match self.asked.front_mut() {
            Some(pending) => {
                let answer = pending.await;
                self.asked.pop_front();
                answer
            }
            None => std::future::pending().await,
        }
    }

    /// The bytes of an answer, which may repeat what is known.
    pub(crate) fn take(&mut self, answer: Result<Reply, UserError>) -> Result<Vec<u8>, UserError> {
        let output = answer.and_then(reply::output).inspect_err(|_| self.forget())?;
        let mut bytes = output.bytes;
        // What is behind a gap is asked for again.
        let known = usize::try_from(self.offset.saturating_sub(output.offset)).unwrap_or(usize::MAX);
        if output.offset > self.offset {
            bytes.clear();
        } else {
            bytes.drain(..known.min(bytes.len()));
        }
        self.offset += bytes.len() as u64;
        let idle = bytes.is_empty() && self.ahead == 1 && !self.follow;
        self.end = output.offset <= self.offset && output.end || idle;
        if bytes.len() == OUTPUT_CHUNK_BYTES_MAX {
            self.ahead = (2 * self.ahead).min(AHEAD_MAX);
        } else {
            // The questions behind this one are for other places, or for what is not there yet.
            self.forget();
        }
        Ok(bytes)
    }

    /// What was asked is not waited for any more.
    pub(crate) fn forget(&mut self) {
        self.asked.clear();
        self.ahead = 1;
    }
}
