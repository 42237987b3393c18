//! Copies without rows, in the file and in everything that reads it.

use super::*;
use crate::store::{NewArray, check, query::LookUp};
use proptest::prelude::*;

const FIRST: ProgramId = ProgramId(Uuid::from_u128(0x0197_0000_0000_7abc_8000_0000_0000_0100));

fn array(first: u64, copies: u32, user: &str, spec: u64) -> Record {
    Record::Array(Box::new(NewArray {
        first,
        id: FIRST.nth(first).unwrap(),
        copies,
        spec,
        user: user.into(),
        client: ClientId(Uuid::nil()),
        submitted_at: Timestamp(5),
    }))
}

/// The same copies with a row each from the beginning.
fn rows(first: u64, copies: u32, user: &str, spec: u64) -> Vec<Record> {
    let row = |index: u32| NewProgram {
        sequence: first + u64::from(index),
        id: FIRST.nth(first + u64::from(index)).unwrap(),
        spec,
        user: user.into(),
        client: ClientId(Uuid::nil()),
        index,
        copies,
        submitted_at: Timestamp(5),
        entry: None,
    };
    (0..copies).map(|index| Record::New(row(index))).collect()
}

fn body(key: u64, name: &str) -> Record {
    let spec = Arc::new(ProgramSpec::new(name, Work::Command { command: "true".into() }));
    let hash = *blake3::hash(&common::frame::encode_record(&*spec)).as_bytes();
    Record::Spec { key, spec, hash }
}

fn ended(sequence: u64, user: &str, was: State) -> Record {
    Record::Ended(Box::new(crate::store::Ended {
        sequence,
        user: user.into(),
        was,
        attempt: 1,
        slave: None,
        started_at: None,
        ended_at: Timestamp(9),
        outcome: Outcome::Exited { code: 0 },
        usage: None,
        bytes: [0; Stream::COUNT],
        truncated: false,
        last_line: String::new(),
        tails: Default::default(),
    }))
}

/// The slave that runs what runs in these tests.
const SLAVE: SlaveId = SlaveId(Uuid::from_u128(9));

fn with_slave(store: &SqliteStore) {
    store.connection.execute("INSERT INTO slave (id, name, enrolled_at) VALUES (?1, 's1', 1)", [SLAVE.0]).unwrap();
}

fn runs(sequence: u64, user: &str) -> Record {
    let Record::Moved(step) = moved(sequence, State::Waiting, State::Running, None) else { panic!() };
    Record::Moved(Moved { user: user.into(), slave: Some(SLAVE), ..step })
}

fn sound(store: &SqliteStore, folder: &std::path::Path) {
    assert_eq!(check::of(store, &folder.join("outputs")), Vec::<String>::new());
}

#[test]
fn p2_copies_get_a_row_with_the_first_thing_that_happens_to_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(folder.path()).unwrap();
    store.commit(&[body(1, "a"), array(1, 1_000_000, "ann", 1)]).unwrap();
    sound(&store, folder.path());
    let changed = Record::Changed(crate::store::Changed { sequence: 700_000, wall_time: None, suspend: true });
    let steps = [
        moved(1, State::Waiting, State::Waiting, None),
        moved(2, State::Waiting, State::Waiting, None),
        moved(2, State::Waiting, State::Waiting, Some("bob")),
        changed,
        ended(500_000, "ann", State::Waiting),
    ];
    store.commit(&steps).unwrap();
    sound(&store, folder.path());
    let loaded = store.load().unwrap();
    assert_eq!(loaded.next_sequence, 1_000_001);
    assert_eq!(loaded.last_id, FIRST.nth(1_000_000), "of copies without rows");
    let spans: Vec<_> = loaded.arrays.iter().map(|array| (array.first, array.count, array.index)).collect();
    assert_eq!(spans, [(3, 499_997, 2), (500_001, 199_999, 500_000), (700_001, 300_000, 700_000)]);
    assert!(loaded.arrays.iter().all(|array| array.id == FIRST.nth(array.first).unwrap()));
    let alive: Vec<_> = loaded.alive.iter().map(|row| (row.sequence, row.index, row.attempt)).collect();
    assert_eq!(alive, [(1, 0, 1), (2, 1, 1), (700_000, 699_999, 0)]);
    assert_eq!((loaded.alive[1].cancel_by.as_deref(), loaded.alive[2].suspend), (Some("bob"), true));
    assert_eq!((loaded.totals[&State::Waiting], loaded.totals[&State::Done]), (999_999, 1));
    // It is the same after the file was closed.
    store.close().unwrap();
    let mut store = SqliteStore::open(folder.path()).unwrap();
    assert_eq!(store.load().unwrap().arrays.len(), 3);
    store.commit(&[moved(3, State::Waiting, State::Waiting, None)]).unwrap();
    sound(&store, folder.path());
    let mut reader = super::super::history::Reader::new(open_reader(folder.path()).unwrap(), folder.path().into());
    let id = |sequence| FIRST.nth(sequence).unwrap();
    let known = |ids: &LookUp, reader: &mut super::super::history::Reader| {
        reader.look_up(ids).unwrap().into_iter().map(|known| known.sequence).collect::<Vec<_>>()
    };
    assert_eq!(known(&LookUp::Between(id(1), id(1_000_000)), &mut reader), [1]);
    assert_eq!(known(&LookUp::Between(id(10), id(600_000)), &mut reader), [500_000]);
    assert_eq!(known(&LookUp::Between(id(1_000), id(2_000)), &mut reader), [0_u64; 0]);
    assert_eq!(known(&LookUp::These(vec![id(2), id(900), id(3)]), &mut reader), [2, 3]);
}

