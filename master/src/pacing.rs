//! When a batch is committed, by whom, and what it weighs. Pure: time is an argument.

use crate::{
    core::{action::Action, weight},
    store::Record,
};
use common::message::{Reply, Status};
use std::time::{Duration, Instant};

/// Least time between two commits while programs queue up: a commit costs as much as several small programs
/// (it writes the same dozen pages for one step as for fifty, and syncs), so that fewer and larger ones let
/// more programs through. Slaves have what they need meanwhile: the scheduler sends ahead twice what ended
/// between two commits.
const BUSY_INTERVAL: Duration = Duration::from_millis(20);
/// Actions with which a batch waits no longer: some two hundred programs that ended and as many that are sent. By
/// then a commit costs next to nothing for each, and what is sent ahead to one slave has a bound.
const BUSY_ACTIONS: usize = 1_024;
/// Records, and bytes of them, that the loop's own thread commits at most: a few programs' worth.
const SMALL_RECORDS: usize = 64;
const SMALL_BYTES: usize = 128 << 10;
/// Connections beyond which the loop's thread has something better to do than to wait for a disk.
const FEW_CONNECTIONS: usize = 512;
/// A commit that takes longer shows a disk that is slow or busy.
const QUICK: Duration = Duration::from_millis(5);
/// Quick commits in a row after which the disk counts as quick.
const QUICK_IN_A_ROW: u32 = 4;

/// A batch as far as it matters here.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Batch {
    /// Actions in it.
    pub(crate) actions: usize,
    /// Programs wait in the queue: what counts is how many get through.
    pub(crate) busy: bool,
    /// The master stops.
    pub(crate) last: bool,
}

/// What is known of the commits so far.
#[derive(Debug, Default)]
pub(crate) struct Pacing {
    began: Option<Instant>,
    quick_in_a_row: u32,
}

impl Pacing {
    /// Until when a batch shall grow; none when it is to be committed now.
    pub(crate) fn wait(&self, batch: Batch, now: Instant) -> Option<Instant> {
        if !batch.busy || batch.last || batch.actions >= BUSY_ACTIONS {
            return None;
        }
        self.began.map(|began| began + BUSY_INTERVAL).filter(|earliest| *earliest > now)
    }

    /// Whether the loop's own thread may commit this: when little else is going on, and the disk has shown that it is
    /// quick. What is large, or comes while programs queue up, is committed beside what comes next.
    pub(crate) fn is_small(&self, batch: Batch, records: usize, bytes: usize, connections: usize) -> bool {
        !batch.busy
            && !batch.last
            && records <= SMALL_RECORDS
            && bytes <= SMALL_BYTES
            && connections <= FEW_CONNECTIONS
            && self.quick_in_a_row >= QUICK_IN_A_ROW
    }

    pub(crate) fn began(&mut self, now: Instant) {
        self.began = Some(now);
    }

    /// The commit that began last came to its end.
    pub(crate) fn ended(&mut self, now: Instant) {
        let quick = self.began.is_some_and(|began| now.saturating_duration_since(began) <= QUICK);
        self.quick_in_a_row = if quick { self.quick_in_a_row.saturating_add(1) } else { 0 };
    }
}

/// About how much memory an action takes until it is done. Parts of outputs are counted by their guards.
pub(crate) fn bytes_of(action: &Action) -> usize {
    const LEAST: usize = 256;
    match action {
        Action::Record(Record::Spec { spec, .. }) => LEAST + weight(spec),
        Action::Record(Record::New(program)) => LEAST + program.entry.as_ref().map_or(0, |entry| entry.0.len()),
        Action::Record(Record::Ended(ended)) => {
            2 * LEAST + ended.tails.iter().map(|tail| tail.bytes.len()).sum::<usize>()
        }
        Action::ToClient(_, Status::Reply { result: Ok(Reply::Output { bytes, .. }), .. }) => LEAST + bytes.len(),
        Action::ToClient(_, Status::Reply { result: Ok(Reply::Page { rows, .. }), .. }) => LEAST * (1 + rows.len()),
        Action::ToClient(_, Status::Changes(changes)) | Action::ToClients(_, Status::Changes(changes)) => {
            LEAST * (1 + changes.len())
        }
        Action::Record(_)
        | Action::ToClient(..)
        | Action::ToClients(..)
        | Action::AlertClient(..)
        | Action::AlertSlave(..)
        | Action::ToSlave(..)
        | Action::CutClient(..)
        | Action::CutSlave(..)
        | Action::Ask { .. }
        | Action::Append { .. }
        | Action::RemoveOutput(_)
        | Action::SendInput { .. }
        | Action::RemoveInput(_) => LEAST,
    }
}

