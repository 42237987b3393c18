//! The store by itself: what was written is what is read.

use super::{
    Moved, NewProgram, Record, SqliteStore, Storage,
    open::open_reader,
    pages::page,
    query::{Answer, Query},
};
use common::{
    ClientId, Outcome, ProgramId, ProgramSpec, SlaveId, Timestamp, Work,
    message::{HistoryQuery, Stream},
    program::State,
};
use std::sync::Arc;
use uuid::Uuid;

mod many;

fn spec() -> Record {
    let spec = Arc::new(ProgramSpec::new("p", Work::Command { command: "true".into() }));
    let hash = *blake3::hash(&common::frame::encode_record(&*spec)).as_bytes();
    Record::Spec { key: 1, spec, hash }
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
        entry: None,
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
        crashes: 0,
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

#[test]
fn e1_a_program_that_moves_on_in_the_batch_that_brings_it_is_where_it_moved() {
    use State::{Running, Waiting};
    let folder = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(folder.path()).unwrap();
    let steps = [moved(1, Waiting, Running, None), moved(1, Running, Running, Some("eve"))];
    let Record::Moved(last) = &steps[1] else { panic!("it is a move") };
    let (attempt, crashes, started) = (last.attempt, last.crashes, last.started_at);
    let [first, second] = steps.clone();
    store.commit(&[spec(), new(1), new(2), first, second]).unwrap();
    let loaded = store.load().unwrap();
    let [one, two] = loaded.alive.as_slice() else { panic!("there are two") };
    assert_eq!((one.state, one.cancel_by.as_deref()), (Running, Some("eve")));
    assert_eq!((one.attempt, one.crashes, one.started_at), (attempt, crashes, started));
    assert_eq!((two.state, two.attempt, two.cancel_by.as_deref()), (Waiting, 0, None));
    assert_eq!((loaded.totals.get(&Running), loaded.totals.get(&Waiting)), (Some(&1), Some(&1)));
}

#[test]
fn e8_pages_of_states_are_the_newest_of_all_owners() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(folder.path()).unwrap();
    let mut records = vec![spec()];
    for sequence in 1..=20 {
        let Record::New(mut program) = new(sequence) else { continue };
        let user: Arc<str> = if sequence % 2 == 0 { "ann".into() } else { "bob".into() };
        program.user = user.clone();
        records.push(Record::New(program));
        if sequence > 10 {
            let Record::Moved(mut step) = moved(sequence, State::Waiting, State::Running, None) else { continue };
            step.user = user;
            records.push(Record::Moved(step));
        }
    }
    store.commit(&records).unwrap();
    assert_eq!(store.load().unwrap().alive.len(), 20);
    let connection = open_reader(folder.path()).unwrap();
    let sequences = |states: &[State], owner: Option<&str>, skip: u64| {
        let query = HistoryQuery { states: states.to_vec(), skip, limit: 3, ..HistoryQuery::default() };
        let (rows, total) = page(&connection, &query, owner).unwrap();
        (rows.into_iter().map(|row| row.sequence).collect::<Vec<_>>(), total)
    };
    assert_eq!(sequences(&[State::Waiting], None, 0), (vec![10, 9, 8], 10));
    assert_eq!(sequences(&[State::Waiting], None, 8), (vec![2, 1], 10));
    assert_eq!(sequences(&[State::Waiting, State::Running], None, 9), (vec![11, 10, 9], 20));
    assert_eq!(sequences(&[State::Waiting], Some("bob"), 1), (vec![7, 5, 3], 5));
    assert_eq!(sequences(&[], Some("ann"), 4), (vec![12, 10, 8], 10));
    assert_eq!(sequences(&[State::Failed], None, 0), (vec![], 0));
    // Neither a page nor a start walks through all programs.
    let sql =
        "EXPLAIN QUERY PLAN SELECT sequence FROM program WHERE owner IN (SELECT key FROM owner) AND state IN (0, 1)";
    let plan: String = connection.query_row(sql, [], |row| row.get(3)).unwrap();
    assert!(plan.contains("program_owner"), "{plan}");
}

#[test]
fn f18_crashes_of_a_program_and_the_reason_of_a_slave_set_aside_are_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(folder.path()).unwrap();
    let id = SlaveId(Uuid::from_u128(9));
    store.connection.execute("INSERT INTO slave (id, name, enrolled_at) VALUES (?1, 's1', 1)", [id.0]).unwrap();
    let crashed = |was, state, crashes| {
        let Record::Moved(step) = moved(1, was, state, None) else { panic!() };
        Record::Moved(Moved { crashes, ..step })
    };
    store.commit(&[spec(), new(1), crashed(State::Waiting, State::Waiting, 2)]).unwrap();
    let aside = |reason: Option<&str>| Record::SlaveAside { id, reason: reason.map(Into::into) };
    store.commit(&[aside(Some("new disk")), crashed(State::Waiting, State::Running, 3)]).unwrap();
    let loaded = store.load().unwrap();
    assert_eq!(loaded.alive[0].crashes, 3);
    assert_eq!(loaded.slaves[0].aside.as_deref(), Some("new disk"));
    store.commit(&[aside(None)]).unwrap();
    assert_eq!(store.load().unwrap().slaves[0].aside, None);
}