#[test]
fn p1_a_batch_that_was_undone_leaves_copies_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(folder.path()).unwrap();
    with_slave(&store);
    store.commit(&[body(1, "a"), array(1, 10, "ann", 1)]).unwrap();
    let Record::Moved(mut unknown) = moved(6, State::Waiting, State::Running, None) else { panic!() };
    unknown.slave = Some(SlaveId(Uuid::from_u128(77)));
    let batch = [runs(5, "ann"), array(11, 5, "ann", 1), Record::Moved(unknown)];
    assert!(store.commit(&batch).is_err());
    assert_eq!(store.load().unwrap().arrays.len(), 1, "nothing of it is in the file");
    store.commit(&batch[..2]).unwrap();
    let spans: Vec<_> = store.load().unwrap().arrays.iter().map(|array| (array.first, array.count)).collect();
    assert_eq!(spans, [(1, 4), (6, 5), (11, 5)]);
    sound(&store, folder.path());
}

#[test]
fn f6_copies_without_rows_that_make_no_sense_are_found() {
    for (damage, words) in [
        ("UPDATE array SET count = 11", "make no sense"),
        ("UPDATE array SET spec = 9", "make no sense"),
        ("UPDATE array SET count = 9", "the totals say"),
        ("UPDATE array SET first = 2", "are other programs too"),
        (
            "INSERT INTO array SELECT 40, 1, id, idx, copies, spec, owner, client, submitted_at FROM array",
            "IDs in common",
        ),
        ("DELETE FROM array", "the totals say"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(folder.path()).unwrap();
        store.commit(&[body(1, "a"), array(1, 10, "ann", 1), new(11)]).unwrap();
        sound(&store, folder.path());
        store.connection.execute(damage, []).unwrap();
        let found = check::of(&store, &folder.path().join("outputs"));
        assert!(found.iter().any(|problem| problem.contains(words)), "{damage}: {found:?}");
    }
}

#[test]
fn f18_a_history_of_before_copies_were_kept_together_is_read_on() {
    let folder = tempfile::tempdir().unwrap();
    let database = rusqlite::Connection::open(super::super::open::database_path(folder.path())).unwrap();
    for step in &super::super::schema::STEPS[..6] {
        database.execute_batch(step).unwrap();
    }
    database.pragma_update(None, "user_version", 6).unwrap();
    let Record::Spec { spec, hash, .. } = body(1, "old") else { panic!() };
    let encoded = common::frame::encode_record(&*spec);
    database.execute("INSERT INTO owner (key, name) VALUES (1, 'ann')", []).unwrap();
    let sql = "INSERT INTO spec (key, name, priority, hash, body, form) VALUES (1, 'old', 50, ?1, ?2, 1)";
    database.execute(sql, rusqlite::params![hash, encoded]).unwrap();
    for sequence in [1_i64, 2] {
        let sql = "INSERT INTO program (sequence, id, spec, owner, state, client, idx, copies, submitted_at)
                   VALUES (?1, ?2, 1, 1, 0, ?3, ?1 - 1, 2, 5)";
        let id = FIRST.nth(sequence.cast_unsigned()).unwrap();
        database.execute(sql, rusqlite::params![sequence, id.0, Uuid::nil()]).unwrap();
    }
    database.execute("INSERT INTO total VALUES (1, 0, 2)", []).unwrap();
    drop(database);
    let mut store = SqliteStore::open(folder.path()).unwrap();
    sound(&store, folder.path());
    let loaded = store.load().unwrap();
    let alive: Vec<_> = loaded.alive.iter().map(|row| (row.sequence, row.index, row.entry.clone())).collect();
    assert_eq!((alive, loaded.arrays.len()), (vec![(1, 0, None), (2, 1, None)], 0));
    assert!(loaded.last_id.is_some() && loaded.last_id == loaded.alive.iter().map(|row| row.id).max(), "of rows");
    with_slave(&store);
    store.commit(&[array(3, 5, "ann", 1), runs(4, "ann")]).unwrap();
    assert_eq!(store.load().unwrap().next_sequence, 8);
    sound(&store, folder.path());
}

/// A step in the life of copies, by sequence.
#[derive(Clone, Copy, Debug)]
enum Step {
    Move(u64),
    End(u64),
    Single,
    Copies(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1_u64..80).prop_map(Step::Move),
        (1_u64..80).prop_map(Step::End),
        Just(Step::Single),
        (1_u32..20).prop_map(Step::Copies),
    ]
}

