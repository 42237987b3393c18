//! From a specification to programs that the master has acknowledged.
//!
//! The IDs are made here, once, so that sending again after a lost connection is harmless. Those of programs that are
//! submitted together follow one another ([`ProgramId::nth`]), so that nobody needs a list of them.

mod entries;
mod lines;
mod source;

pub use entries::Entries;
pub use lines::{LineParts, open_lines};
pub use source::{SourceFile, knows_language, language_of, read_source, read_stdin, source_from};

use crate::{
    connection::{Client, Pending, Requests},
    reply,
};
use common::{ErrorCode, ProgramId, ProgramSpec, UserError, limits::COPIES_MAX, message::Request, units::Duration};

/// Wait after `E-BUSY` when the master names none.
pub(crate) const BUSY_WAIT: Duration = Duration::from_secs(1);

/// A submit of one program, or of copies of it: what runs, and what the master has said.
#[derive(Clone, Debug)]
pub struct Submission {
    spec: ProgramSpec,
    first: ProgramId,
    count: u32,
    sequence: Option<u64>,
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
        Ok(Self { spec, first: new_id().with_room(), count, sequence: None })
    }

    /// How many programs they are.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// The ID of the first.
    #[must_use]
    pub const fn first(&self) -> ProgramId {
        self.first
    }

    /// The programs, by index.
    pub fn ids(&self) -> impl Iterator<Item = ProgramId> + use<> {
        ids_from(self.first, 0, self.count)
    }

    /// Copies that the master has acknowledged: none or all.
    #[must_use]
    pub const fn acknowledged(&self) -> u32 {
        if self.sequence.is_some() { self.count } else { 0 }
    }

    /// The first one's place in the history, once all are acknowledged; the others follow.
    #[must_use]
    pub const fn sequence(&self) -> Option<u64> {
        self.sequence
    }

    /// Sends it and waits until it is acknowledged. A busy master is asked again after the time that it names. After
    /// `E-CONNECTION-LOST`, call it again with a new connection: nothing is accepted twice.
    ///
    /// # Errors
    /// The refusal.
    pub async fn send(&mut self, client: &Client) -> Result<(), UserError> {
        loop {
            let mut started = self.begin(client);
            match self.finish(&mut started).await {
                Err(error) if error.is(ErrorCode::Busy) => {
                    tokio::time::sleep(error.retry_after.unwrap_or(BUSY_WAIT).to_std()).await;
                }
                result => return result,
            }
        }
    }

    /// Sends the request without waiting, so that others can leave in the same write.
    pub fn begin(&self, client: &Requests) -> Started {
        Started(self.sequence.is_none().then(|| client.request(self.request())))
    }

    /// Waits for what [`Submission::begin`] sent.
    ///
    /// # Errors
    /// The refusal, `E-BUSY` included.
    pub async fn finish(&mut self, started: &mut Started) -> Result<(), UserError> {
        if let Some(answer) = started.0.take() {
            self.sequence = reply::submitted(answer.await?)?.first().copied();
        }
        Ok(())
    }

    fn request(&self) -> Request {
        let spec = Box::new(self.spec.clone());
        match self.count {
            1 => Request::Submit { ids: vec![self.first], first_index: 0, copies: 1, spec },
            copies => Request::SubmitCopies { first: self.first, copies, spec },
        }
    }
}

/// A submit that is on its way.
#[derive(Debug)]
pub struct Started(Option<Pending>);

/// A new program's ID.
#[must_use]
pub fn new_id() -> ProgramId {
    ProgramId(uuid::Uuid::now_v7())
}

/// The IDs of the programs from `index` on of a submit that begins with `first`. All have room, as ours do.
fn ids_from(first: ProgramId, index: u32, count: u32) -> impl Iterator<Item = ProgramId> + use<> {
    let from = u64::from(index);
    (from..from + u64::from(count)).filter_map(move |place| first.nth(place))
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::Work;

    fn spec() -> ProgramSpec {
        ProgramSpec::new("true", Work::Command { command: "true".into() })
    }

    #[test]
    fn e1_copies_are_one_request_however_many_they_are() {
        let submission = Submission::new(spec(), COPIES_MAX).unwrap();
        let Request::SubmitCopies { first, copies, .. } = submission.request() else { panic!("copies") };
        assert_eq!((first, copies), (submission.first(), COPIES_MAX));
        assert_eq!(submission.ids().count(), COPIES_MAX as usize, "there is room for all IDs");
        assert!(submission.ids().is_sorted_by(|a, b| a < b), "the history is in the order of the copies");
        assert_eq!(submission.ids().nth(999_999), first.nth(999_999));
        let one = Submission::new(spec(), 1).unwrap();
        let Request::Submit { ids, .. } = one.request() else { panic!("one") };
        assert!(one.ids().eq(ids));
    }

    #[test]
    fn e9_a_count_outside_its_limits_is_refused() {
        for count in [0, COPIES_MAX + 1] {
            assert!(Submission::new(spec(), count).unwrap_err().is(ErrorCode::SubmitInvalid));
        }
    }
}
