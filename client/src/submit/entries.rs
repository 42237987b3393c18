//! A submit of any length: one program for each entry, sent in parts as they come. Nobody holds the whole list: not the
//! caller, who gives part after part, not this, which keeps what is not acknowledged, and not a request.

use super::{ids_from, new_id};
use crate::{
    connection::{Pending, Requests},
    reply,
};
use common::{
    ErrorCode, ProgramId, ProgramSpec, UserError,
    escape::RawText,
    limits::{ENTRIES_BYTES_PER_REQUEST, ENTRIES_PER_REQUEST_MAX, ENTRY_BYTES_MAX},
    message::Request,
};
use std::collections::VecDeque;

/// Parts that wait for their answers at once: enough that the master's sync is never waited for with nothing to do.
const IN_FLIGHT_MAX: usize = 8;
/// Bytes on their way at once, below what a connection holds.
const IN_FLIGHT_BYTES_MAX: usize = 16 << 20;

/// Programs of one template, one for each entry, with what the master has said of them.
///
/// Give it parts with [`Entries::push`] while it [has room](Entries::has_room), and take what is acknowledged with
/// [`Entries::acknowledged`]. After an error that passes, [`Entries::send_again`] sends what is open once more, over
/// whatever connection there is now, under the same IDs: nothing is accepted twice.
#[derive(Debug)]
pub struct Entries {
    spec: ProgramSpec,
    first: ProgramId,
    /// Index of the next entry.
    next: u32,
    accepted: u32,
    open: VecDeque<Part>,
}

#[derive(Debug)]
struct Part {
    first_index: u32,
    entries: Vec<RawText>,
    /// None until it is sent again.
    answer: Option<Pending>,
}

impl Entries {
    /// Checks the template and makes the IDs.
    ///
    /// # Errors
    /// What is outside its limits.
    pub fn new(spec: ProgramSpec) -> Result<Self, UserError> {
        spec.validate()?;
        spec.check_entries(&[], 0)?;
        Ok(Self { spec, first: new_id().with_room(), next: 0, accepted: 0, open: VecDeque::new() })
    }

    /// Programs that were acknowledged: those of the first entries, without a gap.
    #[must_use]
    pub const fn accepted(&self) -> u32 {
        self.accepted
    }

    /// Whether anything waits for its answer.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Whether another part may be given now.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let part = self.spec_bytes() + ENTRIES_BYTES_PER_REQUEST + ENTRY_BYTES_MAX;
        self.open.len() < (IN_FLIGHT_BYTES_MAX / part).clamp(1, IN_FLIGHT_MAX)
    }

    /// Sends a part without waiting.
    ///
    /// # Errors
    /// When it has no entry or too many, or one that no program can be given. Then nothing of it was sent.
    pub fn push(&mut self, client: &Requests, entries: Vec<RawText>) -> Result<(), UserError> {
        if entries.is_empty() || entries.len() > ENTRIES_PER_REQUEST_MAX {
            let sentence = format!("a part of {} entries; 1 to {ENTRIES_PER_REQUEST_MAX} are taken", entries.len());
            return Err(UserError::new(ErrorCode::SubmitInvalid, sentence));
        }
        self.spec.check_entries(&entries, u64::from(self.next))?;
        let count = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        let Some(next) = self.next.checked_add(count) else {
            return Err(UserError::new(ErrorCode::SubmitInvalid, "more than 4294967295 entries in one submit"));
        };
        let mut part = Part { first_index: self.next, entries, answer: None };
        part.answer = Some(client.request(self.request(&part)));
        self.open.push_back(part);
        self.next = next;
        Ok(())
    }

    /// Waits for the answer to the oldest part; the IDs of its programs, none when nothing is open. May be dropped
    /// while it waits.
    ///
    /// # Errors
    /// Why that part was not accepted, `E-BUSY` and `E-CONNECTION-LOST` included: it stays open.
    pub async fn acknowledged(&mut self) -> Result<Option<impl Iterator<Item = ProgramId> + use<>>, UserError> {
        let Some(part) = self.open.front_mut() else { return Ok(None) };
        if let Some(answer) = &mut part.answer {
            let answered = answer.await;
            part.answer = None;
            reply::submitted(answered?)?;
        } else {
            return Err(crate::connection::lost("a part of the submit was not sent again"));
        }
        let count = u32::try_from(part.entries.len()).unwrap_or(u32::MAX);
        let ids = ids_from(self.first, part.first_index, count);
        self.accepted += count;
        self.open.pop_front();
        Ok(Some(ids))
    }

    /// Gives up after an error that does not pass: waits for the answers to the parts behind the oldest, each of which
    /// the master takes or refuses by itself. The IDs of the programs that it took, and whether of others that is not
    /// known.
    pub async fn give_up(&mut self) -> (Vec<ProgramId>, bool) {
        let (mut taken, mut unknown) = (Vec::new(), false);
        for part in std::mem::take(&mut self.open) {
            let Some(answer) = part.answer else { continue };
            match answer.await.and_then(reply::submitted) {
                Ok(_) => {
                    let count = u32::try_from(part.entries.len()).unwrap_or(u32::MAX);
                    taken.extend(ids_from(self.first, part.first_index, count));
                }
                Err(error) => unknown |= error.is(ErrorCode::ConnectionLost),
            }
        }
        (taken, unknown)
    }

    /// Sends all that is open once more.
    pub fn send_again(&mut self, client: &Requests) {
        let mut open = std::mem::take(&mut self.open);
        for part in &mut open {
            part.answer = Some(client.request(self.request(part)));
        }
        self.open = open;
    }

    fn request(&self, part: &Part) -> Request {
        Request::SubmitEntries {
            first: self.first,
            first_index: part.first_index,
            copies: 0,
            spec: Box::new(self.spec.clone()),
            entries: part.entries.clone(),
        }
    }

    /// About what the template adds to each request.
    fn spec_bytes(&self) -> usize {
        let work = match &self.spec.work {
            common::Work::Source { text, .. } => text.0.len(),
            common::Work::Command { command } => command.0.len(),
        };
        let arguments: usize = self.spec.arguments.iter().map(|argument| argument.0.len() + 9).sum();
        work + arguments + self.spec.stdin.as_ref().map_or(0, |stdin| stdin.0.len())
    }
}