#[test]
fn f19_a_schema_that_is_newer_than_the_program_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    SqliteStore::open(folder.path()).unwrap().close().unwrap();
    let path = super::open::database_path(folder.path());
    let database = rusqlite::Connection::open(&path).unwrap();
    database.pragma_update(None, "user_version", 9_999).unwrap();
    drop(database);
    let before = std::fs::read(&path).unwrap();
    assert!(matches!(SqliteStore::open(folder.path()), Err(super::StoreError::TooNew { found: 9_999, .. })));
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

/// A submit as the first release of the store wrote it.
const FIRST_BODY: &str = "04612e70790006507974686f6e04612e7079087072696e742831290102ff780102696e0101410162fc0046c323\
    01fcc0c62d00fc00000040fb0001fc00000001fc000000403200010570632d3037";

#[test]
fn f18_a_history_of_before_collected_files_is_read_on() {
    let folder = tempfile::tempdir().unwrap();
    let database = rusqlite::Connection::open(super::open::database_path(folder.path())).unwrap();
    for step in &super::schema::STEPS[..4] {
        database.execute_batch(step).unwrap();
    }
    database.pragma_update(None, "user_version", 4).unwrap();
    let digits: Vec<u8> = FIRST_BODY.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let body: Vec<u8> = digits.chunks(2).map(byte).collect();
    let hash: [u8; 32] = blake3::hash(&body).into();
    let id = ProgramId(Uuid::from_u128(7));
    database.execute("INSERT INTO owner (key, name) VALUES (1, 'alice')", []).unwrap();
    let sql = "INSERT INTO spec (key, name, language, priority, hash, body) VALUES (1, 'a.py', 'Python', 50, ?1, ?2)";
    database.execute(sql, rusqlite::params![hash, body]).unwrap();
    let outcome = common::frame::encode_record(&Outcome::Exited { code: 0 });
    let sql = "INSERT INTO program (sequence, id, spec, owner, state, client, idx, copies, submitted_at, attempt,
               ended_at, stdout_bytes, stderr_bytes, outcome) VALUES (5, ?1, 1, 1, ?2, ?3, 0, 1, 1, 1, 2, 3, 4, ?4)";
    let state = super::commit::state_number(State::Done);
    database.execute(sql, rusqlite::params![id.0, state, Uuid::nil(), outcome]).unwrap();
    database.execute("INSERT INTO total VALUES (1, ?1, 1)", [state]).unwrap();
    database.execute("INSERT INTO output VALUES (20, 0, x'616263'), (21, 0, x'64656667')", []).unwrap();
    database.execute("INSERT INTO seal VALUES (23, 0, x'00')", []).unwrap();
    drop(database);
    let store = SqliteStore::open(folder.path()).unwrap();
    let mut reader = super::history::Reader::new(store.connection, folder.path().join("outputs"));
    let Answer::Programs(found) = reader.answer(&Query::Programs(vec![id])) else { panic!() };
    let row = found.into_iter().next().unwrap().unwrap();
    assert_eq!((row.output_bytes, row.error_bytes, row.files_bytes, row.live), (3, 4, 0, false));
    let Answer::Spec(Some(spec)) = reader.answer(&Query::Spec(id)) else { panic!() };
    assert_eq!((spec.0.name.as_str(), spec.0.limits.disk), ("a.py", common::limits::DISK_DEFAULT));
    assert_eq!(spec.0.slave.as_deref(), Some("pc-07"));
    for (stream, expected) in [(Stream::Stdout, &b"abc"[..]), (Stream::Stderr, b"defg"), (Stream::Files, b"")] {
        let query = Query::Output { id, stream, offset: 0, bytes_max: 100 };
        let Answer::Output(Some(output)) = reader.answer(&query) else { panic!("{stream:?}") };
        assert_eq!(output.bytes, expected);
    }
}

#[test]
fn f06_a_database_that_is_cut_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(folder.path()).unwrap();
    let records: Vec<Record> = std::iter::once(spec()).chain((1..=2_000).map(new)).collect();
    store.commit(&records).unwrap();
    store.close().unwrap();
    let path = super::open::database_path(folder.path());
    let good = std::fs::read(&path).unwrap();
    for length in [50, 100, 4_096, good.len() / 2, good.len() - 1] {
        std::fs::write(&path, &good[..length]).unwrap();
        assert!(matches!(SqliteStore::open(folder.path()), Err(super::StoreError::Damaged(_))), "{length} bytes");
        assert_eq!(std::fs::read(&path).unwrap().len(), length);
    }
    std::fs::write(&path, &good).unwrap();
    assert_eq!(SqliteStore::open(folder.path()).unwrap().load().unwrap().alive.len(), 2_000);
}