/// Whether a program ended whose output did not all come with its result.
pub(crate) fn left_a_file(record: &Record) -> bool {
    let Record::Ended(ended) = record else { return false };
    ended.tails.iter().zip(ended.bytes).any(|(tail, bytes)| bytes > tail.bytes.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::NewProgram;
    use common::{ClientId, ProgramId, Timestamp, escape::RawText};
    use std::sync::Arc;
    use uuid::Uuid;

    const BUSY: Batch = Batch { actions: 10, busy: true, last: false };
    const ALONE: Batch = Batch { actions: 3, busy: false, last: false };

    #[test]
    fn a_lone_batch_goes_at_once_and_one_of_many_waits_for_more() {
        let begin = Instant::now();
        let mut pacing = Pacing::default();
        assert_eq!(pacing.wait(BUSY, begin), None, "the first one");
        pacing.began(begin);
        let soon = begin + Duration::from_millis(1);
        assert_eq!(pacing.wait(ALONE, soon), None);
        assert_eq!(pacing.wait(BUSY, soon), Some(begin + BUSY_INTERVAL));
        assert_eq!(pacing.wait(BUSY, begin + BUSY_INTERVAL), None);
        assert_eq!(pacing.wait(Batch { actions: BUSY_ACTIONS, ..BUSY }, soon), None, "a large one");
        assert_eq!(pacing.wait(Batch { last: true, ..BUSY }, soon), None, "the last one");
    }

    #[test]
    fn a_new_program_weighs_what_its_entry_does() {
        let new = |entry: Option<Arc<RawText>>| {
            bytes_of(&Action::Record(Record::New(NewProgram {
                sequence: 1,
                id: ProgramId(Uuid::nil()),
                spec: 1,
                user: "ann".into(),
                client: ClientId(Uuid::nil()),
                index: 0,
                copies: 0,
                submitted_at: Timestamp(0),
                entry,
            })))
        };
        let entry = RawText(vec![b'x'; SMALL_BYTES]);
        assert_eq!(new(Some(Arc::new(entry))), new(None) + SMALL_BYTES);
    }

    #[test]
    fn the_loop_commits_what_is_small_while_the_disk_is_quick_and_nothing_else() {
        let mut now = Instant::now();
        let mut pacing = Pacing::default();
        let mut commit = |pacing: &mut Pacing, time| {
            pacing.began(now);
            now += time;
            pacing.ended(now);
        };
        let small = |pacing: &Pacing| pacing.is_small(ALONE, 3, 1_000, 2);
        assert!(!small(&pacing), "nothing is known of the disk");
        (0..QUICK_IN_A_ROW).for_each(|_| commit(&mut pacing, Duration::from_micros(200)));
        assert!(small(&pacing));
        assert!(!pacing.is_small(BUSY, 3, 1_000, 2), "programs queue");
        assert!(!pacing.is_small(ALONE, SMALL_RECORDS + 1, 1_000, 2), "many records");
        assert!(!pacing.is_small(ALONE, 3, SMALL_BYTES + 1, 2), "many bytes");
        assert!(!pacing.is_small(ALONE, 3, 1_000, FEW_CONNECTIONS + 1), "many connections");
        assert!(!pacing.is_small(Batch { last: true, ..ALONE }, 3, 1_000, 2), "the last one");
        commit(&mut pacing, QUICK * 2);
        assert!(!small(&pacing), "the disk was slow");
        (1..QUICK_IN_A_ROW).for_each(|_| commit(&mut pacing, Duration::from_micros(200)));
        assert!(!small(&pacing), "once is no proof");
        commit(&mut pacing, Duration::from_micros(200));
        assert!(small(&pacing));
    }
}