fn query() -> impl Strategy<Value = (HistoryQuery, Option<&'static str>)> {
    let states = prop::sample::subsequence(vec![State::Waiting, State::Running, State::Done], 0..=3);
    let search = prop::sample::select(vec!["", "", "alpha", "bet", "ann", "00000010", "zzz", "a"]);
    let owner = prop::sample::select(vec![None, None, Some("ann"), Some("bob"), Some("cid")]);
    (states, search, owner, prop::option::of(0_u64..90), 0_u64..60, 0_u32..30).prop_map(
        |(states, search, owner, before, skip, limit)| {
            let query = HistoryQuery { states, search: search.into(), mine: false, before, skip, limit };
            (query, owner)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn e6_a_page_is_the_same_whether_copies_have_rows_or_not(
        steps in prop::collection::vec(step(), 1..40),
        queries in prop::collection::vec(query(), 12),
    ) {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let mut stores = folders.each_ref().map(|folder| SqliteStore::open(folder.path()).unwrap());
        for store in &mut stores {
            with_slave(store);
            store.commit(&[body(1, "alpha"), body(2, "beta")]).unwrap();
        }
        let (mut next, mut states): (u64, Vec<(State, &str)>) = (1, Vec::new());
        for (number, step) in steps.iter().enumerate() {
            let (user, spec) = if number % 3 == 0 { ("bob", 2) } else { ("ann", 1) };
            let at = |sequence: u64| states.get(usize::try_from(sequence).unwrap() - 1).copied();
            let (together, alone) = match *step {
                Step::Copies(copies) => {
                    states.extend((0..copies).map(|_| (State::Waiting, user)));
                    next += u64::from(copies);
                    let first = next - u64::from(copies);
                    (vec![array(first, copies, user, spec)], rows(first, copies, user, spec))
                }
                Step::Single => {
                    states.push((State::Waiting, user));
                    next += 1;
                    (rows(next - 1, 1, user, spec), rows(next - 1, 1, user, spec))
                }
                Step::Move(sequence) => {
                    let Some((State::Waiting, user)) = at(sequence) else { continue };
                    states[usize::try_from(sequence).unwrap() - 1].0 = State::Running;
                    (vec![runs(sequence, user)], vec![runs(sequence, user)])
                }
                Step::End(sequence) => {
                    let Some((was @ (State::Waiting | State::Running), user)) = at(sequence) else { continue };
                    states[usize::try_from(sequence).unwrap() - 1].0 = State::Done;
                    (vec![ended(sequence, user, was)], vec![ended(sequence, user, was)])
                }
            };
            stores[0].commit(&together).unwrap();
            stores[1].commit(&alone).unwrap();
        }
        for (store, folder) in stores.iter().zip(&folders) {
            prop_assert_eq!(check::of(store, &folder.path().join("outputs")), Vec::<String>::new());
        }
        let readers = folders.each_ref().map(|folder| open_reader(folder.path()).unwrap());
        for (query, owner) in queries {
            let [together, alone] = readers.each_ref().map(|reader| page(reader, &query, owner).unwrap());
            prop_assert_eq!(together, alone, "{:?} {:?}", query, owner);
        }
    }
}
