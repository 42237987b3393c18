//! From a specification to programs that the master has acknowledged.
//!
//! The IDs are made here, once, so that sending again after a lost connection is harmless.

mod source;

pub use source::{SourceFile, knows_language, language_of, read_source, read_stdin, source_from};

use crate::{
    connection::{Client, Pending, Requests},
    reply,
};
use common::{
    ErrorCode, ProgramId, ProgramSpec, UserError,
    limits::{COPIES_MAX, COPIES_PER_REQUEST_MAX},
    message::Request,
    units::Duration,
};
use std::collections::VecDeque;

/// Requests of one submit that wait for their answers at once: enough that the master's sync is never
/// waited for with nothing to do.
const IN_FLIGHT_MAX: usize = 4;
/// Bytes of one submit on their way at once, below what a connection holds.
const IN_FLIGHT_BYTES_MAX: usize = 16 << 20;
/// Wait after `E-BUSY` when the master names none.
pub(crate) const BUSY_WAIT: Duration = Duration::from_secs(1);

/// A submit: what runs, and the copies with what the master has said of each.
#[derive(Clone, Debug)]
pub struct Submission {
    spec: ProgramSpec,
    ids: Vec<ProgramId>,
    batches: Vec<Batch>,
}

#[derive(Clone, Debug)]
struct Batch {
    first: usize,
    count: usize,
    sequences: Option<Vec<u64>>,
}

impl Submission {
    /// Checks the specification and makes the IDs of `count` copies.
    ///
    /// # Errors
    /// What is outside its limits.
    pub fn new(spec: ProgramSpec, count: u32) -> Result<Self, UserError> {
        if count == 0 || count > COPIES_MAX {
            return Err(UserError::new(
                ErrorCode::SubmitInvalid,
                format!("a count of {count} is outside 1 to {COPIES_MAX}"),
            ));
        }
        spec.validate()?;
        let ids: Vec<_> = (0..count).map(|_| new_id()).collect();
        let batches = (0..ids.len())
            .step_by(COPIES_PER_REQUEST_MAX)
            .map(|first| Batch { first, count: COPIES_PER_REQUEST_MAX.min(ids.len() - first), sequences: None })
            .collect();
        Ok(Self { spec, ids, batches })
    }

    /// The programs, by index.
    #[must_use]
    pub fn ids(&self) -> &[ProgramId] {
        &self.ids
    }

    /// Copies that the master has acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        self.batches.iter().filter(|batch| batch.sequences.is_some()).map(|batch| batch.count).sum()
    }

    /// The programs' places in the history, by index, once all are acknowledged.
    #[must_use]
    pub fn sequences(&self) -> Vec<u64> {
        self.batches.iter().flat_map(|batch| batch.sequences.iter().flatten().copied()).collect()
    }

    /// Sends what is not acknowledged and waits until all is, calling `progress` after each answer. A busy
    /// master is asked again after the time that it names. After `E-CONNECTION-LOST`, call it again with a
    /// new connection: what the master already has is not accepted twice.
    ///
    /// # Errors
    /// The first refusal.
    pub async fn send(&mut self, client: &Client, mut progress: impl FnMut(&Self)) -> Result<(), UserError> {
        let mut first = self.begin(client);
        loop {
            match self.finish(client, &mut first, &mut progress).await {
                Err(error) if error.is(ErrorCode::Busy) => {
                    tokio::time::sleep(error.retry_after.unwrap_or(BUSY_WAIT).to_std()).await;
                    first = self.begin(client);
                }
                result => return result,
            }
        }
    }

    /// Sends the first requests without waiting, so that others can leave in the same write.
    pub fn begin(&self, client: &Requests) -> Started {
        let in_flight = (IN_FLIGHT_BYTES_MAX / self.request_bytes()).clamp(1, IN_FLIGHT_MAX);
        let open: VecDeque<_> = self.unacknowledged(0).take(in_flight).collect();
        Started(open.into_iter().map(|batch| (batch, client.request(self.request(batch)))).collect())
    }

    /// Waits for what [`Submission::begin`] sent, and sends and awaits the rest.
    ///
    /// # Errors
    /// The first refusal, `E-BUSY` included.
    pub async fn finish(
        &mut self,
        client: &Client,
        started: &mut Started,
        mut progress: impl FnMut(&Self),
    ) -> Result<(), UserError> {
        while let Some((batch, answer)) = started.0.pop_front() {
            let sequences = reply::submitted(answer.await?)?;
            self.batches[batch].sequences = Some(sequences);
            progress(self);
            let last_sent = started.0.back().map_or(batch, |(last, _)| *last);
            let next = self.unacknowledged(last_sent + 1).next();
            if let Some(next) = next {
                started.0.push_back((next, client.request(self.request(next))));
            }
        }
        Ok(())
    }

    fn unacknowledged(&self, from: usize) -> impl Iterator<Item = usize> {
        (from..self.batches.len()).filter(|batch| self.batches[*batch].sequences.is_none())
    }

    fn request(&self, batch: usize) -> Request {
        let Batch { first, count, .. } = self.batches[batch];
        let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Request::Submit {
            ids: self.ids[first..first + count].to_vec(),
            first_index: small(first),
            copies: small(self.ids.len()),
            spec: Box::new(self.spec.clone()),
        }
    }

    /// About what one request of this submit weighs.
    fn request_bytes(&self) -> usize {
        let work = match &self.spec.work {
            common::Work::Source { text, .. } => text.0.len(),
            common::Work::Command { command } => command.0.len(),
        };
        let arguments: usize = self.spec.arguments.iter().map(|argument| argument.0.len() + 9).sum();
        let stdin = self.spec.stdin.as_ref().map_or(0, |stdin| stdin.0.len());
        work + arguments + stdin + 32 * COPIES_PER_REQUEST_MAX.min(self.ids.len())
    }
}

/// Requests of a submit that are on their way.
#[derive(Debug)]
pub struct Started(VecDeque<(usize, Pending)>);

/// A new program's ID.
#[must_use]
pub fn new_id() -> ProgramId {
    ProgramId(uuid::Uuid::now_v7())
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::Work;

    fn spec() -> ProgramSpec {
        ProgramSpec::new("true", Work::Command { command: "true".into() })
    }

    #[test]
    fn e1_copies_are_cut_into_requests_that_the_master_takes() {
        let submission = Submission::new(spec(), 10_000).unwrap();
        let counts: Vec<_> = submission.batches.iter().map(|batch| (batch.first, batch.count)).collect();
        assert_eq!(counts, [(0, 4_096), (4_096, 4_096), (8_192, 1_808)]);
        let Request::Submit { ids, first_index, copies, .. } = submission.request(2) else { panic!("a submit") };
        assert_eq!((ids.len(), first_index, copies), (1_808, 8_192, 10_000));
        assert_eq!(ids, submission.ids()[8_192..]);
        let unique: std::collections::BTreeSet<_> = submission.ids().iter().collect();
        assert_eq!(unique.len(), 10_000);
        assert!(submission.ids().is_sorted(), "IDs grow, so that the history is in the order of the copies");
    }

    #[test]
    fn e9_a_count_outside_its_limits_is_refused() {
        for count in [0, COPIES_MAX + 1] {
            assert!(Submission::new(spec(), count).unwrap_err().is(ErrorCode::SubmitInvalid));
        }
    }
}
