//! The store by itself: what was written is what is read.

use super::{Moved, NewProgram, Record, SqliteStore, Storage};
use common::{ClientId, ProgramId, ProgramSpec, Timestamp, Work, program::State};
use std::sync::Arc;
use uuid::Uuid;

fn spec() -> Record {
    let spec = Arc::new(ProgramSpec::new("p", Work::Command { command: "true".into() }));
    Record::Spec { key: 1, spec, hash: [0; 32] }
}

fn new(sequence: u64) -> Record {
    Record::New(NewProgram {
        sequence,
        id: ProgramId(Uuid::from_u128(sequence.into())),
        spec: 1,
        user: "ann".into(),
        client: ClientId(Uuid::nil()),
        index: 0,
        copies: 1,
        submitted_at: Timestamp(5),
    })
}

fn moved(sequence: u64, was: State, state: State, cancel_by: Option<&str>) -> Record {
    Record::Moved(Moved {
        sequence,
        user: "ann".into(),
        was,
        state,
        attempt: 1,
        slave: None,
        started_at: None,
        cancel_by: cancel_by.map(Into::into),
    })
}

#[test]
fn e1_several_moves_in_one_batch_leave_the_last_state() {
    use State::{Running, Waiting};
    let folder = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(folder.path()).unwrap();
    store.commit(&[spec(), new(1), new(2), moved(2, Waiting, Running, None)]).unwrap();
    store
        .commit(&[
            // Started, and cancelled before it was on the disk.
            moved(1, Waiting, Running, None),
            moved(1, Running, Running, Some("bob")),
            // Lost, and sent again.
            moved(2, Running, Waiting, None),
            moved(2, Waiting, Waiting, None),
        ])
        .unwrap();
    let loaded = store.load().unwrap();
    let states: Vec<_> = loaded.alive.iter().map(|row| (row.sequence, row.state)).collect();
    assert_eq!(states, [(1, Running), (2, Waiting)]);
    assert_eq!(loaded.alive[0].cancel_by.as_deref(), Some("bob"));
    assert_eq!(loaded.totals.get(&Running), Some(&1));
    assert_eq!(loaded.totals.get(&Waiting), Some(&1));
}
