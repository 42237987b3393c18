//! The journal under every crash, every flipped bit and a disk that fails.

use super::*;
use crate::executor::AttemptEnd;
use common::{
    id::ProgramId,
    outcome::Outcome,
    program::{ProgramSpec, Work},
    view::Usage,
};
use std::{
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// How media fail.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// Bytes that the disk still takes.
    room: Mutex<Option<usize>>,
    syncs_fail: AtomicBool,
}

impl Faults {
    /// The bytes when there is room for all; else writes those that fit and fails.
    pub(super) fn write<'a>(
        &self,
        bytes: &'a [u8],
        write: impl FnOnce(&[u8]) -> io::Result<()>,
    ) -> io::Result<&'a [u8]> {
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *room {
            Some(left) if *left < bytes.len() => {
                write(&bytes[..std::mem::take(left)])?;
                Err(io::ErrorKind::StorageFull.into())
            }
            Some(left) => {
                *left -= bytes.len();
                Ok(bytes)
            }
            None => Ok(bytes),
        }
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        if self.syncs_fail.load(Ordering::Relaxed) { Err(io::Error::other("injected")) } else { Ok(()) }
    }

    fn set_room(&self, bytes: Option<usize>) {
        *self.room.lock().unwrap_or_else(PoisonError::into_inner) = bytes;
    }
}

const BOOT: &str = "this boot";

fn key(number: u128) -> AttemptKey {
    AttemptKey { program: ProgramId(uuid::Uuid::from_u128(number)), attempt: 1 }
}

fn assignment(number: u128) -> (Assignment, Timestamp) {
    let spec = ProgramSpec::new("x", Work::Command { command: format!("program {number}").into() });
    (Assignment { key: key(number), spec: Arc::new(spec), index: 0, fence: 1 }, Timestamp(number as u64))
}

fn end(number: u128) -> KeptEnd {
    let end = AttemptEnd {
        key: key(number),
        outcome: Outcome::Exited { code: number as i32 },
        started_at: Some(Timestamp(1)),
        ended_at: Timestamp(2),
        usage: Usage::default(),
        output_truncated: false,
        last_line: format!("line {number}"),
    };
    KeptEnd::new(&end, vec![number as u8; number as usize % 50])
}

/// After each operation: how long the journal was, and what it held.
type Steps = Vec<(u64, BTreeMap<AttemptKey, bool>)>;

/// A journal in a folder of its own.
struct Bench {
    folder: tempfile::TempDir,
    media: Media,
}

impl Bench {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), media: Media::default() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("journal")
    }

    fn open(&self) -> (Journal, Found) {
        Journal::open_with(&self.path(), BOOT, self.media.clone()).unwrap()
    }

    /// A journal of starts, ends and acknowledgements, and after each operation how long it was and what it held.
    fn filled(&self) -> (Journal, Steps) {
        let (mut journal, _) = self.open();
        let mut held = BTreeMap::new();
        let mut steps = vec![(journal.end, held.clone())];
        for number in 1..16_u128 {
            journal.start(&[assignment(number), assignment(1_000 + number)]).unwrap();
            held.extend([(key(number), false), (key(1_000 + number), false)]);
            steps.push((journal.end, held.clone()));
            if number % 3 > 0 {
                journal.end(vec![(end(number), vec![]), (end(1_000 + number), vec![])]);
                held.extend([(key(number), true), (key(1_000 + number), true)]);
                steps.push((journal.end, held.clone()));
            }
            if number % 4 > 0 {
                journal.forget(key(number));
                journal.flush();
                held.remove(&key(number));
                steps.push((journal.end, held.clone()));
            }
        }
        (journal, steps)
    }
}

fn held(found: &Found) -> BTreeMap<AttemptKey, bool> {
    let started = found.started.iter().map(|(assignment, _)| (assignment.key, false));
    started.chain(found.ended.iter().map(|end| (end.key(), true))).collect()
}

/// What a start of the agent makes of these bytes: its number and what it holds.
fn reopen(folder: &Path, bytes: &[u8]) -> (u64, Found) {
    let path = folder.join("copy");
    std::fs::write(&path, bytes).unwrap();
    let (mut journal, found) = Journal::open(&path, BOOT).unwrap();
    assert!(journal.trouble().is_none());
    // It can be used, and says the same again.
    journal.start(&[assignment(77_777)]).unwrap();
    let instance = journal.instance();
    drop(journal);
    let (again, mut found_again) = Journal::open(&path, BOOT).unwrap();
    assert_eq!(again.instance(), instance);
    found_again.started.retain(|(assignment, _)| assignment.key != key(77_777));
    assert_eq!(held(&found_again), held(&found));
    (instance, found)
}

#[test]
fn p5_what_was_started_and_ended_is_there_after_a_restart_of_the_agent() {
    let bench = Bench::new();
    let (mut journal, found) = bench.open();
    assert_eq!((held(&found), found.epoch, found.same_boot), (BTreeMap::new(), 0, false));
    let instance = journal.instance();
    journal.set_epoch(3);
    journal.start(&[assignment(1), assignment(2), assignment(3)]).unwrap();
    journal.end(vec![(end(2), vec![]), (end(3), vec![])]);
    journal.forget(key(3));
    journal.forget(key(99));
    assert!(journal.knows(key(1)) && journal.knows(key(2)) && !journal.knows(key(3)));
    journal.close();
    let (journal, found) = bench.open();
    assert_eq!((journal.instance(), found.epoch, found.same_boot), (instance, 3, true));
    assert_eq!(found.started, [assignment(1)]);
    assert_eq!(found.ended, [end(2)]);
    drop(journal);
    // After a restart of the machine everything is told, under another number.
    let (journal, found) = Journal::open(&bench.path(), "another boot").unwrap();
    assert_ne!(journal.instance(), instance);
    assert_eq!((found.same_boot, found.epoch), (false, 3));
    assert_eq!((found.started, found.ended), (vec![assignment(1)], vec![end(2)]));
}

#[test]
fn p5_an_output_in_a_file_is_forgotten_on_disk_before_its_file_may_go() {
    let bench = Bench::new();
    let (mut journal, _) = bench.open();
    journal.start(&[assignment(1), assignment(2)]).unwrap();
    let file = || vec![File::open(bench.path()).unwrap()];
    journal.end(vec![(end(1), file()), (end(2), vec![])]);
    let known = || held(&Journal::open(&bench.path(), BOOT).unwrap().1);
    journal.forget(key(1));
    assert_eq!(known(), BTreeMap::from([(key(2), true)]));
}

#[test]
fn f03_every_prefix_of_the_journal_opens_with_what_it_held() {
    let bench = Bench::new();
    let (journal, steps) = bench.filled();
    let instance = journal.instance();
    drop(journal);
    let bytes = std::fs::read(bench.path()).unwrap();
    assert_eq!(bytes.len() as u64, steps.last().unwrap().0);
    let begin = usize::try_from(steps[0].0).unwrap();
    // Every byte around the ends of writes, and a sample of those between.
    for cut in (begin..=bytes.len()).filter(|cut| {
        let near = steps.iter().any(|(end, _)| end.abs_diff(*cut as u64) < 3);
        near || cut % 61 == 0
    }) {
        let (number, found) = reopen(bench.folder.path(), &bytes[..cut]);
        assert_eq!(number, instance, "cut at {cut}: a write that never ended is no damage");
        let (end, expected) = steps.iter().rfind(|(end, _)| *end <= cut as u64).unwrap();
        let found = held(&found);
        if *end == cut as u64 {
            assert_eq!(&found, expected, "cut at {cut}");
        } else {
            // Of the batch that was being written, a part may be there; everything before it is.
            let (_, next) = steps.iter().find(|(end, _)| *end > cut as u64).unwrap();
            for (key, ended) in expected {
                let kept = found.get(key);
                assert!(kept.is_some_and(|kept| kept >= ended) || !next.contains_key(key), "cut at {cut}: {key}");
            }
            assert!(found.keys().all(|key| expected.contains_key(key) || next.contains_key(key)), "cut at {cut}");
        }
    }
    // Also the very first write.
    for cut in 0..begin {
        let (number, found) = reopen(bench.folder.path(), &bytes[..cut]);
        assert_ne!(number, instance);
        assert_eq!(held(&found), BTreeMap::new());
    }
}

#[test]
fn f06_a_flipped_bit_is_noticed_and_costs_no_more_than_its_record() {
    let bench = Bench::new();
    let (journal, steps) = bench.filled();
    let instance = journal.instance();
    drop(journal);
    let bytes = std::fs::read(bench.path()).unwrap();
    let whole = &steps.last().unwrap().1;
    for place in (0..bytes.len()).filter(|place| place % 11 == 0) {
        let mut damaged = bytes.clone();
        damaged[place] ^= 1 << (place % 8);
        let (number, found) = reopen(bench.folder.path(), &damaged);
        assert_ne!(number, instance, "bit flipped at {place}: the slave must not say that it remembers all");
        let found = held(&found);
        let missing = whole.keys().filter(|key| !found.contains_key(key)).count();
        assert!(missing <= 2, "bit flipped at {place}: {missing} are missing");
    }
}

#[test]
fn f05_a_full_disk_stops_starts_keeps_ends_and_recovers_alone() {
    for room in [0, 1, 30, 200] {
        let bench = Bench::new();
        let (mut journal, _) = bench.open();
        let instance = journal.instance();
        journal.start(&[assignment(1), assignment(2)]).unwrap();
        bench.media.faults.set_room(Some(room));
        let many: Vec<_> = (10..20).map(assignment).collect();
        assert!(journal.start(&many).is_err(), "room for {room}");
        assert!(journal.trouble().unwrap().contains("cannot be written"), "{:?}", journal.trouble());
        assert!(!journal.knows(key(10)));
        journal.end(vec![(end(1), vec![])]);
        assert!(journal.start(&[assignment(3)]).is_err());
        let due = journal.next_deadline().unwrap();
        journal.tick(due + RETRY_FIRST);
        assert!(journal.trouble().is_some(), "it is still full");
        bench.media.faults.set_room(None);
        let due = journal.next_deadline().unwrap();
        journal.tick(due + RETRY_MAX);
        assert_eq!(journal.trouble(), None);
        journal.start(&[assignment(3)]).unwrap();
        drop(journal);
        let (journal, found) = bench.open();
        assert_eq!(journal.instance(), instance);
        assert_eq!(held(&found), BTreeMap::from([(key(1), true), (key(2), false), (key(3), false)]));
    }
}

#[test]
fn f05_an_agent_starts_on_a_full_disk_and_says_so() {
    let bench = Bench::new();
    let (mut journal, _) = bench.open();
    let instance = journal.instance();
    journal.start(&[assignment(1)]).unwrap();
    drop(journal);
    bench.media.faults.set_room(Some(5));
    let (mut journal, found) = bench.open();
    assert!(journal.trouble().is_some());
    assert_eq!((journal.instance(), held(&found)), (instance, BTreeMap::from([(key(1), false)])));
    journal.end(vec![(end(1), vec![])]);
    bench.media.faults.set_room(None);
    let due = journal.next_deadline().unwrap();
    journal.tick(due);
    assert_eq!(journal.trouble(), None);
    drop(journal);
    assert_eq!(bench.open().1.ended, [end(1)]);
}

#[tokio::test]
async fn f04_a_failed_sync_stops_starts_until_the_journal_is_written_anew() {
    let bench = Bench::new();
    let (mut journal, _) = bench.open();
    journal.start(&[assignment(1), assignment(2)]).unwrap();
    bench.media.faults.syncs_fail.store(true, Ordering::Relaxed);
    journal.end(vec![(end(1), vec![])]);
    let due = journal.next_deadline().unwrap();
    journal.tick(due);
    let failure = journal.failure().await;
    assert_eq!(journal.trouble(), None, "not known before it is heard");
    journal.sync_failed(&failure);
    assert!(journal.trouble().unwrap().contains("injected"));
    assert!(journal.start(&[assignment(3)]).is_err());
    let due = journal.next_deadline().unwrap();
    journal.tick(due);
    assert!(journal.trouble().is_some(), "the new file cannot be synced either");
    bench.media.faults.syncs_fail.store(false, Ordering::Relaxed);
    let due = journal.next_deadline().unwrap();
    journal.tick(due);
    assert_eq!(journal.trouble(), None);
    journal.close();
    assert_eq!(held(&bench.open().1), BTreeMap::from([(key(1), true), (key(2), false)]));
}

#[test]
fn f04_an_output_that_was_not_synced_is_trusted_only_to_the_master() {
    let bench = Bench::new();
    let (mut journal, _) = bench.open();
    journal.start(&[assignment(1)]).unwrap();
    journal.end(vec![(end(1), vec![])]);
    let failure = SyncFailure { output_of: Some(key(1)), error: io::Error::other("injected") };
    journal.sync_failed(&failure);
    let due = journal.next_deadline().unwrap();
    journal.tick(due + RETRY_MAX);
    assert!(journal.trouble().is_some());
    journal.forget(key(1));
    journal.tick(due + 10 * RETRY_MAX);
    assert_eq!(journal.trouble(), None);
    journal.sync_failed(&failure);
    assert_eq!(journal.trouble(), None, "nobody needs it any more");
}

#[test]
fn p7_the_journal_stays_small_and_is_full_at_its_bound() {
    let bench = Bench::new();
    let (mut journal, _) = bench.open();
    let large = |number: u128| KeptEnd::new(&end(number).into_parts().0, vec![1; 1 << 20]);
    for number in 0..50 {
        journal.start(&[assignment(number)]).unwrap();
        journal.end(vec![(large(number), vec![])]);
        journal.forget(key(number));
        journal.flush();
        assert!(journal.end < REWRITE_BYTES_MIN + (2 << 20), "{}", journal.end);
    }
    let mut number = 1_000;
    while journal.trouble().is_none() {
        journal.start(&[assignment(number)]).unwrap();
        journal.end(vec![(large(number), vec![])]);
        number += 1;
    }
    assert_eq!(u64::try_from(number - 1_000).unwrap(), LIVE_BYTES_MAX >> 20);
    assert!(journal.trouble().unwrap().contains("not taken 128"), "{:?}", journal.trouble());
    for number in 1_000..1_070 {
        journal.forget(key(number));
    }
    assert_eq!(journal.trouble(), None);
    journal.flush();
    assert!(journal.end < 2 * LIVE_BYTES_MAX);
    assert_eq!(journal.live.len(), bench_count(&bench));
}

fn bench_count(bench: &Bench) -> usize {
    held(&Journal::open(&bench.path(), BOOT).unwrap().1).len()
}
